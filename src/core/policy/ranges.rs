//! Sets of addresses, for lints and `diff`, which are about all clients at once.
//!
//! Addresses are 128-bit numbers. An IPv4 address is the number of its IPv4-mapped IPv6 address. Such a client counts as
//! IPv4, so an IPv6 network such as `::/0` has a hole there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use super::{Rule, RuleId, Sources};
use crate::canonical_ip::CanonicalIp;

/// From the first to the last address, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    first: u128,
    last: u128,
}

/// All IPv4 addresses.
const V4: Range = Range { first: 0xffff_0000_0000, last: 0xffff_ffff_ffff };
const ALL: Range = Range { first: 0, last: u128::MAX };

/// Addresses collected so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Covered(BTreeMap<u128, u128>);

impl Range {
    /// The ranges of a network: one, or two around the IPv4 addresses.
    pub(super) fn of(network: &IpNet) -> impl Iterator<Item = Self> {
        let number = |address: IpAddr| match address {
            IpAddr::V4(address) => u128::from(address.to_ipv6_mapped()),
            IpAddr::V6(address) => u128::from(address),
        };
        let whole = Self { first: number(network.network()), last: number(network.broadcast()) };
        let parts = if network.addr().is_ipv4() { [Some(whole), None] } else { whole.outside(V4) };
        parts.into_iter().flatten()
    }

    pub(super) fn of_sources(sources: &Sources) -> Vec<Self> {
        match sources {
            Sources::All => vec![ALL],
            Sources::Networks(networks) => networks.iter().flat_map(Self::of).collect(),
        }
    }

    pub(super) fn intersection(self, other: Self) -> Option<Self> {
        let (first, last) = (self.first.max(other.first), self.last.min(other.last));
        (first <= last).then_some(Self { first, last })
    }

    pub(super) fn is_before(self, other: Self) -> bool {
        self.last < other.first
    }

    /// The addresses at which something may change: the first, and the one after the last.
    pub(super) fn cuts(self) -> impl Iterator<Item = u128> {
        [Some(self.first), self.last.checked_add(1)].into_iter().flatten()
    }

    /// The ranges from each cut to the next, the last one to the end of all addresses.
    pub(super) fn between(cuts: &BTreeSet<u128>) -> impl Iterator<Item = Self> {
        let lasts = cuts.iter().skip(1).map(|cut| cut - 1).chain([u128::MAX]);
        cuts.iter().zip(lasts).map(|(first, last)| Self { first: *first, last })
    }

    fn outside(self, hole: Self) -> [Option<Self>; 2] {
        let before = Self { first: self.first, last: self.last.min(hole.first.wrapping_sub(1)) };
        let after = Self { first: self.first.max(hole.last.wrapping_add(1)), last: self.last };
        let is_some = |range: Self| (range.first <= range.last).then_some(range);
        [is_some(before).filter(|_| self.first < hole.first), is_some(after).filter(|_| self.last > hole.last)]
    }
}

impl Covered {
    pub(super) fn contains(&self, range: Range) -> bool {
        self.missing(range).is_empty()
    }

    /// The parts of `range` that are not in the set.
    pub(super) fn missing(&self, range: Range) -> Vec<Range> {
        let mut missing = Vec::new();
        let mut next = Some(range.first);
        for (&first, &last) in self.touching(range) {
            let Some(start) = next else { break };
            if first > range.last {
                break;
            }
            if last < start {
                continue;
            }
            if first > start {
                missing.push(Range { first: start, last: first - 1 });
            }
            next = last.checked_add(1);
        }
        if let Some(first) = next.filter(|next| *next <= range.last) {
            missing.push(Range { first, last: range.last });
        }
        missing
    }

    /// Adds `range`; returns the parts of it that are new.
    pub(super) fn insert(&mut self, range: Range) -> Vec<Range> {
        let missing = self.missing(range);
        if missing.is_empty() {
            return missing;
        }
        let joined: Vec<Range> = self
            .touching(range)
            .map(|(&first, &last)| Range { first, last })
            .filter(|old| old.last >= range.first.saturating_sub(1))
            .collect();
        let mut whole = range;
        for old in joined {
            whole = Range { first: whole.first.min(old.first), last: whole.last.max(old.last) };
            self.0.remove(&old.first);
        }
        self.0.insert(whole.first, whole.last);
        missing
    }

    pub(super) fn is_disjoint(&self, range: Range) -> bool {
        self.missing(range) == [range]
    }

    /// Everything that could overlap or adjoin `range`, and perhaps one range before it.
    fn touching(&self, range: Range) -> impl Iterator<Item = (&u128, &u128)> {
        let start = self.0.range(..=range.first).next_back().map_or(range.first, |(first, _)| *first);
        self.0.range(start..=range.last.saturating_add(1))
    }
}

/// Which rule decides about which addresses, in the order of addresses. No rule matches addresses outside all ranges.
pub(super) fn decisions<'a>(rules: impl Iterator<Item = (RuleId, &'a Rule)>) -> Vec<(Range, RuleId)> {
    let mut covered = Covered::default();
    let mut decisions = Vec::new();
    for (id, rule) in rules {
        for range in Range::of_sources(&rule.sources) {
            decisions.extend(covered.insert(range).into_iter().map(|new| (new, id)));
        }
    }
    decisions.sort_unstable_by_key(|(range, _)| *range);
    decisions
}

/// Describes ranges with adjacent ones joined, in IPv6 also across the hole of IPv4; `all` for all addresses.
pub fn describe(ranges: &[Range]) -> Vec<String> {
    let mut set = Covered::default();
    for range in ranges {
        set.insert(*range);
    }
    if set.contains(ALL) {
        return vec!["all".to_owned()];
    }
    let all = || set.0.iter().map(|(&first, &last)| Range { first, last });
    let v4 = all().filter_map(|range| range.intersection(V4));
    let mut v6: Vec<Range> = Vec::new();
    for part in all().flat_map(|range| range.outside(V4)).flatten() {
        match v6.last_mut() {
            Some(before) if before.last == V4.first - 1 && part.first == V4.last + 1 => before.last = part.last,
            _ => v6.push(part),
        }
    }
    v4.chain(v6).map(|range| range.to_string()).collect()
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_v4 = self.intersection(V4) == Some(*self);
        let address = |n: u128| {
            let address = IpAddr::V6(Ipv6Addr::from(n));
            if is_v4 { CanonicalIp::new(address).get() } else { address }
        };
        let host_bits = (self.first ^ self.last).count_ones();
        let network = self.first.trailing_zeros() >= host_bits
            && self.last - self.first == u128::MAX.checked_shr(128 - host_bits).unwrap_or(0);
        let bits = if is_v4 { 32 } else { 128 };
        match host_bits {
            0 => write!(f, "{}", address(self.first)),
            _ if network => write!(f, "{}/{}", address(self.first), bits - host_bits),
            _ => write!(f, "{} - {}", address(self.first), address(self.last)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranges(networks: &[&str]) -> Vec<Range> {
        networks.iter().flat_map(|network| Range::of(&network.parse().unwrap()).collect::<Vec<_>>()).collect()
    }

    #[test]
    fn ranges_read_as_an_operator_would_write_them() {
        for (networks, text) in [
            (&["10.0.0.0/8"][..], "10.0.0.0/8"),
            (&["10.0.0.0/9", "10.128.0.0/9"], "10.0.0.0/8"),
            (&["10.0.0.0/8", "11.0.0.0/9"], "10.0.0.0 - 11.127.255.255"),
            (&["192.0.2.7/32"], "192.0.2.7"),
            (&["0.0.0.0/0"], "0.0.0.0/0"),
            (&["::/0"], "::/0"),
            (&["::/64"], "::/64"),
            (&["::/0", "0.0.0.0/0"], "all"),
            (&["2001:db8::/32", "10.0.0.0/8"], "10.0.0.0/8, 2001:db8::/32"),
            (&["2001:db8::/33", "2001:db8:8000::/34"], "2001:db8:: - 2001:db8:bfff:ffff:ffff:ffff:ffff:ffff"),
        ] {
            assert_eq!(describe(&ranges(networks)).join(", "), text);
        }
    }

    proptest! {
        #[test]
        fn the_set_is_like_a_set_of_numbers(parts in prop::collection::vec((0u128..40, 0u128..10), 0..12)) {
            let mut set = Covered::default();
            let mut plain = std::collections::BTreeSet::new();
            for (first, len) in parts {
                let range = Range { first, last: first + len };
                let new: Vec<u128> = set.insert(range).iter().flat_map(|new| new.first..=new.last).collect();
                let expected: Vec<u128> = (first..=first + len).filter(|n| plain.insert(*n)).collect();
                prop_assert_eq!(new, expected);
                let held: Vec<u128> = set.0.iter().flat_map(|(first, last)| *first..=*last).collect();
                prop_assert_eq!(held, plain.iter().copied().collect::<Vec<_>>());
            }
        }
    }
}
