//! The access list in force, and its reloads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use metrics::{Counter, Gauge, counter, gauge};

use super::count::as_f64;

/// The list in force, and its reloads.
#[derive(Clone)]
pub struct PolicyMetrics {
    loaded: Counter,
    failed: Counter,
    in_step: Gauge,
    /// As of the last time that the source answered.
    is_in_step: Arc<AtomicBool>,
    hash: Gauge,
    rules: Gauge,
    /// Exported as an age.
    since: Arc<ArcSwapOption<Instant>>,
    age: Gauge,
}

impl PolicyMetrics {
    pub(super) fn new() -> Self {
        let reloads = |result: &'static str| counter!("latticegate_policy_reload_total", "result" => result);
        Self {
            loaded: reloads("loaded"),
            failed: reloads("failed"),
            in_step: gauge!("latticegate_policy_in_step"),
            is_in_step: Arc::default(),
            hash: gauge!("latticegate_policy_hash"),
            rules: gauge!("latticegate_policy_rules"),
            since: Arc::default(),
            age: gauge!("latticegate_policy_age_seconds"),
        }
    }

    /// A list has come into force.
    pub fn loaded(&self, hash: u32, rules: usize, since: Instant) {
        self.in_step(true);
        self.loaded.increment(1);
        self.hash.set(f64::from(hash));
        self.rules.set(as_f64(u64::try_from(rules).unwrap_or(u64::MAX)));
        self.since.store(Some(Arc::new(since)));
    }

    /// Whether the list in force is the one that the source has.
    pub fn in_step(&self, yes: bool) {
        self.is_in_step.store(yes, Ordering::Relaxed);
    }

    pub fn failed(&self) {
        self.failed.increment(1);
    }

    /// Before each scrape. `hangs`: whether the source does not answer.
    pub(super) fn export(&self, hangs: bool) {
        self.in_step.set(f64::from(self.is_in_step.load(Ordering::Relaxed) && !hangs));
        let age = self.since.load().as_ref().map_or(0, |since| since.elapsed().as_secs());
        self.age.set(as_f64(age));
    }
}
