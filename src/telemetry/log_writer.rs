//! The threads that write lines, so that nobody else ever waits for a disk, a pipe or a terminal.

mod file;
mod lines;

use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, Sender, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::Counter;

use self::file::LogFile;
pub use self::file::{Rotation, help};
use self::lines::{Lines, Unwritten, count};
use crate::sys::blocking::{self, Pending};
use latticegate_core::config::LogOutput;

/// Where lines go in the end.
pub enum Sink {
    /// Standard output or standard error.
    Stream(Stream),
    File(LogFile),
    /// To another part of this process, in pieces of whole lines.
    Channel(Sender<Vec<u8>>),
}

pub struct Stream(Lines);

/// Whose lines they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    AccessLog,
    /// CloudWatch's.
    Metrics,
    /// Our own, about the process.
    Process,
}

impl Sink {
    pub fn open(output: &LogOutput) -> io::Result<Self> {
        match output {
            LogOutput::Stdout => Self::stdout(),
            LogOutput::File(path) => Ok(Self::File(LogFile::open(path)?)),
        }
    }

    pub fn stdout() -> io::Result<Self> {
        Self::stream(&io::stdout())
    }

    pub fn stderr() -> io::Result<Self> {
        Self::stream(&io::stderr())
    }

    fn stream(stream: &impl AsFd) -> io::Result<Self> {
        Ok(Self::Stream(Stream(Lines::to(stream.as_fd().try_clone_to_owned()?.into()))))
    }

    /// Whether `open` would work now; nothing is made.
    pub fn try_open(output: &LogOutput) -> io::Result<()> {
        match output {
            LogOutput::Stdout => Ok(()),
            LogOutput::File(path) => file::try_open(path),
        }
    }

    /// By which a log that is a file is opened anew.
    pub fn rotation(&self) -> Option<Rotation> {
        match self {
            Self::File(file) => Some(file.rotation()),
            Self::Stream(_) | Self::Channel(_) => None,
        }
    }

    /// Whether what is written here is seen by who reads the process's output.
    pub fn is_output(&self) -> bool {
        !matches!(self, Self::File(_))
    }

    /// How much of a piece is written by one call.
    fn part(&self, piece: &[u8]) -> usize {
        match self {
            Self::Stream(Stream(lines)) => lines.part(piece),
            Self::File(file) => file.part(piece),
            Self::Channel(_) => piece.len(),
        }
    }

    fn write(&mut self, piece: &[u8]) -> Result<(), Unwritten> {
        match self {
            Self::Stream(Stream(lines)) => lines.write(piece),
            Self::File(file) => file.write(piece),
            Self::Channel(channel) => channel.send(piece.to_vec()).map_err(|unsent| Unwritten {
                error: io::ErrorKind::BrokenPipe.into(),
                lost: count(&unsent.0),
                begun: false,
            }),
        }
    }
}

/// One end of a writer thread. Each line that is sent is written, or counted as lost.
#[derive(Clone)]
pub struct Writer {
    of: Of,
    pieces: SyncSender<Piece>,
    progress: Arc<Progress>,
    lost: Counter,
}

struct Piece {
    bytes: Vec<u8>,
    /// Where its lines are counted if they are lost.
    lost: Counter,
}

/// How far the thread has come.
#[derive(Default)]
struct Progress {
    state: Mutex<State>,
    all_done: Condvar,
}

#[derive(Default)]
struct State {
    /// Lines that are neither written nor lost.
    waiting: u64,
    /// The size of what waits.
    bytes: usize,
    /// Lines lost since the start.
    lost: u64,
    /// Of them, those of which no line in the log has told.
    unreported: u64,
}

/// The far end of a writer, for who wants to see it all written.
pub struct Written(Arc<Progress>);

impl Writer {
    /// Pieces of the access log that may wait: 64 × 32 KiB is 2 MiB of a reader being slow.
    const QUEUE: usize = 64;
    /// Lines about the process come one by one.
    const QUEUE_OF_LINES: usize = 1024;
    /// A line may be long, such as one that names all mistakes of a list.
    const MAX_WAITING: usize = 4 << 20;

    /// Lines that the sink does not take are counted nowhere.
    pub fn start(sink: Sink) -> io::Result<(Self, Written)> {
        Self::start_counting(Of::AccessLog, sink, Counter::noop(), Pending::default())
    }

    /// `lost`: counts the lines that were not written. `blocked`: since when a write has been on its way.
    pub fn start_counting(of: Of, sink: Sink, lost: Counter, blocked: Pending) -> io::Result<(Self, Written)> {
        let queue = if of == Of::Process { Self::QUEUE_OF_LINES } else { Self::QUEUE };
        let (pieces, queue) = sync_channel(queue);
        let progress = Arc::<Progress>::default();
        let thread = Thread { of, sink, progress: Arc::clone(&progress), blocked, begun: 0, failing: false };
        blocking::spawn(of.thread(), move || thread.run(&queue))?;
        let written = Written(Arc::clone(&progress));
        Ok((Self { of, pieces, progress, lost }, written))
    }

    /// Another end of the same thread.
    pub fn also_of(&self, of: Of, lost: Counter) -> Self {
        Self { of, lost, ..self.clone() }
    }

    /// Never waits: where the writer is behind, the lines are lost and counted. Says whether they were taken.
    pub(crate) fn send(&self, bytes: Vec<u8>) -> bool {
        if bytes.is_empty() {
            return true;
        }
        let (lines, size) = (count(&bytes), bytes.len());
        let mut state = self.progress.state();
        let fits = state.waiting == 0 || state.bytes.saturating_add(size) <= Self::MAX_WAITING;
        let piece = Piece { bytes, lost: self.lost.clone() };
        let taken = fits && self.pieces.try_send(piece).is_ok();
        if taken {
            state.waiting = state.waiting.saturating_add(lines);
            state.bytes = state.bytes.saturating_add(size);
            return true;
        }
        let first = state.lose(lines);
        drop(state);
        self.lost.increment(lines);
        // Of the process's own log this would be one more line that is lost.
        if first && self.of == Of::AccessLog {
            tracing::warn!("the access log's reader is too slow; lines are lost until it goes on");
        }
        false
    }

    /// Lines lost since the start, whoever sent them to this thread.
    pub(crate) fn lost(&self) -> u64 {
        self.progress.state().lost
    }
}

/// The thread.
struct Thread {
    of: Of,
    sink: Sink,
    progress: Arc<Progress>,
    blocked: Pending,
    /// 1 while a line is written in part: it is still on its way.
    begun: u64,
    /// The last write did not succeed.
    failing: bool,
}

impl Thread {
    fn run(mut self, queue: &Receiver<Piece>) {
        for piece in queue {
            let mut rest = &*piece.bytes;
            while !rest.is_empty() {
                let (part, others) = rest.split_at_checked(self.sink.part(rest)).unwrap_or((rest, &[]));
                self.write(part, &piece);
                rest = others;
            }
        }
    }

    fn write(&mut self, part: &[u8], piece: &Piece) {
        let result = self.blocked.during(|| self.sink.write(part));
        let lost = result.as_ref().err().map_or(0, |unwritten| unwritten.lost);
        piece.lost.increment(lost);
        let done = count(part).saturating_add(self.begun);
        self.begun = u64::from(result.as_ref().is_err_and(|unwritten| unwritten.begun));
        let mut state = self.progress.state();
        state.lose(lost);
        state.waiting = state.waiting.saturating_add(self.begun).saturating_sub(done);
        state.bytes = state.bytes.saturating_sub(part.len());
        // Where more is waiting, a line about it would be out of its turn, and perhaps lost itself.
        let idle = state.waiting == 0;
        let missed = if result.is_ok() && idle { std::mem::take(&mut state.unreported) } else { 0 };
        drop(state);
        if missed > 0 {
            tracing::warn!(lines = missed, "{} is written again; so many of its lines were lost", self.of);
        }
        if idle {
            self.progress.all_done.notify_all();
        }
        if let (Err(unwritten), false, true) = (&result, self.failing, self.of != Of::Process) {
            tracing::warn!(error = %unwritten.error, "{} cannot be written; lines are lost until it can be", self.of);
        }
        self.failing = result.is_err();
    }
}

impl Progress {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Says whether they are the first since the log was whole.
    fn lose(&mut self, lines: u64) -> bool {
        self.lost = self.lost.saturating_add(lines);
        let before = self.unreported;
        self.unreported = before.saturating_add(lines);
        before == 0
    }
}

impl Written {
    /// Waits until all is written, but not for ever: a reader that is stuck must not keep the process. Gives the
    /// number of lines that are not written.
    pub fn wait(&self, patience: Duration) -> u64 {
        let state = self.0.state();
        let waited = self.0.all_done.wait_timeout_while(state, patience, |state| state.waiting > 0);
        waited.unwrap_or_else(PoisonError::into_inner).0.waiting
    }
}

impl Of {
    fn thread(self) -> &'static str {
        match self {
            Self::AccessLog => "access-log",
            Self::Metrics => "metrics-output",
            Self::Process => "process-log",
        }
    }
}

impl std::fmt::Display for Of {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::AccessLog => "the access log",
            Self::Metrics => "the output of metrics for CloudWatch",
            Self::Process => "this log",
        })
    }
}
