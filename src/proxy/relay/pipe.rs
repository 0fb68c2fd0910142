//! The pipes of one worker, through which splice(2) moves bulk from socket to socket without copying it.
//!
//! A direction leases a pipe while it is busy and gives it back empty. There are only so many: an unprivileged
//! user may hold 16 384 pipe pages in all (pipe(7), `pipe-user-pages-soft`), so past [`PipePool::MAX`] a
//! direction copies instead. Pipes that were not needed for a while are closed: each is two open files.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use crate::runtime::{Notify, sleep};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

#[derive(Clone, Default)]
pub(super) struct PipePool(Rc<Inner>);

#[derive(Default)]
struct Inner {
    /// The last one given back is leased first, so those at the front are the longest unused.
    idle: RefCell<Vec<Pipe>>,
    leased: Cell<usize>,
    /// How few were idle at a time since [`PipePool::close_unused`] looked last: so many were not needed.
    fewest_idle: Cell<usize>,
    /// A pipe was given back.
    returned: Notify,
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

    /// A pipe that was not needed for so long is closed, which costs the next bulk transfer the opening of another.
    const KEPT: Duration = Duration::from_secs(10);

    /// Closes what has not been used for [`Self::KEPT`], or up to twice as long. Sleeps while there is no idle pipe,
    /// so that an idle process is not woken.
    pub(super) async fn close_unused(self) {
        let inner = self.0;
        loop {
            while inner.idle.borrow().is_empty() {
                inner.returned.notified().await;
            }
            inner.fewest_idle.set(inner.idle.borrow().len());
            sleep(Self::KEPT).await;
            let unused = inner.fewest_idle.get().min(inner.idle.borrow().len());
            drop(inner.idle.borrow_mut().drain(..unused));
        }
    }

    /// Open files are short: what is idle is closed at once.
    pub(super) fn close_idle(&self) {
        self.0.idle.borrow_mut().clear();
    }

    /// An empty pipe, or none where all are in use or the system has none to give.
    pub(super) fn lease(&self) -> Option<Lease> {
        if self.0.leased.get() >= Self::MAX {
            return None;
        }
        let pipe = self.0.idle.borrow_mut().pop().or_else(Self::open)?;
        self.0.leased.set(self.0.leased.get().saturating_add(1));
        self.0.fewest_idle.set(self.0.fewest_idle.get().min(self.0.idle.borrow().len()));
        Some(Lease { pipe: Some(pipe), filled: 0, inner: Rc::clone(&self.0) })
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
    inner: Rc<Inner>,
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
        self.inner.leased.set(self.inner.leased.get().saturating_sub(1));
        if let Some(pipe) = self.pipe.take().filter(|_| self.filled == 0) {
            self.inner.idle.borrow_mut().push(pipe);
            self.inner.returned.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::spawn;
    use crate::runtime::testing::in_virtual_time;

    /// And a moment more: what happens at that time has happened.
    async fn pass(time: Duration) {
        sleep(time + Duration::from_millis(1)).await;
    }

    #[test]
    fn pipes_that_are_not_needed_are_closed_and_others_stay() {
        in_virtual_time(async {
            let pool = PipePool::default();
            spawn(pool.clone().close_unused());
            let busy: Vec<Lease> = (0..5).map(|_| pool.lease().unwrap()).collect();
            drop(busy);
            assert_eq!(pool.idle(), 5);
            pass(PipePool::KEPT / 2).await;
            assert_eq!(pool.idle(), 5);
            // Two at a time are still needed, now and then.
            for _ in 0..3 {
                drop([pool.lease(), pool.lease()]);
                pass(PipePool::KEPT).await;
            }
            assert_eq!(pool.idle(), 2);
            pass(PipePool::KEPT).await;
            assert_eq!(pool.idle(), 0);
            // From here on nothing wakes it until there is one again.
            let lease = pool.lease().unwrap();
            pass(PipePool::KEPT * 10).await;
            drop(lease);
            assert_eq!(pool.idle(), 1);
            pass(Duration::ZERO).await;
            pass(PipePool::KEPT).await;
            assert_eq!(pool.idle(), 0);
            drop(pool.lease());
            pool.close_idle();
            assert_eq!(pool.idle(), 0);
        });
    }
}
