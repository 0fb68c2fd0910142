//! The whole gate put together: workers, the control thread's tasks, and the way to its end.
//!
//! [`Gate::start`] binds everything and returns; [`Gate::run`] serves until told to stop. Both `run` and `demo`
//! and the tests use it: the shutdown and the log's sink are passed in.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::BuildError;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::spawn_local;
use tokio::time::{interval, sleep, timeout};

use crate::access_log::{Sink, Writer, Written};
use crate::config::{Config, Ipv6, Listener};
use crate::emf;
use crate::hostname::Hostname;
use crate::limits;
use crate::metrics::{DnsMetrics, Metrics};
use crate::policy::reach::Reach;
use crate::recent::Asker;
use crate::reload::{Current, Loaded, Reloader, Source, SourceError, Told};
use crate::resolve::{Asks, Cache, Found, Limits, LookupError, Observer, Resolver, ResolverFactory, Wire};
use crate::server::{self, BindError, Phase, Setup, Shared};
use crate::socket;
use crate::status::Status;
use crate::wall::Wall;
use crate::web::{self, Admin, Health};

/// What stops the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Drain, then end.
    Drain,
    /// End now.
    Cut,
}

/// A gate that has bound its listeners and started its workers.
pub struct Gate {
    runtime: LocalRuntime,
    shared: Arc<Shared>,
    status: Arc<Status>,
    resolvers: ResolverFactory,
    asks: Asks,
    phase: watch::Sender<Phase>,
    workers: Vec<JoinHandle<()>>,
    written: Written,
    health: std::net::TcpListener,
    admin: std::net::TcpListener,
    listeners: Vec<Listener>,
    recent: Asker,
    /// Takes the lines for CloudWatch, if there are any.
    output: Option<(Writer, Option<Written>)>,
}

/// Why a gate could not start.
#[derive(Debug)]
pub enum StartError {
    Bind(BindError),
    Io(String, io::Error),
    Metrics(BuildError),
    Policy(SourceError),
    Resolver(String),
}

impl Gate {
    pub fn start(mut config: Config, policy: impl Into<Loaded>, sink: Sink) -> Result<Self, StartError> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .map_err(|error| StartError::Io("cannot start the runtime".into(), error))?;
        let metrics = Metrics::new().map_err(StartError::Metrics)?;
        let port = |name: &str, address| {
            let fail = |error| StartError::Bind(BindError { listener: name.into(), address, error });
            let (socket, _) = socket::listen_any(address, None).map_err(fail)?;
            let bound = socket.local_addr().map_err(fail)?;
            Ok((socket, bound))
        };
        let (health, health_address) = port("health", config.health)?;
        let (admin, admin_address) = port("admin", config.admin)?;
        (config.health, config.admin) = (health_address, admin_address);
        let sockets = server::bind(&config).map_err(StartError::Bind)?;
        let listeners: Vec<Listener> =
            sockets.first().into_iter().flatten().map(|(listener, _)| listener.clone()).collect();
        config.listeners.clone_from(&listeners);
        let mut own_listeners: Vec<SocketAddr> = listeners.iter().map(|listener| listener.bind).collect();
        own_listeners.extend([health_address, admin_address]);
        let reach = Reach::new(
            config.upstream.allowed_networks.clone(),
            config.trusted.clone(),
            own_listeners,
            own_addresses(),
            config.dns.server,
        );
        let apart = !sink.is_output();
        let (writer, written) = Writer::start_counting(sink, metrics.lines_dropped.clone())
            .map_err(|error| StartError::Io("cannot start the access log's thread".into(), error))?;
        let output = match (&config.emf, apart) {
            (None, _) => None,
            (Some(_), false) => Some((writer.clone(), None)),
            (Some(_), true) => {
                let started = Writer::start(Sink::Stdout);
                let (writer, written) =
                    started.map_err(|error| StartError::Io("cannot start the metrics' thread".into(), error))?;
                Some((writer, Some(written)))
            }
        };
        let (resolvers, asks) = ResolverFactory::new(config.dns.cache_size.get());
        let policy = policy.into();
        metrics.policy.loaded(&policy);
        let limits = limits::Limits::new(&config.limits, config.workers.get(), metrics.half_open.clone());
        let status = Arc::new(Status::new(config.fail_on_dns));
        let current = Current::new(policy);
        let told = Arc::clone(&status);
        let shadow = config.shadow.as_ref().map(|_| Arc::default());
        let shared = Arc::new(Shared {
            config,
            policy: current,
            reach,
            limits,
            shadow,
            metrics,
            status: told,
            wall: Wall::default(),
        });
        let mut recent = Asker::default();
        let (phase, _) = watch::channel(Phase::Serving);
        let mut workers = Vec::new();
        let first_id = RandomState::new().hash_one("connection ids");
        for (number, sockets) in sockets.into_iter().enumerate() {
            let setup = Setup {
                number,
                shared: Arc::clone(&shared),
                resolvers: resolvers.clone(),
                writer: writer.clone(),
                phase: phase.subscribe(),
                sockets,
                // 2^40 connections apart.
                first_id: first_id.wrapping_add(u64::try_from(number).unwrap_or_default() << 40),
                asked: recent.add(),
            };
            let worker = server::start_worker(setup)
                .map_err(|error| StartError::Io("cannot start a worker thread".into(), error))?;
            workers.push(worker);
        }
        status.set_listening();
        Ok(Self {
            runtime,
            shared,
            status,
            resolvers,
            asks,
            phase,
            workers,
            written,
            health,
            admin,
            listeners,
            recent,
            output,
        })
    }

    /// The listeners as bound: a port of 0 has become a real one.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    pub fn health_address(&self) -> SocketAddr {
        self.shared.config.health
    }

    pub fn admin_address(&self) -> SocketAddr {
        self.shared.config.admin
    }

    /// Runs a task beside the gate, on its control thread.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.runtime.spawn_local(task);
    }

    /// What the workers share: a policy put here holds from the next connection on.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Watches the access list's source from now on, and tells of each change of the list beside the log.
    pub fn reload_from(&self, source: Source, audience: Option<mpsc::UnboundedSender<Told>>) {
        let (current, metrics) = (Arc::clone(&self.shared.policy), self.shared.metrics.policy.clone());
        let Config { policy_poll: poll, on_reload, .. } = self.shared.config;
        let reloader = Reloader { source, current, poll, metrics, on_reload, trouble: None, audience };
        let _context = self.runtime.enter();
        self.spawn(reloader.run(signal(SignalKind::hangup())));
    }

    /// Serves until `stop` says otherwise, then drains; returns when the last record is written.
    pub fn run(self, stop: mpsc::UnboundedReceiver<Stop>) -> Result<(), StartError> {
        let Self {
            runtime,
            shared,
            status,
            resolvers,
            asks,
            phase,
            workers,
            written,
            health,
            admin,
            recent,
            output,
            ..
        } = self;
        runtime.block_on(async {
            let dns = &shared.config.dns;
            let wire = Wire::new(dns.server, ask_ipv6(&shared.config), dns.timeout)
                .map_err(|error| StartError::Resolver(error.to_string()))?;
            let doubt = Rc::new(Notify::new());
            let (metrics, told) = (shared.metrics.dns.clone(), Arc::clone(&status));
            let observer = TellsDns { metrics, status: told, doubt: Rc::clone(&doubt) };
            spawn_local(Cache::new(wire, observer, Limits::from(&shared.config)).run(asks));
            spawn_local(watch_dns(resolvers.resolver(), Arc::clone(&status), doubt, dns.negative_ttl));
            let listener = |socket| {
                TcpListener::from_std(socket).map_err(|error| StartError::Io("health or admin port".into(), error))
            };
            spawn_local(web::serve(listener(health)?, Health(Arc::clone(&status))));
            let upkeep = shared.metrics.handle();
            let (counted, crowding) = (shared.metrics.clone(), Arc::clone(&status));
            spawn_local(async move {
                // Histograms gather samples until they are folded.
                let mut tick = interval(Duration::from_secs(5));
                loop {
                    tick.tick().await;
                    upkeep.run_upkeep();
                    // Per listener: each is a target of its own for the load balancer.
                    let open = counted.listeners().values().map(|listener| listener.active()).max().unwrap_or(0);
                    let open = usize::try_from(open).unwrap_or(usize::MAX);
                    if crowding.set_crowded(open) {
                        tracing::warn!(
                            open,
                            "connections passed the number at which a load balancer runs out of ports"
                        );
                    }
                }
            });
            let admin_site = Admin {
                shared: Arc::clone(&shared),
                shadow: shared.shadow.clone(),
                status: Arc::clone(&status),
                resolvers,
                recent,
                started: Instant::now(),
            };
            spawn_local(web::serve(listener(admin)?, admin_site));
            if let (Some(shadow), Some(path)) = (shared.shadow.clone(), shared.config.shadow.clone()) {
                let poll = shared.config.policy_poll.min(SHADOW_POLL);
                spawn_local(async move { shadow.watch(&path, poll).await });
            }
            let mut teller = shared.config.emf.clone().map(|emf| emf::Teller::new(emf, shared.metrics.clone()));
            let leave = leave(&shared.config, &status, &phase, workers, stop);
            match (&mut teller, &output) {
                (Some(teller), Some((writer, _))) => {
                    tokio::select! {
                        () = leave => {}
                        () = tell_cloudwatch(teller, writer, &shared.wall) => {}
                    }
                    // What happened since the last interval is not lost.
                    let _ = writer.send(teller.lines(shared.wall.now()));
                }
                _ => leave.await,
            }
            Ok(())
        })?;
        let apart = output.and_then(|(writer, apart)| {
            drop(writer);
            apart
        });
        written.wait(Duration::from_secs(1));
        if let Some(written) = apart {
            written.wait(Duration::from_secs(1));
        }
        Ok(())
    }
}

/// A file is looked at no more seldom, however seldom the list in force is.
const SHADOW_POLL: Duration = Duration::from_secs(1);

/// A line each interval, for ever. The writer's queue is bounded: what does not fit in is lost, not waited for.
async fn tell_cloudwatch(teller: &mut emf::Teller, writer: &Writer, wall: &Wall) {
    loop {
        sleep(teller.interval()).await;
        if writer.send(teller.lines(wall.now())).is_err() {
            tracing::warn!("metrics for CloudWatch were lost: whoever reads standard output is too slow");
        }
    }
}

/// From the first signal to the end of the last worker.
async fn leave(
    config: &Config,
    status: &Status,
    phase: &watch::Sender<Phase>,
    workers: Vec<JoinHandle<()>>,
    mut stop: mpsc::UnboundedReceiver<Stop>,
) {
    let first = stop.recv().await;
    status.set_leaving();
    let ended = tokio::task::spawn_blocking(move || {
        for worker in workers {
            // A worker that panicked has nothing more to wait for.
            let _ = worker.join();
        }
    });
    let drain = async {
        if first == Some(Stop::Cut) {
            return;
        }
        tracing::info!(delay = ?config.drain.delay, "draining: not ready, still accepting");
        phase.send_replace(Phase::Leaving);
        sleep(config.drain.delay).await;
        tracing::info!(timeout = ?config.drain.timeout, "draining: accepting no more, waiting for sessions");
        phase.send_replace(Phase::Closing);
        sleep(config.drain.timeout).await;
    };
    let again = async {
        if stop.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        tracing::info!("stopped again: cutting");
    };
    let mut ended = std::pin::pin!(ended);
    tokio::select! {
        _ = &mut ended => return,
        () = drain => {}
        () = again => {}
    }
    phase.send_replace(Phase::Cut);
    let _ = timeout(Duration::from_secs(5), ended).await;
}

/// Tells what the resolver's cache sees.
struct TellsDns {
    metrics: DnsMetrics,
    status: Arc<Status>,
    /// Told of each lookup that failed.
    doubt: Rc<Notify>,
}

impl Observer for TellsDns {
    fn looked_up(&self, result: &Result<Found, LookupError>) {
        self.metrics.looked_up(result);
        match result {
            Ok(_) | Err(LookupError::Unknown) => self.status.set_dns_answered(),
            Err(LookupError::Timeout | LookupError::Failed) => self.doubt.notify_one(),
            Err(LookupError::Limited) => {}
        }
    }

    fn served_stale(&self) {
        self.metrics.served_stale();
    }
}

/// Asks the resolver for a name of our own until it has answered once, and again whenever a client's name could
/// not be looked up: that may be the fault of its zone, and is no reason to call the resolver dead. That our name
/// does not exist is an answer. `pause`: as long as a failure is remembered.
async fn watch_dns(resolver: Resolver, status: Arc<Status>, doubt: Rc<Notify>, pause: Duration) {
    let Ok(name) = Hostname::parse(b"readiness.latticegate.internal") else { return };
    loop {
        let result = resolver.resolve(&name, None).await;
        let silent = matches!(result, Err(LookupError::Timeout | LookupError::Failed));
        if status.set_dns_silent(silent) {
            if silent {
                tracing::warn!(?result, "dns.server does not answer");
            } else {
                tracing::warn!("dns.server answers again");
            }
        }
        if !silent {
            doubt.notified().await;
        }
        // Sooner we would be told what is remembered.
        sleep(pause).await;
    }
}

/// Whether AAAA is worth asking: a connected UDP socket finds a route without sending a packet.
pub(crate) fn ask_ipv6(config: &Config) -> bool {
    let routed = |network: &ipnet::IpNet| {
        let target = SocketAddr::new(network.addr(), 443);
        UdpSocket::bind("[::]:0").and_then(|socket| socket.connect(target)).is_ok()
    };
    match config.dns.ipv6 {
        Ipv6::On => true,
        Ipv6::Off => false,
        Ipv6::Auto => config.upstream.allowed_networks.iter().filter(|network| network.addr().is_ipv6()).any(routed),
    }
}

/// The addresses of this machine's interfaces.
pub(crate) fn own_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let addresses = interfaces.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    });
    addresses.collect()
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bind(error) => error.fmt(f),
            Self::Io(what, error) => write!(f, "{what}: {error}"),
            Self::Policy(error) => write!(f, "no access list: {error}"),
            Self::Metrics(error) => write!(f, "cannot set up metrics: {error}"),
            Self::Resolver(error) => write!(f, "cannot set up the resolver: {error}"),
        }
    }
}

impl std::error::Error for StartError {}
