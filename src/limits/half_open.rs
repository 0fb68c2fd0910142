//! The connections of one worker that have not yet said what they want, and which of them goes first when there
//! is no room: the one that has waited longest.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::metrics::Level;

/// Ordered by age: the keys only grow.
#[derive(Default)]
pub struct HalfOpen {
    waiting: RefCell<BTreeMap<u64, Entry>>,
    next: Cell<u64>,
    /// Of all workers together.
    count: Level,
}

#[derive(Debug, Default)]
struct Entry {
    evicted: bool,
    waker: Option<Waker>,
}

/// One connection's place in the list, given up when dropped.
pub struct Waiting {
    list: Rc<HalfOpen>,
    key: u64,
}

impl HalfOpen {
    pub fn new(count: Level) -> Rc<Self> {
        Rc::new(Self { count, ..Self::default() })
    }

    pub fn wait(self: &Rc<Self>) -> Waiting {
        let key = self.next.get();
        self.next.set(key.wrapping_add(1));
        self.waiting.borrow_mut().insert(key, Entry::default());
        self.count.rise();
        Waiting { list: Rc::clone(self), key }
    }

    pub fn len(&self) -> usize {
        self.waiting.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// Tells the `n` connections that have waited longest to go.
    pub fn evict(&self, n: usize) {
        let mut waiting = self.waiting.borrow_mut();
        for entry in waiting.values_mut().filter(|entry| !entry.evicted).take(n) {
            entry.evicted = true;
            if let Some(waker) = entry.waker.take() {
                waker.wake();
            }
        }
    }
}

impl Waiting {
    /// Resolves when this connection has to go.
    pub async fn evicted(&self) {
        poll_fn(|cx| {
            let mut waiting = self.list.waiting.borrow_mut();
            let Some(entry) = waiting.get_mut(&self.key) else { return Poll::Pending };
            if entry.evicted {
                return Poll::Ready(());
            }
            match &mut entry.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                None => entry.waker = Some(cx.waker().clone()),
            }
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.list.waiting.borrow_mut().remove(&self.key);
        self.list.count.fall();
    }
}
