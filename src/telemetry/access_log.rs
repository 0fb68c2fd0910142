//! Record → one line. Each worker gathers lines in a buffer and sends them to the writer thread in batches, so that
//! neither a full disk nor a stuck reader of stdout stops a worker: what does not fit in the queue is dropped and
//! counted.

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

/// One worker's handle of the access log.
pub struct AccessLogger {
    format: LogFormat,
    buffer: RefCell<Vec<u8>>,
    timestamps: Timestamps,
    clock: Clock,
    first_line: Notify,
    writer: Writer,
}

impl AccessLogger {
    /// A buffer of this size is sent at once.
    const BATCH: usize = 32 * 1024;
    /// Few lines are longer than this, in bytes.
    const LONG_LINE: usize = 1024;
    /// A smaller one is sent after this time: a line appears a moment later, and the writer wakes at most ten times a
    /// second.
    const DELAY: Duration = Duration::from_millis(100);

    pub fn new(format: LogFormat, writer: Writer, clock: Clock) -> Rc<Self> {
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
            // Room for a whole batch at once: growing line by line would copy it several times.
            buffer.reserve(Self::BATCH + Self::LONG_LINE);
        }
        match self.format {
            LogFormat::Json => line::json(&mut buffer, now, listener, record, outcome),
            LogFormat::Nginx => line::nginx(&mut buffer, now, listener, record, outcome),
        }
        let full = buffer.len() >= Self::BATCH;
        drop(buffer);
        if full {
            self.flush();
        } else if was_empty {
            self.first_line.notify_one();
        }
    }

    /// Flushes a little after each first line; never returns.
    pub async fn keep_flushing(&self) {
        loop {
            self.first_line.notified().await;
            sleep(Self::DELAY).await;
            self.flush();
        }
    }

    pub fn flush(&self) {
        let batch = std::mem::take(&mut *self.buffer.borrow_mut());
        self.writer.send(batch);
    }
}
