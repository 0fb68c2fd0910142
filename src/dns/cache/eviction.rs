//! Which names are removed when the cache is full.

use std::collections::HashMap;

use crate::sys::runtime::Instant;

use crate::dns::cache_config::CacheConfig;
use crate::dns::entry::NameEntry;
use latticegate_core::hostname::Hostname;

/// First the useless names are removed, then at most the older half of those used once, and only when there are few of
/// these the half of all that was not used for the longest time. So names that clients invent evict each other. At
/// least a sixteenth is freed, which spreads the cost over as many insertions.
pub(super) fn make_room(entries: &mut HashMap<Hostname, NameEntry>, config: &CacheConfig, now: Instant) {
    let capacity = config.capacity;
    if entries.len() < capacity {
        return;
    }
    entries.retain(|_, entry| entry.is_in_flight() || entry.is_useful(now, config));
    if entries.len() < capacity - capacity / 16 {
        return;
    }
    let is_in_use = |entry: &NameEntry| entry.used_again && entry.is_in_use(now, config);
    let used_once = entries.values().filter(|entry| !is_in_use(entry)).count();
    let spare_used = used_once >= capacity / 8;
    let is_removable = |entry: &NameEntry| !(entry.is_in_flight() || spare_used && is_in_use(entry));
    let mut ages: Vec<Instant> =
        entries.values().filter(|entry| is_removable(entry)).map(|entry| entry.last_used).collect();
    if ages.is_empty() {
        return;
    }
    let middle = ages.len() / 2;
    let (_, &mut median, _) = ages.select_nth_unstable(middle);
    entries.retain(|_, entry| !is_removable(entry) || entry.last_used > median);
}
