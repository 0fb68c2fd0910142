//! The whole gate put together: workers, the control thread's tasks, and the way to its end.
//!
//! [`Gate::start`] binds everything and returns; [`Gate::run`] serves until told to stop. Both `run` and `demo`
//! and the tests use it: the shutdown and the log's sink are passed in.

mod dns_watch;
mod drain;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::BuildError;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::task::spawn_local;
use tokio::time::{interval, sleep};

use self::dns_watch::{DnsReporter, watch_dns};
use self::drain::leave;
use crate::dns::{Cache, CacheConfig, LookupRequests, ResolverFactory, Wire};
use crate::limits::ConnectionLimits;
use crate::proxy::listener::{self, BindError};
use crate::proxy::server::{self, Setup};
use crate::proxy::worker::{Phase, Shared};
use crate::reload::{Current, Loaded, ReloadEvent, Reloader, SourceError, SourceThread};
use crate::sys::blocking::{PATIENCE, Patience, Pending};
use crate::sys::clock::Clock;
use crate::sys::interfaces::{ask_ipv6, own_addresses};
pub(crate) use crate::sys::runtime::{AllEnded, Publisher, alive, watched};
use crate::sys::socket;
use crate::telemetry::emf;
use crate::telemetry::log_writer::{FlushHandle, LineKind, Sink, Writer};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::process_log;
use crate::telemetry::recent::RecentReader;
use crate::telemetry::status::Status;
use crate::web::{self, Admin, Health};
use latticegate_core::config::{Config, Listener, PolicySource};
use latticegate_core::policy::destination::DestinationGuard;

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
    lookups: LookupRequests,
    phase: Publisher<Phase>,
    /// Closed when all workers have ended.
    workers: AllEnded,
    written: FlushHandle,
    health: std::net::TcpListener,
    admin: std::net::TcpListener,
    listeners: Vec<Listener>,
    recent: RecentReader,
    /// Takes the lines for CloudWatch, if there are any.
    output: Option<(Writer, Option<FlushHandle>)>,
    /// The list that decides nothing.
    shadow: Option<SourceThread>,
}

/// Why a gate could not start.
#[derive(Debug)]
pub enum StartError {
    Bind(BindError),
    Io(String, io::Error),
    Metrics(BuildError),
    Policy(SourceError),
}

impl Gate {
    pub fn start(mut config: Config, policy: impl Into<Loaded>, sink: Sink) -> Result<Self, StartError> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .map_err(|error| StartError::Io("cannot start the runtime".into(), error))?;
        let metrics = Metrics::new().map_err(StartError::Metrics)?;
        let (health, health_address) = bind_port("health", config.health)?;
        let (admin, admin_address) = bind_port("admin", config.admin)?;
        (config.health, config.admin) = (health_address, admin_address);
        let sockets = listener::bind(&config).map_err(StartError::Bind)?;
        let listeners: Vec<Listener> =
            sockets.first().into_iter().flatten().map(|(listener, _)| listener.clone()).collect();
        config.listeners.clone_from(&listeners);
        for listener in &listeners {
            // Whoever scrapes before the workers have come so far finds all of them.
            drop(metrics.listener(&listener.name));
        }
        let mut own_listeners: Vec<SocketAddr> = listeners.iter().map(|listener| listener.bind).collect();
        own_listeners.extend([health_address, admin_address]);
        let reach = DestinationGuard::new(
            config.upstream.allowed_networks.clone(),
            config.trusted.clone(),
            own_listeners,
            own_addresses(),
            config.dns.server,
        );
        let apart = !sink.is_output();
        let (dropped, blocked) = (metrics.lines_dropped.clone(), metrics.blocked.access_log.clone());
        let (writer, written) = Writer::start(LineKind::AccessLog, sink, dropped, blocked)
            .map_err(|error| StartError::Io("cannot start the access log's thread".into(), error))?;
        let output = match config.emf {
            Some(_) => Some(output_for_metrics(&writer, apart, &metrics)?),
            None => None,
        };
        let shadow_list = config.shadow.as_ref().map(|path| SourceThread::start(&PolicySource::File(path.clone())));
        let shadow_list = shadow_list
            .transpose()
            .map_err(|error| StartError::Io("cannot start the thread that reads the shadow list".into(), error))?;
        let (resolvers, lookups) = ResolverFactory::new(config.dns.cache_size.get());
        let policy = policy.into();
        policy.count_into(&metrics.policy);
        let limits = ConnectionLimits::new(&config.limits, config.workers.get());
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
            clock: Clock::default(),
        });
        let mut recent = RecentReader::default();
        let (phase, _) = watched(Phase::Serving);
        let (alive, workers) = alive();
        let first_id = RandomState::new().hash_one("connection ids");
        for (number, sockets) in sockets.into_iter().enumerate() {
            let worker = server::start_worker(Setup {
                number,
                shared: Arc::clone(&shared),
                resolvers: resolvers.clone(),
                writer: writer.clone(),
                phase: phase.watch(),
                sockets,
                // 2^40 connections apart.
                first_id: first_id.wrapping_add(u64::try_from(number).unwrap_or_default() << 40),
                refusal_requests: recent.add_worker(),
                alive: alive.clone(),
            });
            worker.map_err(|error| StartError::Io("cannot start a worker thread".into(), error))?;
        }
        status.set_listening();
        Ok(Self {
            runtime,
            shared,
            status,
            resolvers,
            lookups,
            phase,
            workers,
            written,
            health,
            admin,
            listeners,
            recent,
            output,
            shadow: shadow_list,
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
    pub fn reload_from(&self, source: SourceThread, events: Option<mpsc::UnboundedSender<ReloadEvent>>) {
        let (current, metrics) = (Arc::clone(&self.shared.policy), self.shared.metrics.policy.clone());
        let Config { policy_poll, on_reload, .. } = self.shared.config;
        let poll = policy_poll.get();
        let patience = Patience::new(self.shared.metrics.blocked.policy.clone());
        let reloader = Reloader { source, patience, current, poll, metrics, on_reload, last_error: None, events };
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
            lookups,
            phase,
            mut workers,
            written,
            health,
            admin,
            recent,
            output,
            shadow: shadow_list,
            ..
        } = self;
        runtime.block_on(async {
            let dns = &shared.config.dns;
            let wire = Wire::new(dns.server, dns.timeout.get());
            let cache_config = CacheConfig::new(&shared.config, ask_ipv6(&shared.config));
            let doubt = Rc::new(Notify::new());
            let (metrics, told) = (shared.metrics.dns.clone(), Arc::clone(&status));
            let observer = DnsReporter { metrics, status: told, doubt: Rc::clone(&doubt) };
            spawn_local(Cache::new(wire, observer, cache_config).run(lookups));
            spawn_local(watch_dns(resolvers.resolver(), Arc::clone(&status), doubt));
            let listener = |socket| {
                TcpListener::from_std(socket).map_err(|error| StartError::Io("health or admin port".into(), error))
            };
            spawn_local(web::serve(listener(health)?, Health(Arc::clone(&status))));
            spawn_local(keep_up(shared.metrics.clone(), Arc::clone(&status)));
            let admin_site = Admin {
                shared: Arc::clone(&shared),
                shadow: shared.shadow.clone(),
                status: Arc::clone(&status),
                resolvers,
                recent,
                started: Instant::now(),
            };
            spawn_local(web::serve(listener(admin)?, admin_site));
            if let (Some(shadow), Some(list)) = (shared.shadow.clone(), shadow_list) {
                let poll = shared.config.policy_poll.get().min(SHADOW_POLL);
                let patience = Patience::new(shared.metrics.blocked.shadow.clone());
                spawn_local(shadow.watch(list, patience, poll));
            }
            let mut emitter = shared.config.emf.clone().map(|emf| emf::Emitter::new(emf, shared.metrics.clone()));
            let leave = leave(&shared.config, &status, &phase, &mut workers, stop);
            match (&mut emitter, &output) {
                (Some(emitter), Some((writer, _))) => {
                    tokio::select! {
                        () = leave => {}
                        () = emit_metrics(emitter, writer, &shared.clock) => {}
                    }
                    // What happened since the last interval is not lost.
                    writer.send(emitter.lines(shared.clock.now()));
                }
                _ => leave.await,
            }
            Ok(())
        })?;
        let mut lines = written.wait(LAST_LINES);
        if let Some((_, Some(apart))) = output {
            lines = lines.saturating_add(apart.wait(LAST_LINES));
        }
        if lines > 0 {
            tracing::warn!(lines, "ended before all lines were written: the output takes no more");
        }
        Ok(())
    }
}

/// Health or admin: a port that one process has to itself.
fn bind_port(name: &str, address: SocketAddr) -> Result<(std::net::TcpListener, SocketAddr), StartError> {
    let fail = |error| StartError::Bind(BindError { listener: name.into(), address, error });
    let (socket, _) = socket::listen_any(address, None).map_err(fail)?;
    let bound = socket.local_addr().map_err(fail)?;
    Ok((socket, bound))
}

/// CloudWatch reads standard output, which the access log may have to itself (`apart`: it does not).
fn output_for_metrics(
    log: &Writer,
    apart: bool,
    metrics: &Metrics,
) -> Result<(Writer, Option<FlushHandle>), StartError> {
    let dropped = metrics.emf_dropped.clone();
    if !apart {
        return Ok((log.for_kind(LineKind::Metrics, dropped), None));
    }
    let started =
        Sink::stdout().and_then(|stdout| Writer::start(LineKind::Metrics, stdout, dropped, Pending::default()));
    let (writer, written) =
        started.map_err(|error| StartError::Io("cannot start the metrics' thread".into(), error))?;
    Ok((writer, Some(written)))
}

/// What has to be done every few seconds, for ever.
async fn keep_up(metrics: Metrics, status: Arc<Status>) {
    let upkeep = metrics.handle();
    // Histograms gather samples until they are folded.
    let mut tick = interval(Duration::from_secs(5));
    let mut log_hangs = false;
    loop {
        tick.tick().await;
        upkeep.run_upkeep();
        process_log::report_left_out(false);
        let hangs = metrics.blocked.access_log.elapsed() >= PATIENCE;
        match (log_hangs, hangs) {
            (false, true) => tracing::warn!("the access log takes no lines; they wait, and are lost when too many do"),
            (true, false) => tracing::warn!("the access log takes lines again"),
            _ => {}
        }
        log_hangs = hangs;
        // Per listener: each is a target of its own for the load balancer.
        let open = metrics.listeners().values().map(|listener| listener.active()).max().unwrap_or(0);
        let open = usize::try_from(open).unwrap_or(usize::MAX);
        if status.set_crowded(open) {
            tracing::warn!(open, "connections passed the number at which a load balancer runs out of ports");
        }
    }
}

/// A file is looked at no more seldom, however seldom the list in force is.
const SHADOW_POLL: Duration = Duration::from_secs(1);

/// How long the last lines of the access log, or of metrics, may take.
const LAST_LINES: Duration = Duration::from_secs(1);

/// A line each interval, for ever. The writer's queue is bounded: what does not fit in is lost, not waited for.
async fn emit_metrics(emitter: &mut emf::Emitter, writer: &Writer, clock: &Clock) {
    loop {
        sleep(emitter.interval()).await;
        if !writer.send(emitter.lines(clock.now())) {
            tracing::warn!("metrics for CloudWatch were lost: whoever reads standard output is too slow");
        }
    }
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bind(error) => error.fmt(f),
            Self::Io(what, error) => write!(f, "{what}: {error}"),
            Self::Policy(error) => write!(f, "no access list: {error}"),
            Self::Metrics(error) => write!(f, "cannot set up metrics: {error}"),
        }
    }
}

impl std::error::Error for StartError {}
