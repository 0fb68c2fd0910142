//! Where the gate's lines go: the access log and, beside it, metrics for CloudWatch.

use std::time::Duration;

use super::StartError;
use crate::sys::blocking::Pending;
use crate::telemetry::log_writer::{FlushHandle, LineKind, Sink, Writer};
use crate::telemetry::metrics::Metrics;

/// How long writing the last lines may take, for each output.
const LAST_LINES: Duration = Duration::from_secs(1);

pub(super) struct Outputs {
    pub(super) access_log: Writer,
    /// Takes the lines for CloudWatch, if there are any.
    pub(super) metrics: Option<Writer>,
    written: Vec<FlushHandle>,
}

impl Outputs {
    pub(super) fn start(sink: Sink, metrics: &Metrics, with_emf: bool) -> Result<Self, StartError> {
        let log_is_elsewhere = !sink.is_output();
        let (dropped, blocked) = (metrics.lines_dropped.clone(), metrics.blocked.access_log.clone());
        let (access_log, written) = Writer::start(LineKind::AccessLog, sink, dropped, blocked)
            .map_err(|error| StartError::Io("cannot start the access log's thread".into(), error))?;
        let mut outputs = Self { access_log, metrics: None, written: vec![written] };
        if with_emf {
            outputs.start_metrics(log_is_elsewhere, metrics)?;
        }
        Ok(outputs)
    }

    /// CloudWatch reads standard output, which takes the access log as well unless that is elsewhere.
    fn start_metrics(&mut self, log_is_elsewhere: bool, metrics: &Metrics) -> Result<(), StartError> {
        let dropped = metrics.emf_dropped.clone();
        if !log_is_elsewhere {
            self.metrics = Some(self.access_log.for_kind(LineKind::Metrics, dropped));
            return Ok(());
        }
        let (writer, written) = Sink::stdout()
            .and_then(|stdout| Writer::start(LineKind::Metrics, stdout, dropped, Pending::default()))
            .map_err(|error| StartError::Io("cannot start the metrics' thread".into(), error))?;
        self.metrics = Some(writer);
        self.written.push(written);
        Ok(())
    }

    /// Waits for the last lines.
    pub(super) fn finish(self) {
        let lines = self.written.iter().fold(0_u64, |lines, written| lines.saturating_add(written.wait(LAST_LINES)));
        if lines > 0 {
            tracing::warn!(lines, "ended before all lines were written: the output accepts no more");
        }
    }
}
