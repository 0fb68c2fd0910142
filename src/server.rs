//! Workers and their listeners: accept, back off when accept fails, stop when told.
//!
//! Each worker is a thread with a runtime and listening sockets of its own; a connection lives and dies on it.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Arc, mpsc as blocking_mpsc};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::coop::{consume_budget, unconstrained};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};

use crate::access_log::{Log, Writer};
use crate::config::{self, Config, Protocol, ProxyProtocol};
use crate::dial::Failing;
use crate::limits::{HalfOpen, Limits};
use crate::linger::Lingering;
use crate::metrics::Metrics;
use crate::outcome::{Outcome, RefuseReason};
use crate::policy::reach::Reach;
use crate::recent::{Question, Recent};
use crate::relay::Tools;
use crate::reload::{Current, Loaded, Shadow, pass_on};
use crate::reporter::{OpenRecord, Reporter};
use crate::resolve::{Resolver, ResolverFactory};
use crate::socket::Trouble;
use crate::status::Status;
use crate::wall::Wall;
use crate::{blocking, refuse, session, socket};

/// How long accepting pauses when the machine has no fd or memory for another connection. Waiting connections
/// stay in the kernel's queue; a loop without a pause would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long new connections wait in the kernel's queue, for want of files or for `limits.connections`, before they
/// are closed. It runs from the moment at which accepting pauses.
const QUEUE_PATIENCE: Duration = Duration::from_secs(1);
/// Connections that are told so before the next pause, where files are short: the others of this worker want to go on.
const CLOSED_AT_ONCE: usize = 64;
/// Half-open connections that make room when the machine is short of something.
const EVICTED_AT_ONCE: usize = 16;

/// Handshakes that have begun when no new ones are taken any more end within this: some round trips in one region.
const LAST_HANDSHAKES: Duration = Duration::from_millis(200);

/// How far the end of the process has come; each step includes those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Serving,
    /// Not ready any more, but still accepting while the load balancer notices.
    Leaving,
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
    pub reach: Reach,
    pub limits: Limits,
    pub shadow: Option<Arc<Shadow>>,
    pub metrics: Metrics,
    pub status: Arc<Status>,
    pub wall: Wall,
}

/// What one worker's connections share.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    pub(crate) resolver: Resolver,
    pub(crate) failing: Failing,
    pub(crate) tools: Tools,
    pub(crate) half_open: Rc<HalfOpen>,
    /// The list that decides nothing, if there is one.
    pub(crate) shadow: Option<Arc<Shadow>>,
    pub(crate) lingering: Lingering,
    /// There is a new access list, or a new phase.
    pub(crate) changed: Rc<Notify>,
    phase: Cell<Phase>,
    next_id: Cell<u64>,
    open: Cell<usize>,
    /// Of them, those that have reached their upstream and have not ended.
    relaying: Cell<usize>,
    /// Connections above `limits.connections` are being closed: told once, not at each.
    refusing: Cell<bool>,
    /// For those who find the table of open files full.
    spare: Cell<Option<OwnedFd>>,
    /// A connection of this worker was closed.
    closed: Notify,
}

impl Worker {
    pub(crate) fn config(&self) -> &Config {
        &self.shared.config
    }

    pub(crate) fn policy(&self) -> Arc<Loaded> {
        self.shared.policy.load()
    }

    pub(crate) fn reach(&self) -> &Reach {
        &self.shared.reach
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    pub(crate) fn wall(&self) -> &Wall {
        &self.shared.wall
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
            let changed = self.changed.notified();
            if self.phase() >= phase {
                return;
            }
            changed.await;
        }
    }

    /// fds or memory are short: whoever has asked for nothing yet has to go first, and so do pipes that nobody uses.
    pub(crate) fn make_room(&self) {
        self.tools.close_idle_pipes();
        self.limits().half_open.evict(EVICTED_AT_ONCE);
        self.shared.status.set_short();
    }

    fn next_id(&self) -> u64 {
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
        self.0.closed.notify_waiters();
    }
}

/// Everything a worker thread is started with.
pub struct Setup {
    pub number: usize,
    pub shared: Arc<Shared>,
    pub resolvers: ResolverFactory,
    pub writer: Writer,
    pub phase: watch::Receiver<Phase>,
    /// This worker's own sockets.
    pub sockets: Vec<(config::Listener, std::net::TcpListener)>,
    /// Where this worker's connection ids begin; far from the others'.
    pub first_id: u64,
    /// Who wants to know of its last refusals.
    pub(crate) asked: mpsc::UnboundedReceiver<Question>,
    /// Dropped when the thread ends, however that happens.
    pub(crate) alive: mpsc::Sender<Infallible>,
}

/// Starts one worker, which accepts when this returns; the thread ends after [`Phase::Closing`], when its connections
/// have.
pub fn start_worker(setup: Setup) -> io::Result<()> {
    let (started, outcome) = blocking_mpsc::channel();
    let number = setup.number;
    blocking::spawn(&format!("worker-{number}"), move || {
        let alive = setup.alive.clone();
        if let Err(error) = run(setup, &started) {
            // The starter waits for it.
            let _ = started.send(Err(error));
        }
        drop(alive);
    })?;
    outcome.recv().unwrap_or_else(|_| Err(io::Error::other("it panicked")))
}

fn run(setup: Setup, started: &blocking_mpsc::Sender<io::Result<()>>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let stopping = Rc::new(Cell::new(false));
    let Setup { number, shared, resolvers, writer, phase, sockets, first_id, asked, alive: _alive } = setup;
    let log = Log::with_clock(shared.config.access_log.format, writer, shared.wall.clone());
    let worker = Rc::new(Worker {
        resolver: resolvers.resolver(),
        failing: Failing::default(),
        tools: Tools::new(),
        half_open: HalfOpen::new(Arc::clone(&shared.limits.half_open), number),
        shadow: shared.shadow.clone(),
        lingering: Lingering::new(shared.config.workers.get()),
        changed: Rc::default(),
        phase: Cell::new(Phase::Serving),
        next_id: Cell::new(first_id),
        open: Cell::new(0),
        relaying: Cell::new(0),
        refusing: Cell::new(false),
        spare: Cell::new(socket::spare_file()),
        closed: Notify::new(),
        shared,
    });
    runtime.block_on(async {
        let flusher = Rc::clone(&log);
        spawn_local(async move { flusher.keep_flushing().await });
        spawn_local(Rc::clone(&worker.half_open).obey());
        spawn_local(worker.tools.keep_pipes_few());
        spawn_local(pass_on(worker.shared.policy.watch(), Rc::clone(&worker.changed)));
        spawn_local(Rc::clone(&worker).follow(phase.clone()));
        let recent = Rc::new(Recent::default());
        spawn_local(Rc::clone(&recent).answer(asked));
        let mut loops = Vec::new();
        for (listener, socket) in sockets {
            let metrics = worker.shared.metrics.listener(&listener.name);
            let (log, recent) = (Rc::clone(&log), Rc::clone(&recent));
            let reporter = Reporter { listener, log, metrics, recent, stopping: Rc::clone(&stopping) };
            let acceptor = Acceptor {
                reporter: Rc::new(reporter),
                worker: Rc::clone(&worker),
                phase: phase.clone(),
                at_hand: Cell::default(),
                full_since: Cell::default(),
            };
            loops.push(spawn_local(acceptor.run(TcpListener::from_std(socket)?)));
        }
        let _ = started.send(Ok(()));
        for accept_loop in loops {
            // A defect in one loop must not keep the others from draining.
            let _ = accept_loop.await;
        }
        worker.drained(phase).await;
        Ok::<_, io::Error>(())
    })?;
    // What is still open is dropped with the runtime, and each tells its record.
    stopping.set(true);
    drop(runtime);
    log.flush();
    Ok(())
}

/// After the cut, how long sessions have to see it: each has a turn, and there may be thousands.
const LAST_TURN: Duration = Duration::from_secs(1);

impl Worker {
    /// Lets every session see each new phase.
    async fn follow(self: Rc<Self>, mut phase: watch::Receiver<Phase>) {
        loop {
            self.phase.set(*phase.borrow_and_update());
            self.changed.notify_waiters();
            if phase.changed().await.is_err() {
                return;
            }
        }
    }

    /// Returns when no connection is open, or they were cut.
    async fn drained(&self, mut phase: watch::Receiver<Phase>) {
        let all_closed = async {
            while self.open.get() > 0 {
                self.closed.notified().await;
            }
        };
        let cut = async {
            // The sender is dropped only when the process is ending anyhow.
            let _ = phase.wait_for(|phase| *phase >= Phase::Cut).await;
            let all_cut = async {
                while self.relaying.get() > 0 {
                    self.closed.notified().await;
                }
            };
            let _ = timeout(LAST_TURN, all_cut).await;
        };
        tokio::select! {
            () = all_closed => {}
            () = cut => {}
        }
    }
}

struct Acceptor {
    reporter: Rc<Reporter>,
    worker: Rc<Worker>,
    phase: watch::Receiver<Phase>,
    /// Accepted, while it waits for room below `limits.connections`.
    at_hand: Cell<Option<(TcpStream, SocketAddr)>>,
    /// Since when somebody has been waiting in the kernel's queue for room below `limits.connections`.
    full_since: Cell<Option<Instant>>,
}

impl Acceptor {
    async fn run(self, listener: TcpListener) {
        let mut phase = self.phase.clone();
        let closing = async {
            // The phase's sender is dropped only when the process is ending anyhow.
            let _ = phase.wait_for(|phase| *phase >= Phase::Leaving).await;
            // A client that has not sent a byte yet waits in the kernel, where closing the listener would reset
            // it: let it in while there is time.
            if let Err(error) = socket::defer_accept(&listener, Duration::ZERO) {
                tracing::warn!(%error, "clients that are silent now may be reset");
            }
            let _ = phase.wait_for(|phase| *phase >= Phase::Closing).await;
        };
        let closing = async {
            closing.await;
            match socket::drop_syns(&listener) {
                Ok(()) => sleep(LAST_HANDSHAKES).await,
                Err(error) => tracing::warn!(%error, "clients in the middle of their handshake may be reset"),
            }
        };
        tokio::select! {
            biased;
            () = self.accept_all(&listener) => {}
            () = closing => {}
        }
        if let Some((stream, peer)) = self.at_hand.take() {
            self.serve(stream, peer);
        }
        // The kernel has completed these handshakes: whoever waits there believes to be connected.
        while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
            self.serve(stream, peer);
        }
    }

    async fn accept_all(&self, listener: &TcpListener) {
        // Since when. Told once, not at each try.
        let mut failing = None;
        loop {
            match self.next(listener).await {
                Ok(accepted) => {
                    if failing.take().is_some() {
                        tracing::warn!(listener = %self.reporter.listener.name, "accept succeeds again");
                    }
                    self.at_hand.set(Some(accepted));
                    self.wait_for_room().await;
                    if let Some((stream, peer)) = self.at_hand.take() {
                        self.serve(stream, peer);
                    }
                }
                Err(error) => {
                    let trouble = Trouble::of(&error);
                    if trouble == Trouble::OneConnection {
                        continue;
                    }
                    self.worker.shared.metrics.accept_errors.increment(1);
                    let since = *failing.get_or_insert_with(|| {
                        tracing::warn!(%error, listener = %self.reporter.listener.name, "accept fails; trying again");
                        Instant::now()
                    });
                    self.worker.make_room();
                    if trouble == Trouble::Shortage && since.elapsed() >= QUEUE_PATIENCE {
                        self.close_queued(listener);
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn next(&self, listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        if self.full_since.get().is_some() {
            // Without it a queue that never empties would keep the sessions of this worker waiting.
            consume_budget().await;
            if let Some(accepted) = unconstrained(listener.accept()).now_or_never() {
                return accepted;
            }
            self.full_since.set(None);
        }
        listener.accept().await
    }

    /// At the limit of connections, leaves new ones in the kernel's queue for a while: all of them for one while, so
    /// that nobody waits for long in a queue that hardly moves.
    async fn wait_for_room(&self) {
        let (limits, refusing) = (self.worker.limits(), &self.worker.refusing);
        while limits.is_full() {
            let since = self.full_since.get().unwrap_or_else(Instant::now);
            self.full_since.set(Some(since));
            if refusing.get() || since.elapsed() >= QUEUE_PATIENCE {
                break;
            }
            // Another worker's connections end without a word to this one.
            let _ = timeout(ACCEPT_PAUSE, self.worker.closed.notified()).await;
        }
        match (limits.is_full(), refusing.get()) {
            (true, false) => tracing::warn!("limits.connections is reached; new connections are closed as overloaded"),
            (false, true) => tracing::warn!("below limits.connections again"),
            _ => {}
        }
        refusing.set(limits.is_full());
    }

    /// There has been no file for a new connection all this time. With the one kept for this, those who wait in the
    /// queue are taken one after another and closed: they can try elsewhere.
    fn close_queued(&self, listener: &TcpListener) {
        drop(self.worker.spare.take());
        for _ in 0..CLOSED_AT_ONCE {
            let Some(Ok((stream, peer))) = listener.accept().now_or_never() else { break };
            self.refuse(&stream, self.open(peer), "open files or memory");
        }
        self.worker.spare.set(socket::spare_file());
    }

    fn open(&self, peer: SocketAddr) -> OpenRecord {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        self.reporter.open(self.worker.next_id(), peer)
    }

    /// With what can be done at once: nobody is waited for. A peer that is not trusted learns nothing here either. Says
    /// whether there was an answer.
    fn refuse(&self, stream: &TcpStream, mut record: OpenRecord, short_of: &str) -> bool {
        let outcome = Outcome::Refused(RefuseReason::Overloaded);
        let listener = &self.reporter.listener;
        let trusted =
            listener.proxy_protocol == ProxyProtocol::Off || self.worker.config().trusted.contains(record.peer.ip());
        let scratch = self.worker.tools.scratch();
        let request = match listener.protocol {
            Protocol::Http => refuse::Request::waiting(stream, &mut scratch.borrow_mut()),
            Protocol::Tls => refuse::Request::default(),
        };
        let now = self.worker.wall().now();
        let answer = refuse::answer(outcome, listener.protocol, record.id, request, now).filter(|_| trusted);
        refuse::discard(stream, scratch);
        refuse::send(stream, answer.as_deref().unwrap_or_default());
        record.detail = Some(short_of.into());
        record.close(outcome);
        answer.is_some()
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        let record = self.open(peer);
        if self.worker.limits().is_full() {
            if self.refuse(&stream, record, "limits.connections") {
                let worker = Rc::clone(&self.worker);
                spawn_local(async move { worker.lingering.linger(&stream, worker.tools.scratch()).await });
            }
            return;
        }
        let open = Open::new(&self.worker);
        // Boxed once, as the runtime moves what it is given several times.
        let session = Box::pin(session::serve(stream, record, Rc::clone(&self.reporter), Rc::clone(&self.worker)));
        spawn_local(async move {
            session.await;
            drop(open);
        });
    }
}

/// Counts one open connection for as long as it is held.
struct Open(Rc<Worker>);

impl Open {
    fn new(worker: &Rc<Worker>) -> Self {
        worker.open.set(worker.open.get().saturating_add(1));
        worker.limits().opened();
        Self(Rc::clone(worker))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get().saturating_sub(1));
        self.0.limits().closed();
        self.0.closed.notify_waiters();
    }
}

/// Binds each listener once for each worker. A port of 0 is chosen by the kernel, the same for all workers.
pub fn bind(config: &Config) -> Result<Vec<Vec<(config::Listener, std::net::TcpListener)>>, BindError> {
    let patience = Some(config.timeouts.handshake);
    let mut workers: Vec<Vec<_>> = (0..config.workers.get()).map(|_| Vec::new()).collect();
    for listener in &config.listeners {
        let fail = |error| BindError { listener: listener.name.clone(), address: listener.bind, error };
        let (mut socket, fell_back) = socket::listen_any(listener.bind, patience).map_err(fail)?;
        let bind = socket.local_addr().map_err(fail)?;
        if fell_back {
            tracing::warn!(listener = %listener.name, address = %bind, "no IPv6 here: listening on IPv4 alone");
        }
        let listener = config::Listener { bind, ..listener.clone() };
        if let [others @ .., last] = workers.as_mut_slice() {
            for sockets in others {
                let next = socket::listen_beside(&socket, patience).map_err(fail)?;
                sockets.push((listener.clone(), std::mem::replace(&mut socket, next)));
            }
            last.push((listener, socket));
        }
    }
    Ok(workers)
}

/// A listener whose address cannot be had.
#[derive(Debug)]
pub struct BindError {
    pub listener: String,
    pub address: SocketAddr,
    pub error: io::Error,
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "listener {}: cannot listen on {}: {}", self.listener, self.address, self.error)?;
        f.write_str(match self.error.kind() {
            io::ErrorKind::AddrInUse => "; another process listens there (find it with: ss -ltnp)",
            io::ErrorKind::PermissionDenied => {
                "; ports below 1024 need root: use 8443 and 8080, the NLB maps 443 and 80"
            }
            io::ErrorKind::AddrNotAvailable => "; no interface has this address: use [::] for all",
            _ => "",
        })
    }
}

impl std::error::Error for BindError {}
