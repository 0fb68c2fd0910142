//! The sessions of one worker, in groups by their id: what concerns all of them may be done group by group.

use std::array;

use crate::runtime::Notify;

/// How many groups: of 10 000 sessions, some 150 are woken at a time.
const GROUPS: usize = 64;

pub(crate) struct Groups([Notify; GROUPS]);

impl Default for Groups {
    fn default() -> Self {
        Self(array::from_fn(|_| Notify::new()))
    }
}

impl Groups {
    /// The group of the session with this id.
    pub(crate) fn index(id: u64) -> usize {
        usize::try_from(id).unwrap_or_default() % GROUPS
    }

    pub(crate) fn of(&self, id: u64) -> &Notify {
        let [first, ..] = &self.0;
        self.0.get(Self::index(id)).unwrap_or(first)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Notify> {
        self.0.iter()
    }

    pub(crate) fn notify_all(&self) {
        self.iter().for_each(Notify::notify_all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_ids_are_in_different_groups() {
        let groups: std::collections::BTreeSet<usize> = (u64::MAX - 63..=u64::MAX).map(Groups::index).collect();
        assert_eq!(groups.len(), GROUPS);
    }
}
