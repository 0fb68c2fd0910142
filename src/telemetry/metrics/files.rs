//! What the process reads and writes: how long it has been waiting for a file, and how many lines are lost.

use std::time::Duration;

use super::exposition::{Exposition, Kind};
use crate::sys::blocking::{PATIENCE, Pending};
use crate::telemetry::process_log;

/// Waits for files.
#[derive(Clone, Default)]
pub struct Blocked {
    pub policy: Pending,
    pub shadow: Pending,
    pub configuration: Pending,
    /// Writes of the access log.
    pub access_log: Pending,
    /// The access log being reopened.
    pub rotation: Pending,
}

impl Blocked {
    /// What has not been possible for some time, for an operator.
    pub fn complaints(&self) -> impl Iterator<Item = String> + use<> {
        let blocked = self.each().into_iter().filter(|(.., waited)| *waited >= PATIENCE);
        blocked.filter_map(|(_, what, waited)| Some(format!("{}; this has lasted for {} s", what?, waited.as_secs())))
    }

    pub(super) fn export(&self, text: &mut Exposition) {
        let help = "For how long a read, write or open of the file has not returned; 0 if none is in progress.";
        let mut family = text.family("latticegate_file_blocked_seconds", Kind::Gauge, help);
        for (file, _, waited) in self.each() {
            family.sample(&[("file", file)], waited.as_secs_f64());
        }
    }

    /// Each file by its word, what it means that it blocks, and for how long it has. The access list's is told with its reload.
    fn each(&self) -> [(&'static str, Option<&'static str>, Duration); 6] {
        let Self { policy, shadow, configuration, access_log, rotation } = self;
        let access_log_full = "the access log accepts no lines, which are lost once the queue is full";
        let process_log_full = "the process log accepts no lines, which are lost once the queue is full";
        [
            ("policy", None, policy.elapsed()),
            ("shadow", Some("the shadow list cannot be read"), shadow.elapsed()),
            ("configuration", Some("the configuration file cannot be read"), configuration.elapsed()),
            ("access_log", Some(access_log_full), access_log.elapsed()),
            ("access_log_open", Some("the access log cannot be opened again"), rotation.elapsed()),
            ("process_log", Some(process_log_full), process_log::blocked()),
        ]
    }
}

/// Of the process log, which all gates of one process share.
pub(super) fn export_process_log(text: &mut Exposition) {
    let help = "Lines of the process log on standard error that were not written, for the same reasons.";
    text.counter("latticegate_process_log_dropped_lines_total", help, process_log::lost());
    let help = "Lines of libraries left out of the process log: each may log ten a minute.";
    text.counter("latticegate_process_log_throttled_lines_total", help, process_log::left_out());
}
