//! The thread that writes the access log, so that no worker ever waits for a disk or a pipe.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::thread;
use std::time::Duration;

use metrics::Counter;

use super::file::{self, LogFile, Rotation};
use crate::config::LogOutput;

/// Where lines go in the end.
pub enum Sink {
    Stdout,
    File(LogFile),
    /// To another part of this process, in pieces of whole lines.
    Channel(Sender<Vec<u8>>),
}

impl Sink {
    pub fn open(output: &LogOutput) -> io::Result<Self> {
        match output {
            LogOutput::Stdout => Ok(Self::Stdout),
            LogOutput::File(path) => Ok(Self::File(LogFile::open(path)?)),
        }
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
            Self::Stdout | Self::Channel(_) => None,
        }
    }

    /// Whether what is written here is seen by who reads the process's output.
    pub fn is_output(&self) -> bool {
        !matches!(self, Self::File(_))
    }

    fn write(&mut self, piece: Vec<u8>) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(&piece)?;
                stdout.flush()
            }
            Self::File(file) => file.write_all(&piece),
            Self::Channel(channel) => channel.send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into()),
        }
    }
}

/// The workers' side of the writer thread.
#[derive(Clone)]
pub struct Writer(SyncSender<Vec<u8>>);

/// Told when the last piece was written, once every [`Writer`] is dropped.
pub struct Written(Receiver<()>);

impl Writer {
    /// Pieces that may wait: 64 × 32 KiB is 2 MiB of a reader being slow.
    const QUEUE: usize = 64;

    /// Lines that the sink does not take are counted nowhere.
    pub fn start(sink: Sink) -> io::Result<(Self, Written)> {
        Self::start_counting(sink, Counter::noop())
    }

    /// `lost`: counts the lines that the sink did not take.
    pub fn start_counting(mut sink: Sink, lost: Counter) -> io::Result<(Self, Written)> {
        let (pieces, queue) = sync_channel::<Vec<u8>>(Self::QUEUE);
        let (done, written) = channel();
        thread::Builder::new().name("access-log".into()).spawn(move || {
            let mut failing = false;
            for piece in queue {
                let lines = lines(&piece);
                let result = sink.write(piece);
                if result.is_err() {
                    lost.increment(lines);
                }
                if let (Err(error), false) = (&result, failing) {
                    tracing::warn!(%error, "the access log cannot be written; lines are lost until it can be");
                }
                failing = result.is_err();
            }
            // Nobody may be waiting any more.
            let _ = done.send(());
        })?;
        Ok((Self(pieces), Written(written)))
    }

    /// Gives the piece back when the writer is behind.
    pub(crate) fn send(&self, piece: Vec<u8>) -> Result<(), Vec<u8>> {
        self.0.try_send(piece).map_err(|error| match error {
            TrySendError::Full(piece) | TrySendError::Disconnected(piece) => piece,
        })
    }
}

pub(super) fn lines(piece: &[u8]) -> u64 {
    u64::try_from(memchr::memchr_iter(b'\n', piece).count()).unwrap_or(u64::MAX)
}

impl Written {
    /// Waits for the last line, but not for ever: a reader that is stuck must not keep the process.
    pub fn wait(&self, patience: Duration) {
        let _ = self.0.recv_timeout(patience);
    }
}
