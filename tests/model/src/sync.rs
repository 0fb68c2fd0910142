//! A lock whose holders loom interleaves, and an eventfd that epoll watches edge-triggered.

use std::io;

use loom::sync::Condvar;
pub(crate) use loom::sync::Mutex;

/// Each write is reported once, and several before a wait are one report. That it is readable is never asked: it always is after
/// the first write, as nobody reads.
pub(crate) struct EventFd {
    is_due: Mutex<bool>,
    written: Condvar,
}

impl EventFd {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { is_due: Mutex::new(false), written: Condvar::new() })
    }

    pub(crate) fn write(&self) {
        *self.is_due.lock().unwrap() = true;
        self.written.notify_one();
    }

    /// `epoll_wait` without a timeout.
    pub(crate) fn wait(&self) {
        let mut is_due = self.is_due.lock().unwrap();
        while !*is_due {
            is_due = self.written.wait(is_due).unwrap();
        }
        *is_due = false;
    }

    /// `epoll_wait` with a timeout of zero.
    pub(crate) fn poll(&self) -> bool {
        std::mem::take(&mut *self.is_due.lock().unwrap())
    }
}
