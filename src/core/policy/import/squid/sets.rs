//! Sets of clients, names and ports: what the ACLs of Squid stand for, and what rules of an access list can say.
//!
//! Clients and ports have complements; the complement of a set of names cannot be written as patterns.

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

use crate::hostname::Hostname;

/// Clients, by address: IPv4 and IPv6 apart, since an IPv4 client is never an IPv6 one here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Clients {
    v4: Ranges,
    v6: Ranges,
}

const LAST_V4: u128 = 0xffff_ffff;
const LAST_V6: u128 = u128::MAX;

impl Clients {
    pub(super) fn all() -> Self {
        Self { v4: Ranges::new(vec![(0, LAST_V4)]), v6: Ranges::new(vec![(0, LAST_V6)]) }
    }

    pub(super) fn all_v4() -> Self {
        Self { v6: Ranges::default(), ..Self::all() }
    }

    /// From the first to the last address, of one family.
    pub(super) fn between(first: IpAddr, last: IpAddr) -> Option<Self> {
        match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                let v4 = Ranges::new(vec![(first.to_bits().into(), last.to_bits().into())]);
                Some(Self { v4, v6: Ranges::default() })
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                Some(Self { v4: Ranges::default(), v6: Ranges::new(vec![(first.to_bits(), last.to_bits())]) })
            }
            _ => None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.v4.0.is_empty() && self.v6.0.is_empty()
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        Self { v4: self.v4.union(&other.v4), v6: self.v6.union(&other.v6) }
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        Self { v4: self.v4.intersection(&other.v4), v6: self.v6.intersection(&other.v6) }
    }

    pub(super) fn complement(&self) -> Self {
        Self { v4: self.v4.complement(LAST_V4), v6: self.v6.complement(LAST_V6) }
    }

    /// The fewest networks that are this set; `None`: every client. All of one family are two halves: `::/0` by itself
    /// looks like a slip for everyone.
    pub(super) fn networks(&self) -> Option<Vec<IpNet>> {
        if *self == Self::all() {
            return None;
        }
        let v4 = |n: u128| Ipv4Addr::from_bits(u32::try_from(n).unwrap_or(u32::MAX));
        let of_v4 = self.v4.0.iter().flat_map(move |(first, last)| Ipv4Subnets::new(v4(*first), v4(*last), 0));
        let v6 = Ipv6Addr::from_bits;
        let of_v6 = self.v6.0.iter().flat_map(move |(first, last)| Ipv6Subnets::new(v6(*first), v6(*last), 0));
        let networks: Vec<IpNet> = of_v4.map(IpNet::V4).chain(of_v6.map(IpNet::V6)).collect();
        Some(match networks[..] {
            [one] if one.prefix_len() == 0 => one.subnets(1).map(Iterator::collect).unwrap_or_default(),
            _ => networks,
        })
    }
}

/// Numbers, as ranges that include both ends, ascending, with gaps between them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<(u128, u128)>);

impl Ranges {
    pub(super) fn new(mut parts: Vec<(u128, u128)>) -> Self {
        parts.retain(|(first, last)| first <= last);
        parts.sort_unstable();
        let mut joined: Vec<(u128, u128)> = Vec::with_capacity(parts.len());
        for (first, last) in parts {
            match joined.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => joined.push((first, last)),
            }
        }
        Self(joined)
    }

    fn union(&self, other: &Self) -> Self {
        Self::new([&self.0[..], &other.0[..]].concat())
    }

    fn intersection(&self, other: &Self) -> Self {
        let (mut ours, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut shared = Vec::new();
        while let (Some(a), Some(b)) = (ours.peek(), theirs.peek()) {
            shared.push((a.0.max(b.0), a.1.min(b.1)));
            if a.1 < b.1 {
                ours.next()
            } else {
                theirs.next()
            };
        }
        Self::new(shared)
    }

    fn complement(&self, end: u128) -> Self {
        let mut gaps = Vec::new();
        let mut next = Some(0);
        for (first, last) in &self.0 {
            if let Some(next) = next.filter(|next| next < first) {
                gaps.push((next, first - 1));
            }
            next = last.checked_add(1);
        }
        gaps.extend(next.filter(|next| *next <= end).map(|next| (next, end)));
        Self(gaps)
    }
}

/// Ports as Squid has them: ranges that include both ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ports(pub(super) Vec<(u16, u16)>);

impl Ports {
    pub(super) fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&port))
    }

    /// Those that are written by themselves, not in a range.
    pub(super) fn single(&self) -> impl Iterator<Item = u16> {
        self.0.iter().filter(|(first, last)| first == last).map(|(port, _)| *port)
    }
}

/// One name, or all names below one. `any` is none of these: here it is the lack of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pattern {
    Exact(Hostname),
    Below(Hostname),
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => write!(f, "{name}"),
            Self::Below(parent) => write!(f, "*.{parent}"),
        }
    }
}

/// Names, as patterns in the order in which they were written.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    patterns: Vec<Pattern>,
    exact: HashSet<Box<str>>,
    /// The names below which all are in the set.
    below: HashSet<Box<str>>,
}

impl Names {
    pub(super) fn new(patterns: impl IntoIterator<Item = Pattern>) -> Self {
        let mut names = Self::default();
        for pattern in patterns {
            names.insert(pattern);
        }
        names
    }

    pub(super) fn insert(&mut self, pattern: Pattern) {
        let new = match &pattern {
            Pattern::Exact(name) => self.exact.insert(name.as_str().into()),
            Pattern::Below(parent) => self.below.insert(parent.as_str().into()),
        };
        if new {
            self.patterns.push(pattern);
        }
    }

    pub(super) fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    pub(super) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether one pattern of the set matches all that `pattern` does.
    pub(super) fn covers(&self, pattern: &Pattern) -> bool {
        let (own, name) = match pattern {
            Pattern::Exact(name) => (&self.exact, name.as_str()),
            Pattern::Below(parent) => (&self.below, parent.as_str()),
        };
        let parents = name.match_indices('.').filter_map(|(dot, _)| name.get(dot + 1..));
        own.contains(name) || (!self.below.is_empty() && parents.into_iter().any(|parent| self.below.contains(parent)))
    }

    /// Two patterns have no name in common, or one covers the other.
    pub(super) fn intersection(&self, other: &Self) -> Self {
        let ours = self.patterns.iter().filter(|pattern| other.covers(pattern));
        let theirs = other.patterns.iter().filter(|pattern| self.covers(pattern));
        Self::new(ours.chain(theirs).cloned())
    }

    /// Without the patterns of which `other` has every name.
    pub(super) fn without(&self, other: &Self) -> Self {
        if other.is_empty() {
            return self.clone();
        }
        Self::new(self.patterns.iter().filter(|pattern| !other.covers(pattern)).cloned())
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        Self::new(self.patterns.iter().chain(&other.patterns).cloned())
    }

    /// Whether every name of `other` is in the set.
    pub(super) fn includes(&self, other: &Self) -> bool {
        other.patterns.iter().all(|pattern| self.covers(pattern))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::NamePattern;
    use crate::yaml::FromScalar;

    fn networks(clients: &Clients) -> String {
        clients
            .networks()
            .map_or("all".to_owned(), |networks| networks.iter().map(IpNet::to_string).collect::<Vec<_>>().join(" "))
    }

    fn between(first: &str, last: &str) -> Clients {
        Clients::between(first.parse().unwrap(), last.parse().unwrap()).unwrap()
    }

    #[test]
    fn clients_are_written_as_the_fewest_networks() {
        let ten = between("10.0.0.0", "10.255.255.255");
        assert_eq!(networks(&ten), "10.0.0.0/8");
        assert_eq!(networks(&between("10.0.0.1", "10.0.0.6")), "10.0.0.1/32 10.0.0.2/31 10.0.0.4/31 10.0.0.6/32");
        assert_eq!(networks(&Clients::all()), "all");
        assert_eq!(networks(&Clients::all_v4()), "0.0.0.0/1 128.0.0.0/1");
        assert_eq!(networks(&ten.union(&between("11.0.0.0", "11.255.255.255"))), "10.0.0.0/7");
        let others = ten.complement();
        assert!(
            networks(&others).starts_with("0.0.0.0/5 8.0.0.0/7 11.0.0.0/8 ") && networks(&others).ends_with(" ::/0")
        );
        assert_eq!(others.complement(), ten);
        assert!(others.intersection(&ten).is_empty());
        assert_eq!(networks(&others.union(&ten)), "all");
    }

    proptest! {
        #[test]
        fn ranges_are_like_sets_of_numbers(
            a in prop::collection::vec((0u128..30, 0u128..6), 0..6),
            b in prop::collection::vec((0u128..30, 0u128..6), 0..6),
        ) {
            let ranges = |parts: &[(u128, u128)]| Ranges::new(parts.iter().map(|(at, len)| (*at, at + len)).collect());
            let (a, b) = (ranges(&a), ranges(&b));
            let has = |ranges: &Ranges, n: u128| ranges.0.iter().any(|(first, last)| (*first..=*last).contains(&n));
            for n in 0..=40 {
                prop_assert_eq!(has(&a.union(&b), n), has(&a, n) || has(&b, n));
                prop_assert_eq!(has(&a.intersection(&b), n), has(&a, n) && has(&b, n));
                prop_assert_eq!(has(&a.complement(40), n), !has(&a, n));
            }
        }

        #[test]
        fn names_are_like_the_names_that_they_match(
            a in prop::collection::vec("(\\*\\.)?([ab]\\.){0,2}[ab]", 0..5),
            b in prop::collection::vec("(\\*\\.)?([ab]\\.){0,2}[ab]", 0..5),
            name in "([ab]\\.){0,4}[ab]",
        ) {
            let name_of = |text: &str| Hostname::parse(text.as_bytes()).unwrap();
            let read = |text: &String| match text.strip_prefix("*.") {
                Some(parent) => Pattern::Below(name_of(parent)),
                None => Pattern::Exact(name_of(text)),
            };
            let names = |list: &[String]| Names::new(list.iter().map(read));
            let (a, b) = (names(&a), names(&b));
            let name = Hostname::parse(name.as_bytes()).unwrap();
            let has = |names: &Names| {
                let in_a_list = |pattern: &Pattern| NamePattern::from_scalar(&pattern.to_string()).unwrap();
                let matches = names.patterns().iter().any(|pattern| in_a_list(pattern).matches(&name));
                assert_eq!(matches, names.covers(&Pattern::Exact(name.clone())));
                matches
            };
            prop_assert_eq!(has(&a.union(&b)), has(&a) || has(&b));
            prop_assert_eq!(has(&a.intersection(&b)), has(&a) && has(&b));
            prop_assert!(has(&a.without(&b)) || !has(&a) || has(&b));
            prop_assert!(!a.includes(&b) || has(&a) || !has(&b));
        }
    }
}
