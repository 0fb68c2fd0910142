//! What a new list would change, by address: which clients are allowed that were denied, and the other way round.
//!
//! Rules may depend on name, listener, port and endpoint. Of each, the values that the two lists mention fall into
//! few classes that no rule distinguishes. For each combination of classes the whole address space is compared: once as a
//! `tls` or `http` listener decides, and once as a `forward` listener does if that differs.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::hash::Hash;
use std::time::SystemTime;

use super::blocks::{self, Block, Combination};
use super::ranges::{Range, decisions, describe};
use super::{Action, NamePattern, Policy, Rule, RuleId};
use crate::client::EndpointId;
use crate::config::{Listener, ProxyProtocol};

/// Combinations of classes compared at most; each is a pass over both lists.
const MAX_PASSES: usize = 10_000;

/// Addresses for which the decision changes, and where it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// For which names, listeners, ports and endpoints: `name orders.example.com; listener tls`. Several where one cannot
    /// describe them.
    pub scopes: Vec<String>,
    pub allowed: bool,
    /// The rule of the new list that decides; `None`: no rule matches.
    pub rule: Option<RuleId>,
    /// In the order of addresses, as CIDRs or `first - last`.
    pub ranges: Vec<String>,
}

/// The lists mention more combinations of names, listeners, ports and endpoints than can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany(pub usize);

/// `listeners` are those that the lists are for; `None`: not known, so any of both kinds, with any ports.
pub fn diff(
    old: &Policy,
    new: &Policy,
    listeners: Option<&[Listener]>,
    now: SystemTime,
) -> Result<Vec<Change>, TooMany> {
    let configured = listeners;
    let both = || old.rules.iter().chain(&new.rules);
    let names = classes(
        both(),
        |rule| if rule.takes_every_name() { Vec::new() } else { rule.to.to_vec() },
        |rule, value| is_for(&rule.to, |p| value.is_some_and(|v| p.covers(v))),
    );
    let listeners =
        classes(both(), |rule| rule.listeners.to_vec(), |rule, value| is_for(&rule.listeners, |l| Some(l) == value));
    let mut ports =
        classes(both(), |rule| rule.ports.to_vec(), |rule, value| is_for(&rule.ports, |p| Some(p) == value));
    if let Some(configured) = configured {
        ports = ports_of(ports, configured);
    }
    let endpoints = classes(both(), |rule| rule.via.to_vec(), |rule, value| is_for(&rule.via, |id| Some(id) == value));
    // Only a rule that allows any name without saying so means something else on a forward listener.
    let differ = both().any(Rule::names_nothing);
    let passes = names.len() * listeners.len() * ports.len() * endpoints.len();
    if passes > MAX_PASSES {
        return Err(TooMany(passes));
    }
    let mut there: HashSet<[usize; 4]> = HashSet::new();
    let mut found: BTreeMap<(bool, Option<RuleId>, Vec<Range>), Vec<Combination>> = BTreeMap::new();
    for (n, name) in names.iter().enumerate() {
        for (l, listener) in listeners.iter().enumerate() {
            for (p, port) in ports.iter().enumerate() {
                for (e, endpoint) in endpoints.iter().enumerate() {
                    for kind in [Kind::Reverse, Kind::Forward] {
                        if !exists(configured, (&listeners, &ports), (listener, port, endpoint, kind), differ) {
                            continue;
                        }
                        there.insert([l, p, e, kind.number()]);
                        let scope = Scope { name, listener, port, endpoint, kind };
                        for (verdict, ranges) in changes(old, new, &scope, now) {
                            let combination = [n, l, p, e, kind.number()];
                            found.entry((verdict.0, verdict.1, ranges)).or_default().push(combination);
                        }
                    }
                }
            }
        }
    }
    let has = |kind: Kind| there.iter().any(|[.., one]| *one == kind.number());
    let says_any = both().any(|rule| rule.to.contains(&NamePattern::Any));
    let for_both = has(Kind::Reverse) && has(Kind::Forward) && (says_any || configured.is_some());
    let scope = |block: &Block| {
        let [n, l, p, e, k] = block;
        let parts = [
            describe_names(&Selection::of(&names, n)),
            Selection::of(&listeners, l).describe("listener", "any listener but"),
            Selection::of(&ports, p).describe("port", "any port but"),
            Selection::of(&endpoints, e).describe("via", "not via"),
            match [Kind::Reverse, Kind::Forward].map(|kind| k.contains(&kind.number())) {
                [false, true] if has(Kind::Reverse) => Some("on forward listeners".to_owned()),
                // Understood, unless the lists are for both.
                [true, false] if for_both => Some("on tls and http listeners".to_owned()),
                _ => None,
            },
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    };
    let change = |((allowed, rule, ranges), places): ((bool, Option<RuleId>, Vec<Range>), Vec<Combination>)| {
        let scopes = blocks::cover(&places, |[_, place @ ..]| there.contains(place)).iter().map(scope).collect();
        Change { scopes, allowed, rule, ranges: describe(&ranges) }
    };
    Ok(found.into_iter().rev().map(change).collect())
}

/// Values that no rule distinguishes. The class of all values that the lists do not mention is empty.
struct Class<T>(Vec<T>);

struct Scope<'a> {
    name: &'a Class<NamePattern>,
    listener: &'a Class<Box<str>>,
    port: &'a Class<u16>,
    endpoint: &'a Class<EndpointId>,
    kind: Kind,
}

/// Of listeners: those in front of services (`tls`, `http`), and `forward`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reverse,
    Forward,
}

impl Kind {
    /// In a [`Combination`].
    fn number(self) -> usize {
        match self {
            Self::Reverse => 0,
            Self::Forward => 1,
        }
    }
}

/// The classes of ports that these listeners have, without the ports that none has.
fn ports_of(classes: Vec<Class<u16>>, listeners: &[Listener]) -> Vec<Class<u16>> {
    let all: BTreeSet<u16> = listeners.iter().flat_map(Listener::ports).collect();
    let is_mentioned = |port: &u16| classes.iter().any(|class| class.0.contains(port));
    let others = !all.iter().all(is_mentioned);
    let kept = classes.into_iter().filter_map(|Class(ports)| match ports.is_empty() {
        true => others.then_some(Class(ports)),
        false => Some(Class(ports.into_iter().filter(|port| all.contains(port)).collect::<Vec<_>>()))
            .filter(|class| !class.0.is_empty()),
    });
    kept.collect()
}

/// Whether some listener is of this kind and class, and has such a port and endpoint. Where none is known, one kind stands
/// for both unless they differ.
fn exists(
    configured: Option<&[Listener]>,
    (all, all_ports): (&[Class<Box<str>>], &[Class<u16>]),
    (listeners, ports, endpoints, kind): (&Class<Box<str>>, &Class<u16>, &Class<EndpointId>, Kind),
    differ: bool,
) -> bool {
    let Some(configured) = configured else { return differ || kind == Kind::Reverse };
    let is_in = |listener: &Listener| match &*listeners.0 {
        [] => !all.iter().any(|class| class.0.iter().any(|name| **name == *listener.name)),
        names => names.iter().any(|name| **name == *listener.name),
    };
    configured.iter().any(|listener| {
        let has_port = match &*ports.0 {
            [] => listener.ports().any(|port| !all_ports.iter().any(|class| class.0.contains(&port))),
            ports => listener.ports().any(|port| ports.contains(&port)),
        };
        let has_endpoint = endpoints.0.is_empty() || listener.proxy_protocol == ProxyProtocol::Required;
        is_in(listener) && listener.forward.is_some() == (kind == Kind::Forward) && has_port && has_endpoint
    })
}

impl Scope<'_> {
    fn holds(&self, rule: &Rule) -> bool {
        let is_named = |pattern: &NamePattern| self.name.0.first().is_some_and(|name| pattern.covers(name));
        (rule.takes_every_name() || rule.to.iter().any(is_named))
            && !(rule.names_nothing() && self.kind == Kind::Forward)
            && is_for(&rule.listeners, |listener| self.listener.0.first() == Some(listener))
            && is_for(&rule.ports, |port| self.port.0.first() == Some(port))
            && is_for(&rule.via, |id| self.endpoint.0.first() == Some(id))
    }
}

/// Whether a condition holds: it is absent, or it holds for one of its values.
fn is_for<T>(values: &[T], holds: impl Fn(&T) -> bool) -> bool {
    values.is_empty() || values.iter().any(holds)
}

fn classes<'a, T: Clone + Eq + Hash>(
    rules: impl Iterator<Item = &'a Rule> + Clone,
    values: impl Fn(&Rule) -> Vec<T>,
    holds: impl Fn(&Rule, Option<&T>) -> bool,
) -> Vec<Class<T>> {
    let conditional: Vec<&Rule> = rules.filter(|rule| !values(rule).is_empty()).collect();
    let mut seen: HashMap<T, ()> = HashMap::new();
    let mut classes: Vec<Class<T>> = vec![Class(Vec::new())];
    let mut by_rules: HashMap<Vec<usize>, usize> = HashMap::from([(Vec::new(), 0)]);
    for value in conditional.iter().flat_map(|rule| values(rule)) {
        if seen.insert(value.clone(), ()).is_some() {
            continue;
        }
        let matched = conditional.iter().enumerate().filter(|(_, rule)| holds(rule, Some(&value)));
        let matched: Vec<usize> = matched.map(|(at, _)| at).collect();
        let next = classes.len();
        let at = *by_rules.entry(matched).or_insert(next);
        match classes.get_mut(at) {
            Some(class) => class.0.push(value),
            None => classes.push(Class(vec![value])),
        }
    }
    classes
}

/// Within one scope: all ranges of addresses whose decision differs, by the new decision.
fn changes(
    old: &Policy,
    new: &Policy,
    scope: &Scope<'_>,
    now: SystemTime,
) -> BTreeMap<(bool, Option<RuleId>), Vec<Range>> {
    let live = |rule: &Rule| rule.until.is_none_or(|end| end > now) && scope.holds(rule);
    let before = decisions(old.rules().filter(|(_, rule)| live(rule)));
    let after = decisions(new.rules().filter(|(_, rule)| live(rule)));
    let cuts: BTreeSet<u128> = before.iter().chain(&after).flat_map(|(range, _)| range.cuts()).chain([0]).collect();
    let mut changes: BTreeMap<(bool, Option<RuleId>), Vec<Range>> = BTreeMap::new();
    let (mut before, mut after) = (before.iter().peekable(), after.iter().peekable());
    for range in Range::between(&cuts) {
        let was = decided(&mut before, range).is_some_and(|id| is_allow(old, id));
        let rule = decided(&mut after, range);
        let is = rule.is_some_and(|id| is_allow(new, id));
        if was != is {
            changes.entry((is, rule)).or_default().push(range);
        }
    }
    changes
}

/// The rule that decides about `range`, which lies within one range of `decisions` or outside all.
fn decided<'a>(
    decisions: &mut std::iter::Peekable<impl Iterator<Item = &'a (Range, RuleId)>>,
    range: Range,
) -> Option<RuleId> {
    while decisions.next_if(|(decided, _)| decided.is_before(range)).is_some() {}
    decisions.peek().filter(|(decided, _)| decided.intersection(range).is_some()).map(|(_, id)| *id)
}

fn is_allow(policy: &Policy, id: RuleId) -> bool {
    policy.rule(id).is_some_and(|rule| rule.action == Action::Allow)
}

/// Some of the classes of one kind, by their values.
struct Selection<'a, T> {
    within: Vec<&'a T>,
    without: Vec<&'a T>,
    /// Values that the lists do not mention are included.
    others: bool,
    /// All of the classes.
    whole: bool,
}

impl<'a, T: fmt::Display> Selection<'a, T> {
    fn of(classes: &'a [Class<T>], chosen: &BTreeSet<usize>) -> Self {
        let whole = chosen.len() == classes.len();
        let mut part = Self { within: Vec::new(), without: Vec::new(), others: false, whole };
        for (at, Class(values)) in classes.iter().enumerate() {
            match chosen.contains(&at) {
                true if values.is_empty() => part.others = true,
                true => part.within.extend(values),
                false => part.without.extend(values),
            }
        }
        part
    }

    /// `None` if nothing is left out.
    fn describe(&self, only: &str, but: &str) -> Option<String> {
        match (self.whole, self.others) {
            (true, _) => None,
            (false, true) => Some(format!("{but} {}", list(&self.without))),
            (false, false) => Some(format!("{only} {}", list(&self.within))),
        }
    }
}

/// Describes names. A name may match a pattern of one class and belong to another, because a rule names it exactly.
fn describe_names(part: &Selection<'_, NamePattern>) -> Option<String> {
    let inside = |some: &[&NamePattern], wide: &[&NamePattern]| -> String {
        let inside: Vec<_> = some.iter().copied().filter(|name| wide.iter().any(|wide| wide.covers(name))).collect();
        list(&inside)
    };
    let Some(text) = part.describe("name", "any name but") else { return Some("any name".to_owned()) };
    let (exceptions, word) = match part.others {
        true => (inside(&part.within, &part.without), "and"),
        false => (inside(&part.without, &part.within), "but not"),
    };
    Some(if exceptions.is_empty() { text } else { format!("{text}, {word} {exceptions}") })
}

fn list<T: fmt::Display>(values: &[&T]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the lists mention {} combinations of names, listeners, ports and endpoints; {MAX_PASSES} can be compared",
            self.0
        )
    }
}

impl std::error::Error for TooMany {}
