//! What is not counted, but asked for at each scrape: the state of the process, and its limits.

use super::exposition::{Exposition, Kind};
use crate::telemetry::status::{Status, Warning};
use latticegate_core::config;

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

impl Levels<'_> {
    pub(super) fn export(self, text: &mut Exposition) {
        let Self { status, drain, .. } = self;
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
}
