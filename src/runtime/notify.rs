//! Signals between the tasks of one thread.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::task::{Context, Poll};

use slab::Slab;

use crate::event_loop::{TaskId, context};

/// Who waits for another task of the same thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiter(TaskId);

impl Waiter {
    /// The task that is being polled.
    pub fn current() -> Self {
        Self(context::task())
    }

    pub fn wake(self) {
        context::wake(self.0);
    }
}

/// Wakes tasks that wait for it.
#[derive(Debug, Default)]
pub struct Notify {
    /// Someone was to be woken, and nobody waited.
    is_due: Cell<bool>,
    /// How often all were woken.
    rounds: Cell<u64>,
    /// None: it was woken, and has not been polled since.
    waiting: RefCell<Slab<Option<Waiter>>>,
}

impl Notify {
    pub const fn new() -> Self {
        Self { is_due: Cell::new(false), rounds: Cell::new(0), waiting: RefCell::new(Slab::new()) }
    }

    /// Wakes one task that waits, or else the next one that will.
    pub fn notify_one(&self) {
        let waiter = self.waiting.borrow_mut().iter_mut().find_map(|(_, waiter)| waiter.take());
        match waiter {
            Some(waiter) => waiter.wake(),
            None => self.is_due.set(true),
        }
    }

    /// Wakes all tasks that wait, those included that have made their future and not polled it yet.
    pub fn notify_all(&self) {
        self.rounds.set(self.rounds.get().wrapping_add(1));
        let waiting: Vec<Waiter> =
            self.waiting.borrow_mut().iter_mut().filter_map(|(_, waiter)| waiter.take()).collect();
        waiting.into_iter().for_each(Waiter::wake);
    }

    pub fn notified(&self) -> Notified<'_> {
        Notified { notify: self, round: self.rounds.get(), key: None }
    }
}

/// See [`Notify::notified`].
#[derive(Debug)]
pub struct Notified<'a> {
    notify: &'a Notify,
    round: u64,
    /// Its entry among those that wait.
    key: Option<usize>,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let notify = self.notify;
        let mut waiting = notify.waiting.borrow_mut();
        let entry = self.key.and_then(|key| waiting.get_mut(key));
        if self.round != notify.rounds.get() || (entry.is_none() && notify.is_due.take()) {
            if let Some(key) = self.key.take() {
                waiting.try_remove(key);
            }
            self.round = notify.rounds.get();
            return Poll::Ready(());
        }
        match entry {
            Some(None) => {
                let key = self.key.take();
                key.and_then(|key| waiting.try_remove(key));
                Poll::Ready(())
            }
            Some(Some(waiter)) => {
                // It may have moved to another task.
                *waiter = Waiter::current();
                Poll::Pending
            }
            None => {
                self.key = Some(waiting.insert(Some(Waiter::current())));
                Poll::Pending
            }
        }
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        let waiter = self.notify.waiting.borrow_mut().try_remove(key);
        // Woken alone and given up: what it was woken for is for the next one.
        if let Some(None) = waiter
            && self.round == self.notify.rounds.get()
        {
            self.notify.notify_one();
        }
    }
}
