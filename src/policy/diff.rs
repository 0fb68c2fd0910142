//! What a new list would change, in addresses: which clients are allowed that were denied, and the other way round.
//!
//! Rules may depend on name, listener, port and endpoint. Of each, the values that the two lists mention fall into
//! few classes that no rule tells apart, and for each combination of classes the whole address space is compared.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::hash::Hash;
use std::time::SystemTime;

use super::ranges::{Range, decisions, describe};
use super::{Action, NamePattern, Policy, Rule, RuleId};
use crate::client::EndpointId;

/// Combinations of classes compared at most; each is a pass over both lists.
const MAX_PASSES: usize = 10_000;

/// Addresses for which the answer changes, with what they have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// For whom beside the addresses: `names: orders.example.com; listener: tls`; several if alike.
    pub scopes: Vec<String>,
    pub allowed: bool,
    /// The rule of the new list that decides; none: no rule matches.
    pub rule: Option<RuleId>,
    /// In the order of addresses, as CIDRs or `first - last`.
    pub ranges: Vec<String>,
}

/// The lists mention more combinations of names, listeners, ports and endpoints than can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany(pub usize);

pub fn diff(old: &Policy, new: &Policy, now: SystemTime) -> Result<Vec<Change>, TooMany> {
    let both = || old.rules.iter().chain(&new.rules);
    let names = classes(
        both(),
        |rule| rule.to.to_vec(),
        |rule, value| is_for(&rule.to, |p| value.is_some_and(|v| p.covers(v))),
    );
    let listeners =
        classes(both(), |rule| rule.listeners.to_vec(), |rule, value| is_for(&rule.listeners, |l| Some(l) == value));
    let ports = classes(both(), |rule| rule.ports.to_vec(), |rule, value| is_for(&rule.ports, |p| Some(p) == value));
    let endpoints = classes(both(), |rule| rule.via.to_vec(), |rule, value| is_for(&rule.via, |id| Some(id) == value));
    let passes = names.len() * listeners.len() * ports.len() * endpoints.len();
    if passes > MAX_PASSES {
        return Err(TooMany(passes));
    }
    let mut found: BTreeMap<(bool, Option<RuleId>, Vec<Range>), Vec<String>> = BTreeMap::new();
    for name in &names {
        for listener in &listeners {
            for port in &ports {
                for endpoint in &endpoints {
                    let scope = Scope { name, listener, port, endpoint };
                    for (verdict, ranges) in changes(old, new, &scope, now) {
                        found.entry((verdict.0, verdict.1, ranges)).or_default().push(scope.to_string());
                    }
                }
            }
        }
    }
    let change = |((allowed, rule, ranges), scopes): ((bool, Option<RuleId>, Vec<Range>), Vec<String>)| {
        let scopes = if scopes.len() == passes { vec!["any name".to_owned()] } else { scopes };
        Change { scopes, allowed, rule, ranges: describe(&ranges) }
    };
    Ok(found.into_iter().rev().map(change).collect())
}

/// Values that no rule tells apart. The class of all that is not mentioned holds no value.
struct Class<T>(Vec<T>);

struct Scope<'a> {
    name: &'a Class<NamePattern>,
    listener: &'a Class<Box<str>>,
    port: &'a Class<u16>,
    endpoint: &'a Class<EndpointId>,
}

impl Scope<'_> {
    fn holds(&self, rule: &Rule) -> bool {
        is_for(&rule.to, |pattern| self.name.0.first().is_some_and(|name| pattern.covers(name)))
            && is_for(&rule.listeners, |listener| self.listener.0.first() == Some(listener))
            && is_for(&rule.ports, |port| self.port.0.first() == Some(port))
            && is_for(&rule.via, |id| self.endpoint.0.first() == Some(id))
    }
}

/// Whether a condition holds: it is not there, or one of its values does.
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

/// Within one scope: every stretch of addresses whose answer differs, by the new answer.
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

/// The rule that decides about `range`, which lies in one stretch of `decisions` or in none.
fn decided<'a>(
    decisions: &mut std::iter::Peekable<impl Iterator<Item = &'a (Range, RuleId)>>,
    range: Range,
) -> Option<RuleId> {
    while decisions.next_if(|(stretch, _)| stretch.is_before(range)).is_some() {}
    decisions.peek().filter(|(stretch, _)| stretch.intersection(range).is_some()).map(|(_, id)| *id)
}

fn is_allow(policy: &Policy, id: RuleId) -> bool {
    policy.rule(id).is_some_and(|rule| rule.action == Action::Allow)
}

impl fmt::Display for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", or_other(&self.name.0, "name", "any name that the lists do not mention"))?;
        for text in [
            or_other(&self.listener.0, "listener", ""),
            or_other(&self.port.0, "port", ""),
            or_other(&self.endpoint.0, "via", ""),
        ] {
            if !text.is_empty() {
                write!(f, "; {text}")?;
            }
        }
        Ok(())
    }
}

fn or_other<T: fmt::Display>(values: &[T], what: &str, other: &str) -> String {
    match values {
        [] => other.to_owned(),
        values => format!("{what} {}", values.iter().map(T::to_string).collect::<Vec<_>>().join(", ")),
    }
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
