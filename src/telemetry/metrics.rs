//! Every metric: what is counted, and how Prometheus reads it. `docs/metrics.md` lists them.
//!
//! Labels come from closed or bounded lists only (listeners, outcomes, reasons, names that the operator has written,
//! so many addresses), never from what a client has sent. What is counted is true at every moment, also of connections
//! that are open: nothing waits for their end.

mod dns;
pub mod exposition;
mod files;
mod histogram;
mod listener;
mod names;
mod policy;
mod process;
mod upstreams;
mod worker;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

pub use self::dns::DnsMetrics;
use self::exposition::{Exposition, Kind};
pub use self::files::Blocked;
pub use self::histogram::{DurationCounts, Durations};
pub use self::listener::ListenerMetrics;
use self::listener::Steps;
pub use self::names::{ActiveByName, ActiveName, ActiveNames, ListNames};
pub use self::policy::PolicyMetrics;
use self::process::ProcessMetrics;
pub use self::upstreams::{UpstreamCounts, Upstreams, WorkerUpstreams};
pub use self::worker::{Adder, WorkerMetrics, WorkerTime, Workers};
use crate::sys::blocking::PATIENCE;
use crate::sys::mutex::lock;
use crate::telemetry::count::Count;
use crate::telemetry::status::{Status, Warning};
use latticegate_core::config;
use latticegate_core::outcome::{ByteCounts, Outcome};

/// All metrics of one gate. Two gates in one process (tests, the demo) count apart.
#[derive(Clone, Default)]
pub struct Metrics {
    pub lines_dropped: Count,
    /// Lines of metrics for CloudWatch.
    pub emf_dropped: Count,
    pub blocked: Blocked,
    pub dns: DnsMetrics,
    pub policy: PolicyMetrics,
    pub accept_errors: Count,
    /// In the order of their names. A connection does not take this lock.
    listeners: Arc<Mutex<BTreeMap<String, ListenerMetrics>>>,
    steps: Steps,
    pub workers: Workers,
    pub names: ActiveNames,
    pub upstreams: Upstreams,
    process: ProcessMetrics,
}

/// What is not counted here, but is shown with the rest.
#[derive(Debug, Clone, Copy)]
pub struct Levels<'a> {
    pub status: &'a Status,
    /// `limits.connections`.
    pub max_connections: usize,
    /// Connections, and their limit.
    pub half_open: (u64, u64),
    /// Bytes that these hold, and their limit.
    pub half_open_bytes: (u64, u64),
    pub drain: &'a config::Drain,
}

impl Metrics {
    /// The metrics of a listener, which all workers share.
    pub fn listener(&self, listener: &config::Listener) -> ListenerMetrics {
        let mut listeners = lock(&self.listeners);
        let new = || ListenerMetrics::new(listener, &self.steps, &self.dns);
        listeners.entry(listener.name.clone()).or_insert_with(new).clone()
    }

    pub fn listeners(&self) -> BTreeMap<String, ListenerMetrics> {
        lock(&self.listeners).clone()
    }

    /// Time to connect, for percentiles.
    pub fn connect(&self) -> &Durations {
        &self.steps.connect
    }

    /// Bytes relayed since the start, those of open connections included.
    pub fn bytes(&self) -> ByteCounts {
        self.workers.bytes()
    }

    /// Connections open now.
    pub fn active(&self) -> u64 {
        self.listeners().values().map(ListenerMetrics::active).sum()
    }

    /// Connections accepted since the start.
    pub fn opened(&self) -> u64 {
        self.listeners().values().map(|listener| listener.opened.value()).sum()
    }

    /// Absolute-form requests since the start; None without a `forward` listener.
    pub fn requests(&self) -> Option<u64> {
        let listeners = self.listeners();
        let mut forward = listeners.values().filter(|listener| listener.requests.is_some()).peekable();
        forward.peek()?;
        Some(forward.map(ListenerMetrics::requests).sum())
    }

    /// Connections closed since the start, on all listeners.
    pub fn endings(&self) -> HashMap<Outcome, u64> {
        let mut endings = HashMap::new();
        for listener in self.listeners().values() {
            for (outcome, count) in listener.endings() {
                *endings.entry(outcome).or_default() += count;
            }
        }
        endings
    }

    /// Everything for Prometheus. More may follow.
    pub fn export(&self, levels: Levels<'_>) -> Exposition {
        let mut text = Exposition::default();
        let help = "Always 1; the label has the version.";
        let mut build = text.family("latticegate_build_info", Kind::Gauge, help);
        build.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        self.process.export(&mut text);
        export_status(&mut text, levels);
        self.export_connections(&mut text, levels);
        self.workers.export(&mut text);
        self.export_steps(&mut text);
        self.dns.export(&mut text);
        self.upstreams.export(&mut text);
        self.policy.export(&mut text, self.blocked.policy.elapsed() >= PATIENCE);
        self.export_files(&mut text);
        text
    }

    fn export_connections(&self, text: &mut Exposition, levels: Levels<'_>) {
        let listeners = self.listeners();
        let help = "Connections accepted.";
        let mut opened = text.family("latticegate_connections_accepted_total", Kind::Counter, help);
        for (name, listener) in &listeners {
            opened.sample(&[("listener", name)], listener.opened.value());
        }
        let help = "Connections closed, by listener, outcome and reason word.";
        let mut endings = text.family("latticegate_connections_total", Kind::Counter, help);
        for (name, listener) in &listeners {
            listener.export_endings(name, &mut endings);
        }
        let help = "Connections open now, half-open ones included.";
        let mut active = text.family("latticegate_connections_active", Kind::Gauge, help);
        for (name, listener) in &listeners {
            active.sample(&[("listener", name)], listener.active());
        }
        let help = "limits.connections: how many may be open on all listeners together.";
        text.gauge("latticegate_connections_limit", help, levels.max_connections);
        self.names.export(text);
        let help = "Open connections that have not yet sent a whole header and hello.";
        text.gauge("latticegate_connections_half_open", help, levels.half_open.0);
        let help = "limits.half_open: how many may be half-open before the oldest is closed.";
        text.gauge("latticegate_connections_half_open_limit", help, levels.half_open.1);
        let help = "Bytes that half-open connections, and those without an upstream, hold in memory.";
        text.gauge("latticegate_half_open_bytes", help, levels.half_open_bytes.0);
        let help = "limits.half_open_bytes: how many they may hold.";
        text.gauge("latticegate_half_open_limit_bytes", help, levels.half_open_bytes.1);
        let help =
            "Absolute-form requests on forward listeners, by the first digit of the status that the client was sent.";
        let mut requests = text.family("latticegate_requests_total", Kind::Counter, help);
        for (name, listener) in &listeners {
            listener.export_requests(name, &mut requests);
        }
        let help = "Failures of accept, such as a full fd table.";
        text.counter("latticegate_accept_errors_total", help, self.accept_errors.value());
    }

    fn export_steps(&self, text: &mut Exposition) {
        let Steps { handshake, hello, connect } = &self.steps;
        let help = "From accept to the last byte of the hello or request head.";
        handshake.export(&mut text.family("latticegate_handshake_seconds", Kind::Histogram, help), &[]);
        let help = "Sizes of ClientHellos.";
        hello.export(&mut text.family("latticegate_hello_bytes", Kind::Histogram, help));
        let help = "From the first connect to the connection with the upstream.";
        connect.export(&mut text.family("latticegate_connect_seconds", Kind::Histogram, help), &[]);
    }

    fn export_files(&self, text: &mut Exposition) {
        self.blocked.export(text);
        let help = "Lines of the access log that were not written: its reader was too slow, or its disk full.";
        text.counter("latticegate_access_log_dropped_lines_total", help, self.lines_dropped.value());
        let help = "Lines of metrics for CloudWatch that were not written, for the same reasons.";
        text.counter("latticegate_emf_dropped_lines_total", help, self.emf_dropped.value());
        files::export_process_log(text);
    }
}

fn export_status(text: &mut Exposition, Levels { status, drain, .. }: Levels<'_>) {
    text.gauge("latticegate_ready", "1 while /readyz answers 200.", u8::from(status.ready().is_ok()));
    let help = "1 while there is a warning that does not affect readiness.";
    let mut warnings = text.family("latticegate_warning", Kind::Gauge, help);
    for warning in Warning::ALL {
        warnings.sample(&[("warning", warning.word())], u8::from(status.has(warning)));
    }
    let help = "How long the process has been draining; 0: it is not.";
    text.gauge("latticegate_drain_seconds", help, status.draining_for().as_secs_f64());
    let help = "drain.delay and drain.timeout: how long it may drain.";
    let limit = drain.delay.saturating_add(drain.timeout);
    text.gauge("latticegate_drain_limit_seconds", help, limit.as_secs_f64());
}
