//! What the process reads and writes: how long it has been waiting for a file, and how many lines of its log are lost.

use metrics::{Counter, Gauge, counter, gauge};

use crate::sys::blocking::Pending;
use crate::telemetry::process_log;

/// Of the process log, which all gates of one process share.
#[derive(Clone)]
pub(super) struct ProcessLogMetrics {
    dropped: Counter,
    left_out: Counter,
    blocked: Gauge,
}

/// Waits for files, each with its gauge.
#[derive(Clone)]
pub struct Blocked {
    pub policy: Pending,
    pub shadow: Pending,
    pub configuration: Pending,
    /// Writes of the access log.
    pub access_log: Pending,
    /// The access log being reopened.
    pub rotation: Pending,
    gauges: [Gauge; 5],
}

impl Blocked {
    pub(super) fn new() -> Self {
        let files = ["policy", "shadow", "configuration", "access_log", "access_log_open"];
        Self {
            policy: Pending::default(),
            shadow: Pending::default(),
            configuration: Pending::default(),
            access_log: Pending::default(),
            rotation: Pending::default(),
            gauges: files.map(|file| gauge!("latticegate_file_blocked_seconds", "file" => file)),
        }
    }

    pub(super) fn export(&self) {
        let Self { policy, shadow, configuration, access_log, rotation, gauges } = self;
        for (pending, gauge) in [policy, shadow, configuration, access_log, rotation].into_iter().zip(gauges) {
            gauge.set(pending.elapsed().as_secs_f64());
        }
    }
}

impl ProcessLogMetrics {
    pub(super) fn new() -> Self {
        Self {
            dropped: counter!("latticegate_process_log_dropped_lines_total"),
            left_out: counter!("latticegate_process_log_throttled_lines_total"),
            blocked: gauge!("latticegate_file_blocked_seconds", "file" => "process_log"),
        }
    }

    pub(super) fn export(&self) {
        self.dropped.absolute(process_log::lost());
        self.left_out.absolute(process_log::left_out());
        self.blocked.set(process_log::blocked().as_secs_f64());
    }
}
