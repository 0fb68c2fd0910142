//! Sessions by the hundred in virtual time: clients and upstreams of all kinds, each run replayed from its seed.
//!
//! What is simulated is the network's and the peers' behaviour; the sockets are local pairs of the kernel, and everything between
//! them is what runs in production, the event loop included. `tests/simulate SEED…` replays runs.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures_util::future::join;
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde_json::Value;
use support::wire::Hello;

use crate::dns::{LookupError, ResolvedAddresses, ResolverFactory};
use crate::event_loop::EventLoop;
use crate::event_loop::simulation::Connecting;
use crate::event_loop::{Either, Instant, Stream, race, sleep, spawn, timeout, watched};
use crate::limits::ConnectionLimits;
use crate::proxy::session;
use crate::proxy::worker::{OpenConnection, Phase, Shared, Worker};
use crate::reload::{Current, Loaded, notify_sessions};
use crate::sys::blocking::Pending;
use crate::sys::clock::Clock;
use crate::sys::random::Random;
use crate::telemetry::access_log::AccessLogger;
use crate::telemetry::log_writer::{LineKind, Sink, Writer};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::recent::Recent;
use crate::telemetry::reporter::Reporter;
use crate::telemetry::status::Status;
use latticegate_core::config::{Config, File, Machine};
use latticegate_core::diagnostic::Origin;
use latticegate_core::policy::Policy;
use latticegate_core::policy::destination::DestinationGuard;

const CONNECTIONS: usize = 12;
const IDLE: Duration = Duration::from_secs(60);
/// The longest that a connection can take: its peers pause for seconds at most, but often.
const LONGEST: Duration = Duration::from_secs(3600);

/// Once relays are ended nothing takes longer: those that wait for a hello, DNS and a connection have their deadlines.
const DRAINED: Duration = Duration::from_secs(20);

const CONFIG: &str = "\
listeners:
- { name: tls, bind: \"127.0.0.1:0\", protocol: tls, upstream_port: 443, proxy_protocol: off }
proxy_protocol: { trusted: [127.0.0.0/8] }
dns: { server: \"127.0.0.1:53\" }
upstream: { allowed_networks: [10.0.0.0/8] }
timeouts: { handshake: 10s, connect: 3s, idle: 60s }
workers: 1
access_log: { format: json }
on_reload: close
";

/// How one side of a connection behaves.
#[derive(Clone)]
struct Script {
    sends: Vec<u8>,
    /// In pieces of at most so many bytes, with pauses of at most so many milliseconds.
    piece: usize,
    pause: u64,
    /// It reads so many bytes at a time, with pauses too.
    reads: usize,
    read_pause: u64,
    ending: Ending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// FIN behind the last byte, then reading on.
    First,
    /// FIN once the other side's has come.
    Second,
    /// Closed after so many milliseconds, whatever there is to read.
    Abrupt(u64),
}

/// What one side has seen.
#[derive(Debug, Default)]
struct Seen {
    received: Vec<u8>,
    /// The other's FIN, and not a reset.
    fin: bool,
}

/// How an upstream answers a connection, and what it does then.
#[derive(Debug, Clone)]
enum Upstream {
    Accepts { after: u64, script: Script },
    Refuses,
    Silent,
}

#[derive(Debug, Clone)]
enum Dns {
    Answers(u64),
    Fails(LookupError),
    /// With an address that may not be dialled.
    Forbidden,
}

#[derive(Debug, Clone)]
struct Scenario {
    begins: u64,
    client: Script,
    dns: Dns,
    upstream: Upstream,
}

impl Scenario {
    fn draw(random: &mut Random) -> Self {
        let dns = match random.below(12) {
            0 => Dns::Fails(LookupError::Timeout),
            1 => Dns::Fails(LookupError::Unknown),
            2 => Dns::Forbidden,
            _ => Dns::Answers(random.below(300)),
        };
        let (mut client, mut script) = (Script::draw(random), Script::draw(random));
        client.keep_up_with(script.sends.len());
        // With the hello.
        script.keep_up_with(client.sends.len() + 300);
        // So that its hello is not too slow.
        client.piece = client.piece.max(40);
        let upstream = match random.below(12) {
            0 => Upstream::Refuses,
            1 => Upstream::Silent,
            _ => Upstream::Accepts { after: random.below(200), script },
        };
        Self { begins: random.below(2000), client, dns, upstream }
    }

    /// What its record has to say. None: it depends on the moment at which a side leaves.
    fn outcome(&self) -> Option<(&'static str, &'static str)> {
        if matches!(self.client.ending, Ending::Abrupt(_)) {
            return None;
        }
        Some(match (&self.dns, &self.upstream) {
            (Dns::Fails(LookupError::Unknown), _) => ("refused", "name_unknown"),
            (Dns::Fails(_), _) => ("failed", "dns_timeout"),
            (Dns::Forbidden, _) => ("refused", "destination_forbidden"),
            (_, Upstream::Refuses) => ("failed", "connect_refused"),
            (_, Upstream::Silent) => ("failed", "connect_timeout"),
            (_, Upstream::Accepts { script, .. }) => match (self.client.ending, script.ending) {
                (_, Ending::Abrupt(_)) => return None,
                (Ending::Second, Ending::Second) => ("relayed", "idle"),
                _ => ("relayed", "done"),
            },
        })
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sends, piece, pause, reads, read_pause, ending } = self;
        let bytes = sends.len();
        write!(f, "{bytes} bytes by {piece} each {pause} ms, reads by {reads} each {read_pause} ms, {ending:?}")
    }
}

impl Script {
    fn draw(random: &mut Random) -> Self {
        let len = match random.below(4) {
            0 => 0,
            1 => random.below(200),
            2 => random.below(20_000),
            _ => random.below(300_000),
        };
        let first = random.below(251);
        let sends = (0..len).map(|n| u8::try_from((n * 7 + first) % 251).unwrap()).collect();
        let ending = match random.below(5) {
            0 | 1 => Ending::First,
            2 | 3 => Ending::Second,
            _ => Ending::Abrupt(random.below(3000)),
        };
        let size = |random: &mut Random| match random.below(3) {
            0 => 1 + random.index(50),
            1 => 1 + random.index(5000),
            _ => 100_000,
        };
        let pause = |random: &mut Random| if random.below(2) == 0 { 0 } else { random.below(400) };
        let (piece, reads) = (size(random).max(usize::try_from(len).unwrap() / PAUSES), size(random));
        Self { sends, piece, pause: pause(random), reads, read_pause: pause(random), ending }
    }

    /// It reads so much in less time than the idle limit, as it would look idle otherwise.
    fn keep_up_with(&mut self, len: usize) {
        self.reads = self.reads.max(len / PAUSES);
    }
}

/// Pieces that each side sends and reads at most, with a pause after each.
const PAUSES: usize = 100;

/// What happens to the worker meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// After so many milliseconds a list comes into force that forbids one connection's name.
    Reload(u64, usize),
    /// After so many milliseconds the process ends what it relays.
    Drain(u64),
}

impl Event {
    fn draw(random: &mut Random) -> Option<Self> {
        match random.below(4) {
            0 => Some(Self::Reload(random.below(5000), random.index(CONNECTIONS))),
            1 => Some(Self::Drain(random.below(5000))),
            _ => None,
        }
    }

    /// Whether this connection may end otherwise because of it.
    fn concerns(self, connection: usize) -> bool {
        match self {
            Self::Reload(_, forbidden) => forbidden == connection,
            Self::Drain(_) => true,
        }
    }
}

struct Simulation {
    event: Option<Event>,
    random: RefCell<Random>,
    scenarios: Vec<Scenario>,
    /// By connection: what its client and its upstream have seen.
    seen: RefCell<HashMap<usize, [Option<Seen>; 2]>>,
    dialled: RefCell<Vec<IpAddr>>,
    running: Cell<usize>,
    /// Connections that were open long after the end of all.
    undrained: Rc<Cell<usize>>,
}

impl Simulation {
    fn pair(&self) -> (OwnedFd, OwnedFd) {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let pair = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        let size = 4096 << self.random.borrow_mut().below(6);
        for fd in [&pair.0, &pair.1] {
            set_socket_send_buffer_size(fd, size).unwrap();
            set_socket_recv_buffer_size(fd, size).unwrap();
        }
        pair
    }

    fn pause(&self, most: u64) -> Duration {
        Duration::from_millis(if most == 0 { 0 } else { self.random.borrow_mut().below(most) })
    }

    /// Plays one side until it has ended.
    async fn play(&self, stream: Stream, preface: &[u8], script: &Script) -> Seen {
        let seen = RefCell::new(Seen::default());
        let heard = Cell::new(false);
        let write = async {
            let bytes = [preface, &script.sends].concat();
            for piece in bytes.chunks(script.piece) {
                let mut rest = piece;
                while !rest.is_empty() {
                    let sent = std::future::poll_fn(|cx| stream.poll_send(cx, rest, false)).await;
                    let Ok(n) = sent else { return };
                    rest = &rest[n..];
                }
                sleep(self.pause(script.pause)).await;
            }
            if script.ending == Ending::Second {
                while !heard.get() {
                    sleep(Duration::from_millis(10)).await;
                }
            }
            stream.finish();
        };
        let read = async {
            let mut buffer = vec![0; script.reads];
            loop {
                match std::future::poll_fn(|cx| stream.poll_recv(cx, &mut buffer)).await {
                    Ok(0) => {
                        seen.borrow_mut().fin = true;
                        break;
                    }
                    Ok(n) => seen.borrow_mut().received.extend_from_slice(&buffer[..n]),
                    Err(_) => break,
                }
                sleep(self.pause(script.read_pause)).await;
            }
            heard.set(true);
        };
        let both = std::pin::pin!(join(write, read));
        match script.ending {
            Ending::Abrupt(after) => {
                let _: Either<_, _> = race(both, std::pin::pin!(sleep(Duration::from_millis(after)))).await;
            }
            Ending::First | Ending::Second => drop(both.await),
        }
        // With whatever it has not read.
        seen.take()
    }

    fn note(&self, connection: usize, side: usize, seen: Seen) {
        self.seen.borrow_mut().entry(connection).or_default()[side] = Some(seen);
    }
}

fn name(connection: usize) -> String {
    format!("c{connection}.example.com")
}

/// The address of a connection's upstream: in the last octet, which one it is.
fn upstream_address(connection: usize) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, u8::try_from(connection).unwrap() + 1).into()
}

fn connection_of(address: IpAddr) -> usize {
    let IpAddr::V4(address) = address else { panic!("{address}") };
    usize::from(address.octets()[3]) - 1
}

fn start_upstream(simulation: Rc<Simulation>, address: SocketAddr) -> Connecting {
    Box::pin(async move {
        simulation.dialled.borrow_mut().push(address.ip());
        let connection = connection_of(address.ip());
        match simulation.scenarios[connection].upstream.clone() {
            Upstream::Refuses => Err(Errno::CONNREFUSED.into()),
            Upstream::Silent => std::future::pending().await,
            Upstream::Accepts { after, script } => {
                sleep(Duration::from_millis(after)).await;
                let (near, far) = simulation.pair();
                let far = Stream::connected(far)?;
                spawn(async move {
                    let seen = simulation.play(far, b"", &script).await;
                    simulation.note(connection, 1, seen);
                });
                Ok(near)
            }
        }
    })
}

/// The whole of one run, and its records; what is wrong is a panic.
fn run(seed: u64) -> Vec<Value> {
    let mut random = Random(seed);
    let scenarios: Vec<Scenario> = (0..CONNECTIONS).map(|_| Scenario::draw(&mut random)).collect();
    let event = Event::draw(&mut random);
    let simulation = Rc::new(Simulation {
        event,
        random: RefCell::new(random),
        scenarios,
        seen: RefCell::default(),
        dialled: RefCell::default(),
        running: Cell::new(0),
        undrained: Rc::default(),
    });
    let network = Rc::clone(&simulation);
    let event_loop = EventLoop::simulated(move |address| start_upstream(Rc::clone(&network), address)).unwrap();
    let (lines, log_lines) = mpsc::channel();
    let metrics = Metrics::default();
    let (writer, flush) =
        Writer::start(LineKind::AccessLog, Sink::Channel(lines), metrics.lines_dropped.clone(), Pending::default())
            .unwrap();
    event_loop.block_on(serve(Rc::clone(&simulation), metrics.clone(), writer));
    drop(event_loop);
    assert_eq!(flush.wait(Duration::from_secs(10)), 0);
    let text: Vec<u8> = log_lines.try_iter().flatten().collect();
    let records: Vec<Value> = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    check(&simulation, &metrics, &records);
    records
}

async fn serve(simulation: Rc<Simulation>, metrics: Metrics, writer: Writer) {
    let machine = Machine { open_files: 4096, cpus: NonZeroUsize::MIN, memory: 1 << 30 };
    let file = File { path: Path::new("latticegate.yaml"), text: CONFIG };
    let (config, _) = Config::parse(Some(file), std::iter::empty(), &machine).unwrap();
    let policy = Policy::parse("rules:\n- allow: all\n", Origin::Variable("list".into())).unwrap();
    let listener = config.listeners[0].clone();
    let destinations = DestinationGuard::new(config.trusted.clone(), vec![], vec![], config.dns.server);
    let (resolvers, lookups) = ResolverFactory::new(100);
    let shared = Arc::new(Shared {
        limits: ConnectionLimits::new(&config.limits, 1),
        config,
        policy: Current::new(Loaded::from(policy)),
        destinations,
        shadow: None,
        metrics: metrics.clone(),
        status: Arc::new(Status::new(false)),
        clock: Clock::default(),
    });
    let log = {
        let access_log = &shared.config.access_log;
        AccessLogger::new(access_log.format, access_log.keep, writer, Clock::default())
    };
    let current = Arc::clone(&shared.policy);
    let worker = Rc::new(Worker::new(shared, resolvers.resolver(), 0, 1));
    let (phase, watched_phase) = watched(Phase::Serving);
    let groups = Rc::clone(&worker.groups);
    spawn(notify_sessions(worker.policy_changes(), move || groups.notify_all()));
    spawn(Rc::clone(&worker.half_open).run_evictions());
    spawn(worker.resources.keep_pipes_few());
    spawn(Rc::clone(&worker).follow(watched_phase));
    let answers = Rc::clone(&simulation);
    spawn(lookups.reply_by(move |asked| {
        let connection = asked.as_str()[1..].split('.').next()?.parse().ok()?;
        let resolved = |ip| {
            let now = Instant::now();
            let (expires, renew_at) = (now + Duration::from_secs(60), now + Duration::from_secs(50));
            Ok(Arc::new(ResolvedAddresses { addresses: Box::new([ip]), expires, renew_at, stale: false }))
        };
        Some(match answers.scenarios.get::<usize>(connection)?.dns {
            Dns::Answers(after) => (Duration::from_millis(after), resolved(upstream_address(connection))),
            Dns::Fails(error) => (Duration::from_millis(100), Err(error)),
            Dns::Forbidden => (Duration::ZERO, resolved(Ipv4Addr::new(192, 0, 2, 1).into())),
        })
    }));
    let reporter = Rc::new(Reporter {
        metrics: metrics.listener(&listener),
        listener,
        log: Rc::clone(&log),
        recent: Rc::new(Recent::default()),
        stopping: Rc::default(),
    });
    for (connection, scenario) in simulation.scenarios.iter().cloned().enumerate() {
        simulation.running.set(simulation.running.get() + 1);
        let (simulation, worker, reporter) = (Rc::clone(&simulation), Rc::clone(&worker), Rc::clone(&reporter));
        spawn(async move {
            sleep(Duration::from_millis(scenario.begins)).await;
            let (near, far) = simulation.pair();
            let near = Stream::connected(near).unwrap();
            let peer = SocketAddr::from(([192, 0, 2, 7], 1000));
            let open = OpenConnection::new(&worker);
            let record = reporter.open(worker.next_id(), peer);
            let task = spawn(session::serve(near, record, reporter, open));
            let far = Stream::connected(far).unwrap();
            let hello = Hello::to(name(connection).as_bytes()).record();
            let seen = simulation.play(far, &hello, &scenario.client).await;
            simulation.note(connection, 0, seen);
            task.await;
            simulation.running.set(simulation.running.get() - 1);
        });
    }
    if let Some(Event::Reload(after, connection)) = simulation.event {
        spawn(async move {
            sleep(Duration::from_millis(after)).await;
            let text = format!("rules:\n- deny: all\n  to: {}\n- allow: all\n  to: any\n", name(connection));
            current.swap(Loaded::from(Policy::parse(&text, Origin::Variable("list".into())).unwrap()));
        });
    }
    if let Some(Event::Drain(after)) = simulation.event {
        let (worker, open) = (Rc::clone(&worker), Rc::clone(&simulation.undrained));
        spawn(async move {
            sleep(Duration::from_millis(after)).await;
            phase.publish(Phase::Ending);
            sleep(DRAINED).await;
            // A panic would be taken for one of a session.
            open.set(worker.limits().open().0);
            phase.publish(Phase::Cut);
        });
    }
    let all = async {
        while simulation.running.get() > 0 {
            sleep(Duration::from_millis(100)).await;
        }
    };
    assert!(timeout(LONGEST, all).await.is_ok(), "{} connections never end", simulation.running.get());
    // The upstreams' ends.
    sleep(IDLE).await;
    log.flush();
}

fn check(simulation: &Simulation, metrics: &Metrics, records: &[Value]) {
    assert_eq!(
        metrics.endings().values().sum::<u64>(),
        u64::try_from(CONNECTIONS).unwrap(),
        "each connection is counted once"
    );
    assert_eq!(metrics.active(), 0);
    assert_eq!(simulation.undrained.get(), 0, "connections were open long after the end of all");
    let lost = records.iter().find(|record| record["reason"] == "lost");
    assert!(lost.is_none(), "a panic: {lost:?}");
    let allowed = |ip: &IpAddr| matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 10);
    assert!(simulation.dialled.borrow().iter().all(allowed), "{:?}", simulation.dialled.borrow());
    let mut by_name: HashMap<&str, Vec<&Value>> = HashMap::new();
    for record in records {
        by_name.entry(record["name"].as_str().unwrap_or_default()).or_default().push(record);
    }
    if let Some(Event::Reload(_, forbidden)) = simulation.event {
        let of_others = records.iter().filter(|record| record["name"] != *name(forbidden));
        let wrong = of_others.into_iter().find(|record| record["reason"] == "forbidden");
        assert!(wrong.is_none(), "{wrong:?}");
    }
    let seen = simulation.seen.borrow();
    for (connection, scenario) in simulation.scenarios.iter().enumerate() {
        let name = name(connection);
        let about = format!("connection {connection}: {scenario:?}");
        let hello = Hello::to(name.as_bytes()).record();
        let of = by_name.remove(&*name).unwrap_or_default();
        assert!(of.len() <= 1, "{of:?}");
        let record = of.first();
        let expected = scenario.outcome().filter(|_| !simulation.event.is_some_and(|event| event.concerns(connection)));
        if let Some((outcome, reason)) = expected {
            let record = record.unwrap_or_else(|| panic!("no record: {about}"));
            assert!(record["outcome"] == outcome && record["reason"] == reason, "{record} {about}");
            check_times(record, reason);
        }
        let Some([client, upstream]) = seen.get(&connection) else { continue };
        let received = |seen: &Option<Seen>| seen.as_ref().map(|seen| seen.received.clone()).unwrap_or_default();
        let (to_client, to_upstream) = (received(client), received(upstream));
        let up = [&hello[..], &scenario.client.sends].concat();
        // Nothing is ever changed, made up or out of order.
        assert!(up.starts_with(&to_upstream), "{about}");
        let (Upstream::Accepts { script, .. }, Some(_)) = (&scenario.upstream, upstream) else { continue };
        assert!(script.sends.starts_with(&to_client), "{about}");
        if let (Some(("relayed", _)), Some(record)) = (expected, record) {
            assert!(
                to_upstream == up && to_client == script.sends,
                "{} and {}: {about}",
                to_upstream.len(),
                to_client.len()
            );
            assert!(record["bytes_up"] == up.len() && record["bytes_down"] == to_client.len(), "{record} {about}");
        }
    }
    assert!(by_name.keys().all(|name| name.is_empty()), "{by_name:?}");
}

/// Deadlines are kept, and not before their time.
fn check_times(record: &Value, reason: &str) {
    let ms = |key: &str| record[key].as_f64().unwrap_or_default();
    let left = ms("total_ms") - ms("hello_ms") - ms("dns_ms");
    match reason {
        "connect_timeout" => assert!((3000.0..=3050.0).contains(&left), "{record}"),
        "idle" => assert!(ms("total_ms") >= 60_000.0, "{record}"),
        _ => {}
    }
}

/// Fixed seeds, or those that are named in `SIMULATE_SEEDS`: numbers, and ranges of them as `FROM..TO`.
#[test]
fn whatever_peers_do_each_connection_ends_once_and_truly() {
    let named = std::env::var("SIMULATE_SEEDS").unwrap_or_else(|_| "0..100".to_owned());
    for seeds in named.split_whitespace() {
        let (from, to) = match seeds.split_once("..") {
            Some((from, to)) => (from.parse().unwrap(), to.parse().unwrap()),
            None => (seeds.parse::<u64>().unwrap(), seeds.parse::<u64>().unwrap() + 1),
        };
        for seed in from..to {
            let result = std::panic::catch_unwind(|| run(seed));
            assert!(result.is_ok(), "seed {seed} fails; replay it with tests/simulate {seed}");
        }
    }
}

/// Or a failure could not be replayed.
#[test]
fn the_same_seed_makes_the_same_run() {
    let records = |seed| {
        let mut records = run(seed);
        for record in &mut records {
            // The clock that people read is not simulated.
            record.as_object_mut().unwrap().remove("time");
        }
        records
    };
    for seed in 0..5 {
        assert_eq!(records(seed), records(seed), "{seed}");
    }
}
