//! What became of connects, by the address that was dialled. A forward proxy dials half the internet, so only
//! [`Upstreams::MAX`] addresses have counts of their own; one that is not dialled any more makes room for another.
//!
//! Workers find an address's counts in a list of their own. It changes when an address is new, and is thrown away when one
//! was forgotten.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::exposition::{Exposition, Kind};
use super::histogram::CoarseDurations;
use crate::sys::mutex::lock;
use latticegate_core::outcome::Failure;

/// All addresses.
#[derive(Debug, Clone, Default)]
pub struct Upstreams(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    known: Mutex<Vec<Known>>,
    other: Arc<Counts>,
    /// Incremented when an address is forgotten.
    generation: AtomicU64,
}

/// In the order in which they were first dialled.
#[derive(Debug)]
struct Known {
    address: SocketAddr,
    counts: Arc<Counts>,
    /// How many attempts there were when it was seen to be dialled, and when that was.
    seen: (u64, Instant),
}

#[derive(Debug, Default)]
struct Counts {
    connected: CoarseDurations,
    failed: [AtomicU64; Failure::OF_CONNECT.len()],
}

/// What became of connects to one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamCounts {
    /// None: all that have no counts of their own.
    pub address: Option<SocketAddr>,
    pub connected: u64,
    /// How long those took, in total.
    pub took: Duration,
    /// Those that did not happen are left out.
    pub failed: Vec<(Failure, u64)>,
}

impl Upstreams {
    /// Each has 22 series at every scrape of every task.
    pub const MAX: usize = 32;
    /// Where there is no room, an address that was not dialled for so long is forgotten.
    const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

    /// One worker's view.
    pub fn of_worker(&self) -> WorkerUpstreams {
        WorkerUpstreams { shared: self.clone(), own: RefCell::default() }
    }

    /// The counts of each address, and of all others together.
    pub fn read(&self) -> Vec<UpstreamCounts> {
        let known = lock(&self.0.known);
        let all = known.iter().map(|known| (Some(known.address), &known.counts));
        all.chain([(None, &self.0.other)]).map(|(address, counts)| counts.read(address)).collect()
    }

    /// To be called now and then: makes room where there is none.
    pub fn forget_unused(&self, now: Instant) {
        let mut known = lock(&self.0.known);
        for one in known.iter_mut() {
            let attempts = one.counts.attempts();
            if one.seen.0 != attempts {
                one.seen = (attempts, now);
            }
        }
        if known.len() < Self::MAX {
            return;
        }
        known.retain(|one| now.saturating_duration_since(one.seen.1) < Self::FORGOTTEN_AFTER);
        if known.len() < Self::MAX {
            self.0.generation.fetch_add(1, Ordering::Release);
        }
    }

    pub(super) fn export(&self, text: &mut Exposition) {
        let known: Vec<(String, Arc<Counts>)> = {
            let known = lock(&self.0.known);
            known.iter().map(|one| (one.address.to_string(), Arc::clone(&one.counts))).collect()
        };
        let all = || known.iter().map(|(address, counts)| (&**address, counts)).chain([("other", &self.0.other)]);
        let help = "Successful connects by the address dialled, each from its SYN on; other: all beyond the first few.";
        let mut family = text.family("latticegate_upstream_connect_seconds", Kind::Histogram, help);
        all().for_each(|(address, counts)| counts.connected.export(&mut family, &[("address", address)]));
        let help = "Failed connects by the address dialled, also where another address was then reached.";
        let mut family = text.family("latticegate_upstream_connect_failures_total", Kind::Counter, help);
        for (address, counts) in all() {
            for (failure, count) in Failure::OF_CONNECT.iter().zip(&counts.failed) {
                let labels = [("address", address), ("reason", failure.word())];
                family.sample(&labels, count.load(Ordering::Relaxed));
            }
        }
    }
}

impl Counts {
    fn attempts(&self) -> u64 {
        let failed = self.failed.iter().map(|count| count.load(Ordering::Relaxed));
        failed.fold(self.connected.total().0, u64::wrapping_add)
    }

    fn read(&self, address: Option<SocketAddr>) -> UpstreamCounts {
        let (connected, took) = self.connected.total();
        let failed = Failure::OF_CONNECT.into_iter().zip(self.failed.iter().map(|count| count.load(Ordering::Relaxed)));
        UpstreamCounts { address, connected, took, failed: failed.filter(|(_, count)| *count > 0).collect() }
    }
}

/// Counts what one worker dials.
#[derive(Debug, Default)]
pub struct WorkerUpstreams {
    shared: Upstreams,
    own: RefCell<Own>,
}

#[derive(Debug, Default)]
struct Own {
    /// As of this generation.
    generation: u64,
    known: Vec<(SocketAddr, Arc<Counts>)>,
}

impl WorkerUpstreams {
    /// A connect that took so long.
    pub fn connected(&self, address: SocketAddr, took: Duration) {
        self.with(address, |counts| counts.connected.record(took));
    }

    pub fn failed(&self, address: SocketAddr, failure: Failure) {
        let Some(index) = Failure::OF_CONNECT.iter().position(|one| *one == failure) else { return };
        self.with(address, |counts| {
            if let Some(count) = counts.failed.get(index) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    fn with(&self, address: SocketAddr, count: impl FnOnce(&Counts)) {
        let Inner { known, other, generation } = &*self.shared.0;
        let own = &mut *self.own.borrow_mut();
        let now = generation.load(Ordering::Acquire);
        if own.generation != now {
            (own.generation, own.known) = (now, Vec::new());
        }
        if let Some((_, counts)) = own.known.iter().find(|(known, _)| *known == address) {
            return count(counts);
        }
        // All of them are in its own list then.
        if own.known.len() >= Upstreams::MAX {
            return count(other);
        }
        let mut known = lock(known);
        if known.len() < Upstreams::MAX && known.iter().all(|known| known.address != address) {
            known.push(Known { address, counts: Arc::default(), seen: (0, Instant::now()) });
        }
        own.known = known.iter().map(|known| (known.address, Arc::clone(&known.counts))).collect();
        drop(known);
        count(own.known.iter().find(|(known, _)| *known == address).map_or(other, |(_, counts)| counts));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u16) -> SocketAddr {
        ([10, 0, 0, 1], n).into()
    }

    fn of(upstreams: &Upstreams, n: Option<u16>) -> Option<UpstreamCounts> {
        upstreams.read().into_iter().find(|counts| counts.address == n.map(address))
    }

    #[test]
    fn workers_count_into_the_same() {
        let upstreams = Upstreams::default();
        let workers = [upstreams.of_worker(), upstreams.of_worker()];
        for worker in &workers {
            worker.connected(address(1), Duration::from_millis(3));
            worker.failed(address(1), Failure::ConnectRefused);
            worker.failed(address(2), Failure::NoLocalPort);
            worker.failed(address(2), Failure::DnsFailed);
        }
        let first = of(&upstreams, Some(1)).unwrap();
        assert_eq!((first.connected, first.took), (2, Duration::from_millis(6)));
        assert_eq!(first.failed, [(Failure::ConnectRefused, 2)]);
        assert_eq!(of(&upstreams, Some(2)).unwrap().failed, [(Failure::NoLocalPort, 2)]);
        let other = of(&upstreams, None).unwrap();
        assert_eq!((other.connected, other.failed), (0, vec![]));
    }

    #[test]
    fn beyond_so_many_an_address_waits_until_another_is_not_dialled_any_more() {
        let upstreams = Upstreams::default();
        let workers = [upstreams.of_worker(), upstreams.of_worker()];
        let max = u16::try_from(Upstreams::MAX).unwrap();
        for n in 0..max + 3 {
            workers[usize::from(n % 2)].connected(address(n), Duration::ZERO);
        }
        let count = |n| of(&upstreams, n).map(|counts| counts.connected);
        assert_eq!((upstreams.read().len(), count(None), count(Some(max))), (Upstreams::MAX + 1, Some(3), None));
        let start = Instant::now() + Duration::from_secs(1);
        upstreams.forget_unused(start);
        let later = start + Upstreams::FORGOTTEN_AFTER;
        // All but the last are in use.
        (0..max - 1).for_each(|n| workers[0].connected(address(n), Duration::ZERO));
        upstreams.forget_unused(later);
        assert_eq!((upstreams.read().len(), count(Some(0)), count(Some(max - 1))), (Upstreams::MAX, Some(2), None));
        for worker in &workers {
            worker.connected(address(max), Duration::ZERO);
            worker.connected(address(0), Duration::ZERO);
        }
        assert_eq!((count(Some(max)), count(Some(0)), count(None)), (Some(2), Some(4), Some(3)));
        upstreams.forget_unused(later);
        assert_eq!(upstreams.read().len(), Upstreams::MAX + 1, "there is none to forget");
    }

    #[test]
    fn while_there_is_room_none_is_forgotten() {
        let upstreams = Upstreams::default();
        upstreams.of_worker().connected(address(1), Duration::ZERO);
        upstreams.forget_unused(Instant::now() + 2 * Upstreams::FORGOTTEN_AFTER);
        assert_eq!(upstreams.read().len(), 2);
    }
}
