//! Names and clients with the most traffic and the most refusals, of the last quarter of an hour to half an hour.
//!
//! Each worker counts its connections when they are closed, for a bounded number of names and of clients. When there are too many,
//! a new one takes the place of the least of a few chosen at random: those with much traffic or many refusals stay. Of new ones
//! that have moved little only some are taken, as most of them never come again.

use std::cell::RefCell;
use std::hash::{BuildHasher, Hash, RandomState};
use std::mem;
use std::time::Duration;

use indexmap::{Equivalent, IndexMap};

use crate::sys::random::Random;
use crate::telemetry::live::ClientAddress;
use crate::telemetry::record::Record;
use latticegate_core::outcome::{ByteCounts, Outcome};

/// What is counted goes when it is one to two of these old.
pub(crate) const PERIOD: Duration = Duration::from_secs(900);
/// Names, and clients, of one period in one worker: some 100 KB each.
const KEPT: usize = 1000;
/// How many are compared to find the one that goes.
const SAMPLE: usize = 4;
/// Of so many new ones that have moved little, one is taken. Whoever matters comes as often soon, and is counted from then on;
/// taking all cost 300 instructions a connection where clients hardly ever come twice.
const TAKEN: u64 = 8;

/// Connections that have ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ended {
    pub connections: u64,
    pub refused: u64,
    pub failed: u64,
    pub bytes: ByteCounts,
}

/// Each connection is counted twice, so the hash is a fast one. It is seeded at random, and what it is used for is small.
pub type Counted<K> = IndexMap<K, Ended, foldhash::fast::RandomState>;

/// By name and by client.
#[derive(Debug, Default)]
pub struct Busiest {
    pub names: Counted<Box<str>>,
    pub clients: Counted<ClientAddress>,
}

/// What one worker counts.
#[derive(Debug)]
pub struct BusiestCounter(RefCell<Periods>);

#[derive(Debug)]
struct Periods {
    current: Busiest,
    previous: Busiest,
    random: Random,
}

impl Default for BusiestCounter {
    fn default() -> Self {
        // Nobody can foresee what goes.
        let random = Random(RandomState::new().hash_one("least of the busiest"));
        Self(RefCell::new(Periods { current: Busiest::default(), previous: Busiest::default(), random }))
    }
}

impl BusiestCounter {
    /// Counts a connection that has ended. Without a name it is counted for its client alone.
    pub(crate) fn count(&self, record: &Record, outcome: Outcome) {
        let ended = Ended {
            connections: 1,
            refused: u64::from(matches!(outcome, Outcome::Refused(_))),
            failed: u64::from(matches!(outcome, Outcome::Failed(_))),
            bytes: record.bytes,
        };
        let Periods { current, random, .. } = &mut *self.0.borrow_mut();
        let client = record.client.as_ref().map(ClientAddress::from);
        let client = client.unwrap_or_else(|| ClientAddress { ip: record.peer.get().ip(), endpoint: None });
        add(&mut current.clients, &client, || client, ended, random);
        if let Some(name) = record.name.as_deref() {
            add(&mut current.names, name, || name.into(), ended, random);
        }
    }

    /// Begins another period.
    pub(crate) fn turn(&self) {
        let mut periods = self.0.borrow_mut();
        periods.previous = mem::take(&mut periods.current);
    }

    pub(crate) fn view(&self) -> Busiest {
        let Periods { current, previous, .. } = &*self.0.borrow();
        let mut all = Busiest { names: current.names.clone(), clients: current.clients.clone() };
        all.merge(Busiest { names: previous.names.clone(), clients: previous.clients.clone() });
        all
    }
}

impl Busiest {
    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, other: Self) {
        let Self { names, clients } = other;
        for (name, ended) in names {
            self.names.entry(name).or_default().add(ended);
        }
        for (client, ended) in clients {
            self.clients.entry(client).or_default().add(ended);
        }
    }
}

impl Ended {
    fn add(&mut self, other: Self) {
        let Self { connections, refused, failed, bytes } = other;
        self.connections = self.connections.saturating_add(connections);
        self.refused = self.refused.saturating_add(refused);
        self.failed = self.failed.saturating_add(failed);
        self.bytes.up = self.bytes.up.saturating_add(bytes.up);
        self.bytes.down = self.bytes.down.saturating_add(bytes.down);
    }

    /// How much there is to lose: a connection counts as much as 64 KiB.
    fn weight(&self) -> u64 {
        self.connections.saturating_add(self.bytes.up.saturating_add(self.bytes.down) >> 16)
    }
}

fn add<K: Hash + Eq, Q: Hash + Equivalent<K> + ?Sized>(
    counted: &mut Counted<K>,
    key: &Q,
    owned: impl FnOnce() -> K,
    ended: Ended,
    random: &mut Random,
) {
    if let Some(known) = counted.get_mut(key) {
        return known.add(ended);
    }
    if counted.len() >= KEPT {
        if ended.weight() <= 1 && random.below(TAKEN) != 0 {
            return;
        }
        let sample: [usize; SAMPLE] = std::array::from_fn(|_| random.index(counted.len()));
        let weight = |index: &usize| counted.get_index(*index).map(|(_, ended)| ended.weight());
        if let Some(least) = sample.into_iter().min_by_key(weight) {
            counted.swap_remove_index(least);
        }
    }
    counted.insert(owned(), ended);
}

#[cfg(test)]
mod tests {
    use super::*;
    use latticegate_core::outcome::{Close, RefuseReason};

    fn record(name: &str, bytes: u64) -> Record {
        let mut record = Record::new(1, ([192, 0, 2, 1], 1).into());
        record.name = Some(name.into());
        record.bytes = ByteCounts { up: bytes, down: 2 * bytes };
        record
    }

    #[test]
    fn names_and_clients_are_counted_for_two_periods() {
        let counter = BusiestCounter::default();
        counter.count(&record("a.example", 10), Outcome::Relayed(Close::Done));
        counter.turn();
        counter.count(&record("a.example", 1), Outcome::Relayed(Close::Done));
        counter.count(&record("b.example", 0), Outcome::Refused(RefuseReason::NameDenied));
        let view = counter.view();
        let a = Ended { connections: 2, bytes: ByteCounts { up: 11, down: 22 }, ..Ended::default() };
        assert_eq!(view.names["a.example"], a);
        assert_eq!(view.names["b.example"], Ended { connections: 1, refused: 1, ..Ended::default() });
        let (client, ended) = view.clients.get_index(0).unwrap();
        assert_eq!((client.ip.to_string().as_str(), ended.connections, ended.refused), ("192.0.2.1", 3, 1));
        counter.turn();
        assert_eq!(counter.view().names["a.example"].connections, 1);
        counter.turn();
        assert!(counter.view().names.is_empty());
    }

    #[test]
    fn invented_names_take_bounded_memory_and_displace_nobody_with_traffic() {
        let counter = BusiestCounter::default();
        for n in 0..20 {
            for _ in 0..10 {
                counter.count(&record(&format!("used{n}.example"), 1_000_000), Outcome::Relayed(Close::Done));
            }
        }
        for n in 0..50_000 {
            counter.count(&record(&format!("{n}.invented"), 0), Outcome::Refused(RefuseReason::NameUnknown));
        }
        let view = counter.view();
        assert_eq!(view.names.len(), KEPT);
        // That four of four at random are in use is as likely as 1 in 6 million, each time.
        let kept = (0..20).filter(|n| view.names.contains_key(&*format!("used{n}.example"))).count();
        assert!(kept >= 19, "{kept}");
    }

    #[test]
    fn who_comes_often_or_moves_much_is_taken_into_a_full_table() {
        let counter = BusiestCounter::default();
        for n in 0..KEPT {
            counter.count(&record(&format!("{n}.once"), 0), Outcome::Relayed(Close::Done));
        }
        for _ in 0..400 {
            counter.count(&record("often.example", 0), Outcome::Relayed(Close::Done));
        }
        counter.count(&record("much.example", 1_000_000), Outcome::Relayed(Close::Done));
        let view = counter.view();
        // That 200 are passed over is as likely as 1 in 400 thousand million.
        assert!((200..=400).contains(&view.names["often.example"].connections));
        assert_eq!(view.names["much.example"].connections, 1);
        assert_eq!(view.names.len(), KEPT);
    }
}
