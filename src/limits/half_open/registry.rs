//! What all workers share of their half-open connections, as atomics: how many there are, how many bytes they hold,
//! and on which worker the oldest one is.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::runtime::SharedNotify;

/// Shared by all workers; each keeps its own [`HalfOpenList`](super::HalfOpenList).
pub struct HalfOpenRegistry {
    pub(super) limit: u64,
    pub(super) count: AtomicU64,
    pub(super) bytes: ByteBudget,
    /// The next connection's number. Numbers rise, so a lower one has waited longer.
    pub(super) next: AtomicU64,
    pub(super) workers: Box<[WorkerSlot]>,
}

/// The bytes in the buffers of half-open connections.
#[derive(Debug)]
pub(super) struct ByteBudget {
    /// `held` never exceeds it.
    limit: u64,
    held: AtomicU64,
    /// The part of `held` that belongs to connections already evicted, which release it in a moment.
    pub(super) releasing: AtomicU64,
}

/// What the other workers know of one worker.
#[derive(Debug)]
pub(super) struct WorkerSlot {
    /// The lowest number on this worker that is not evicted.
    pub(super) oldest: AtomicU64,
    /// The lowest of those that hold bytes.
    pub(super) oldest_holding: AtomicU64,
    /// How many this worker has to evict.
    pub(super) evictions: AtomicUsize,
    pub(super) wake: SharedNotify,
}

pub(super) const NONE: u64 = u64::MAX;

impl HalfOpenRegistry {
    pub fn new(limit: usize, bytes: u64, workers: usize) -> Self {
        let slot = || WorkerSlot {
            oldest: AtomicU64::new(NONE),
            oldest_holding: AtomicU64::new(NONE),
            evictions: AtomicUsize::new(0),
            wake: SharedNotify::new(),
        };
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        let bytes = ByteBudget { limit: bytes, held: AtomicU64::new(0), releasing: AtomicU64::new(0) };
        let (count, next) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { limit, count, bytes, next, workers: (0..workers).map(|_| slot()).collect() }
    }

    /// Connections that are half-open now.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Bytes held now, and the limit.
    pub fn bytes(&self) -> (u64, u64) {
        (self.bytes.held.load(Ordering::Relaxed), self.bytes.limit)
    }

    /// Evicts the `n` oldest connections of the worker that has the oldest of all.
    pub fn evict(&self, n: usize) {
        let Some((_, slot)) = self.worker_with_lowest(|slot| &slot.oldest) else { return };
        slot.evictions.fetch_add(n, Ordering::Relaxed);
        slot.wake.notify_one();
    }

    pub(super) fn worker_with_lowest(&self, number: fn(&WorkerSlot) -> &AtomicU64) -> Option<(usize, &WorkerSlot)> {
        let number = |slot: &WorkerSlot| number(slot).load(Ordering::Relaxed);
        let lowest = self.workers.iter().enumerate().min_by_key(|(_, slot)| number(slot));
        lowest.filter(|(_, slot)| number(slot) != NONE)
    }
}

impl ByteBudget {
    /// From three quarters on the oldest connections are evicted; the last quarter is for those that arrive meanwhile.
    pub(super) fn is_nearly_spent(&self) -> bool {
        let releasing = self.releasing.load(Ordering::Relaxed);
        self.held.load(Ordering::Relaxed).saturating_sub(releasing) > self.limit - self.limit / 4
    }

    /// Changes what one connection holds. Returns false, and changes nothing, if that would exceed the limit.
    pub(super) fn replace(&self, before: u64, now: u64) -> bool {
        if now <= before {
            self.release(before - now);
            return true;
        }
        let more = now - before;
        let fits = |held: u64| held.checked_add(more).filter(|held| *held <= self.limit);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    pub(super) fn release(&self, bytes: u64) {
        if bytes > 0 {
            self.held.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}
