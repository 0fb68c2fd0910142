//! One worker: what its connections share, how many there are, and how far the process's end has come for them.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::dns::Resolver;
use crate::limits::{ConnectionLimits, HalfOpenList};
use crate::proxy::dial::Dialer;
use crate::proxy::groups::Groups;
use crate::proxy::linger::Lingering;
use crate::proxy::relay::RelayResources;
use crate::proxy::rule_labels::RuleLabels;
use crate::reload::{Current, Loaded, Shadow};
use crate::runtime::{Instant, Notify, Watched, race, sleep, timeout, wall_time};
use crate::sys::clock::Clock;
use crate::sys::socket;
use crate::telemetry::live::{Census, Live, Query};
use crate::telemetry::metrics::{Levels, Metrics, WorkerUpstreams};
use crate::telemetry::refused_bytes::RefusedBytes;
use crate::telemetry::status::Status;
use latticegate_core::config::Config;
use latticegate_core::policy::destination::DestinationGuard;

/// Half-open connections that make room when the machine is short of something.
const EVICTED_AT_ONCE: usize = 16;

/// In a census, the pause between two groups of sessions.
const BETWEEN_GROUPS: Duration = Duration::from_millis(1);

/// How far the end of the process has come; each step includes those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Serving,
    /// Not ready any more, but still accepting while the load balancer notices.
    Draining,
    /// Take what the queues still hold, then accept no more.
    Closing,
    /// End what is still open; what was sent has a moment to arrive.
    Ending,
    /// End at once.
    Cut,
}

/// What all workers share.
pub struct Shared {
    pub config: Config,
    pub policy: Arc<Current>,
    pub destinations: DestinationGuard,
    pub limits: ConnectionLimits,
    pub shadow: Option<Arc<Shadow>>,
    /// The first bytes of refused connections, if any are kept.
    pub refused_bytes: Option<RefusedBytes>,
    pub metrics: Metrics,
    pub status: Arc<Status>,
    pub clock: Clock,
}

impl Shared {
    /// State and limits, for the metrics.
    pub fn levels(&self) -> Levels<'_> {
        let half_open = &self.limits.half_open;
        Levels {
            status: &self.status,
            max_connections: self.config.limits.connections,
            half_open: (half_open.count(), u64::try_from(self.config.limits.half_open.get()).unwrap_or(u64::MAX)),
            half_open_bytes: half_open.bytes(),
            drain: &self.config.drain,
        }
    }
}

/// What one worker's connections share.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    pub(crate) resolver: Resolver,
    pub(crate) dialer: Dialer,
    pub(crate) upstreams: WorkerUpstreams,
    pub(crate) resources: RelayResources,
    pub(crate) rule_labels: RuleLabels,
    pub(crate) half_open: Rc<HalfOpenList>,
    /// The list that decides nothing, if there is one.
    pub(crate) shadow: Option<Arc<Shadow>>,
    pub(crate) lingering: Lingering,
    /// There is a new access list, or a new phase, or the open connections are counted.
    pub(crate) groups: Rc<Groups>,
    /// The connections that are open are being gone through, and those of this group are asked.
    census: RefCell<Option<(usize, Census)>>,
    phase: Cell<Phase>,
    next_id: Cell<u64>,
    open: Cell<usize>,
    /// Of them, those that have reached their upstream and have not ended.
    relaying: Cell<usize>,
    /// Connections above `limits.connections` are being closed: logged once, not for each.
    pub(crate) refusing: Cell<bool>,
    /// Closed to make room for one connection when the table of open files is full.
    pub(crate) spare: Cell<Option<OwnedFd>>,
    /// A connection of this worker was closed.
    pub(crate) closed: Notify,
}

impl Worker {
    /// To be called on its thread. `number`: which worker it is; `first_id`: where the ids of its connections begin.
    pub(crate) fn new(shared: Arc<Shared>, resolver: Resolver, number: usize, first_id: u64) -> Self {
        Self {
            resolver,
            dialer: Dialer::counting(shared.metrics.upstreams.of_worker()),
            upstreams: shared.metrics.upstreams.of_worker(),
            resources: RelayResources::new(shared.metrics.workers.add(number)),
            rule_labels: RuleLabels::default(),
            half_open: HalfOpenList::new(Arc::clone(&shared.limits.half_open), number),
            shadow: shared.shadow.clone(),
            lingering: Lingering::new(shared.config.workers.get()),
            groups: Rc::default(),
            census: RefCell::default(),
            phase: Cell::new(Phase::Serving),
            next_id: Cell::new(first_id),
            open: Cell::new(0),
            relaying: Cell::new(0),
            refusing: Cell::new(false),
            spare: Cell::new(socket::spare_file()),
            closed: Notify::new(),
            shared,
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.shared.config
    }

    #[inline]
    pub(crate) fn policy(&self) -> Arc<Loaded> {
        self.shared.policy.load()
    }

    pub(crate) fn policy_changes(&self) -> Watched<u64> {
        self.shared.policy.watch()
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    pub(crate) fn destinations(&self) -> &DestinationGuard {
        &self.shared.destinations
    }

    pub(crate) fn limits(&self) -> &ConnectionLimits {
        &self.shared.limits
    }

    pub(crate) fn refused_bytes(&self) -> Option<&RefusedBytes> {
        self.shared.refused_bytes.as_ref()
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// What the clock shows in this turn.
    pub(crate) fn now(&self) -> SystemTime {
        wall_time(self.clock())
    }

    /// Counts a session that has reached its upstream, until it has ended there.
    pub(crate) fn relaying(&self) -> Relaying<'_> {
        self.relaying.set(self.relaying.get().saturating_add(1));
        Relaying(self)
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Resolves once this phase, or one behind it, is there.
    pub(crate) async fn reached(&self, phase: Phase) {
        loop {
            let changed = self.changed(0);
            if self.phase() >= phase {
                return;
            }
            changed.await;
        }
    }

    /// Resolves when this session has to look whether its list, its phase or a [census](Self::census) concerns it.
    pub(crate) fn changed(&self, id: u64) -> impl Future<Output = ()> + '_ {
        self.groups.of(id).notified()
    }

    /// Adds an open connection to the census, if one is taken and asks for it.
    pub(crate) fn list_live(&self, id: u64, add: impl FnOnce(&mut Census)) {
        if let Some((group, census)) = &mut *self.census.borrow_mut()
            && *group == Groups::index(id)
        {
            add(census);
        }
    }

    /// Goes through the connections that have reached their upstream, group by group: between two of them the others of this
    /// worker have their turn. Ages are as of `at`.
    pub(crate) async fn census(&self, query: Query, at: Instant) -> Live {
        for (group, sessions) in self.groups.iter().enumerate() {
            let taken = self.census.take();
            let census = taken.map_or_else(|| Census::new(query.clone(), at), |(_, census)| census);
            self.census.replace(Some((group, census)));
            sessions.notify_all();
            // Those that were woken are before this task in the worker's queue.
            sleep(BETWEEN_GROUPS).await;
        }
        self.census.take().map_or_else(Live::default, |(_, census)| census.finish())
    }

    /// fds or memory are short: clients that have not asked for anything yet go first, and so do unused pipes.
    pub(crate) fn make_room(&self) {
        self.resources.close_idle_pipes();
        self.limits().half_open.evict(EVICTED_AT_ONCE);
        self.shared.status.set_short();
    }

    /// Makes room whenever a dial has met a shortage; never returns.
    pub(crate) async fn make_room_for_dials(self: Rc<Self>) {
        loop {
            self.dialer.shortage.notified().await;
            self.make_room();
        }
    }

    pub(crate) fn next_id(&self) -> u64 {
        let id = self.next_id.get();
        self.next_id.set(id.wrapping_add(1));
        id
    }
}

/// A session that has reached its upstream.
pub(crate) struct Relaying<'a>(&'a Worker);

impl Drop for Relaying<'_> {
    fn drop(&mut self) {
        self.0.relaying.set(self.0.relaying.get().saturating_sub(1));
        self.0.closed.notify_all();
    }
}

/// After the cut, how long sessions have to see it: each has a turn, and there may be thousands.
const LAST_TURN: Duration = Duration::from_secs(1);

impl Worker {
    /// Lets every session see each new phase.
    pub(crate) async fn follow(self: Rc<Self>, mut phase: Watched<Phase>) {
        loop {
            self.phase.set(phase.value());
            self.groups.notify_all();
            if !phase.changed().await {
                return;
            }
        }
    }

    /// Returns when no connection is open, or they were cut.
    pub(crate) async fn drained(&self, mut phase: Watched<Phase>) {
        let none_left = async |count: &Cell<usize>| {
            while count.get() > 0 {
                self.closed.notified().await;
            }
        };
        let cut = async {
            // The sender is dropped only when the process is ending anyhow.
            phase.until(|phase| phase >= Phase::Cut).await;
            let _ = timeout(LAST_TURN, none_left(&self.relaying)).await;
        };
        race(pin!(none_left(&self.open)), pin!(cut)).await;
    }
}

/// Counts one open connection for as long as it is held.
pub(crate) struct OpenConnection(Rc<Worker>);

impl OpenConnection {
    pub(crate) fn new(worker: &Rc<Worker>) -> Self {
        worker.open.set(worker.open.get().saturating_add(1));
        worker.limits().opened();
        Self(Rc::clone(worker))
    }
}

impl Deref for OpenConnection {
    type Target = Rc<Worker>;

    fn deref(&self) -> &Rc<Worker> {
        &self.0
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get().saturating_sub(1));
        self.0.limits().closed();
        self.0.closed.notify_all();
    }
}
