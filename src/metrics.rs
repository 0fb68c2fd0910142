//! Every metric: its name, its help, and the handle through which it is told, fetched once.
//!
//! Labels come from closed lists only (listeners, outcomes, reasons), never from what a client sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
    with_local_recorder,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::outcome::Outcome;
use crate::record::Record;
use crate::reload::Loaded;
use crate::resolve::{Found, LookupError};
use crate::status::{Status, Warning};

/// Seconds; from a hit in the same AZ to the connect timeout.
const BUCKETS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// All metrics of one gate. No global recorder: two gates in one process (tests, the demo) count apart.
#[derive(Clone)]
pub struct Metrics {
    recorder: Arc<PrometheusRecorder>,
    pub bytes_up: Counter,
    pub bytes_down: Counter,
    pub lines_dropped: Counter,
    pub dns: DnsMetrics,
    pub policy: PolicyMetrics,
    pub ready: Gauge,
    pub accept_errors: Counter,
    warnings: [(Warning, Gauge); 3],
    handshake: Histogram,
    connect: Histogram,
}

#[derive(Clone)]
pub struct DnsMetrics {
    found: Counter,
    unknown: Counter,
    timeout: Counter,
    failed: Counter,
    stale: Counter,
}

/// What is told about the access list's reloads.
#[derive(Clone)]
pub struct PolicyMetrics {
    loaded: Counter,
    failed: Counter,
    in_step: Gauge,
    hash: Gauge,
    rules: Gauge,
    /// Seconds since 1970; a scrape turns it into an age.
    since: Arc<AtomicU64>,
    age: Gauge,
}

/// What one listener counts.
#[derive(Clone)]
pub struct ListenerMetrics {
    active: Gauge,
    /// By [`Outcome::index`].
    closed: Arc<[Counter]>,
    bytes_up: Counter,
    bytes_down: Counter,
    handshake: Histogram,
    connect: Histogram,
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
                bytes_up: counter!("latticegate_bytes_total", "direction" => "up"),
                bytes_down: counter!("latticegate_bytes_total", "direction" => "down"),
                lines_dropped: counter!("latticegate_access_log_dropped_lines_total"),
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

    pub fn listener(&self, name: &str) -> ListenerMetrics {
        with_local_recorder(&*self.recorder, || {
            let closed = Outcome::all().map(|outcome| {
                let labels = [
                    ("listener", name.to_owned()),
                    ("outcome", outcome.word().to_owned()),
                    ("reason", outcome.reason().to_owned()),
                ];
                counter!("latticegate_connections_total", &labels)
            });
            ListenerMetrics {
                active: gauge!("latticegate_connections_active", "listener" => name.to_owned()),
                closed: closed.collect(),
                bytes_up: self.bytes_up.clone(),
                bytes_down: self.bytes_down.clone(),
                handshake: self.handshake.clone(),
                connect: self.connect.clone(),
            }
        })
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
        self.active.increment(1.0);
    }

    pub(crate) fn closed(&self, outcome: Outcome, record: &Record) {
        self.active.decrement(1.0);
        if let Some(counter) = self.closed.get(outcome.index()) {
            counter.increment(1);
        }
        let (tally, times) = (&record.tally, &record.times);
        if tally.up > 0 {
            self.bytes_up.increment(tally.up);
        }
        if tally.down > 0 {
            self.bytes_down.increment(tally.down);
        }
        if let Some(hello) = times.hello {
            self.handshake.record(hello);
        }
        if let (Some(dns), Some(connect)) = (times.dns, times.connect) {
            self.connect.record(connect.saturating_sub(dns));
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
            hash: gauge!("latticegate_policy_hash"),
            rules: gauge!("latticegate_policy_rules"),
            since: Arc::default(),
            age: gauge!("latticegate_policy_age_seconds"),
        }
    }

    pub fn loaded(&self, loaded: &Loaded) {
        self.in_step(true);
        self.loaded.increment(1);
        self.hash.set(f64::from(loaded.version.hash));
        self.rules.set(u32::try_from(loaded.policy.rules().len()).map_or(f64::INFINITY, f64::from));
        self.since.store(seconds(loaded.since), Ordering::Relaxed);
    }

    /// Whether the list in force is the one that the source has.
    pub fn in_step(&self, yes: bool) {
        self.in_step.set(if yes { 1.0 } else { 0.0 });
    }

    pub fn failed(&self) {
        self.failed.increment(1);
    }

    /// Before each scrape.
    pub fn refresh(&self) {
        let age = seconds(SystemTime::now()).saturating_sub(self.since.load(Ordering::Relaxed));
        self.age.set(u32::try_from(age).map_or(f64::INFINITY, f64::from));
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl DnsMetrics {
    fn new() -> Self {
        let lookups = |result: &'static str| counter!("latticegate_dns_lookups_total", "result" => result);
        Self {
            found: lookups("found"),
            unknown: lookups("unknown"),
            timeout: lookups("timeout"),
            failed: lookups("failed"),
            stale: counter!("latticegate_dns_stale_answers_total"),
        }
    }

    pub fn looked_up(&self, result: &Result<Found, LookupError>) {
        match result {
            Ok(_) => &self.found,
            Err(LookupError::Unknown) => &self.unknown,
            Err(LookupError::Timeout) => &self.timeout,
            Err(LookupError::Failed | LookupError::Limited) => &self.failed,
        }
        .increment(1);
    }

    pub fn served_stale(&self) {
        self.stale.increment(1);
    }
}

fn describe() {
    describe_gauge!("latticegate_build_info", "Always 1; the label tells the version.");
    describe_gauge!("latticegate_ready", "1 while /readyz answers 200.");
    describe_gauge!("latticegate_connections_active", "Connections open now, half-open ones included.");
    describe_counter!("latticegate_connections_total", "Connections closed, by listener, outcome and reason word.");
    describe_counter!("latticegate_bytes_total", "Bytes relayed: up is client to upstream. Counted at close.");
    describe_counter!("latticegate_accept_errors_total", "Failures of accept, such as a full fd table.");
    describe_gauge!("latticegate_warning", "1 while something is wrong that does not make the task unready.");
    describe_counter!(
        "latticegate_access_log_dropped_lines_total",
        "Lines lost: the log's reader was too slow, or its disk is full."
    );
    describe_counter!("latticegate_policy_reload_total", "Reads of the access list, the first included, by result.");
    describe_gauge!("latticegate_policy_in_step", "0 while the source is gone or has a list that is not taken.");
    describe_gauge!("latticegate_policy_hash", "CRC32C of the list in force: equal where two tasks have the same.");
    describe_gauge!("latticegate_policy_rules", "Rules of the list in force.");
    describe_gauge!("latticegate_policy_age_seconds", "Since the list in force was loaded.");
    describe_counter!("latticegate_dns_lookups_total", "Names asked of the resolver, by result.");
    describe_counter!("latticegate_dns_stale_answers_total", "Expired answers used because the resolver was silent.");
    describe_histogram!("latticegate_handshake_seconds", "From accept to the last byte of hello or request head.");
    describe_histogram!("latticegate_connect_seconds", "From the first connect to the connection with the upstream.");
}
