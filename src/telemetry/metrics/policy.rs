//! The access list in force, and its reloads.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwapOption;

use super::exposition::{Exposition, Kind};
use crate::telemetry::count::Count;

/// The list in force, and its reloads.
#[derive(Clone, Default)]
pub struct PolicyMetrics {
    loaded: Count,
    failed: Count,
    /// Why the list in force is not the one that the source has, as of the last time that this was looked at.
    out_of_step: Arc<ArcSwapOption<String>>,
    in_force: Arc<ArcSwapOption<InForce>>,
}

struct InForce {
    hash: u32,
    rules: usize,
    since: Instant,
}

impl PolicyMetrics {
    /// A list has come into force.
    pub fn loaded(&self, hash: u32, rules: usize, since: Instant) {
        self.in_step();
        self.loaded.increment(1);
        self.in_force.store(Some(Arc::new(InForce { hash, rules, since })));
    }

    /// The list in force is the one that the source has.
    pub fn in_step(&self) {
        self.out_of_step.store(None);
    }

    /// The source does not answer, or has a list that cannot be loaded.
    pub fn failed(&self, why: &str) {
        self.failed.increment(1);
        self.out_of_step.store(Some(Arc::new(why.to_owned())));
    }

    pub(super) fn out_of_step(&self) -> Option<Arc<String>> {
        self.out_of_step.load_full()
    }

    /// `in_step`: also whether the source answers.
    pub(super) fn export(&self, text: &mut Exposition, in_step: bool) {
        let help = "Reads of the access list, the first included, by result.";
        let mut reloads = text.family("latticegate_policy_reload_total", Kind::Counter, help);
        reloads.sample(&[("result", "loaded")], self.loaded.value());
        reloads.sample(&[("result", "failed")], self.failed.value());
        let help = "0 while the source fails or hangs, or has a list that cannot be loaded.";
        text.gauge("latticegate_policy_in_step", help, u8::from(in_step));
        let Some(list) = self.in_force.load_full() else { return };
        let help = "CRC32C of the list in force: equal for two tasks with the same list.";
        text.gauge("latticegate_policy_hash", help, list.hash);
        text.gauge("latticegate_policy_rules", "Rules of the list in force.", list.rules);
        let help = "Age of the list in force, since it was loaded.";
        text.gauge("latticegate_policy_age_seconds", help, list.since.elapsed().as_secs());
    }
}
