//! The pipes of one worker, through which splice(2) moves bulk from socket to socket without copying it.
//!
//! A direction leases a pipe while it is busy and gives it back empty. There are only so many: an unprivileged
//! user may hold 16 384 pipe pages in all (pipe(7), `pipe-user-pages-soft`), so past [`PipePool::MAX`] a
//! direction copies instead.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

#[derive(Clone, Default)]
pub(super) struct PipePool(Rc<Shelf>);

#[derive(Default)]
struct Shelf {
    idle: RefCell<Vec<Pipe>>,
    leased: Cell<usize>,
}

struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl PipePool {
    /// Pipes per worker. 2 workers × 24 × 1 MiB stay below the soft limit of 64 MiB.
    const MAX: usize = 24;
    /// The largest size an unprivileged process may ask for (`/proc/sys/fs/pipe-max-size`).
    const SIZE: usize = 1 << 20;

    /// An empty pipe, or none where all are in use or the system has none to give.
    pub(super) fn lease(&self) -> Option<Lease> {
        if self.0.leased.get() >= Self::MAX {
            return None;
        }
        let pipe = self.0.idle.borrow_mut().pop().or_else(Self::open)?;
        self.0.leased.set(self.0.leased.get().saturating_add(1));
        Some(Lease { pipe: Some(pipe), filled: 0, shelf: Rc::clone(&self.0) })
    }

    #[cfg(test)]
    pub(super) fn leased(&self) -> usize {
        self.0.leased.get()
    }

    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.0.idle.borrow().len()
    }

    fn open() -> Option<Pipe> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // A smaller pipe moves the same bytes in more calls.
        let _ = fcntl_setpipe_size(&writer, Self::SIZE);
        Some(Pipe { reader, writer })
    }
}

/// A pipe on loan; dropped empty it goes back, dropped with bytes in it, it is closed.
pub(super) struct Lease {
    pipe: Option<Pipe>,
    filled: usize,
    shelf: Rc<Shelf>,
}

impl Lease {
    pub(super) fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Moves at most `most` bytes in.
    pub(super) fn fill_from(&mut self, source: impl AsFd, most: usize) -> io::Result<usize> {
        let Some(pipe) = &self.pipe else { return Ok(0) };
        let most = most.min(PipePool::SIZE);
        let n = splice(source, None, &pipe.writer, None, most, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)?;
        self.filled = self.filled.saturating_add(n);
        Ok(n)
    }

    pub(super) fn drain_to(&mut self, sink: impl AsFd) -> io::Result<usize> {
        let Some(pipe) = &self.pipe else { return Ok(0) };
        let n = splice(&pipe.reader, None, sink, None, self.filled, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)?;
        self.filled = self.filled.saturating_sub(n);
        Ok(n)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shelf.leased.set(self.shelf.leased.get().saturating_sub(1));
        if let Some(pipe) = self.pipe.take().filter(|_| self.filled == 0) {
            self.shelf.idle.borrow_mut().push(pipe);
        }
    }
}
