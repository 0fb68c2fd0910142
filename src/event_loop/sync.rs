//! What the [inbox](super::inbox) shares with other threads: a lock, and a file descriptor that is written to.
//!
//! `tests/model` has others in their place, with which the inbox is checked in every order of its threads.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
pub(super) use std::sync::Mutex;

use rustix::event::{EventfdFlags, eventfd};

/// Never read: the loop is informed of each write, not of the count.
pub(super) struct EventFd(OwnedFd);

impl EventFd {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub(super) fn write(&self) {
        // It could fail only after 2^64 of them.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
