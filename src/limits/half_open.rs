//! The connections that have not yet said what they want, and which of them goes when there is no room: the one
//! that has waited longest, on whichever worker it is.
//!
//! Their number and the order in which they came are shared by all workers ([`Crowd`]). A connection is closed by
//! the worker that it lives on: another one only tells it how many have to go.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Poll, Waker};

use tokio::sync::Notify;

use crate::metrics::Level;

/// What the workers know of each other's half-open connections.
pub struct Crowd {
    limit: u64,
    count: Level,
    /// Each connection has a number of its own: the lower, the longer it has waited.
    next: AtomicU64,
    workers: Box<[Place]>,
}

#[derive(Debug)]
struct Place {
    /// The lowest number on this worker that has not been told to go.
    oldest: AtomicU64,
    /// How many have to go.
    owed: AtomicUsize,
    told: Notify,
}

const NONE: u64 = u64::MAX;

impl Crowd {
    pub fn new(limit: usize, workers: usize, count: Level) -> Self {
        let place = || Place { oldest: AtomicU64::new(NONE), owed: AtomicUsize::new(0), told: Notify::new() };
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        Self { limit, count, next: AtomicU64::new(0), workers: (0..workers).map(|_| place()).collect() }
    }

    /// On the worker where somebody has waited longest of all, the `n` that have waited longest there go.
    pub fn evict(&self, n: usize) {
        let oldest = self.workers.iter().min_by_key(|place| place.oldest.load(Ordering::Relaxed));
        let Some(place) = oldest.filter(|place| place.oldest.load(Ordering::Relaxed) != NONE) else { return };
        place.owed.fetch_add(n, Ordering::Relaxed);
        place.told.notify_one();
    }
}

/// One worker's list, ordered by age.
pub struct HalfOpen {
    crowd: Arc<Crowd>,
    worker: usize,
    waiting: RefCell<BTreeMap<u64, Option<Waker>>>,
    /// All below this number have been told to go.
    evicted: Cell<u64>,
}

/// One connection's place in the list, given up when dropped.
pub struct Waiting {
    list: Rc<HalfOpen>,
    key: u64,
}

impl HalfOpen {
    pub fn new(crowd: Arc<Crowd>, worker: usize) -> Rc<Self> {
        Rc::new(Self { crowd, worker, waiting: RefCell::default(), evicted: Cell::new(0) })
    }

    /// One more; at the limit the oldest of all goes for it.
    pub fn wait(self: &Rc<Self>) -> Waiting {
        if self.crowd.count.value() >= self.crowd.limit {
            self.crowd.evict(1);
        }
        let key = self.crowd.next.fetch_add(1, Ordering::Relaxed);
        self.waiting.borrow_mut().insert(key, None);
        self.crowd.count.rise();
        self.tell_oldest();
        Waiting { list: Rc::clone(self), key }
    }

    /// Does what [`Crowd::evict`] asks of this worker, for ever.
    pub async fn obey(self: Rc<Self>) {
        while let Some(place) = self.crowd.workers.get(self.worker) {
            place.told.notified().await;
            self.evict(place.owed.swap(0, Ordering::Relaxed));
        }
    }

    /// Tells the `n` connections that have waited longest to go.
    fn evict(&self, n: usize) {
        for (key, waker) in self.waiting.borrow_mut().range_mut(self.evicted.get()..).take(n) {
            self.evicted.set(key.saturating_add(1));
            if let Some(waker) = waker.take() {
                waker.wake();
            }
        }
        self.tell_oldest();
    }

    fn tell_oldest(&self) {
        let oldest = self.waiting.borrow().range(self.evicted.get()..).next().map_or(NONE, |(key, _)| *key);
        if let Some(place) = self.crowd.workers.get(self.worker) {
            place.oldest.store(oldest, Ordering::Relaxed);
        }
    }
}

impl Waiting {
    /// Resolves when this connection has to go.
    pub async fn evicted(&self) {
        poll_fn(|cx| {
            if self.key < self.list.evicted.get() {
                return Poll::Ready(());
            }
            match self.list.waiting.borrow_mut().get_mut(&self.key) {
                Some(Some(waker)) => waker.clone_from(cx.waker()),
                Some(none) => *none = Some(cx.waker().clone()),
                None => {}
            }
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.list.waiting.borrow_mut().remove(&self.key);
        self.list.crowd.count.fall();
        self.list.tell_oldest();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;

    fn is_evicted(waiting: &Waiting) -> bool {
        waiting.evicted().now_or_never().is_some()
    }

    /// Two workers, of which the second has all the others.
    #[tokio::test]
    async fn the_oldest_goes_whichever_worker_has_it() {
        let crowd = Arc::new(Crowd::new(3, 2, Level::default()));
        let lists = [0, 1].map(|worker| HalfOpen::new(Arc::clone(&crowd), worker));
        LocalSet::new()
            .run_until(async {
                for list in &lists {
                    spawn_local(Rc::clone(list).obey());
                }
                let old = [(); 3].map(|()| lists[1].wait());
                // The first worker has none of its own to close for this one.
                let new = lists[0].wait();
                yield_now().await;
                assert_eq!(old.each_ref().map(is_evicted), [true, false, false]);
                let [first, second, third] = old;
                drop(first);
                // Three again: one more, and the next oldest goes, which is on the other worker still.
                let newer = lists[0].wait();
                yield_now().await;
                assert_eq!([&second, &third, &new, &newer].map(is_evicted), [true, false, false, false]);
                drop((second, third));
                // Two: room for one more.
                let newest = lists[1].wait();
                yield_now().await;
                assert_eq!([&new, &newer, &newest].map(is_evicted), [false, false, false]);
                crowd.evict(16);
                yield_now().await;
                assert_eq!([&new, &newer, &newest].map(is_evicted), [true, true, false]);
            })
            .await;
    }
}
