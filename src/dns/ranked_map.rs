//! A map of names with a bound, the same for both levels of the cache. When it is full, each new name takes the place of
//! one other; nothing is ever cleared at once.
//!
//! Names have ranks, as the segments of a segmented LRU: those without an address, those used once, those used again. The
//! one to go is of the lowest rank that has more than its share, so names that clients invent evict each other, and the
//! most that a flood of them takes from the names in use is these shares. Within a rank it is the least worthy of a few
//! chosen at random: no order has to be kept, and a step costs the same however many names there are.

use std::array;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use indexmap::IndexMap;

use crate::runtime::Instant;
use crate::sys::key_hash::{KeyHash, key_hash};
use crate::sys::random::Random;
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

/// Entries are found by name and from then on reached by index, so that a name is hashed once for whatever is done to
/// it. An index is valid until the next `insert` or `set_rank`.
#[derive(Debug)]
pub(super) struct RankedMap<V> {
    /// Those used again, then those used once, then those without an address.
    entries: IndexMap<Hostname, V, KeyHash>,
    /// Where the first two end.
    used_again_end: usize,
    used_once_end: usize,
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
        Self { entries: IndexMap::with_hasher(key_hash()), used_again_end: 0, used_once_end: 0, capacity, random }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn find(&self, name: &Hostname) -> Option<usize> {
        self.entries.get_index_of(name)
    }

    pub(super) fn get(&self, index: usize) -> Option<(&Hostname, &V)> {
        self.entries.get_index(index)
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut V> {
        self.entries.get_index_mut(index).map(|(_, value)| value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Hostname, &V)> {
        self.entries.iter()
    }

    /// Adds a name that is not in the map, and returns its index. `worth`: None keeps an entry, whatever its rank.
    pub(super) fn insert(
        &mut self,
        name: Hostname,
        rank: Rank,
        value: V,
        worth: impl Fn(&V) -> Option<Worth>,
    ) -> usize {
        // Two, so that the map shrinks again where entries that had to be kept have made it longer.
        for _ in 0..2 {
            if self.len() >= self.capacity {
                self.evict(&worth);
            }
        }
        let (last, _) = self.entries.insert_full(name, value);
        self.set_rank(last, rank)
    }

    pub(super) fn rank(&self, index: usize) -> Rank {
        if index < self.used_again_end {
            Rank::UsedAgain
        } else if index < self.used_once_end {
            Rank::UsedOnce
        } else {
            Rank::NoAddress
        }
    }

    /// Returns the entry's new index: it changes places with the entry at the border of the ranks, which then moves.
    pub(super) fn set_rank(&mut self, index: usize, rank: Rank) -> usize {
        let mut index = index;
        while self.rank(index) != rank {
            index = match (self.rank(index), rank) {
                (Rank::NoAddress, _) => {
                    self.used_once_end += 1;
                    self.swap(index, self.used_once_end - 1)
                }
                (Rank::UsedOnce, Rank::UsedAgain) => {
                    self.used_again_end += 1;
                    self.swap(index, self.used_again_end - 1)
                }
                (Rank::UsedOnce, _) => {
                    self.used_once_end -= 1;
                    self.swap(index, self.used_once_end)
                }
                (Rank::UsedAgain, _) => {
                    self.used_again_end -= 1;
                    self.swap(index, self.used_again_end)
                }
            }
        }
        index
    }

    fn swap(&mut self, from: usize, to: usize) -> usize {
        if from != to {
            self.entries.swap_indices(from, to);
        }
        to
    }

    /// Removes an entry that is not fresh, if it meets one. Otherwise of those used again the one not used for the
    /// longest time. Of the others the newest: they have proven nothing yet, and where names come in turn, each once,
    /// the oldest would be the next to be of use.
    fn evict(&mut self, worth: &impl Fn(&V) -> Option<Worth>) {
        let rank = self.least_rank();
        let range = self.range(rank);
        let sample: [usize; SAMPLE] = array::from_fn(|_| range.start + self.random.index(range.len()));
        let removable = sample.into_iter().filter_map(|index| Some((index, worth(self.entries.get_index(index)?.1)?)));
        let least = removable.min_by(|(_, one), (_, other)| {
            let by_use = match rank {
                Rank::UsedAgain => one.last_used.cmp(&other.last_used),
                Rank::NoAddress | Rank::UsedOnce => other.last_used.cmp(&one.last_used),
            };
            one.is_fresh.cmp(&other.is_fresh).then(by_use)
        });
        if let Some((index, _)) = least {
            let index = self.set_rank(index, Rank::NoAddress);
            self.entries.swap_remove_index(index);
        }
    }

    /// The rank that has more than its share: a sixteenth without an address, an eighth used once. So a new name has
    /// the time to be answered and used again, however many names are in use.
    fn least_rank(&self) -> Rank {
        if self.range(Rank::NoAddress).len() > self.capacity / 16 {
            Rank::NoAddress
        } else if self.range(Rank::UsedOnce).len() > self.capacity / 8 {
            Rank::UsedOnce
        } else {
            Rank::UsedAgain
        }
    }

    /// The indexes of a rank.
    fn range(&self, rank: Rank) -> Range<usize> {
        match rank {
            Rank::UsedAgain => 0..self.used_again_end,
            Rank::UsedOnce => self.used_again_end..self.used_once_end,
            Rank::NoAddress => self.used_once_end..self.len(),
        }
    }
}
