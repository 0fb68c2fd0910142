//! What the process logs about itself, on standard error. Events are formatted where they happen and written by a
//! separate thread, so that logging never waits for a reader. Lines that do not fit in its queue are lost and counted.

mod debug;
mod throttle;

use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, registry, reload};

use self::debug::Filter;
pub use self::throttle::{left_out, report_left_out};
use crate::sys::blocking::Pending;
use crate::telemetry::count::Count;
use crate::telemetry::log_writer::{FlushHandle, LineKind, Sink, Writer};
use latticegate_core::diagnostic::{Diagnostic, Severity};

/// One for the process, as the subscriber of `tracing` is.
static STARTED: OnceLock<Started> = OnceLock::new();

struct Started {
    writer: Writer,
    blocked: Pending,
    filter: Filter,
}

pub struct ProcessLog {
    writer: Writer,
    flush: FlushHandle,
}

impl ProcessLog {
    /// Installs the subscriber and the panic hook. `all`: other crates' lines are not throttled.
    pub fn start(filter: Targets, all: bool) -> io::Result<Self> {
        let blocked = Pending::default();
        let (writer, flush) = Writer::start(LineKind::ProcessLog, Sink::stderr()?, Count::default(), blocked.clone())?;
        let lines = fmt::layer()
            .with_writer(Arc::new(Events(writer.clone())))
            .with_ansi(io::stderr().is_terminal())
            .log_internal_errors(false);
        let configured = filter.clone();
        let (filter, handle) = reload::Layer::new(filter);
        registry().with(filter).with(lines).with((!all).then_some(throttle::Throttle)).init();
        std::panic::set_hook(Box::new(log_panic));
        // A second one would have failed to install its subscriber.
        let _ = STARTED.set(Started { writer: writer.clone(), blocked, filter: Filter::new(configured, handle) });
        Ok(Self { writer, flush })
    }

    /// A line without time and level.
    pub fn line(&self, text: impl std::fmt::Display) {
        self.writer.send(format!("{text}\n").into_bytes());
    }

    /// One line each, all in one batch: there may be more of them than batches fit in the queue.
    pub fn report(&self, severity: Severity, diagnostics: &[Diagnostic]) {
        let lines = diagnostics.iter().map(|diagnostic| format!("{severity}: {diagnostic}\n"));
        self.writer.send(lines.collect::<String>().into_bytes());
    }

    /// Waits for the last lines, but no longer than this: a stuck reader must not keep the process running.
    pub fn end(self, patience: Duration) {
        report_left_out(true);
        self.flush.wait(patience);
    }
}

/// Lines that were not written since the start.
pub fn lost() -> u64 {
    STARTED.get().map_or(0, |log| log.writer.lost())
}

/// How long a write to standard error has not returned.
pub fn blocked() -> Duration {
    STARTED.get().map_or(Duration::ZERO, |log| log.blocked.elapsed())
}

/// The filter that was configured, as it is read.
pub fn configured_filter() -> Option<&'static str> {
    STARTED.get().map(|log| log.filter.configured())
}

/// Turns debug lines of this program on, or off again.
pub fn toggle_debug() {
    if let Some(log) = STARTED.get() {
        log.filter.toggle();
    }
}

/// Sends each event as one batch.
struct Events(Writer);

impl io::Write for &Events {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.send(event.to_vec());
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The hook of the standard library writes to standard error itself, and would wait for its reader.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let (thread, message) = (thread.name().unwrap_or("?"), panic.payload_as_str().unwrap_or("?"));
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let trace = std::backtrace::Backtrace::capture();
    match trace.status() {
        std::backtrace::BacktraceStatus::Captured => {
            tracing::error!(thread, place = location, "panicked: {message}\n{trace}")
        }
        _ => tracing::error!(thread, place = location, "panicked: {message}"),
    }
}
