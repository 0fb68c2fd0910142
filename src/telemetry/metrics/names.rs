//! Open connections by the name that they are for. Names come from clients, so only those have a count of their own that
//! the operator has written: exactly in `to:` of the list, or in `upstream.names`; and of them at most
//! [`ActiveNames::MAX`]. All others are counted together.
//!
//! A count is made when its name is first used, and kept for as long as a list or a connection refers to it: a reload
//! loses none, and a name that was taken out of the list is shown until its last connection has ended.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use super::exposition::{Exposition, Kind};
use crate::sys::mutex::lock;
use latticegate_core::hostname::Hostname;
use latticegate_core::policy::{NameId, Policy};

/// The counts of all names. A connection takes no lock, except the first one for a name.
#[derive(Debug, Clone, Default)]
pub struct ActiveNames(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    named: Mutex<BTreeMap<Box<str>, Counted>>,
    other: Counted,
    /// Of `upstream.names`.
    configured: OnceLock<HashMap<Hostname, Counted>>,
}

type Counted = Arc<AtomicU64>;

/// The label of all names without a count of their own.
const OTHER: &str = "other";

/// The names of one list, by [`NameId`]; belongs to the list.
#[derive(Debug)]
pub struct ListNames(Box<[OnceLock<Counted>]>);

/// One open connection for a name; dropped, it is not open any more.
#[derive(Debug)]
pub struct ActiveName(Counted);

/// Open connections by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActiveByName {
    /// In alphabetical order: those of `upstream.names`, and those that had a connection and are in the list still or have
    /// one now.
    pub named: Vec<(Box<str>, u64)>,
    /// For any other name.
    pub other: u64,
}

impl ListNames {
    pub fn of(policy: &Policy) -> Self {
        Self((0..policy.name_ids()).map(|_| OnceLock::new()).collect())
    }
}

impl ActiveNames {
    /// Names with a count of their own: each is a series at every scrape of every task.
    pub const MAX: usize = 1000;

    /// The keys of `upstream.names`. Only the first call counts.
    pub fn configure<'a>(&self, names: impl Iterator<Item = &'a Hostname>) {
        self.0.configured.get_or_init(|| names.map(|name| (name.clone(), self.count_of(name))).collect());
    }

    /// Counts a connection for `name`, which has this id in the list of these names, if it is in there.
    pub fn enter(&self, list: &ListNames, id: Option<NameId>, name: &Hostname) -> ActiveName {
        let in_list = id.and_then(|id| list.0.get(id.index())).map(|slot| slot.get_or_init(|| self.count_of(name)));
        let count = in_list.or_else(|| self.0.configured.get().filter(|names| !names.is_empty())?.get(name));
        let count = Arc::clone(count.unwrap_or(&self.0.other));
        count.fetch_add(1, Ordering::Relaxed);
        ActiveName(count)
    }

    /// Open connections now.
    pub fn read(&self) -> ActiveByName {
        let mut named = lock(&self.0.named);
        // Nothing else refers to those: neither a list nor a connection.
        named.retain(|_, count| Arc::strong_count(count) > 1);
        let value = |count: &Counted| count.load(Ordering::Relaxed);
        ActiveByName {
            named: named.iter().map(|(name, count)| (name.clone(), value(count))).collect(),
            other: value(&self.0.other),
        }
    }

    fn count_of(&self, name: &Hostname) -> Counted {
        if name.as_str() == OTHER {
            // A host may be called so, but its series would be the same.
            return Arc::clone(&self.0.other);
        }
        let mut named = lock(&self.0.named);
        if let Some(count) = named.get(name.as_str()) {
            return Arc::clone(count);
        }
        if named.len() >= Self::MAX {
            named.retain(|_, count| Arc::strong_count(count) > 1);
        }
        if named.len() >= Self::MAX {
            return Arc::clone(&self.0.other);
        }
        Arc::clone(named.entry(name.as_str().into()).or_default())
    }

    pub(super) fn export(&self, text: &mut Exposition) {
        let ActiveByName { named, other } = self.read();
        let help =
            "Open connections by requested name: names of the list and of upstream.names that were used, and other.";
        let mut family = text.family("latticegate_name_connections_active", Kind::Gauge, help);
        for (name, active) in &named {
            family.sample(&[("name", name)], active);
        }
        family.sample(&[("name", OTHER)], other);
    }
}

impl Drop for ActiveName {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use latticegate_core::diagnostic::Origin;

    fn name(text: &str) -> Hostname {
        Hostname::parse(text.as_bytes()).unwrap()
    }

    struct List(Policy, ListNames);

    impl List {
        fn of(rules: &str) -> Self {
            let policy = Policy::parse(rules, Origin::Defaults).unwrap();
            let names = ListNames::of(&policy);
            Self(policy, names)
        }

        fn enter(&self, active: &ActiveNames, text: &str) -> ActiveName {
            let name = name(text);
            active.enter(&self.1, self.0.name_id(&name), &name)
        }
    }

    fn shown(active: &ActiveNames) -> String {
        let ActiveByName { named, other } = active.read();
        let named: String = named.iter().map(|(name, count)| format!("{name} {count}, ")).collect();
        format!("{named}other {other}")
    }

    #[test]
    fn only_names_that_the_operator_has_written_are_counted_by_themselves() {
        let active = ActiveNames::default();
        active.configure([&name("mapped.example"), &name("both.example")].into_iter());
        let list = List::of("rules: [{ allow: all, to: [a.example, both.example, other, \"*.b.example\"] }]");
        let open = ["a.example", "a.example", "mapped.example", "both.example", "x.b.example", "b.example", "other"]
            .map(|name| list.enter(&active, name));
        assert_eq!(shown(&active), "a.example 2, both.example 1, mapped.example 1, other 3");
        drop(open);
        assert_eq!(shown(&active), "a.example 0, both.example 0, mapped.example 0, other 0");
    }

    #[test]
    fn a_reload_loses_no_connection_and_forgets_a_name_with_its_last_one() {
        let active = ActiveNames::default();
        let old = List::of("rules: [{ allow: all, to: [a.example, b.example, c.example] }]");
        let [a, b, c] = ["a.example", "b.example", "c.example"].map(|name| old.enter(&active, name));
        drop(c);
        let new = List::of("rules: [{ allow: all, to: [d.example, a.example] }]");
        drop(old);
        assert_eq!(shown(&active), "a.example 1, b.example 1, other 0");
        let again = [new.enter(&active, "a.example"), new.enter(&active, "b.example")];
        assert_eq!(shown(&active), "a.example 2, b.example 1, other 1");
        drop((a, b));
        assert_eq!(shown(&active), "a.example 1, other 1");
        drop(again);
        assert_eq!(shown(&active), "a.example 0, other 0");
    }

    #[test]
    fn there_are_only_so_many() {
        let active = ActiveNames::default();
        let names: Vec<String> = (0..ActiveNames::MAX + 5).map(|n| format!("n{n}.example")).collect();
        let list = List::of(&format!("rules: [{{ allow: all, to: [{}] }}]", names.join(", ")));
        let open: Vec<ActiveName> = names.iter().map(|name| list.enter(&active, name)).collect();
        let ActiveByName { named, other } = active.read();
        assert_eq!((named.len(), other), (ActiveNames::MAX, 5));
        drop((open, list));
        assert_eq!(active.read(), ActiveByName::default());
        let next = List::of("rules: [{ allow: all, to: new.example }]");
        let _open = next.enter(&active, "new.example");
        assert_eq!(shown(&active), "new.example 1, other 0");
    }
}
