//! What the process reads and writes: how long it has been waiting for a file, and how many lines are lost.

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
    /// What has not been possible for some time, for an operator. That of the access list is not among them: it is told
    /// with its reload.
    pub fn complaints(&self) -> impl Iterator<Item = String> + use<> {
        let Self { policy: _, shadow, configuration, access_log, rotation } = self;
        [
            ("the shadow list cannot be read", shadow.elapsed()),
            ("the configuration file cannot be read", configuration.elapsed()),
            ("the access log accepts no lines, which are lost once the queue is full", access_log.elapsed()),
            ("the access log cannot be opened again", rotation.elapsed()),
            ("the process log accepts no lines, which are lost once the queue is full", process_log::blocked()),
        ]
        .into_iter()
        .filter(|(_, waited)| *waited >= PATIENCE)
        .map(|(what, waited)| format!("{what}; this has lasted for {} s", waited.as_secs()))
    }

    pub(super) fn export(&self, text: &mut Exposition) {
        let Self { policy, shadow, configuration, access_log, rotation } = self;
        let help = "For how long a read, write or open of the file has not returned; 0 if none is in progress.";
        let mut family = text.family("latticegate_file_blocked_seconds", Kind::Gauge, help);
        for (file, pending) in [
            ("policy", policy),
            ("shadow", shadow),
            ("configuration", configuration),
            ("access_log", access_log),
            ("access_log_open", rotation),
        ] {
            family.sample(&[("file", file)], pending.elapsed().as_secs_f64());
        }
        family.sample(&[("file", "process_log")], process_log::blocked().as_secs_f64());
    }
}

/// Of the process log, which all gates of one process share.
pub(super) fn export_process_log(text: &mut Exposition) {
    let help = "Lines of the process log on standard error that were not written, for the same reasons.";
    text.counter("latticegate_process_log_dropped_lines_total", help, process_log::lost());
    let help = "Lines of libraries left out of the process log: each may log ten a minute.";
    text.counter("latticegate_process_log_throttled_lines_total", help, process_log::left_out());
}
