//! The connections that have not yet said what they want, and which of them goes when there is no room: the one
//! that has waited longest, on whichever worker it is. There is a bound on their number, and one on the bytes that
//! they hold together; for the latter only those go that hold any.
//!
//! Their number, their bytes and the order in which they came are shared by all workers ([`HalfOpenRegistry`]), as atomics. A
//! connection is closed by the worker that it lives on: another one only says that somebody has to go there. Bytes are
//! counted for a connection that has to wait for more of them, so one whose hello comes whole pays nothing.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Poll, Waker};

use crate::sys::runtime::Notify;

/// What the workers know of each other's half-open connections.
pub struct HalfOpenRegistry {
    limit: u64,
    count: AtomicU64,
    bytes: Bytes,
    /// Each connection has a number of its own: the lower, the longer it has waited.
    next: AtomicU64,
    workers: Box<[WorkerSlot]>,
}

/// What connections that wait have in their buffers.
#[derive(Debug)]
struct Bytes {
    /// Never more than so many are held.
    limit: u64,
    held: AtomicU64,
    /// Of them, those of connections that have been told to go and give them back in a moment.
    going: AtomicU64,
}

#[derive(Debug)]
struct WorkerSlot {
    /// The lowest number on this worker that has not been told to go.
    oldest: AtomicU64,
    /// The lowest of those that hold bytes.
    oldest_holding: AtomicU64,
    /// How many have to go.
    owed: AtomicUsize,
    wake: Notify,
}

const NONE: u64 = u64::MAX;

/// A buffer of no more is a part of what any connection costs, and is not counted once nothing more is waited for.
const SMALL: usize = 4096;

impl Bytes {
    /// From here on the longest waiting go. What is left is for those that come while they do.
    fn is_crowded(&self) -> bool {
        let going = self.going.load(Ordering::Relaxed);
        self.held.load(Ordering::Relaxed).saturating_sub(going) > self.limit - self.limit / 4
    }

    /// Whether so many more may be held; if so, they are.
    fn take(&self, more: u64) -> bool {
        if more == 0 {
            return true;
        }
        let fits = |held: u64| held.checked_add(more).filter(|held| *held <= self.limit);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    fn give_back(&self, bytes: u64) {
        if bytes > 0 {
            self.held.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl HalfOpenRegistry {
    pub fn new(limit: usize, bytes: u64, workers: usize) -> Self {
        let slot = || WorkerSlot {
            oldest: AtomicU64::new(NONE),
            oldest_holding: AtomicU64::new(NONE),
            owed: AtomicUsize::new(0),
            wake: Notify::new(),
        };
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        let bytes = Bytes { limit: bytes, held: AtomicU64::new(0), going: AtomicU64::new(0) };
        let (count, next) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { limit, count, bytes, next, workers: (0..workers).map(|_| slot()).collect() }
    }

    /// Connections that are half-open now.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Bytes held now, and how many may be.
    pub fn bytes(&self) -> (u64, u64) {
        (self.bytes.held.load(Ordering::Relaxed), self.bytes.limit)
    }

    /// On the worker where somebody has waited longest of all, the `n` that have waited longest there go.
    pub fn evict(&self, n: usize) {
        let Some((_, slot)) = self.worker_of(|slot| &slot.oldest) else { return };
        slot.owed.fetch_add(n, Ordering::Relaxed);
        slot.wake.notify_one();
    }

    /// The worker with the lowest of these numbers.
    fn worker_of(&self, number: fn(&WorkerSlot) -> &AtomicU64) -> Option<(usize, &WorkerSlot)> {
        let number = |slot: &WorkerSlot| number(slot).load(Ordering::Relaxed);
        let oldest = self.workers.iter().enumerate().min_by_key(|(_, slot)| number(slot));
        oldest.filter(|(_, slot)| number(slot) != NONE)
    }
}

/// One worker's list, ordered by age.
pub struct HalfOpen {
    crowd: Arc<HalfOpenRegistry>,
    worker: usize,
    lists: RefCell<Lists>,
}

#[derive(Default)]
struct Lists {
    /// Those that may stay.
    waiting: BTreeMap<u64, Entry>,
    /// Of them, those that hold bytes.
    holding: BTreeSet<u64>,
    /// Those that have been told to go.
    leaving: BTreeMap<u64, Leaving>,
}

#[derive(Default)]
struct Entry {
    waker: Option<Waker>,
    bytes: u64,
}

struct Leaving {
    bytes: u64,
    why: Why,
}

/// Why a half-open connection has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Too many, or open files or memory are short.
    Room,
    /// Too many bytes.
    Bytes,
}

impl Why {
    /// As the record's detail.
    pub fn detail(self) -> &'static str {
        match self {
            Self::Room => "limits.half_open, or open files or memory",
            Self::Bytes => "limits.half_open_bytes",
        }
    }
}

/// One connection's place in the list, given up when dropped.
pub struct Waiting {
    list: Rc<HalfOpen>,
    key: u64,
}

/// The connection has to go itself.
#[derive(Debug)]
pub struct NoRoom;

/// The bytes of a connection that is half-open no more: what waits for its upstream, or a later request's head that is
/// not complete. They count, but nobody has it go for them.
pub struct Buffered {
    crowd: Arc<HalfOpenRegistry>,
    bytes: u64,
}

impl Buffered {
    pub fn none(crowd: &Arc<HalfOpenRegistry>) -> Self {
        Self { crowd: Arc::clone(crowd), bytes: 0 }
    }

    /// From now on so many. Without room for them nothing changes.
    pub fn hold(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let bytes = if bytes <= SMALL { 0 } else { u64::try_from(bytes).unwrap_or(u64::MAX) };
        if !self.crowd.bytes.take(bytes.saturating_sub(self.bytes)) {
            return Err(NoRoom);
        }
        self.crowd.bytes.give_back(self.bytes.saturating_sub(bytes));
        self.bytes = bytes;
        Ok(())
    }
}

impl HalfOpen {
    pub fn new(crowd: Arc<HalfOpenRegistry>, worker: usize) -> Rc<Self> {
        Rc::new(Self { crowd, worker, lists: RefCell::default() })
    }

    /// One more; at the limit the oldest of all goes for it.
    pub fn wait(self: &Rc<Self>) -> Waiting {
        if self.crowd.count() >= self.crowd.limit {
            self.crowd.evict(1);
        }
        let key = self.crowd.next.fetch_add(1, Ordering::Relaxed);
        self.crowd.count.fetch_add(1, Ordering::Relaxed);
        let mut lists = self.lists.borrow_mut();
        lists.waiting.insert(key, Entry::default());
        self.publish_oldest(&lists);
        Waiting { list: Rc::clone(self), key }
    }

    /// Does what is asked of this worker; never returns.
    pub async fn run_evictions(self: Rc<Self>) {
        while let Some(slot) = self.crowd.workers.get(self.worker) {
            slot.wake.notified().await;
            for _ in 0..slot.owed.swap(0, Ordering::Relaxed) {
                let oldest = self.lists.borrow().waiting.keys().next().copied();
                let Some(oldest) = oldest else { break };
                self.evict(oldest, Why::Room);
            }
            self.relieve();
        }
    }

    /// Those that hold bytes go, the longest waiting of all workers first, until there is room for more bytes.
    fn relieve(&self) {
        while self.crowd.bytes.is_crowded() {
            match self.crowd.worker_of(|slot| &slot.oldest_holding) {
                Some((worker, _)) if worker == self.worker => {
                    let oldest = self.lists.borrow().holding.first().copied();
                    let Some(oldest) = oldest else { return };
                    self.evict(oldest, Why::Bytes);
                }
                Some((_, slot)) => return slot.wake.notify_one(),
                None => return,
            }
        }
    }

    /// Tells a connection to go.
    fn evict(&self, key: u64, why: Why) {
        let mut lists = self.lists.borrow_mut();
        let Some(Entry { waker, bytes }) = lists.waiting.remove(&key) else { return };
        lists.holding.remove(&key);
        lists.leaving.insert(key, Leaving { bytes, why });
        self.crowd.bytes.going.fetch_add(bytes, Ordering::Relaxed);
        self.publish_oldest(&lists);
        drop(lists);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn publish_oldest(&self, lists: &Lists) {
        let Some(slot) = self.crowd.workers.get(self.worker) else { return };
        slot.oldest.store(lists.waiting.keys().next().copied().unwrap_or(NONE), Ordering::Relaxed);
        slot.oldest_holding.store(lists.holding.first().copied().unwrap_or(NONE), Ordering::Relaxed);
    }
}

impl Waiting {
    /// Resolves when this connection has to go.
    pub async fn evicted(&self) {
        poll_fn(|cx| {
            let mut lists = self.list.lists.borrow_mut();
            match lists.waiting.get_mut(&self.key).map(|entry| &mut entry.waker) {
                Some(Some(waker)) => waker.clone_from(cx.waker()),
                Some(none) => *none = Some(cx.waker().clone()),
                None => return Poll::Ready(()),
            }
            Poll::Pending
        })
        .await;
    }

    /// Why it has to go, if it has to.
    pub fn why(&self) -> Option<Why> {
        self.list.lists.borrow().leaving.get(&self.key).map(|leaving| leaving.why)
    }

    /// Notes that this connection waits with so many bytes of memory in its buffer. If that is too much in all, those
    /// that have waited longest go; if even that would be too late, it has to go itself.
    pub fn hold(&self, bytes: usize) -> Result<(), NoRoom> {
        let (list, total) = (&self.list, &self.list.crowd.bytes);
        let mut lists = list.lists.borrow_mut();
        let Lists { waiting, holding, .. } = &mut *lists;
        let entry = waiting.get_mut(&self.key).ok_or(NoRoom)?;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        if !total.take(bytes.saturating_sub(entry.bytes)) {
            drop(lists);
            list.evict(self.key, Why::Bytes);
            list.relieve();
            return Err(NoRoom);
        }
        total.give_back(entry.bytes.saturating_sub(bytes));
        let before = std::mem::replace(&mut entry.bytes, bytes);
        if (before > 0) != (bytes > 0) {
            if bytes > 0 {
                holding.insert(self.key)
            } else {
                holding.remove(&self.key)
            };
            list.publish_oldest(&lists);
        }
        drop(lists);
        list.relieve();
        Ok(())
    }

    /// This connection has said what it wants, and keeps so many bytes until its upstream is there.
    pub fn settle(&self, bytes: usize) -> Result<Option<Buffered>, NoRoom> {
        if bytes <= SMALL {
            return Ok(None);
        }
        self.hold(bytes)?;
        let mut lists = self.list.lists.borrow_mut();
        let entry = lists.waiting.get_mut(&self.key).ok_or(NoRoom)?;
        let bytes = std::mem::take(&mut entry.bytes);
        lists.holding.remove(&self.key);
        self.list.publish_oldest(&lists);
        drop(lists);
        Ok(Some(Buffered { crowd: Arc::clone(&self.list.crowd), bytes }))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let (list, total) = (&self.list, &self.list.crowd.bytes);
        let mut lists = list.lists.borrow_mut();
        let held = match lists.waiting.remove(&self.key) {
            Some(entry) => entry.bytes,
            None => {
                let held = lists.leaving.remove(&self.key).map_or(0, |leaving| leaving.bytes);
                total.going.fetch_sub(held, Ordering::Relaxed);
                held
            }
        };
        if held > 0 {
            lists.holding.remove(&self.key);
            total.give_back(held);
        }
        list.crowd.count.fetch_sub(1, Ordering::Relaxed);
        list.publish_oldest(&lists);
    }
}

impl Drop for Buffered {
    fn drop(&mut self) {
        self.crowd.bytes.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;
    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;

    fn is_evicted(waiting: &Waiting) -> bool {
        waiting.evicted().now_or_never().is_some()
    }

    /// Two workers, of which the second has all the others.
    #[tokio::test]
    async fn the_oldest_goes_whichever_worker_has_it() {
        let crowd = Arc::new(HalfOpenRegistry::new(3, u64::MAX, 2));
        let lists = [0, 1].map(|worker| HalfOpen::new(Arc::clone(&crowd), worker));
        LocalSet::new()
            .run_until(async {
                for list in &lists {
                    spawn_local(Rc::clone(list).run_evictions());
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

    fn crowd_of_bytes(bytes: u64) -> (Arc<HalfOpenRegistry>, [Rc<HalfOpen>; 2]) {
        let crowd = Arc::new(HalfOpenRegistry::new(1000, bytes, 2));
        let lists = [0, 1].map(|worker| HalfOpen::new(Arc::clone(&crowd), worker));
        (crowd, lists)
    }

    #[tokio::test]
    async fn for_too_many_bytes_the_oldest_that_holds_any_goes_whichever_worker_has_it() {
        let (crowd, lists) = crowd_of_bytes(800);
        LocalSet::new()
            .run_until(async {
                for list in &lists {
                    spawn_local(Rc::clone(list).run_evictions());
                }
                let [silent, first, second] = [(); 3].map(|()| lists[1].wait());
                first.hold(300).unwrap();
                second.hold(300).unwrap();
                yield_now().await;
                assert!(!is_evicted(&first));
                // Past three quarters.
                let new = lists[0].wait();
                new.hold(150).unwrap();
                yield_now().await;
                assert_eq!([&silent, &first, &second, &new].map(is_evicted), [false, true, false, false]);
                assert_eq!((first.why(), second.why()), (Some(Why::Bytes), None));
                // Who is about to give its bytes back counts as gone: nobody else has to go meanwhile.
                new.hold(160).unwrap();
                yield_now().await;
                assert!(!is_evicted(&second));
                assert_eq!(crowd.bytes().0, 760);
                drop(first);
                assert_eq!(crowd.bytes().0, 460);
            })
            .await;
    }

    #[test]
    fn never_are_more_bytes_held_than_the_limit() {
        let (crowd, lists) = crowd_of_bytes(800);
        let old = lists[0].wait();
        old.hold(600).unwrap();
        let new = lists[1].wait();
        // The other worker has had no time yet to have the old one go.
        new.hold(201).unwrap_err();
        assert_eq!((crowd.bytes().0, new.why(), old.why()), (600, Some(Why::Bytes), None));
        drop(new);
        let small = lists[1].wait();
        small.hold(200).unwrap();
        assert_eq!(crowd.bytes().0, 800);
    }

    #[test]
    fn what_waits_for_its_upstream_is_counted_and_no_longer_goes() {
        let (crowd, lists) = crowd_of_bytes(80_000);
        let small = lists[0].wait();
        small.hold(6000).unwrap();
        assert!(small.settle(SMALL).unwrap().is_none());
        drop(small);
        assert_eq!(crowd.bytes().0, 0);
        let large = lists[0].wait();
        let buffered = large.settle(60_000).unwrap();
        drop(large);
        assert_eq!(crowd.bytes().0, 60_000);
        let other = lists[0].wait();
        // All but this one's bytes are settled, so it goes itself.
        other.hold(5000).unwrap();
        assert_eq!(other.why(), Some(Why::Bytes));
        drop((other, buffered));
        assert_eq!(crowd.bytes().0, 0);
    }

    #[test]
    fn a_later_head_counts_from_where_it_is_long() {
        let (crowd, lists) = crowd_of_bytes(20_000);
        let mut head = Buffered::none(&crowd);
        head.hold(SMALL).unwrap();
        assert_eq!(crowd.bytes().0, 0);
        head.hold(15_000).unwrap();
        head.hold(20_001).unwrap_err();
        assert_eq!(crowd.bytes().0, 15_000);
        lists[0].wait().hold(6000).unwrap_err();
        head.hold(0).unwrap();
        assert_eq!(crowd.bytes().0, 0);
    }

    proptest! {
        /// Whatever they do, the sum is that of those that are there, within the limit, and nothing is left of it.
        #[test]
        fn the_sum_of_bytes_is_that_of_those_that_are_there(
            steps in prop::collection::vec((0..8_usize, 0..3_u8, 0..5000_usize), 1..200),
        ) {
            let (crowd, lists) = crowd_of_bytes(20_000);
            let mut slots: [Option<(Waiting, u64)>; 8] = std::array::from_fn(|_| None);
            for (slot, what, bytes) in steps {
                match (&mut slots[slot], what) {
                    (None, _) => slots[slot] = Some((lists[slot % 2].wait(), 0)),
                    (Some(_), 0) => slots[slot] = None,
                    (Some((waiting, held)), _) => {
                        if waiting.hold(bytes).is_ok() {
                            *held = u64::try_from(bytes).unwrap();
                        }
                    }
                }
                let sum: u64 = slots.iter().flatten().map(|(_, held)| held).sum();
                prop_assert_eq!(crowd.bytes().0, sum);
                prop_assert!(sum <= 20_000);
            }
            drop(slots);
            prop_assert_eq!((crowd.bytes().0, crowd.bytes.going.load(Ordering::Relaxed)), (0, 0));
        }
    }
}
