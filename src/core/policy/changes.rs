//! What a reload did to the rules: added, removed, moved. Two rules are the same if their content is the same, wherever
//! they are in the list; the counters of a rule follow it.

use std::collections::{HashMap, VecDeque};
use std::time::SystemTime;

use super::{Action, NamePattern, Policy, Rule, RuleId, Sources};
use crate::client::EndpointId;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Rules of the new list.
    pub added: Vec<RuleId>,
    /// Rules of the old list.
    pub removed: Vec<RuleId>,
    /// Old and new id of each rule that moved past another one.
    pub moved: Vec<(RuleId, RuleId)>,
    /// Old and new id of every rule in both lists, moved or not, in the order of the new list.
    pub same: Vec<(RuleId, RuleId)>,
}

impl Policy {
    pub fn changes_to(&self, new: &Self) -> Changes {
        let mut old: HashMap<Content<'_>, VecDeque<RuleId>> = HashMap::new();
        for (id, rule) in self.rules() {
            old.entry(Content::of(rule)).or_default().push_back(id);
        }
        let mut changes = Changes::default();
        for (id, rule) in new.rules() {
            match old.get_mut(&Content::of(rule)).and_then(VecDeque::pop_front) {
                Some(before) => changes.same.push((before, id)),
                None => changes.added.push(id),
            }
        }
        changes.removed = old.into_values().flatten().collect();
        changes.removed.sort_unstable();
        let stays = longest_rise(&changes.same);
        changes.moved = changes.same.iter().zip(stays).filter(|(_, stays)| !stays).map(|(pair, _)| *pair).collect();
        changes
    }
}

/// The content of a rule, without its position and spelling.
#[derive(PartialEq, Eq, Hash)]
struct Content<'a> {
    action: Action,
    sources: &'a Sources,
    to: &'a [NamePattern],
    listeners: &'a [Box<str>],
    ports: &'a [u16],
    via: &'a [EndpointId],
    until: Option<SystemTime>,
    name: Option<&'a str>,
}

impl<'a> Content<'a> {
    fn of(rule: &'a Rule) -> Self {
        let Rule { action, sources, to, listeners, ports, via, until, name, line: _, column: _, text: _ } = rule;
        Self { action: *action, sources, to, listeners, ports, via, until: *until, name: name.as_deref() }
    }
}

/// For each pair whether it belongs to a longest run of increasing old ids: those rules did not move.
fn longest_rise(pairs: &[(RuleId, RuleId)]) -> Vec<bool> {
    // `ends[n]`: the pair with the lowest old id at which a run of n + 1 can end; `before`: the one before it.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(pairs.len());
    let old = |at: usize| pairs.get(at).map(|(old, _)| *old);
    for at in 0..pairs.len() {
        let length = ends.partition_point(|end| old(*end) < old(at));
        before.push(length.checked_sub(1).and_then(|shorter| ends.get(shorter).copied()));
        match ends.get_mut(length) {
            Some(end) => *end = at,
            None => ends.push(at),
        }
    }
    let mut rise = vec![false; pairs.len()];
    let mut next = ends.last().copied();
    while let Some(at) = next {
        if let Some(stays) = rise.get_mut(at) {
            *stays = true;
        }
        next = before.get(at).copied().flatten();
    }
    rise
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Origin;

    fn changes(old: &str, new: &str) -> (Vec<u32>, Vec<u32>, Vec<(u32, u32)>) {
        let policy = |rules: &str| {
            let lines: String = rules.split_whitespace().map(|net| format!("- allow: {net}\n")).collect();
            Policy::parse(&format!("rules:\n{lines}"), Origin::Defaults).unwrap()
        };
        let Changes { added, removed, moved, .. } = policy(old).changes_to(&policy(new));
        let number = |id: RuleId| id.0;
        (
            added.into_iter().map(number).collect(),
            removed.into_iter().map(number).collect(),
            moved.into_iter().map(|(old, new)| (old.0, new.0)).collect(),
        )
    }

    #[test]
    fn rules_are_matched_by_their_content() {
        let (a, b, c, d) = ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4");
        for (old, new, expected) in [
            (vec![a, b, c], vec![a, b, c], (vec![], vec![], vec![])),
            (vec![a, b, c], vec![a, d, b, c], (vec![1], vec![], vec![])),
            (vec![a, b, c], vec![a, c], (vec![], vec![1], vec![])),
            (vec![a, b, c], vec![c, a, b], (vec![], vec![], vec![(2, 0)])),
            (vec![a, b, c, d], vec![b, a, d], (vec![], vec![2], vec![(1, 0)])),
            (vec![a, a], vec![a], (vec![], vec![1], vec![])),
            (vec![], vec![a, b], (vec![0, 1], vec![], vec![])),
        ] {
            let old = if old.is_empty() { "10.9.9.9".to_owned() } else { old.join(" ") };
            let expected = if old == "10.9.9.9" { (expected.0, vec![0], expected.2) } else { expected };
            assert_eq!(changes(&old, &new.join(" ")), expected, "{old} -> {new:?}");
        }
    }
}
