//! The state at one moment, as the page and `/status.json` show it.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use crate::dns::CacheView;
use crate::proxy::worker::Shared;
use crate::reload::{Loaded, ShadowList};
use crate::telemetry::busiest::Ended;
use crate::telemetry::history::History;
use crate::telemetry::inquiry::Workers;
use crate::telemetry::live::{ClientAddress, Sum};
use crate::telemetry::metrics::UpstreamCounts;
use crate::telemetry::status::Unready;
use latticegate_core::outcome::{ByteCounts, Outcome};
use latticegate_core::policy::hits::RuleHits;
use latticegate_core::policy::{Rule, RuleId};

pub(super) struct Snapshot {
    pub(super) now: SystemTime,
    pub(super) uptime: Duration,
    pub(super) ready: Result<(), Unready>,
    pub(super) shared: Arc<Shared>,
    pub(super) loaded: Arc<Loaded>,
    pub(super) shadow: Option<Arc<ShadowList>>,
    pub(super) dns: CacheView,
    pub(super) workers: Rc<Workers>,
    pub(super) history: Rc<RefCell<History>>,
}

/// Rules shown at most.
const MAX_RULES: usize = 1000;

/// Upstream addresses shown at most.
const MAX_UPSTREAMS: usize = 200;

/// One address that is or was dialled.
#[derive(Debug, Clone)]
pub(super) struct Upstream {
    /// None: all whose connects are not counted by themselves.
    pub(super) address: Option<SocketAddr>,
    pub(super) open: Sum,
    /// What became of connects to it since the start, if that is counted for it alone.
    pub(super) dialled: Option<UpstreamCounts>,
}

/// What a name or a client has: connections that are open, and those that have ended a short time ago.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    pub(super) open: u64,
    pub(super) ended: Ended,
    /// Of both.
    pub(super) bytes: ByteCounts,
}

impl Snapshot {
    /// How connections ended, most frequent first; endings that never happened are left out.
    pub(super) fn endings(&self) -> Vec<(Outcome, u64)> {
        let mut endings: Vec<_> = self.shared.metrics.endings().into_iter().filter(|(_, count)| *count > 0).collect();
        endings.sort_by_key(|(outcome, count)| (std::cmp::Reverse(*count), outcome.reason()));
        endings
    }

    /// What needs a look although the task is ready: what `/readyz` says, a list that is not the source's, and files that
    /// neither take nor give anything.
    pub(super) fn warnings(&self) -> Vec<String> {
        /// Of an error, which may be about many lines.
        const MAX: usize = 500;
        let mut warnings: Vec<String> = self.shared.status.warnings().map(|warning| warning.to_string()).collect();
        if let Some(why) = self.shared.metrics.list_out_of_step() {
            let why: String = why.chars().take(MAX).collect();
            warnings.push(format!("the access list was not reloaded, the old one stays in force: {why}"));
        }
        warnings.extend(self.shared.metrics.blocked.complaints());
        warnings
    }

    pub(super) fn rules(&self) -> impl Iterator<Item = (RuleId, &Rule, RuleHits)> {
        rules(&self.loaded)
    }

    pub(super) fn names(&self) -> Vec<(String, Usage)> {
        let Workers { busiest, live, .. } = &*self.workers;
        usage(&live.names, busiest.names.iter(), |name| name.to_string())
    }

    /// Those with most open connections first.
    pub(super) fn upstreams(&self) -> Vec<Upstream> {
        let open = &self.workers.live.upstreams;
        let mut all: BTreeMap<Option<SocketAddr>, Upstream> = BTreeMap::new();
        for (&address, &open) in open {
            let address = Some(address);
            all.insert(address, Upstream { address, open, dialled: None });
        }
        for dialled in self.shared.metrics.upstreams.read() {
            let address = dialled.address;
            if address.is_none() && dialled.connected == 0 && dialled.failed.is_empty() {
                continue;
            }
            let one = all.entry(address).or_insert_with(|| Upstream { address, open: Sum::default(), dialled: None });
            one.dialled = Some(dialled);
        }
        let mut all: Vec<Upstream> = all.into_values().collect();
        all.sort_by_key(|one| std::cmp::Reverse(one.open.connections));
        all.truncate(MAX_UPSTREAMS);
        all
    }

    pub(super) fn clients(&self) -> Vec<(String, Usage)> {
        let Workers { busiest, live, .. } = &*self.workers;
        usage(&live.clients, busiest.clients.iter(), |ClientAddress { ip, endpoint }| match endpoint {
            Some(endpoint) => format!("{ip} via {endpoint}"),
            None => ip.to_string(),
        })
    }
}

/// How long a connect to it takes on average.
pub(super) fn mean(dialled: &UpstreamCounts) -> Option<Duration> {
    dialled.took.checked_div(u32::try_from(dialled.connected).unwrap_or(u32::MAX))
}

/// The most busy, by what is counted; those with nothing are left out.
pub(super) fn first_by(all: &[(String, Usage)], most: usize, key: impl Fn(&Usage) -> u64) -> Vec<&(String, Usage)> {
    let mut some: Vec<&(String, Usage)> = all.iter().filter(|(_, usage)| key(usage) > 0).collect();
    some.sort_by_cached_key(|(what, usage)| (std::cmp::Reverse(key(usage)), what.clone()));
    some.truncate(most);
    some
}

impl Usage {
    pub(super) fn traffic(&self) -> u64 {
        self.bytes.up.saturating_add(self.bytes.down)
    }

    pub(super) fn refusals(&self) -> u64 {
        self.ended.refused.saturating_add(self.ended.failed)
    }
}

fn usage<'a, K: Hash + Eq + 'a>(
    open: &'a HashMap<K, Sum>,
    ended: impl Iterator<Item = (&'a K, &'a Ended)>,
    label: impl Fn(&K) -> String,
) -> Vec<(String, Usage)> {
    let mut all: HashMap<&K, Usage> = HashMap::new();
    for (key, sum) in open {
        all.insert(key, Usage { open: sum.connections, ended: Ended::default(), bytes: sum.bytes });
    }
    for (key, ended) in ended {
        let usage = all.entry(key).or_default();
        usage.ended = *ended;
        usage.bytes.up = usage.bytes.up.saturating_add(ended.bytes.up);
        usage.bytes.down = usage.bytes.down.saturating_add(ended.bytes.down);
    }
    all.into_iter().map(|(key, usage)| (label(key), usage)).collect()
}

pub(super) fn rules(loaded: &Loaded) -> impl Iterator<Item = (RuleId, &Rule, RuleHits)> {
    loaded.policy.rules().map(|(id, rule)| (id, rule, loaded.hits.of(id))).take(MAX_RULES)
}

pub(super) fn time(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| "?".to_owned(), |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

pub(super) fn age(now: SystemTime, then: SystemTime) -> u64 {
    now.duration_since(then).map_or(0, |age| age.as_secs())
}
