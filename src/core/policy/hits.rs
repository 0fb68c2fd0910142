//! How often each rule decided, and when last. The counters belong to one list; a reload carries over those of the
//! rules that stay.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::changes::Changes;
use super::{Policy, RuleId};

/// The counters of all rules of one list, shared by all workers.
#[derive(Debug)]
pub struct Hits(Box<[Counter]>);

/// How often a rule decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RuleHits {
    pub count: u64,
    /// When it decided last, in whole seconds; `None`: never.
    pub last: Option<SystemTime>,
}

#[derive(Debug, Default)]
struct Counter {
    count: AtomicU64,
    /// Seconds since 1970; 0 = never.
    last: AtomicU64,
}

impl Hits {
    pub fn new(policy: &Policy) -> Self {
        Self(policy.rules().map(|_| Counter::default()).collect())
    }

    /// Counters for `new`; rules that were in the list before keep theirs.
    pub fn carried_over(&self, changes: &Changes, new: &Policy) -> Self {
        let hits = Self::new(new);
        for (old, new) in &changes.same {
            if let (Some(from), Some(to)) = (self.0.get(old.index()), hits.0.get(new.index())) {
                to.count.store(from.count.load(Ordering::Relaxed), Ordering::Relaxed);
                to.last.store(from.last.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
        hits
    }

    pub fn note(&self, rule: RuleId, now: SystemTime) {
        let Some(counter) = self.0.get(rule.index()) else { return };
        counter.count.fetch_add(1, Ordering::Relaxed);
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        // Most hits fall into the same second: then this is a read of a shared cache line, not a contended write.
        if counter.last.load(Ordering::Relaxed) < seconds {
            counter.last.store(seconds, Ordering::Relaxed);
        }
    }

    pub fn of(&self, rule: RuleId) -> RuleHits {
        let Some(counter) = self.0.get(rule.index()) else { return RuleHits::default() };
        let last = counter.last.load(Ordering::Relaxed);
        let last = (last > 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(last));
        RuleHits { count: counter.count.load(Ordering::Relaxed), last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Origin;

    #[test]
    fn counters_follow_their_rule() {
        let policy = |text: &str| Policy::parse(text, Origin::Defaults).unwrap();
        let old = policy("rules: [{ allow: 10.0.0.0/8 }, { deny: 10.1.0.0/16 }, { deny: all }]");
        let new = policy("rules: [{ deny: 10.1.0.0/16 }, { allow: 10.0.0.0/8 }, { allow: 192.0.2.1 }]");
        let hits = Hits::new(&old);
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        hits.note(RuleId(1), then);
        hits.note(RuleId(1), then + Duration::from_secs(5));
        hits.note(RuleId(2), then);
        let hits = hits.carried_over(&old.changes_to(&new), &new);
        let last = Some(then + Duration::from_secs(5));
        assert_eq!(hits.of(RuleId(0)), RuleHits { count: 2, last });
        assert_eq!(hits.of(RuleId(1)), RuleHits::default());
        assert_eq!(hits.of(RuleId(2)), RuleHits::default());
    }
}
