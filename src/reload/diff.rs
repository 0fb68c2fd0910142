//! Pure: how two lists differ, rule by rule, for the line in the log.

use std::collections::HashMap;
use std::fmt;

use crate::policy::Policy;

/// Rules added, removed and moved; a rule is known by its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Change {
    pub(super) added: usize,
    pub(super) removed: usize,
    pub(super) moved: usize,
}

impl Change {
    pub(super) fn between(old: &Policy, new: &Policy) -> Self {
        let mut left: HashMap<&str, Vec<usize>> = HashMap::new();
        for (id, rule) in old.rules() {
            left.entry(&rule.text).or_default().push(id.index());
        }
        left.values_mut().for_each(|places| places.reverse());
        let mut change = Self::default();
        let mut kept = Vec::new();
        for (_, rule) in new.rules() {
            match left.get_mut(&*rule.text).and_then(Vec::pop) {
                Some(place) => kept.push(place),
                None => change.added += 1,
            }
        }
        change.removed = left.values().map(Vec::len).sum();
        change.moved = kept.len() - in_order(&kept);
        change
    }
}

/// The length of the longest increasing subsequence: these kept their order, the others moved.
fn in_order(places: &[usize]) -> usize {
    let mut tails: Vec<usize> = Vec::new();
    for &place in places {
        let at = tails.partition_point(|&tail| tail < place);
        match tails.get_mut(at) {
            Some(tail) => *tail = place,
            None => tails.push(place),
        }
    }
    tails.len()
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rules added, {} removed, {} moved", self.added, self.removed, self.moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Origin;

    fn policy(rules: &[&str]) -> Policy {
        let text = rules.iter().fold("rules:\n".to_owned(), |text, rule| text + "- allow: " + rule + "\n");
        Policy::parse(&text, Origin::file("p.yaml")).unwrap()
    }

    #[test]
    fn tells_added_removed_and_moved() {
        let old = policy(&["10.0.0.0/8", "10.1.0.0/16", "10.2.0.0/16"]);
        let new = policy(&["10.2.0.0/16", "10.0.0.0/8", "10.3.0.0/16", "10.1.0.0/16"]);
        assert_eq!(Change::between(&old, &new), Change { added: 1, removed: 0, moved: 1 });
        assert_eq!(Change::between(&new, &old), Change { added: 0, removed: 1, moved: 1 });
        assert_eq!(Change::between(&old, &old), Change::default());
    }
}
