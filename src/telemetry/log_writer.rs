//! The threads that write lines, so that no other thread waits for a disk, a pipe or a terminal.

mod buffers;
mod file;
mod lines;
mod sink;

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::buffers::Buffers;
pub use self::file::Rotation;
use self::lines::count;
pub use self::sink::{Sink, cannot_open};
use crate::sys::blocking::{self, Pending};
use crate::sys::mutex::lock;
use crate::telemetry::count::Count;

/// Which lines a writer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    AccessLog,
    /// For CloudWatch.
    Metrics,
    ProcessLog,
}

/// A handle of a writer thread. Each line that is sent is written, or counted as lost.
#[derive(Clone)]
pub struct Writer {
    kind: LineKind,
    batches: SyncSender<Batch>,
    queue: Arc<Queue>,
    lost: Count,
}

struct Batch {
    lines: Vec<u8>,
    number: u64,
    /// Counts those of its lines that are lost.
    lost: Count,
}

/// What the thread shares with its writers.
#[derive(Default)]
struct Queue {
    state: Mutex<QueueState>,
    buffers: Buffers,
    all_done: Condvar,
}

#[derive(Default)]
struct QueueState {
    /// Lines that are neither written nor lost.
    waiting: u64,
    /// Their size.
    bytes: usize,
    /// Lines lost since the start.
    lost: u64,
    /// Those of them that the process log has not reported.
    unreported: u64,
}

/// Waits for the lines that are still in the queue.
pub struct FlushHandle(Arc<Queue>);

impl Writer {
    /// Batches of the access log that may wait: 64 × 32 KiB is 2 MiB for a slow reader.
    const QUEUE: usize = 64;
    /// Lines of the process log arrive one by one.
    const QUEUE_OF_LINES: usize = 1024;
    /// Lines may be long, such as one with all errors of a list.
    const MAX_BYTES: usize = 4 << 20;
    /// Whoever gathers lines sends them when they are this many bytes.
    pub(crate) const BATCH: usize = Buffers::BATCH;

    /// `lost`: counts the lines that were not written. `blocked`: since when a write has not returned.
    pub fn start(kind: LineKind, sink: Sink, lost: Count, blocked: Pending) -> io::Result<(Self, FlushHandle)> {
        let capacity = if kind == LineKind::ProcessLog { Self::QUEUE_OF_LINES } else { Self::QUEUE };
        let (batches, received) = sync_channel(capacity);
        let queue = Arc::<Queue>::default();
        let thread = Thread { kind, sink, queue: Arc::clone(&queue), blocked, partial: 0, failing: false };
        blocking::spawn(kind.thread_name(), move || thread.run(&received))?;
        let flush = FlushHandle(Arc::clone(&queue));
        Ok((Self { kind, batches, queue, lost }, flush))
    }

    /// Another handle of the same thread.
    pub fn for_kind(&self, kind: LineKind, lost: Count) -> Self {
        Self { kind, lost, ..self.clone() }
    }

    /// An empty buffer with room for a batch.
    pub(crate) fn buffer(&self) -> Vec<u8> {
        self.queue.buffers.take()
    }

    /// Never waits: where the thread is behind, the lines are lost and counted. Returns whether they were queued.
    pub(crate) fn send(&self, lines: Vec<u8>) -> bool {
        let number = count(&lines);
        self.send_counted(lines, number)
    }

    /// The same for one who has gathered the lines one by one, and knows how many they are.
    pub(crate) fn send_counted(&self, lines: Vec<u8>, number: u64) -> bool {
        if lines.is_empty() {
            return true;
        }
        debug_assert_eq!(number, count(&lines));
        let size = lines.len();
        let mut state = self.queue.state();
        let fits = state.waiting == 0 || state.bytes.saturating_add(size) <= Self::MAX_BYTES;
        let batch = Batch { lines, number, lost: self.lost.clone() };
        let sent = if fits { self.batches.try_send(batch) } else { Err(TrySendError::Full(batch)) };
        let Err(TrySendError::Full(unsent) | TrySendError::Disconnected(unsent)) = sent else {
            state.waiting = state.waiting.saturating_add(number);
            state.bytes = state.bytes.saturating_add(size);
            return true;
        };
        let first = state.lose(number);
        drop(state);
        self.queue.buffers.keep(unsent.lines);
        self.lost.increment(number);
        // About the process log itself this would be one more lost line.
        if first && self.kind == LineKind::AccessLog {
            tracing::warn!("the access log's reader is too slow; lines are lost until it catches up");
        }
        false
    }

    /// Lines of this thread lost since the start.
    pub(crate) fn lost(&self) -> u64 {
        self.queue.state().lost
    }
}

/// The thread.
struct Thread {
    kind: LineKind,
    sink: Sink,
    queue: Arc<Queue>,
    blocked: Pending,
    /// 1 while a line is partly written: it still counts as waiting.
    partial: u64,
    /// The last write failed.
    failing: bool,
}

impl Thread {
    fn run(mut self, received: &Receiver<Batch>) {
        for batch in received {
            let mut rest = &*batch.lines;
            while !rest.is_empty() {
                let (lines, later) = rest.split_at_checked(self.sink.write_size(rest)).unwrap_or((rest, &[]));
                let number =
                    if later.is_empty() && lines.len() == batch.lines.len() { batch.number } else { count(lines) };
                self.write(lines, number, &batch.lost);
                rest = later;
            }
            self.queue.buffers.keep(batch.lines);
        }
    }

    fn write(&mut self, lines: &[u8], number: u64, counter: &Count) {
        let result = self.blocked.during(|| self.sink.write(lines));
        let lost = result.as_ref().err().map_or(0, |unwritten| unwritten.lost);
        counter.increment(lost);
        let done = number.saturating_add(self.partial);
        self.partial = u64::from(result.as_ref().is_err_and(|unwritten| unwritten.partial));
        let mut state = self.queue.state();
        state.lose(lost);
        state.waiting = state.waiting.saturating_add(self.partial).saturating_sub(done);
        state.bytes = state.bytes.saturating_sub(lines.len());
        // While more is waiting, a line about it would be out of order, and perhaps lost itself.
        let idle = state.waiting == 0;
        let missed = if result.is_ok() && idle { std::mem::take(&mut state.unreported) } else { 0 };
        drop(state);
        if missed > 0 {
            tracing::warn!(lines = missed, "{} is written again; this many of its lines were lost", self.kind);
        }
        if idle {
            self.queue.all_done.notify_all();
        }
        if let (Err(unwritten), false, true) = (&result, self.failing, self.kind != LineKind::ProcessLog) {
            tracing::warn!(error = %unwritten.error, "{} cannot be written; lines are lost until it can be", self.kind);
        }
        self.failing = result.is_err();
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, QueueState> {
        lock(&self.state)
    }
}

impl QueueState {
    /// Returns whether they are the first since the log was complete.
    fn lose(&mut self, lines: u64) -> bool {
        self.lost = self.lost.saturating_add(lines);
        let before = self.unreported;
        self.unreported = before.saturating_add(lines);
        before == 0
    }
}

impl FlushHandle {
    /// Waits until all is written, within a bound: a stuck reader must not keep the process running. Returns the number
    /// of lines that are still not written.
    pub fn wait(&self, patience: Duration) -> u64 {
        let state = self.0.state();
        let waited = self.0.all_done.wait_timeout_while(state, patience, |state| state.waiting > 0);
        waited.unwrap_or_else(PoisonError::into_inner).0.waiting
    }
}

impl LineKind {
    fn thread_name(self) -> &'static str {
        match self {
            Self::AccessLog => "access-log",
            Self::Metrics => "metrics-output",
            Self::ProcessLog => "process-log",
        }
    }
}

impl std::fmt::Display for LineKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::AccessLog => "the access log",
            Self::Metrics => "the output of metrics for CloudWatch",
            Self::ProcessLog => "this log",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    /// A line in a buffer that is told from a new one by its size.
    const SIZE: usize = Writer::BATCH + 7;

    fn line() -> Vec<u8> {
        let mut buffer = Vec::with_capacity(SIZE);
        buffer.extend_from_slice(b"a line\n");
        buffer
    }

    #[test]
    fn a_buffer_that_was_written_is_filled_again() {
        let (sender, written) = channel();
        let (writer, _flush) =
            Writer::start(LineKind::AccessLog, Sink::Channel(sender), Count::default(), Pending::default()).unwrap();
        writer.send(line());
        // Once the next batch is written, the thread is done with the first.
        writer.send(b"another line\n".to_vec());
        assert_eq!([written.recv().unwrap(), written.recv().unwrap()], [&b"a line\n"[..], b"another line\n"]);
        let again = writer.buffer();
        assert_eq!((again.len(), again.capacity()), (0, SIZE));
        assert_ne!(writer.buffer().capacity(), SIZE, "there was one");
    }

    #[test]
    fn a_buffer_whose_lines_are_lost_is_filled_again() {
        let (batches, _blocked) = sync_channel(1);
        let writer = Writer { kind: LineKind::Metrics, batches, queue: Arc::default(), lost: Count::default() };
        assert!(writer.send(line()));
        assert_ne!(writer.buffer().capacity(), SIZE, "it is waiting");
        assert!(!writer.send(line()));
        assert_eq!(writer.buffer().capacity(), SIZE);
    }
}
