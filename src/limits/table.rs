//! A bounded table that counts, for each key, what is open now and how often something new arrived.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::runtime::Instant;
use crate::sys::key_hash::{KeyHash, key_hash};
use crate::sys::mutex::lock;
use crate::sys::random::Random;
use latticegate_core::config::Quota;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    Concurrent,
    Rate,
    /// The table holds as many keys as it may, all of them in use.
    Full,
}

/// So many events a second, and as many at once after a quiet second: the generic cell rate algorithm, whose whole
/// state is one point in time.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    interval: Duration,
    burst: Duration,
}

impl Rate {
    pub fn per_second(events: NonZeroU32) -> Self {
        Self { interval: Duration::from_secs(1) / events.get(), burst: Duration::from_secs(1) }
    }

    /// Whether one more may happen now; if so, the new state.
    pub fn take(&self, state: Option<Instant>, now: Instant) -> Option<Instant> {
        let next = self.after(state, now);
        (next <= now + self.burst).then_some(next)
    }

    /// When one more may happen.
    pub fn ready_at(&self, state: Option<Instant>, now: Instant) -> Instant {
        self.after(state, now).checked_sub(self.burst).map_or(now, |ready| ready.max(now))
    }

    /// The state after one more event.
    fn after(&self, state: Option<Instant>, now: Instant) -> Instant {
        state.map_or(now, |state| state.max(now)) + self.interval
    }

    pub fn interval(&self) -> Duration {
        self.interval
    }
}

#[derive(Debug)]
pub struct Table<K> {
    quota: Quota,
    rate: Option<Rate>,
    capacity_per_shard: usize,
    shards: [Mutex<Shard<K>>; SHARDS],
    hasher: KeyHash,
}

/// Enough that two workers seldom want the same shard.
const SHARDS: usize = 16;

type Shard<K> = HashMap<K, Usage, KeyHash>;

#[derive(Debug, Default)]
struct Usage {
    open: u32,
    rate: Option<Instant>,
}

impl<K: Hash + Eq + Clone> Table<K> {
    pub fn new(quota: Quota, capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            quota,
            rate: quota.per_second.map(Rate::per_second),
            capacity_per_shard: (capacity / SHARDS).max(1),
            shards: std::array::from_fn(|_| Mutex::new(HashMap::with_hasher(key_hash()))),
            hasher: key_hash(),
        })
    }

    /// Counts one more for this key until the permit is dropped.
    pub fn enter(self: &Arc<Self>, key: K) -> Result<Permit<K>, Exceeded> {
        let now = Instant::now();
        let mut shard = self.shard(&key);
        if shard.len() >= self.capacity_per_shard && !shard.contains_key(&key) {
            shard.retain(|_, entry| entry.open > 0 || entry.rate.is_some_and(|until| until > now));
            if shard.len() >= self.capacity_per_shard {
                return Err(Exceeded::Full);
            }
        }
        let entry = shard.entry(key.clone()).or_default();
        if self.quota.concurrent.is_some_and(|most| entry.open >= most) {
            return Err(Exceeded::Concurrent);
        }
        if let Some(rate) = self.rate {
            entry.rate = Some(rate.take(entry.rate, now).ok_or(Exceeded::Rate)?);
        }
        if self.counts_open() {
            entry.open = entry.open.saturating_add(1);
        }
        drop(shard);
        Ok(Permit { table: Arc::clone(self), key })
    }

    /// What is open, of all keys.
    #[cfg(test)]
    pub(super) fn open(&self) -> u64 {
        self.shards
            .iter()
            .flat_map(|shard| lock(shard).values().map(|usage| u64::from(usage.open)).collect::<Vec<_>>())
            .sum()
    }

    /// Where only the rate is limited, nothing is to be done when a permit is dropped.
    fn counts_open(&self) -> bool {
        self.quota.concurrent.is_some() || self.rate.is_none()
    }

    fn leave(&self, key: &K) {
        if !self.counts_open() {
            return;
        }
        let mut shard = self.shard(key);
        let Some(entry) = shard.get_mut(key) else { return };
        entry.open = entry.open.saturating_sub(1);
        // With a rate the entry must outlive the connection; it is removed when the table is swept.
        if entry.open == 0 && entry.rate.is_none() {
            shard.remove(key);
        }
    }

    fn shard(&self, key: &K) -> MutexGuard<'_, Shard<K>> {
        let index = Random(self.hasher.hash_one(key)).index(SHARDS);
        let shard = self.shards.get(index).unwrap_or(&self.shards[0]);
        lock(shard)
    }
}

/// One of the key's quota, given back when dropped.
#[derive(Debug)]
pub struct Permit<K: Hash + Eq + Clone> {
    table: Arc<Table<K>>,
    key: K,
}

impl<K: Hash + Eq + Clone> Drop for Permit<K> {
    fn drop(&mut self) {
        self.table.leave(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::sleep;
    use crate::runtime::testing::in_virtual_time;

    fn quota(concurrent: Option<u32>, per_second: u32) -> Quota {
        Quota { concurrent, per_second: NonZeroU32::new(per_second) }
    }

    #[test]
    fn counts_what_is_open() {
        in_virtual_time(async {
            let table = Table::new(quota(Some(2), 0), 1024);
            let first = table.enter(1).unwrap();
            let _second = table.enter(1).unwrap();
            assert_eq!(table.enter(1).unwrap_err(), Exceeded::Concurrent);
            assert!(table.enter(2).is_ok());
            drop(first);
            assert!(table.enter(1).is_ok());
        });
    }

    #[test]
    fn allows_a_burst_of_one_second_and_then_the_rate() {
        in_virtual_time(async {
            let table = Table::new(quota(None, 10), 1024);
            assert_eq!((0..100).filter(|_| table.enter(1).is_ok()).count(), 10);
            sleep(Duration::from_millis(250)).await;
            assert_eq!((0..100).filter(|_| table.enter(1).is_ok()).count(), 2);
        });
    }

    #[test]
    fn drops_idle_keys_before_it_is_full() {
        in_virtual_time(async {
            let table = Table::new(quota(None, 10), SHARDS);
            for key in 0..10_000 {
                let _ = table.enter(key);
            }
            assert!(table.shards.iter().all(|shard| shard.lock().unwrap().len() <= 1));
            sleep(Duration::from_secs(2)).await;
            assert!(table.enter(10_001).is_ok());
        });
    }
}
