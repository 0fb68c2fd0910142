//! Record → one line. Lines gather in a buffer of the worker's own and leave for a writer thread in pieces, so
//! that neither a full disk nor a stuck reader of stdout ever stops a worker: what the writer cannot take is
//! dropped and counted.

mod ascii;
mod timestamps;
mod json;
mod line;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use self::line::Now;
use self::timestamps::Timestamps;
use crate::sys::clock::Clock;
use crate::telemetry::log_writer::Writer;
use crate::telemetry::record::Record;
use latticegate_core::config::{self, LogFormat};
use latticegate_core::outcome::Outcome;

/// One worker's end of the access log.
pub struct Log {
    format: LogFormat,
    buffer: RefCell<Vec<u8>>,
    timestamps: Timestamps,
    clock: Clock,
    first_line: Notify,
    writer: Writer,
}

impl Log {
    /// A buffer of this size leaves at once.
    const PIECE: usize = 32 * 1024;
    /// What few lines are longer than, in bytes.
    const LONG_LINE: usize = 1024;
    /// A smaller one leaves after this time: a line is seen a moment later, and the writer wakes ten times a
    /// second at most.
    const DELAY: Duration = Duration::from_millis(100);

    pub fn new(format: LogFormat, writer: Writer) -> Rc<Self> {
        Self::with_clock(format, writer, Clock::default())
    }

    pub fn with_clock(format: LogFormat, writer: Writer, clock: Clock) -> Rc<Self> {
        Rc::new(Self {
            format,
            buffer: RefCell::default(),
            timestamps: Timestamps::default(),
            clock,
            first_line: Notify::new(),
            writer,
        })
    }

    pub(crate) fn write(&self, listener: &config::Listener, record: &Record, outcome: Outcome) {
        let mut buffer = self.buffer.borrow_mut();
        let now = Now { timestamps: &self.timestamps, time: self.clock.now(), elapsed: record.times.elapsed() };
        let was_empty = buffer.is_empty();
        if was_empty {
            // Room for a whole piece at once: growing line by line copies it several times over.
            buffer.reserve(Self::PIECE + Self::LONG_LINE);
        }
        match self.format {
            LogFormat::Json => line::json(&mut buffer, now, listener, record, outcome),
            LogFormat::Nginx => line::nginx(&mut buffer, now, listener, record, outcome),
        }
        let full = buffer.len() >= Self::PIECE;
        drop(buffer);
        if full {
            self.flush();
        } else if was_empty {
            self.first_line.notify_one();
        }
    }

    /// Flushes a little after each first line, for ever.
    pub async fn keep_flushing(&self) {
        loop {
            self.first_line.notified().await;
            sleep(Self::DELAY).await;
            self.flush();
        }
    }

    pub fn flush(&self) {
        let piece = std::mem::take(&mut *self.buffer.borrow_mut());
        self.writer.send(piece);
    }
}
