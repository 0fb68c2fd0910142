//! The whole gate put together: workers, the control thread's tasks, and the drain.
//!
//! [`Gate::start`] binds everything and returns; [`Gate::run`] serves until a stop request. Both `run` and `demo`
//! and the tests use it: the stop requests and the log's sink are passed in.

mod dns_watch;
mod drain;
mod error;
mod output;
mod upkeep;

use std::cell::RefCell;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::runtime::LocalRuntime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::task::spawn_local;

use self::dns_watch::{DnsReporter, watch_dns};
pub use self::drain::StopRequest;
use self::drain::drain;
pub use self::error::StartError;
use self::output::Outputs;
use crate::dns::{Cache, CacheConfig, LookupRequests, ResolverFactory, Wire};
use crate::limits::ConnectionLimits;
use crate::proxy::listener::{self, BindError};
use crate::proxy::server::{self, Setup};
use crate::proxy::worker::{Phase, Shared};
use crate::reload::{Current, Loaded, ReloadEvent, Reloader, SourceThread};
use crate::runtime::{AllEnded, Publisher, alive, watched};
use crate::sys::blocking::Patience;
use crate::sys::clock::Clock;
use crate::sys::control_runtime::control_runtime;
use crate::sys::interfaces::{ask_ipv6, own_addresses};
use crate::sys::socket;
use crate::telemetry::emf;
use crate::telemetry::history::History;
use crate::telemetry::inquiry::Inquirer;
use crate::telemetry::log_writer::Sink;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::refused_bytes::RefusedBytes;
use crate::telemetry::status::Status;
use crate::web::{self, Access, AdminService, HealthService, Token};
use latticegate_core::config::{Config, Listener, PolicySource};
use latticegate_core::policy::destination::DestinationGuard;

/// A gate that has bound its listeners and started its workers.
pub struct Gate {
    runtime: LocalRuntime,
    shared: Arc<Shared>,
    resolvers: ResolverFactory,
    lookups: LookupRequests,
    phase: Publisher<Phase>,
    /// Closed when all workers have ended.
    workers: AllEnded,
    health: std::net::TcpListener,
    admin: std::net::TcpListener,
    workers_view: Inquirer,
    admin_token: Option<Token>,
    outputs: Outputs,
    /// The list that is only compared.
    shadow: Option<SourceThread>,
}

impl Gate {
    pub fn start(mut config: Config, policy: impl Into<Loaded>, sink: Sink) -> Result<Self, StartError> {
        let runtime = control_runtime().map_err(|error| StartError::Io("cannot start the runtime".into(), error))?;
        let metrics = Metrics::default();
        metrics.names.configure(config.upstream.names.keys());
        let (health, health_address) = bind_port("health", config.health)?;
        let (admin, admin_address) = bind_port("admin", config.admin)?;
        (config.health, config.admin) = (health_address, admin_address);
        let sockets = listener::bind(&config).map_err(StartError::Bind)?;
        config.listeners = sockets.first().into_iter().flatten().map(|(listener, _)| listener.clone()).collect();
        for listener in &config.listeners {
            // A scrape before the workers are up finds all of them.
            drop(metrics.listener(listener));
        }
        let destinations = destination_guard(&config);
        let outputs = Outputs::start(sink, &metrics, config.emf.is_some())?;
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
        let shadow = config.shadow.as_ref().map(|_| Arc::default());
        let refused_bytes = config.refused_bytes.map(RefusedBytes::new);
        let shared = Arc::new(Shared {
            config,
            policy: current,
            destinations,
            limits,
            shadow,
            refused_bytes,
            metrics,
            status,
            clock: Clock::default(),
        });
        let mut workers_view = Inquirer::default();
        let (phase, _) = watched(Phase::Serving);
        let (alive, workers) = alive();
        let first_id = RandomState::new().hash_one("connection ids");
        for (number, sockets) in sockets.into_iter().enumerate() {
            let worker = server::start_worker(Setup {
                number,
                shared: Arc::clone(&shared),
                resolvers: resolvers.clone(),
                writer: outputs.access_log.clone(),
                phase: phase.watch(),
                sockets,
                // 2^40 connections apart.
                first_id: first_id.wrapping_add(u64::try_from(number).unwrap_or_default() << 40),
                inquiries: workers_view.add_worker(),
                alive: alive.clone(),
            });
            worker.map_err(|error| StartError::Io("cannot start a worker thread".into(), error))?;
        }
        shared.status.set_listening();
        Ok(Self {
            runtime,
            shared,
            resolvers,
            lookups,
            phase,
            workers,
            health,
            admin,
            workers_view,
            admin_token: None,
            outputs,
            shadow: shadow_list,
        })
    }

    /// The listeners as bound: a port of 0 has become a real one.
    pub fn listeners(&self) -> &[Listener] {
        &self.shared.config.listeners
    }

    pub fn health_address(&self) -> SocketAddr {
        self.shared.config.health
    }

    pub fn admin_address(&self) -> SocketAddr {
        self.shared.config.admin
    }

    /// What requests to the admin port must bring, where `admin.token_file` is set: without it, none is answered then.
    pub fn set_admin_token(&mut self, token: Token) {
        self.admin_token = Some(token);
    }

    /// Runs a task on the control thread.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.runtime.spawn_local(task);
    }

    /// What the workers share: a policy stored here applies from the next connection on.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Watches the access list's source from now on. Each change of the list is logged and sent to `events`.
    pub fn reload_from(&self, source: SourceThread, events: Option<mpsc::UnboundedSender<ReloadEvent>>) {
        let (current, metrics) = (Arc::clone(&self.shared.policy), self.shared.metrics.policy.clone());
        let Config { policy_poll, on_reload, .. } = self.shared.config;
        let poll = policy_poll.get();
        let patience = Patience::new(self.shared.metrics.blocked.policy.clone());
        let reloader = Reloader { source, patience, current, poll, metrics, on_reload, last_error: None, events };
        let _context = self.runtime.enter();
        self.spawn(reloader.run(signal(SignalKind::hangup())));
    }

    /// Serves until a stop request, then drains; returns when the last record is written.
    pub fn run(self, stop: mpsc::UnboundedReceiver<StopRequest>) -> Result<(), StartError> {
        let Self {
            runtime,
            shared,
            resolvers,
            lookups,
            phase,
            mut workers,
            health,
            admin,
            workers_view,
            admin_token,
            outputs,
            shadow: shadow_list,
        } = self;
        runtime.block_on(async {
            let dns = &shared.config.dns;
            let wire = Wire::new(dns.server, dns.timeout.get());
            let cache_config = CacheConfig::new(&shared.config, ask_ipv6(&shared.config));
            let doubt = Rc::new(Notify::new());
            let status = &shared.status;
            let (metrics, dns_status) = (shared.metrics.dns.clone(), Arc::clone(status));
            let observer = DnsReporter { metrics, status: dns_status, doubt: Rc::clone(&doubt) };
            spawn_local(Cache::new(wire, observer, cache_config).run(lookups));
            spawn_local(watch_dns(resolvers.resolver(), Arc::clone(status), doubt));
            let listener = |socket| {
                TcpListener::from_std(socket).map_err(|error| StartError::Io("health or admin port".into(), error))
            };
            spawn_local(web::serve(listener(health)?, HealthService(Arc::clone(status))));
            spawn_local(upkeep::run(shared.metrics.clone(), Arc::clone(status)));
            let history = Rc::<RefCell<History>>::default();
            spawn_local(upkeep::remember(Rc::clone(&history), shared.metrics.clone(), shared.clock.clone()));
            let access = Access::new(&shared.config.admin_access, admin_token);
            let started = Instant::now();
            let for_admin = Arc::clone(&shared);
            let admin_service =
                AdminService { shared: for_admin, resolvers, workers: workers_view, history, access, started };
            spawn_local(web::serve(listener(admin)?, admin_service));
            if let (Some(shadow), Some(list)) = (shared.shadow.clone(), shadow_list) {
                let poll = shared.config.policy_poll.get().min(SHADOW_POLL);
                let patience = Patience::new(shared.metrics.blocked.shadow.clone());
                spawn_local(shadow.watch(list, patience, poll));
            }
            let mut emitter = shared.config.emf.clone().map(|emf| emf::Emitter::new(emf, shared.metrics.clone()));
            let drained = drain(&shared.config, status, &phase, &mut workers, stop);
            match (&mut emitter, &outputs.metrics) {
                (Some(emitter), Some(writer)) => {
                    tokio::select! {
                        () = drained => {}
                        () = upkeep::emit_metrics(emitter, writer, &shared) => {}
                    }
                    // The time since the last interval is reported too.
                    writer.send(emitter.lines(shared.clock.now(), shared.levels()));
                }
                _ => drained.await,
            }
            Ok(())
        })?;
        outputs.finish();
        Ok(())
    }
}

/// `config` with the addresses as bound.
/// Which addresses no listener of this configuration may dial from this machine.
pub(crate) fn destination_guard(config: &Config) -> DestinationGuard {
    let mut own_listeners: Vec<SocketAddr> = config.listeners.iter().map(|listener| listener.bind).collect();
    own_listeners.extend([config.health, config.admin]);
    DestinationGuard::new(config.trusted.clone(), own_listeners, own_addresses(), config.dns.server)
}

/// Health or admin: a port that only one process may listen on.
fn bind_port(name: &str, address: SocketAddr) -> Result<(std::net::TcpListener, SocketAddr), StartError> {
    let fail = |error| StartError::Bind(BindError { listener: name.into(), address, error });
    let (socket, _) = socket::listen_any(address, None).map_err(fail)?;
    let bound = socket.local_addr().map_err(fail)?;
    Ok((socket, bound))
}

/// The shadow list is a file and is looked at this often at least, whatever `policy_poll` is.
const SHADOW_POLL: Duration = Duration::from_secs(1);
