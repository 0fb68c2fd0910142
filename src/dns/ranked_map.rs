//! A map of names with a bound, the same for both levels of the cache. When it is full, each new name takes the place of
//! one other; nothing is ever cleared at once.
//!
//! Names have ranks, as the segments of a segmented LRU: those without an address, those used once, those used again. The
//! one to go is of the lowest rank that has more than its share, so names that clients invent evict each other, and the
//! most that a flood of them takes from the names in use is these shares. Within a rank it is the least worthy of a few
//! chosen at random: no order has to be kept, and a step costs the same however many names there are.

use std::array;
use std::hash::{BuildHasher, RandomState};

use indexmap::IndexMap;

use crate::sys::random::Random;
use crate::sys::runtime::Instant;
use latticegate_core::hostname::Hostname;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rank {
    /// It does not exist, or its lookup has failed or is in flight.
    NoAddress,
    UsedOnce,
    UsedAgain,
}

/// What is known of an entry that may be removed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Worth {
    /// The next request would be answered from it.
    pub(super) is_fresh: bool,
    pub(super) last_used: Instant,
}

#[derive(Debug)]
pub(super) struct RankedMap<V> {
    no_address: IndexMap<Hostname, V>,
    used_once: IndexMap<Hostname, V>,
    used_again: IndexMap<Hostname, V>,
    capacity: usize,
    random: Random,
}

/// How many entries are compared to find the one to go: enough to be close to the order that is meant, few enough that a
/// new name in use is used again before it goes.
const SAMPLE: usize = 4;

impl<V> RankedMap<V> {
    pub(super) fn new(capacity: usize) -> Self {
        // Nobody can foresee which names go.
        let random = Random(RandomState::new().hash_one("evicted names"));
        let (no_address, used_once, used_again) = Default::default();
        Self { no_address, used_once, used_again, capacity, random }
    }

    pub(super) fn len(&self) -> usize {
        self.no_address.len() + self.used_once.len() + self.used_again.len()
    }

    pub(super) fn get(&self, name: &Hostname) -> Option<&V> {
        [&self.used_again, &self.used_once, &self.no_address].into_iter().find_map(|map| map.get(name))
    }

    pub(super) fn get_mut(&mut self, name: &Hostname) -> Option<&mut V> {
        self.get_ranked(name).map(|(_, value)| value)
    }

    pub(super) fn get_ranked(&mut self, name: &Hostname) -> Option<(Rank, &mut V)> {
        let ranks = [
            (Rank::UsedAgain, &mut self.used_again),
            (Rank::UsedOnce, &mut self.used_once),
            (Rank::NoAddress, &mut self.no_address),
        ];
        ranks.into_iter().find_map(|(rank, map)| Some((rank, map.get_mut(name)?)))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Hostname, &V)> {
        [&self.used_again, &self.used_once, &self.no_address].into_iter().flatten()
    }

    /// Adds a name that is not in the map. `worth`: None keeps an entry, whatever its rank.
    pub(super) fn insert(&mut self, name: Hostname, rank: Rank, value: V, worth: impl Fn(&V) -> Option<Worth>) {
        // Two, so that the map shrinks again where entries that had to be kept have made it longer.
        for _ in 0..2 {
            if self.len() >= self.capacity {
                self.evict(&worth);
            }
        }
        self.of(rank).insert(name, value);
    }

    pub(super) fn set_rank(&mut self, name: &Hostname, rank: Rank) {
        if self.of(rank).contains_key(name) {
            return;
        }
        let mut others = [Rank::UsedOnce, Rank::NoAddress, Rank::UsedAgain].into_iter();
        if let Some((name, value)) = others.find_map(|rank| self.of(rank).swap_remove_entry(name)) {
            self.of(rank).insert(name, value);
        }
    }

    /// Removes an entry that is not fresh, if it meets one. Otherwise of those used again the one not used for the
    /// longest time. Of the others the newest: they have proven nothing yet, and where names come in turn, each once,
    /// the oldest would be the next to be of use.
    fn evict(&mut self, worth: &impl Fn(&V) -> Option<Worth>) {
        let rank = self.least_rank();
        let len = self.of(rank).len();
        let sample: [usize; SAMPLE] = array::from_fn(|_| self.random.index(len));
        let map = self.of(rank);
        let removable = sample.into_iter().filter_map(|index| Some((index, worth(map.get_index(index)?.1)?)));
        let least = removable.min_by(|(_, one), (_, other)| {
            let by_use = match rank {
                Rank::UsedAgain => one.last_used.cmp(&other.last_used),
                Rank::NoAddress | Rank::UsedOnce => other.last_used.cmp(&one.last_used),
            };
            one.is_fresh.cmp(&other.is_fresh).then(by_use)
        });
        if let Some((index, _)) = least {
            map.swap_remove_index(index);
        }
    }

    /// The rank that has more than its share: a sixteenth without an address, an eighth used once. So a new name has
    /// the time to be answered and used again, however many names are in use.
    fn least_rank(&self) -> Rank {
        if self.no_address.len() > self.capacity / 16 {
            Rank::NoAddress
        } else if self.used_once.len() > self.capacity / 8 {
            Rank::UsedOnce
        } else {
            Rank::UsedAgain
        }
    }

    fn of(&mut self, rank: Rank) -> &mut IndexMap<Hostname, V> {
        match rank {
            Rank::NoAddress => &mut self.no_address,
            Rank::UsedOnce => &mut self.used_once,
            Rank::UsedAgain => &mut self.used_again,
        }
    }
}
