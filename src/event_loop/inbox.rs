//! Where other threads leave the tasks that they wake.

use std::io;
use std::sync::PoisonError;

use super::sync::{EventFd, Mutex};
use super::tasks::TaskId;

pub(super) struct Inbox {
    woken: Mutex<Vec<TaskId>>,
    /// Written to when `woken` is no longer empty.
    signal: EventFd,
}

impl Inbox {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { woken: Mutex::new(Vec::new()), signal: EventFd::new()? })
    }

    /// From any thread.
    pub(super) fn wake(&self, task: TaskId) {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = woken.is_empty();
        woken.push(task);
        drop(woken);
        if was_empty {
            self.signal.write();
        }
    }

    /// All that were woken. The next one writes to `signal` again.
    pub(super) fn take(&self) -> Vec<TaskId> {
        std::mem::take(&mut *self.woken.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the loop waits for.
    pub(super) fn signal(&self) -> &EventFd {
        &self.signal
    }
}
