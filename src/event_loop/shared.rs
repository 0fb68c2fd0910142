//! What one loop consists of, as its sockets, timers and tasks see it.

use std::cell::{Cell, RefCell};
use std::io;
#[cfg(debug_assertions)]
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;

use super::inbox::Inbox;
use super::sources::Sources;
use super::tasks::{TaskId, Tasks};
use crate::sys::instant::Instant;
use crate::sys::recent_longest::Measure;

/// The event of the inbox; no socket has this key.
pub(super) const INBOX: u64 = u64::MAX;

pub(super) struct Shared {
    pub(super) epoll: OwnedFd,
    pub(super) sources: RefCell<Sources>,
    /// The same sockets, reported as long as they are readable: what finds lost wake-ups.
    #[cfg(debug_assertions)]
    pub(super) watch: OwnedFd,
    pub(super) tasks: RefCell<Tasks>,
    pub(super) inbox: Arc<Inbox>,
    /// Closed at the end of the turn, so that no other connection waits for it.
    pub(super) closing: RefCell<Vec<OwnedFd>>,
    /// The only event of this turn concerns one socket.
    pub(super) is_lone: Cell<bool>,
    pub(super) turns: Measure,
    #[cfg(test)]
    pub(super) number_of_turns: Cell<u64>,
    /// The time, where it is a test's.
    #[cfg(test)]
    pub(super) simulated: Cell<Option<Instant>>,
}

impl Shared {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let inbox = Arc::new(Inbox::new()?);
        epoll::add(&epoll, inbox.signal(), EventData::new_u64(INBOX), EventFlags::IN | EventFlags::ET)?;
        Ok(Self {
            epoll,
            sources: RefCell::new(Sources::new()),
            #[cfg(debug_assertions)]
            watch: epoll::create(CreateFlags::CLOEXEC)?,
            tasks: RefCell::new(Tasks::new()),
            inbox,
            closing: RefCell::default(),
            is_lone: Cell::new(false),
            turns: Measure::new(),
            #[cfg(test)]
            number_of_turns: Cell::default(),
            #[cfg(test)]
            simulated: Cell::default(),
        })
    }

    #[cfg(not(test))]
    pub(super) fn clock(&self) -> Instant {
        Instant::read()
    }

    #[inline]
    pub(super) fn wake(&self, task: TaskId) {
        self.tasks.borrow_mut().wake(task);
    }

    pub(super) fn wake_next_turn(&self, task: TaskId) {
        self.tasks.borrow_mut().wake_next_turn(task);
    }

    #[cfg(debug_assertions)]
    pub(super) fn inspect(&self, source: impl AsFd, key: EventData) {
        let _ = epoll::add(&self.watch, source, key, EventFlags::IN | EventFlags::RDHUP);
    }

    pub(super) fn close_now(&self) -> bool {
        let closing = self.closing.take();
        !closing.is_empty()
    }

    /// A call that opens a file. What is about to be closed makes room for it.
    pub(super) fn opening<T>(&self, mut open: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
        match open() {
            Err(Errno::MFILE | Errno::NFILE) if self.close_now() => Ok(open()?),
            opened => Ok(opened?),
        }
    }
}
