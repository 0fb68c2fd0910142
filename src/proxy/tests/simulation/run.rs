//! The whole of one run: a worker as it runs in production, and around it all that it meets.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::rc::{Rc, Weak};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use serde_json::Value;

use super::clients;
use super::network::{Network, Shared};
use super::peers::Seen;
use super::plan::{Dns, address, name, parse_name};
use super::scenario::{CONNECTIONS, Drain, Limit, Scenario, Settings};
use super::upstreams::{self, Upstream};
use crate::dns::{LookupRequests, ResolvedAddresses, ResolverFactory};
use crate::limits::ConnectionLimits;
use crate::proxy::dial::Dialer;
use crate::proxy::server::Running;
use crate::proxy::worker::{self, Phase, Worker};
use crate::reload::{Current, Loaded};
use crate::runtime::EventLoop;
use crate::runtime::{Instant, Publisher, sleep, spawn, watched};
use crate::sys::blocking::Pending;
use crate::sys::clock::Clock;
use crate::telemetry::inquiry::Inquirer;
use crate::telemetry::log_writer::{LineKind, Sink, Writer};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::status::Status;
use latticegate_core::config::{Config, File, Machine};
use latticegate_core::diagnostic::Origin;
use latticegate_core::policy::Policy;
use latticegate_core::policy::destination::DestinationGuard;

/// The longest that a connection can take, in milliseconds: its peers pause for seconds at most, but often.
const LONGEST: u64 = 3_600_000;
/// After `drain.timeout`, when the process cuts what is left.
const ENDING: u64 = 1500;

pub(super) struct Run {
    pub(super) scenario: Scenario,
    pub(super) network: Shared,
    /// When each client had connected, or had not been able to.
    pub(super) connected: RefCell<HashMap<usize, u64>>,
    pub(super) clients: RefCell<HashMap<usize, Rc<RefCell<Seen>>>>,
    pub(super) upstreams: RefCell<HashMap<usize, Vec<Upstream>>>,
    /// Clients and upstreams that are not over yet.
    running: Cell<usize>,
    pub(super) serving: Cell<usize>,
    /// When the process was told to end.
    pub(super) drain: Cell<Option<Drain>>,
    /// What is left when all is over.
    pub(super) left: RefCell<Vec<String>>,
}

/// What the gate says of it.
pub(super) struct Reported {
    pub(super) records: Vec<Value>,
    pub(super) connections: u64,
    /// Those of no record.
    pub(super) probes: u64,
    pub(super) active: u64,
}

/// From the seed to the end.
pub(super) fn run(seed: u64) -> (Rc<Run>, Reported) {
    let (scenario, random) = Scenario::draw(seed);
    let run = Rc::new_cyclic(|run: &Weak<Run>| {
        let dialled = Weak::clone(run);
        let network = Network::new(random, move |address| {
            Box::pin(upstreams::answer(dialled.upgrade().expect("it is there as long as its loop"), address))
        });
        Run {
            scenario,
            network: Rc::new(network),
            connected: RefCell::default(),
            clients: RefCell::default(),
            upstreams: RefCell::default(),
            running: Cell::new(CONNECTIONS),
            serving: Cell::new(0),
            drain: Cell::new(None),
            left: RefCell::default(),
        }
    });
    let network = run.network.clone();
    let event_loop = EventLoop::simulated(network).unwrap();
    let (lines, log_lines) = mpsc::channel();
    let metrics = Metrics::default();
    let (writer, flush) =
        Writer::start(LineKind::AccessLog, Sink::Channel(lines), metrics.lines_dropped.clone(), Pending::default())
            .unwrap();
    serve(&run, event_loop, &metrics, writer, seed);
    assert_eq!(flush.wait(Duration::from_secs(10)), 0);
    let text: Vec<u8> = log_lines.try_iter().flatten().collect();
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let records = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
    let endings = metrics.endings();
    let probes = endings.iter().filter(|(outcome, _)| outcome.word() == "probe").map(|(_, count)| count).sum();
    let reported = Reported { records, connections: endings.values().sum(), probes, active: metrics.active() };
    (run, reported)
}

fn serve(run: &Rc<Run>, event_loop: EventLoop, metrics: &Metrics, writer: Writer, seed: u64) {
    let config = config(&run.scenario.settings);
    let policy = Policy::parse("rules:\n- deny: all\n  to: denied.example.com\n- allow: all\n  to: any\n", origin());
    let destinations = DestinationGuard::new(config.trusted.clone(), vec![], vec![], config.dns.server);
    let (resolvers, lookups) = ResolverFactory::new(100);
    let shared = Arc::new(worker::Shared {
        limits: ConnectionLimits::new(&config.limits, 1),
        policy: Current::new(Loaded::from(policy.unwrap())),
        destinations,
        shadow: None,
        metrics: metrics.clone(),
        status: Arc::new(Status::new(false)),
        refused_bytes: None,
        clock: Clock::default(),
        config,
    });
    let (phase, watched_phase) = watched(Phase::Serving);
    let mut worker = Worker::new(Arc::clone(&shared), resolvers.resolver(), 0, 1);
    worker.dialer = Dialer::seeded(seed);
    let running = Running::new(worker, writer);
    let worker = Rc::clone(&running.worker);
    run.network.begin();
    spawn(answer_lookups(Rc::clone(run), lookups));
    for connection in 0..CONNECTIONS {
        let run = Rc::clone(run);
        spawn(async move {
            clients::play(Rc::clone(&run), connection).await;
            run.running.set(run.running.get() - 1);
        });
    }
    spawn(reload(Rc::clone(run), Arc::clone(&shared.policy)));
    spawn(shorten_files(Rc::clone(run)));
    spawn(drain(Rc::clone(run), phase));
    let sockets = shared.config.listeners.iter();
    let sockets = sockets.map(|listener| (listener.clone(), run.network.listen(&listener.name))).collect();
    let inquiries = Inquirer::default().add_worker();
    event_loop.block_on(async {
        running.serve(sockets, watched_phase, inquiries, || ()).await.unwrap();
        let ended = run.network.now();
        if let Some(drain) = run.drain.get() {
            // What waits for the cut has a second to see it.
            run.expect(ended <= drain.ending() + ENDING + 1050, || format!("the worker has ended at {ended} ms"));
        }
        // The peers see the end, and those that were refused have gone.
        let deadline = run.network.now() + 60_000;
        while run.running.get() + run.serving.get() > 0 && run.network.now() < deadline {
            sleep(Duration::from_millis(200)).await;
        }
    });
    let clients = run.running.get();
    run.expect(clients == 0 || run.drain.get().is_some_and(|drain| drain.at < LONGEST), || {
        format!("{clients} clients wait on")
    });
    let sockets = event_loop.sockets();
    run.expect(sockets == 0 || run.scenario.settings.drain.is_some(), || format!("{sockets} sockets are open"));
    running.end(|| drop(event_loop));
    run.network.limit_files(None);
    let (open, held) = (worker.limits().open().0, worker.limits().held());
    run.expect(open == 0, || format!("{open} connections are counted as open"));
    run.expect(held == [0; 3], || format!("permits, half-open connections, half-open bytes: {held:?}"));
    let (pipes, lingering) = (worker.resources.pipes_leased(), worker.lingering.len());
    run.expect(pipes == 0 && lingering == 0, || format!("{pipes} pipes are leased, {lingering} linger"));
}

impl Run {
    /// In a task a panic would be taken for one of a session.
    pub(super) fn expect(&self, is_so: bool, otherwise: impl FnOnce() -> String) {
        if !is_so {
            self.left.borrow_mut().push(otherwise());
        }
    }
}

fn origin() -> Origin {
    Origin::Variable("list".into())
}

fn config(settings: &Settings) -> Config {
    let Settings { handshake, connect, idle, limit, tunnel_any, .. } = settings;
    let tunnel = if *tunnel_any { "any" } else { "tls" };
    let (mut open, mut half_open, mut half_open_per_client, mut per_client) = (1000, 500, 500, 1000);
    match *limit {
        None => {}
        Some(Limit::Open(most)) => (open, half_open) = (most, most),
        Some(Limit::HalfOpen(most)) => half_open = most,
        Some(Limit::HalfOpenPerClient(most)) => half_open_per_client = most,
        Some(Limit::PerClient(most)) => per_client = most,
    }
    let text = format!(
        "\
listeners:
- {{ name: tls, bind: \"127.0.0.1:1\", protocol: tls, upstream_port: 443, proxy_protocol: off }}
- {{ name: http, bind: \"127.0.0.1:2\", protocol: http, upstream_port: 80, proxy_protocol: off }}
- {{ name: forward, bind: \"127.0.0.1:3\", protocol: forward, proxy_protocol: off, tunnel: {tunnel},
    upstream: {{ allowed_networks: [10.0.0.0/8] }} }}
proxy_protocol: {{ trusted: [127.0.0.0/8] }}
dns: {{ server: \"127.0.0.1:53\" }}
upstream: {{ allowed_networks: [10.0.0.0/8] }}
timeouts: {{ handshake: {handshake}ms, connect: {connect}ms, idle: {idle}ms }}
limits:
  connections: {open}
  half_open: {half_open}
  half_open_per_client: {half_open_per_client}
  per_client: {{ connections: {per_client} }}
  per_name: {{ connections: 1 }}
workers: 1
access_log: {{ format: json }}
on_reload: close
"
    );
    let machine = Machine { open_files: 4096, cpus: NonZeroUsize::MIN, memory: 1 << 30 };
    let file = File { path: Path::new("latticegate.yaml"), text: &text };
    let (config, _) = Config::parse(Some(file), std::iter::empty(), &machine).unwrap_or_else(|errors| {
        panic!("{errors:?}\n{text}");
    });
    config
}

async fn answer_lookups(run: Rc<Run>, lookups: LookupRequests) {
    lookups
        .reply_by(move |asked| {
            let (connection, destination) = parse_name(asked.as_str())?;
            let destinations = &run.scenario.plans.get(connection)?.destinations;
            let addresses = destinations.get(destination)?.addresses.len();
            let resolved = |addresses: Vec<_>| {
                let now = Instant::now();
                let (expires, renew_at) = (now + Duration::from_secs(60), now + Duration::from_secs(50));
                let addresses = addresses.into_boxed_slice();
                Ok(Arc::new(ResolvedAddresses { addresses, expires, renew_at, stale: false }))
            };
            Some(match destinations[destination].dns {
                Dns::Answers(after) => {
                    let addresses = (0..addresses).map(|index| address(connection, destination, index)).collect();
                    (Duration::from_millis(after), resolved(addresses))
                }
                Dns::Fails(error) => (Duration::from_millis(100), Err(error)),
                Dns::Forbidden => (Duration::ZERO, resolved(vec![[192, 0, 2, 9].into()])),
            })
        })
        .await;
}

async fn reload(run: Rc<Run>, current: Arc<Current>) {
    let Some(reload) = run.scenario.settings.reload else { return };
    sleep(Duration::from_millis(reload.at)).await;
    let denied = name(reload.forbids, 0);
    let text = format!("rules:\n- deny: all\n  to: [denied.example.com, {denied}]\n- allow: all\n  to: any\n");
    current.swap(Loaded::from(Policy::parse(&text, origin()).unwrap()));
}

async fn shorten_files(run: Rc<Run>) {
    let Some(shortage) = run.scenario.settings.shortage else { return };
    sleep(Duration::from_millis(shortage.at)).await;
    run.network.limit_files(Some(shortage.files));
    sleep(Duration::from_millis(shortage.lasts)).await;
    run.network.limit_files(None);
}

/// As the control thread does it: at its time, or when all clients have gone.
async fn drain(run: Rc<Run>, phase: Publisher<Phase>) {
    let planned = run.scenario.settings.drain;
    match planned {
        Some(drain) => sleep(Duration::from_millis(drain.at)).await,
        None => {
            // Upstreams, too: one that reads slowly has much to read when its client has gone.
            while run.running.get() + run.serving.get() > 0 && run.network.now() < LONGEST {
                sleep(Duration::from_millis(1000)).await;
            }
            // Who lingers.
            sleep(Duration::from_millis(15_000)).await;
        }
    }
    let (at, running) = (run.network.now(), run.running.get());
    run.expect(planned.is_some() || running == 0, || format!("{running} clients wait for ever"));
    let drain = planned.unwrap_or(Drain { at, delay: 0, timeout: 1000 });
    run.drain.set(Some(Drain { at, ..drain }));
    phase.publish(Phase::Draining);
    sleep(Duration::from_millis(drain.delay)).await;
    phase.publish(Phase::Closing);
    sleep(Duration::from_millis(drain.timeout)).await;
    phase.publish(Phase::Ending);
    sleep(Duration::from_millis(ENDING)).await;
    phase.publish(Phase::Cut);
    std::future::pending().await
}
