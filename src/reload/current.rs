//! The list in force, shared by all workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, SystemTime};

use crate::runtime::{Publisher, Watched, watched};
use arc_swap::ArcSwap;

use super::fetched::ListVersion;
use crate::telemetry::metrics::{ListNames, PolicyMetrics};
use latticegate_core::policy::changes::Changes;
use latticegate_core::policy::hits::Hits;
use latticegate_core::policy::{Policy, RuleId};

/// A list, and where it came from.
#[derive(Debug)]
pub struct Loaded {
    pub policy: Policy,
    pub version: ListVersion,
    pub since: SystemTime,
    /// When its source says that it was written.
    pub modified: Option<SystemTime>,
    /// The same moment on the monotonic clock, for its age.
    pub since_instant: Instant,
    pub hits: Hits,
    /// Counts open connections by name.
    pub names: ListNames,
    /// How many lists were in force before; a session compares it with that of the list that admitted it.
    pub number: u64,
    /// Live connections that this list would not have admitted, when it came into force.
    pub(super) forbidden: AtomicUsize,
}

/// The list in force. A connection is judged by the one that is in force when its header is complete.
#[derive(Debug)]
pub struct Current {
    loaded: ArcSwap<Loaded>,
    /// Incremented by each reload; sessions wait for a change.
    generation: Publisher<u64>,
}

impl From<Policy> for Loaded {
    fn from(policy: Policy) -> Self {
        Self::new(policy, ListVersion::none())
    }
}

impl Loaded {
    pub fn new(policy: Policy, version: ListVersion) -> Self {
        let (hits, names, forbidden) = (Hits::new(&policy), ListNames::of(&policy), AtomicUsize::new(0));
        let (since, since_instant) = (SystemTime::now(), Instant::now());
        Self { policy, version, since, modified: None, since_instant, hits, names, number: 0, forbidden }
    }

    /// Counts that this list has come into force.
    pub fn count_into(&self, metrics: &PolicyMetrics) {
        metrics.loaded(self.version.hash, self.policy.rules().len(), self.since_instant);
    }

    /// Counts a live connection that would no longer be admitted.
    pub fn count_forbidden(&self) {
        self.forbidden.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that the rule has decided.
    pub(crate) fn count_hit(&self, rule: Option<RuleId>, now: SystemTime) {
        if let Some(rule) = rule {
            self.hits.note(rule, now);
        }
    }
}

impl Current {
    pub fn new(loaded: Loaded) -> Arc<Self> {
        let (generation, _) = watched(0);
        let loaded = ArcSwap::from_pointee(loaded);
        Arc::new(Self { loaded, generation })
    }

    pub fn load(&self) -> Arc<Loaded> {
        self.loaded.load_full()
    }

    pub fn watch(&self) -> Watched<u64> {
        self.generation.watch()
    }

    /// Puts another list in force. Only one task may call this.
    pub fn swap(&self, mut loaded: Loaded) -> Changes {
        let old = self.loaded.load();
        let changes = old.policy.changes_to(&loaded.policy);
        loaded.hits = old.hits.carried_over(&changes, &loaded.policy);
        loaded.number = old.number.wrapping_add(1);
        self.loaded.store(Arc::new(loaded));
        self.generation.publish(self.generation.value().wrapping_add(1));
        changes
    }
}
