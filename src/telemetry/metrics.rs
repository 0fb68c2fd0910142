//! Every metric: its name, its help, and its handle, fetched once.
//!
//! Labels come from closed lists only (listeners, outcomes, reasons), never from what a client has sent.

mod count;
mod dns;
mod files;
mod help;
mod listener;
mod policy;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram, with_local_recorder};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

pub use self::count::DurationCounts;
use self::count::{Count, Durations, Level, as_f64};
pub use self::dns::DnsMetrics;
pub use self::files::Blocked;
use self::files::ProcessLogMetrics;
pub use self::listener::ListenerMetrics;
pub use self::policy::PolicyMetrics;
use crate::sys::blocking::PATIENCE;
use crate::sys::mutex::lock;
use crate::sys::socket;
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
    process_log: ProcessLogMetrics,
    pub blocked: Blocked,
    pub dns: DnsMetrics,
    pub policy: PolicyMetrics,
    pub ready: Gauge,
    pub accept_errors: Counter,
    half_open: Gauge,
    /// From the first connect to the connection with the upstream, for CloudWatch.
    pub connects: Durations,
    /// Fetched at start and read at a scrape; no connection takes this lock.
    listeners: Arc<Mutex<BTreeMap<String, ListenerMetrics>>>,
    open_fds: Gauge,
    max_fds: Gauge,
    warnings: [(Warning, Gauge); 3],
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
            help::describe();
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
                process_log: ProcessLogMetrics::new(),
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

    /// The metrics of a listener, which all workers share.
    pub fn listener(&self, name: &str) -> ListenerMetrics {
        let mut listeners = lock(&self.listeners);
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
        lock(&self.listeners).clone()
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
            for (outcome, count) in listener.endings() {
                *endings.entry(outcome).or_default() += count;
            }
        }
        endings
    }

    /// Everything in Prometheus' text format. `half_open`: connections now.
    pub fn render(&self, half_open: u64) -> String {
        self.policy.export(self.blocked.policy.elapsed() >= PATIENCE);
        self.blocked.export();
        self.process_log.export();
        self.bytes_up.export();
        self.bytes_down.export();
        self.dns.export();
        self.half_open.set(as_f64(half_open));
        for listener in self.listeners().values() {
            listener.export();
        }
        self.open_fds.set(as_f64(socket::open_fds()));
        self.max_fds.set(as_f64(socket::fd_soft_limit()));
        self.recorder.handle().render()
    }

    /// Before each scrape.
    pub fn set_warnings(&self, status: &Status) {
        for (warning, gauge) in &self.warnings {
            gauge.set(f64::from(status.has(*warning)));
        }
    }

    /// For upkeep.
    pub fn handle(&self) -> PrometheusHandle {
        self.recorder.handle()
    }
}
