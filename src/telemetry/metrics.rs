//! Every metric: its name, its help, and its handle, fetched once.
//!
//! Labels come from closed lists only (listeners, outcomes, reasons), never from what a client has sent.

mod count;
mod dns;
mod durations;
mod files;
mod help;
mod listener;
mod omitted;
mod policy;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use metrics::{Counter, Gauge, counter, gauge, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use self::count::{Count, Level, as_f64};
pub use self::dns::DnsMetrics;
pub use self::durations::DurationCounts;
use self::durations::Durations;
pub use self::files::Blocked;
use self::files::ProcessLogMetrics;
pub use self::listener::ListenerMetrics;
use self::listener::StatusClass;
pub use self::omitted::OmittedLines;
pub use self::policy::PolicyMetrics;
use crate::sys::blocking::PATIENCE;
use crate::sys::mutex::lock;
use crate::sys::socket;
use crate::telemetry::status::{Status, Warning};
use latticegate_core::config::{self, Protocol};
use latticegate_core::outcome::Outcome;

/// All metrics of one gate. No global recorder: two gates in one process (tests, the demo) count apart.
#[derive(Clone)]
pub struct Metrics {
    recorder: Arc<PrometheusRecorder>,
    pub bytes_up: Count,
    pub bytes_down: Count,
    pub lines_dropped: Counter,
    pub lines_omitted: OmittedLines,
    /// Lines of metrics for CloudWatch.
    pub emf_dropped: Counter,
    process_log: ProcessLogMetrics,
    pub blocked: Blocked,
    pub dns: DnsMetrics,
    pub policy: PolicyMetrics,
    pub ready: Gauge,
    pub accept_errors: Counter,
    half_open: Gauge,
    /// Fetched at start and read at a scrape; no connection takes this lock.
    listeners: Arc<Mutex<BTreeMap<String, ListenerMetrics>>>,
    open_fds: Gauge,
    max_fds: Gauge,
    warnings: [(Warning, Gauge); 3],
    handshake: Durations,
    /// Also for CloudWatch.
    pub connect: Durations,
}

impl Default for Metrics {
    fn default() -> Self {
        let recorder = Arc::new(PrometheusBuilder::new().build_recorder());
        with_local_recorder(&*recorder, || {
            help::describe();
            gauge!("latticegate_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
            Self {
                recorder: Arc::clone(&recorder),
                bytes_up: Count::new(counter!("latticegate_bytes_total", "direction" => "up")),
                bytes_down: Count::new(counter!("latticegate_bytes_total", "direction" => "down")),
                half_open: gauge!("latticegate_connections_half_open"),
                listeners: Arc::default(),
                open_fds: gauge!("latticegate_open_fds"),
                max_fds: gauge!("latticegate_max_fds"),
                lines_dropped: counter!("latticegate_access_log_dropped_lines_total"),
                lines_omitted: OmittedLines::new(),
                emf_dropped: counter!("latticegate_emf_dropped_lines_total"),
                process_log: ProcessLogMetrics::new(),
                blocked: Blocked::new(),
                dns: DnsMetrics::new(),
                policy: PolicyMetrics::new(),
                ready: gauge!("latticegate_ready"),
                accept_errors: counter!("latticegate_accept_errors_total"),
                warnings: Warning::ALL
                    .map(|warning| (warning, gauge!("latticegate_warning", "warning" => warning.word()))),
                handshake: Durations::default(),
                connect: Durations::default(),
            }
        })
    }
}

impl Metrics {
    /// The metrics of a listener, which all workers share.
    pub fn listener(&self, listener: &config::Listener) -> ListenerMetrics {
        let mut listeners = lock(&self.listeners);
        listeners.entry(listener.name.clone()).or_insert_with(|| self.new_listener(listener)).clone()
    }

    fn new_listener(&self, listener: &config::Listener) -> ListenerMetrics {
        let name = &*listener.name;
        with_local_recorder(&*self.recorder, || {
            let closed = Outcome::all().map(|outcome| {
                let labels = [
                    ("listener", name.to_owned()),
                    ("outcome", outcome.word().to_owned()),
                    ("reason", outcome.reason().to_owned()),
                ];
                Count::new(counter!("latticegate_connections_total", &labels))
            });
            let by_status = || {
                StatusClass::ALL.map(|(_, status)| {
                    let labels = [("listener", name.to_owned()), ("status", status.to_owned())];
                    Count::new(counter!("latticegate_requests_total", &labels))
                })
            };
            ListenerMetrics {
                requests: (listener.protocol == Protocol::Forward).then(|| Arc::from(by_status())),
                active: Level::new(gauge!("latticegate_connections_active", "listener" => name.to_owned())),
                closed: closed.collect(),
                bytes_up: self.bytes_up.clone(),
                bytes_down: self.bytes_down.clone(),
                handshake: self.handshake.clone(),
                connect: self.connect.clone(),
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
        let mut text = self.recorder.handle().render();
        let help = "From accept to the last byte of the hello or request head.";
        self.handshake.export(&mut text, "latticegate_handshake_seconds", help);
        let help = "From the first connect to the connection with the upstream.";
        self.connect.export(&mut text, "latticegate_connect_seconds", help);
        text
    }

    /// Before each scrape.
    pub fn set_warnings(&self, status: &Status) {
        for (warning, gauge) in &self.warnings {
            gauge.set(f64::from(status.has(*warning)));
        }
    }
}
