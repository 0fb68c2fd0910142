//! Where other threads leave the tasks that they wake.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

use super::tasks::TaskId;

pub(super) struct Inbox {
    woken: Mutex<Vec<TaskId>>,
    /// Written to when `woken` is no longer empty. Never read: the loop is informed of each write, not of the count.
    signal: OwnedFd,
}

impl Inbox {
    pub(super) fn new() -> io::Result<Self> {
        let signal = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { woken: Mutex::default(), signal })
    }

    /// From any thread.
    pub(super) fn wake(&self, task: TaskId) {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = woken.is_empty();
        woken.push(task);
        drop(woken);
        if was_empty {
            // It could fail only after 2^64 of them.
            let _ = rustix::io::write(&self.signal, &1_u64.to_ne_bytes());
        }
    }

    /// All that were woken. The next one writes to `signal` again.
    pub(super) fn take(&self) -> Vec<TaskId> {
        std::mem::take(&mut *self.woken.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signal.as_fd()
    }
}
