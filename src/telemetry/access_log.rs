//! Record → one line. Each worker gathers lines in a buffer and sends them to the writer thread in batches, so that
//! neither a full disk nor a stuck reader of stdout stops a worker: what does not fit in the queue is dropped and
//! counted.

mod ascii;
mod floods;
mod timestamps;
mod json;
mod line;
mod sampler;
pub mod squid;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use self::floods::{Admission, FloodKey, Floods, with_repeats};
use self::line::{Connection, Now, Request};
use self::sampler::Sampler;
use self::timestamps::Timestamps;
use crate::runtime::{Instant, Notify, sleep, sleep_until, wall_time};
use crate::sys::clock::Clock;
use crate::telemetry::log_writer::Writer;
use crate::telemetry::metrics::OmittedLines;
use crate::telemetry::record::{Record, RequestFacts};

use latticegate_core::config::{self, AccessLog, LogField, LogFormat, LogKeep};
use latticegate_core::outcome::{Close, Outcome};

/// One worker's handle of the access log.
pub struct AccessLogger {
    format: LogFormat,
    fields: Option<Box<[LogField]>>,
    /// Of relayed connections.
    sampler: Sampler,
    /// Of everything else; `None`: each has its line.
    floods: Option<Floods>,
    flood_begun: Notify,
    omitted: OmittedLines,
    buffer: RefCell<Vec<u8>>,
    /// How many lines are in it.
    gathered: Cell<u64>,
    timestamps: Timestamps,
    clock: Clock,
    first_line: Notify,
    writer: Writer,
}

impl AccessLogger {
    /// A batch that is not full is sent after this time: a line appears a moment later, and the writer wakes at most ten times a
    /// second.
    const DELAY: Duration = Duration::from_millis(100);

    pub fn new(config: &AccessLog, writer: Writer, omitted: OmittedLines, clock: Clock) -> Rc<Self> {
        let AccessLog { format, output: _, keep, fields } = config;
        // `all` is all; and nginx's line has no room for a number.
        let summarises = *keep != LogKeep::All && *format != LogFormat::Nginx;
        Rc::new(Self {
            format: *format,
            fields: fields.clone(),
            sampler: Sampler::new(*keep),
            floods: summarises.then(Floods::default),
            flood_begun: Notify::new(),
            omitted,
            buffer: RefCell::default(),
            gathered: Cell::new(0),
            timestamps: Timestamps::default(),
            clock,
            first_line: Notify::new(),
            writer,
        })
    }

    /// The time of a line that is written now.
    pub(crate) fn now(&self) -> SystemTime {
        wall_time(&self.clock)
    }

    pub(crate) fn write(&self, listener: &config::Listener, record: &Record, outcome: Outcome, time: SystemTime) {
        if self.format == LogFormat::Squid && !squid::has_line(record, outcome) {
            return;
        }
        let key = || FloodKey::connection(listener, record, outcome);
        self.log(outcome, key, |out| {
            let now = Now { timestamps: &self.timestamps, time, elapsed: record.times.elapsed() };
            match self.format {
                LogFormat::Json => line::json(out, &Connection { now, listener, record, outcome }, self.fields()),
                LogFormat::Nginx => line::nginx(out, now, listener, record, outcome),
                LogFormat::Squid => squid::connection(out, now, listener, record, outcome),
            }
        });
    }

    /// nginx's format, which is one of connections, has no line for a request; nor has JSON without the field of that name.
    pub(crate) fn write_request(&self, listener: &config::Listener, facts: &RequestFacts<'_>, time: SystemTime) {
        if self.format == LogFormat::Nginx {
            return;
        }
        if self.fields().is_some_and(|fields| !fields.contains(&LogField::Request)) {
            return self.omitted.fields.increment(1);
        }
        let outcome = facts.cut.unwrap_or(Outcome::Relayed(Close::Done));
        let key = || FloodKey::request(listener, facts, outcome);
        self.log(outcome, key, |out| match self.format {
            LogFormat::Json => {
                let timestamps = &self.timestamps;
                line::request_json(out, &Request { timestamps, time, listener, facts }, self.fields());
            }
            LogFormat::Squid => squid::request(out, time, facts),
            LogFormat::Nginx => {}
        });
    }

    fn fields(&self) -> Option<&[LogField]> {
        self.fields.as_deref()
    }

    /// Relayed connections are sampled. Everything else has its line, or a part in that of its flood.
    fn log(&self, outcome: Outcome, key: impl FnOnce() -> FloodKey, write: impl FnOnce(&mut Vec<u8>)) {
        if matches!(outcome, Outcome::Relayed(_)) {
            return if self.sampler.keeps() { self.append(write) } else { self.omitted.keep.increment(1) };
        }
        let Some(floods) = &self.floods else { return self.append(write) };
        let key = key();
        match floods.admit(key, Instant::now()) {
            Admission::First => {
                self.append(write);
                self.flood_begun.notify_one();
            }
            Admission::Second => floods.hold(key, write),
            Admission::More => self.omitted.flood.increment(1),
        }
    }

    fn append(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut buffer = self.buffer.borrow_mut();
        let before = buffer.len();
        if before == 0 {
            // Room for a whole batch at once: growing line by line would copy it several times.
            *buffer = self.writer.buffer();
        }
        write(&mut buffer);
        let (len, full) = (buffer.len(), buffer.len() >= Writer::BATCH);
        drop(buffer);
        if len > before {
            self.gathered.set(self.gathered.get() + 1);
        }
        if full {
            self.flush();
        } else if before == 0 && len > 0 {
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

    /// Writes the line of each flood when its second is over; never returns.
    pub async fn keep_summarising(&self) {
        let Some(floods) = &self.floods else { return };
        loop {
            self.flood_begun.notified().await;
            while let Some(end) = floods.next_end() {
                sleep_until(end).await;
                floods.end(Instant::now(), |line, repeated| self.append_repeated(line, repeated));
            }
        }
    }

    fn append_repeated(&self, line: &[u8], repeated: u64) {
        self.append(|out| with_repeats(out, self.format, line, repeated));
    }

    /// The last lines: those of floods whose second is not over, too.
    pub fn finish(&self) {
        if let Some(floods) = &self.floods {
            floods.end_all(|line, repeated| self.append_repeated(line, repeated));
        }
        self.flush();
    }

    fn flush(&self) {
        let batch = std::mem::take(&mut *self.buffer.borrow_mut());
        self.writer.send_counted(batch, self.gathered.take());
    }
}
