//! What the demo prints, written by a separate thread: if its output is not read, the stand-ins go on and Ctrl-C still ends
//! it. Lines that do not fit in the queue are dropped.

use std::io::{self, ErrorKind, Write};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::sys::blocking;

const QUEUE: usize = 1024;
/// For the last lines.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Output {
    line: Vec<u8>,
    lines: SyncSender<Vec<u8>>,
    /// Why the thread has ended; the sender is dropped once everything is written.
    ended: oneshot::Receiver<io::Error>,
    /// Nobody reads any more, as with `| head`: no error, and nothing is written from then on.
    reader_gone: bool,
}

impl Output {
    pub(super) fn start() -> io::Result<Self> {
        let (lines, queue) = sync_channel::<Vec<u8>>(QUEUE);
        let (end, ended) = oneshot::channel();
        blocking::spawn("demo-output", move || {
            let mut out = anstream::stdout();
            for line in queue {
                if let Err(error) = out.write_all(&line).and_then(|()| out.flush()) {
                    // The demo may be over.
                    let _ = end.send(error);
                    return;
                }
            }
        })?;
        Ok(Self { line: Vec::new(), lines, ended, reader_gone: false })
    }

    /// Returns when nothing can be written any more: an error, unless the reader has gone.
    pub(super) async fn failed(&mut self) -> io::Result<()> {
        if self.reader_gone {
            return Ok(());
        }
        let error = (&mut self.ended).await.unwrap_or_else(|_| ErrorKind::BrokenPipe.into());
        self.unless_gone(error)
    }

    /// Waits for the last lines, but not for long.
    pub(super) async fn end(self) -> io::Result<()> {
        let Self { lines, ended, .. } = self;
        drop(lines);
        if ended.is_terminated() {
            return Ok(());
        }
        match timeout(PATIENCE, ended).await {
            Ok(Ok(error)) if error.kind() != ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }

    fn unless_gone(&mut self, error: io::Error) -> io::Result<()> {
        self.reader_gone = error.kind() == ErrorKind::BrokenPipe;
        if self.reader_gone { Ok(()) } else { Err(error) }
    }
}

impl Write for Output {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(text);
        if text.ends_with(b"\n") {
            self.flush()?;
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.lines.try_send(std::mem::take(&mut self.line)) {
            Ok(()) | Err(TrySendError::Full(_)) => Ok(()),
            Err(TrySendError::Disconnected(_)) if self.reader_gone => Ok(()),
            Err(TrySendError::Disconnected(_)) => {
                // The thread has said why before it ended.
                let error = self.ended.try_recv().unwrap_or_else(|_| ErrorKind::BrokenPipe.into());
                self.unless_gone(error)
            }
        }
    }
}
