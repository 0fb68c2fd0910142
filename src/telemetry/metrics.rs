//! Every metric: its name, its help, and the handle through which it is told, fetched once.
//!
//! Labels come from closed lists only (listeners, outcomes, reasons), never from what a client sent.

mod count;
mod files;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
    with_local_recorder,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

pub use self::count::{Count, Durations, Level, Taken};
pub use self::files::Blocked;
use self::files::ProcessLog;
use crate::sys::blocking::PATIENCE;
use crate::sys::socket;
use crate::telemetry::record::Record;
use crate::telemetry::status::{Status, Warning};
use latticegate_core::outcome::Outcome;

/// Seconds; from a hit in the same AZ to the connect timeout.
const BUCKETS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// All metrics of one gate. No global recorder: two gates in one process (tests, the demo) count apart.
#[derive(Clone)]
pub struct Metrics {
    recorder: Arc<PrometheusRecorder>,
    pub bytes_up: Count,
    pub bytes_down: Count,
    pub lines_dropped: Counter,
    /// Lines of metrics for CloudWatch.
    pub emf_dropped: Counter,
    process_log: ProcessLog,
    pub blocked: Blocked,
    pub dns: DnsMetrics,
    pub policy: PolicyMetrics,
    pub ready: Gauge,
    pub accept_errors: Counter,
    /// Without a whole header and hello.
    half_open: Gauge,
    /// From the first connect to the connection, for CloudWatch.
    pub connects: Durations,
    /// Fetched at start and read at a scrape; no connection takes this lock.
    listeners: Arc<Mutex<BTreeMap<String, ListenerMetrics>>>,
    open_fds: Gauge,
    max_fds: Gauge,
    warnings: [(Warning, Gauge); 3],
    handshake: Histogram,
    connect: Histogram,
}

#[derive(Clone)]
pub struct DnsMetrics {
    pub found: Counter,
    pub unknown: Counter,
    pub timeout: Count,
    pub failed: Count,
    stale: Counter,
}

/// What is told about the access list's reloads.
#[derive(Clone)]
pub struct PolicyMetrics {
    loaded: Counter,
    failed: Counter,
    in_step: Gauge,
    /// As it was when the source was last seen.
    is_in_step: Arc<AtomicBool>,
    hash: Gauge,
    rules: Gauge,
    /// A scrape turns it into an age.
    since: Arc<ArcSwapOption<Instant>>,
    age: Gauge,
}

/// What one listener counts.
#[derive(Clone)]
pub struct ListenerMetrics {
    active: Level,
    /// By [`Outcome::index`].
    closed: Arc<[Count]>,
    bytes_up: Count,
    bytes_down: Count,
    handshake: Histogram,
    connect: Histogram,
    connects: Durations,
}

impl Metrics {
    pub fn new() -> Result<Self, BuildError> {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), BUCKETS)?
            .build_recorder();
        let recorder = Arc::new(recorder);
        Ok(with_local_recorder(&*recorder, || {
            describe();
            gauge!("latticegate_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
            Self {
                recorder: Arc::clone(&recorder),
                bytes_up: Count::new(counter!("latticegate_bytes_total", "direction" => "up")),
                bytes_down: Count::new(counter!("latticegate_bytes_total", "direction" => "down")),
                half_open: gauge!("latticegate_connections_half_open"),
                connects: Durations::default(),
                listeners: Arc::default(),
                open_fds: gauge!("latticegate_open_fds"),
                max_fds: gauge!("latticegate_max_fds"),
                lines_dropped: counter!("latticegate_access_log_dropped_lines_total"),
                emf_dropped: counter!("latticegate_emf_dropped_lines_total"),
                process_log: ProcessLog::new(),
                blocked: Blocked::new(),
                dns: DnsMetrics::new(),
                policy: PolicyMetrics::new(),
                ready: gauge!("latticegate_ready"),
                accept_errors: counter!("latticegate_accept_errors_total"),
                warnings: Warning::ALL
                    .map(|warning| (warning, gauge!("latticegate_warning", "warning" => warning.word()))),
                handshake: histogram!("latticegate_handshake_seconds"),
                connect: histogram!("latticegate_connect_seconds"),
            }
        }))
    }

    /// The one set of a listener, which all workers share.
    pub fn listener(&self, name: &str) -> ListenerMetrics {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.entry(name.to_owned()).or_insert_with(|| self.new_listener(name)).clone()
    }

    fn new_listener(&self, name: &str) -> ListenerMetrics {
        with_local_recorder(&*self.recorder, || {
            let closed = Outcome::all().map(|outcome| {
                let labels = [
                    ("listener", name.to_owned()),
                    ("outcome", outcome.word().to_owned()),
                    ("reason", outcome.reason().to_owned()),
                ];
                Count::new(counter!("latticegate_connections_total", &labels))
            });
            ListenerMetrics {
                active: Level::new(gauge!("latticegate_connections_active", "listener" => name.to_owned())),
                closed: closed.collect(),
                bytes_up: self.bytes_up.clone(),
                bytes_down: self.bytes_down.clone(),
                handshake: self.handshake.clone(),
                connect: self.connect.clone(),
                connects: self.connects.clone(),
            }
        })
    }

    pub fn listeners(&self) -> BTreeMap<String, ListenerMetrics> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Connections open now.
    pub fn active(&self) -> u64 {
        self.listeners().values().map(|listener| listener.active.value()).sum()
    }

    /// Connections accepted since the start.
    pub fn opened(&self) -> u64 {
        let closed = self.endings().into_values().sum::<u64>();
        closed.saturating_add(self.active())
    }

    /// Connections closed since the start, on all listeners.
    pub fn endings(&self) -> HashMap<Outcome, u64> {
        let mut endings = HashMap::new();
        for listener in self.listeners().values() {
            for (outcome, count) in Outcome::all().zip(listener.closed.iter()) {
                *endings.entry(outcome).or_default() += count.value();
            }
        }
        endings
    }

    /// Everything in Prometheus' text format. `half_open`: connections now.
    pub fn render(&self, half_open: u64) -> String {
        self.policy.refresh(self.blocked.policy.elapsed() >= PATIENCE);
        self.blocked.show();
        self.process_log.show();
        self.bytes_up.show();
        self.bytes_down.show();
        self.dns.timeout.show();
        self.dns.failed.show();
        self.half_open.set(float(half_open));
        for listener in self.listeners().values() {
            listener.active.show();
            listener.closed.iter().for_each(Count::show);
        }
        self.open_fds.set(float(socket::open_fds()));
        self.max_fds.set(float(socket::fd_soft_limit()));
        self.recorder.handle().render()
    }

    /// Before each scrape.
    pub fn warn(&self, status: &Status) {
        for (warning, gauge) in &self.warnings {
            gauge.set(if status.has(*warning) { 1.0 } else { 0.0 });
        }
    }

    /// For rendering and upkeep.
    pub fn handle(&self) -> PrometheusHandle {
        self.recorder.handle()
    }
}

impl ListenerMetrics {
    pub(crate) fn opened(&self) {
        self.active.rise();
    }

    pub fn active(&self) -> u64 {
        self.active.value()
    }

    pub fn ended(&self, outcome: Outcome) -> u64 {
        self.closed.get(outcome.index()).map_or(0, Count::value)
    }

    pub(crate) fn closed(&self, outcome: Outcome, record: &Record) {
        self.active.fall();
        if let Some(counter) = self.closed.get(outcome.index()) {
            counter.increment(1);
        }
        let (bytes, times) = (&record.bytes, &record.times);
        if bytes.up > 0 {
            self.bytes_up.increment(bytes.up);
        }
        if bytes.down > 0 {
            self.bytes_down.increment(bytes.down);
        }
        if let Some(hello) = times.hello {
            self.handshake.record(hello);
        }
        if let (Some(dns), Some(connect)) = (times.dns, times.connect) {
            let took = connect.saturating_sub(dns);
            self.connect.record(took);
            self.connects.record(took);
        }
    }
}

impl PolicyMetrics {
    fn new() -> Self {
        let reloads = |result: &'static str| counter!("latticegate_policy_reload_total", "result" => result);
        Self {
            loaded: reloads("loaded"),
            failed: reloads("failed"),
            in_step: gauge!("latticegate_policy_in_step"),
            is_in_step: Arc::default(),
            hash: gauge!("latticegate_policy_hash"),
            rules: gauge!("latticegate_policy_rules"),
            since: Arc::default(),
            age: gauge!("latticegate_policy_age_seconds"),
        }
    }

    /// A list has come into force.
    pub fn loaded(&self, hash: u32, rules: usize, since: Instant) {
        self.in_step(true);
        self.loaded.increment(1);
        self.hash.set(f64::from(hash));
        self.rules.set(u32::try_from(rules).map_or(f64::INFINITY, f64::from));
        self.since.store(Some(Arc::new(since)));
    }

    /// Whether the list in force is the one that the source has.
    pub fn in_step(&self, yes: bool) {
        self.is_in_step.store(yes, Ordering::Relaxed);
    }

    pub fn failed(&self) {
        self.failed.increment(1);
    }

    /// Before each scrape. `hangs`: whether the source does not answer.
    pub fn refresh(&self, hangs: bool) {
        self.in_step.set(if self.is_in_step.load(Ordering::Relaxed) && !hangs { 1.0 } else { 0.0 });
        let age = self.since.load().as_ref().map_or(0, |since| since.elapsed().as_secs());
        self.age.set(u32::try_from(age).map_or(f64::INFINITY, f64::from));
    }
}

/// Gauges here stay far below 2^32.
fn float(number: u64) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}

impl DnsMetrics {
    fn new() -> Self {
        let lookups = |result: &'static str| counter!("latticegate_dns_lookups_total", "result" => result);
        Self {
            found: lookups("found"),
            unknown: lookups("unknown"),
            timeout: Count::new(lookups("timeout")),
            failed: Count::new(lookups("failed")),
            stale: counter!("latticegate_dns_stale_answers_total"),
        }
    }

    /// Questions without an answer since the start.
    pub fn failures(&self) -> u64 {
        self.timeout.value().saturating_add(self.failed.value())
    }

    pub fn served_stale(&self) {
        self.stale.increment(1);
    }
}

fn describe() {
    describe_gauge!("latticegate_build_info", "Always 1; the label tells the version.");
    describe_gauge!("latticegate_ready", "1 while /readyz answers 200.");
    describe_gauge!("latticegate_connections_active", "Connections open now, half-open ones included.");
    describe_gauge!("latticegate_connections_half_open", "Of them, those without a whole header and hello.");
    describe_gauge!("latticegate_open_fds", "Open files of this process.");
    describe_gauge!("latticegate_max_fds", "Open files that it may have.");
    describe_counter!("latticegate_connections_total", "Connections closed, by listener, outcome and reason word.");
    describe_counter!("latticegate_bytes_total", "Bytes relayed: up is client to upstream. Counted at close.");
    describe_counter!("latticegate_accept_errors_total", "Failures of accept, such as a full fd table.");
    describe_gauge!("latticegate_warning", "1 while something is wrong that does not make the task unready.");
    describe_counter!(
        "latticegate_access_log_dropped_lines_total",
        "Lines of the access log that were not written: its reader was too slow, or its disk full."
    );
    describe_counter!(
        "latticegate_emf_dropped_lines_total",
        "The same, of the lines from which CloudWatch makes metrics."
    );
    describe_counter!(
        "latticegate_process_log_dropped_lines_total",
        "The same, of the lines on standard error about the process."
    );
    describe_counter!(
        "latticegate_process_log_throttled_lines_total",
        "Lines of other crates left out of it: each may log ten a minute."
    );
    describe_gauge!(
        "latticegate_file_blocked_seconds",
        "For how long a read, a write or an open of the file has not returned; 0 if none is on its way."
    );
    describe_counter!("latticegate_policy_reload_total", "Reads of the access list, the first included, by result.");
    describe_gauge!(
        "latticegate_policy_in_step",
        "0 while the source is gone or hangs, or has a list that is not taken."
    );
    describe_gauge!("latticegate_policy_hash", "CRC32C of the list in force: equal where two tasks have the same.");
    describe_gauge!("latticegate_policy_rules", "Rules of the list in force.");
    describe_gauge!("latticegate_policy_age_seconds", "Since the list in force was loaded.");
    describe_counter!("latticegate_dns_lookups_total", "Names asked of the resolver, by result.");
    describe_counter!("latticegate_dns_stale_answers_total", "Expired answers used because the resolver was silent.");
    describe_histogram!("latticegate_handshake_seconds", "From accept to the last byte of hello or request head.");
    describe_histogram!("latticegate_connect_seconds", "From the first connect to the connection with the upstream.");
}
