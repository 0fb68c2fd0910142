//! Every metric: what is counted, and how Prometheus reads it. `docs/metrics.md` lists them.
//!
//! Labels come from closed or bounded lists only (listeners, outcomes, reasons, names that the operator has written,
//! so many addresses), never from what a client has sent. What is counted is true at every moment, also of connections
//! that are open: nothing waits for their end.

mod dns;
pub mod exposition;
mod files;
mod histogram;
mod levels;
mod listener;
mod names;
mod omitted;
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
pub use self::levels::Levels;
pub use self::listener::ListenerMetrics;
use self::listener::Steps;
pub use self::names::{ActiveByName, ActiveName, ActiveNames, ListNames};
pub use self::omitted::OmittedLines;
pub use self::policy::PolicyMetrics;
use self::process::ProcessMetrics;
pub use self::upstreams::{UpstreamCounts, Upstreams, WorkerUpstreams};
pub use self::worker::{Adder, WorkerMetrics, WorkerTime, Workers};
use crate::sys::blocking::PATIENCE;
use crate::sys::mutex::lock;
use crate::telemetry::count::Count;
use crate::telemetry::process_log;
use latticegate_core::config;
use latticegate_core::outcome::{ByteCounts, Outcome};

/// All metrics of one gate. Two gates in one process (tests, the demo) count apart.
#[derive(Clone, Default)]
pub struct Metrics {
    pub lines_dropped: Count,
    pub lines_omitted: OmittedLines,
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

    /// Whether the list in force is the one that its source has, as far as that answers.
    pub fn list_in_step(&self) -> bool {
        self.list_out_of_step().is_none()
    }

    /// Why it is not.
    pub fn list_out_of_step(&self) -> Option<String> {
        let failed = self.policy.out_of_step().map(|why| (*why).clone());
        let hangs = || self.blocked.policy.elapsed() >= PATIENCE;
        failed.or_else(|| hangs().then(|| "its source has not answered for some time".to_owned()))
    }

    /// Lines of all logs that were lost since the start.
    pub fn lines_lost(&self) -> u64 {
        [self.lines_dropped.value(), self.emf_dropped.value(), process_log::lost()].iter().sum()
    }

    /// The largest share of what may be used: connections, half-open ones and their bytes, open files, memory. From 0 to 1,
    /// as a rule.
    pub fn limits_used(&self, levels: Levels<'_>) -> f64 {
        let connections = (self.active(), u64::try_from(levels.max_connections).unwrap_or(u64::MAX));
        let [files, memory] = self.process.used();
        let all = [connections, levels.half_open, levels.half_open_bytes, files, memory];
        all.into_iter().map(|(used, limit)| share(used, limit)).fold(0.0, f64::max)
    }

    /// Everything for Prometheus. More may follow.
    pub fn export(&self, levels: Levels<'_>) -> Exposition {
        let mut text = Exposition::default();
        let help = "Always 1; the label has the version.";
        let mut build = text.family("latticegate_build_info", Kind::Gauge, help);
        build.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        self.process.export(&mut text);
        levels.export(&mut text);
        self.export_connections(&mut text, levels);
        self.workers.export(&mut text);
        self.export_steps(&mut text);
        self.dns.export(&mut text);
        self.upstreams.export(&mut text);
        self.policy.export(&mut text, self.list_in_step());
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
        self.lines_omitted.export(text);
        let help = "Lines of metrics for CloudWatch that were not written, for the same reasons.";
        text.counter("latticegate_emf_dropped_lines_total", help, self.emf_dropped.value());
        files::export_process_log(text);
    }
}

/// In thousandths; without a limit nothing of it is used.
fn share(used: u64, limit: u64) -> f64 {
    let thousandths = used.saturating_mul(1000).checked_div(limit).unwrap_or(0);
    u32::try_from(thousandths).map_or(f64::INFINITY, f64::from) / 1000.0
}
