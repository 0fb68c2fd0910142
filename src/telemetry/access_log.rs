//! Record → one line. Each worker gathers lines in a buffer and sends them to the writer thread in batches, so that
//! neither a full disk nor a stuck reader of stdout stops a worker: what does not fit in the queue is dropped and
//! counted.

mod ascii;
mod timestamps;
mod json;
mod line;
pub mod squid;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use self::line::Now;
use self::timestamps::Timestamps;
use crate::event_loop::{Notify, sleep};
use crate::sys::clock::Clock;
use crate::telemetry::log_writer::Writer;
use crate::telemetry::record::{Record, RequestFacts};

use latticegate_core::config::{self, LogFormat, LogKeep};
use latticegate_core::outcome::{Close, Outcome};

/// One worker's handle of the access log.
pub struct AccessLogger {
    format: LogFormat,
    keep: LogKeep,
    /// Relayed connections until the next line about one.
    until_next: Cell<u32>,
    buffer: RefCell<Vec<u8>>,
    timestamps: Timestamps,
    clock: Clock,
    first_line: Notify,
    writer: Writer,
}

impl AccessLogger {
    /// A batch that is not full is sent after this time: a line appears a moment later, and the writer wakes at most ten times a
    /// second.
    const DELAY: Duration = Duration::from_millis(100);

    pub fn new(format: LogFormat, keep: LogKeep, writer: Writer, clock: Clock) -> Rc<Self> {
        Rc::new(Self {
            format,
            keep,
            until_next: Cell::default(),
            buffer: RefCell::default(),
            timestamps: Timestamps::default(),
            clock,
            first_line: Notify::new(),
            writer,
        })
    }

    /// The time of a line that is written now.
    pub(crate) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    pub(crate) fn write(&self, listener: &config::Listener, record: &Record, outcome: Outcome, time: SystemTime) {
        if !self.keeps(outcome) {
            return;
        }
        let now = Now { timestamps: &self.timestamps, time, elapsed: record.times.elapsed() };
        self.append(|out| match self.format {
            LogFormat::Json => line::json(out, now, listener, record, outcome),
            LogFormat::Nginx => line::nginx(out, now, listener, record, outcome),
            LogFormat::Squid => squid::connection(out, now, listener, record, outcome),
        });
    }

    /// nginx's format, which is one of connections, has no line for a request.
    pub(crate) fn write_request(&self, listener: &config::Listener, facts: &RequestFacts<'_>, time: SystemTime) {
        if !self.keeps(facts.cut.unwrap_or(Outcome::Relayed(Close::Done))) {
            return;
        }
        match self.format {
            LogFormat::Json => self.append(|out| line::request_json(out, &self.timestamps, time, listener, facts)),
            LogFormat::Squid => self.append(|out| squid::request(out, time, facts)),
            LogFormat::Nginx => {}
        }
    }

    fn append(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut buffer = self.buffer.borrow_mut();
        let was_empty = buffer.is_empty();
        if was_empty {
            // Room for a whole batch at once: growing line by line would copy it several times.
            *buffer = self.writer.buffer();
        }
        write(&mut buffer);
        let (full, empty) = (buffer.len() >= Writer::BATCH, buffer.is_empty());
        drop(buffer);
        if full {
            self.flush();
        } else if was_empty && !empty {
            self.first_line.notify_one();
        }
    }

    /// Everything but relayed connections is kept whatever the setting. Of a sample the first is kept, and then each Nth
    /// after it, so that a worker with little to do is seen too.
    fn keeps(&self, outcome: Outcome) -> bool {
        match (self.keep, outcome) {
            (LogKeep::Refused, Outcome::Relayed(_)) => false,
            (LogKeep::Sample(one_of), Outcome::Relayed(_)) => {
                let left = self.until_next.get();
                self.until_next.set(left.checked_sub(1).unwrap_or(one_of.get() - 1));
                left == 0
            }
            _ => true,
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use latticegate_core::outcome::{Failure, RefuseReason, Unfinished};

    use super::*;
    use crate::sys::blocking::Pending;
    use crate::telemetry::count::Count;
    use crate::telemetry::log_writer::{LineKind, Sink};

    /// Which of ten relayed connections have a line, and that anything else always has.
    fn kept(keep: LogKeep) -> Vec<usize> {
        let (writer, _written) =
            Writer::start(LineKind::AccessLog, Sink::Channel(channel().0), Count::default(), Pending::default())
                .unwrap();
        let log = AccessLogger::new(LogFormat::Json, keep, writer, Clock::default());
        let relayed = (0..10).filter(|_| {
            for other in [
                Outcome::Refused(RefuseReason::ClientDenied),
                Outcome::Failed(Failure::ConnectRefused),
                Outcome::Unfinished(Unfinished::Lost),
            ] {
                assert!(log.keeps(other), "{other:?}");
            }
            log.keeps(Outcome::Relayed(Close::Done))
        });
        relayed.collect()
    }

    #[test]
    fn of_relayed_connections_all_none_or_one_of_n_are_kept() {
        assert_eq!(kept(LogKeep::All).len(), 10);
        assert!(kept(LogKeep::Refused).is_empty());
        for (one_of, expected) in [(1, (0..10).collect()), (3, vec![0, 3, 6, 9]), (10, vec![0]), (u32::MAX, vec![0])] {
            let keep = LogKeep::Sample(one_of.try_into().unwrap());
            assert_eq!(kept(keep), expected, "1 of {one_of}");
        }
    }
}
