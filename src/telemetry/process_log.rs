//! What the process logs about itself, on standard error. Events become lines where they happen, and a thread of its
//! own writes them: whoever logs never waits for a reader. What that thread cannot take is lost and counted.

mod throttle;

use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::Counter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, registry};

pub use self::throttle::{left_out, report_left_out};
use crate::sys::blocking::Pending;
use crate::telemetry::log_writer::{Of, Sink, Writer, Written};
use latticegate_core::diagnostic::{Diagnostic, Severity};

/// One for the process, as the subscriber of `tracing` is.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    writer: Writer,
    blocked: Pending,
}

/// The log of a process that has begun one.
pub struct ProcessLog {
    writer: Writer,
    written: Written,
}

impl ProcessLog {
    /// From here on events are logged, and panics too. `all`: other crates' lines are not throttled.
    pub fn start(filter: EnvFilter, all: bool) -> io::Result<Self> {
        let blocked = Pending::default();
        let (writer, written) = Writer::start_counting(Of::Process, Sink::stderr()?, Counter::noop(), blocked.clone())?;
        let lines = fmt::layer()
            .with_writer(Arc::new(Events(writer.clone())))
            .with_ansi(io::stderr().is_terminal())
            .log_internal_errors(false);
        registry().with(lines).with((!all).then_some(throttle::Throttle)).with(filter).init();
        std::panic::set_hook(Box::new(log_panic));
        // Another one would have failed to set itself as the subscriber.
        let _ = LOG.set(Log { writer: writer.clone(), blocked });
        Ok(Self { writer, written })
    }

    /// A line as it is, with neither time nor level.
    pub fn line(&self, text: impl std::fmt::Display) {
        self.writer.send(format!("{text}\n").into_bytes());
    }

    /// One line each, all in one piece: there may be more of them than lines fit in the queue.
    pub fn tell(&self, severity: Severity, diagnostics: &[Diagnostic]) {
        let lines = diagnostics.iter().map(|diagnostic| format!("{severity}: {diagnostic}\n"));
        self.writer.send(lines.collect::<String>().into_bytes());
    }

    /// Waits for the last lines, but no longer than this: a reader that is stuck must not keep the process.
    pub fn end(self, patience: Duration) {
        report_left_out(true);
        self.written.wait(patience);
    }
}

/// Lines that were not written since the start.
pub fn lost() -> u64 {
    LOG.get().map_or(0, |log| log.writer.lost())
}

/// How long a line has been on its way to whoever reads standard error.
pub fn blocked() -> Duration {
    LOG.get().map_or(Duration::ZERO, |log| log.blocked.elapsed())
}

/// Takes each event as one piece.
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
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let trace = std::backtrace::Backtrace::capture();
    match trace.status() {
        std::backtrace::BacktraceStatus::Captured => tracing::error!(thread, place, "panicked: {message}\n{trace}"),
        _ => tracing::error!(thread, place, "panicked: {message}"),
    }
}
