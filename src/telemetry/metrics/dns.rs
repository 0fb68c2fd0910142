//! Names looked up: how often, with which result, and how long that took.

use std::time::Duration;

use super::exposition::{Exposition, Kind};
use super::histogram::Durations;
use crate::telemetry::count::Count;

/// Lookups and their results.
#[derive(Clone, Default)]
pub struct DnsMetrics {
    pub found: Count,
    pub unknown: Count,
    pub timeout: Count,
    pub failed: Count,
    stale: Count,
    /// From the first query for a name to the last response, or to the deadline.
    took: Durations,
    /// What connections wait for their addresses: most come from a worker's own cache.
    pub(super) resolved: Durations,
}

impl DnsMetrics {
    /// A lookup has ended, with whatever result.
    pub fn looked_up(&self, took: Duration) {
        self.took.record(took);
    }

    /// Lookups without an answer since the start.
    pub fn failures(&self) -> u64 {
        self.timeout.value().saturating_add(self.failed.value())
    }

    pub fn served_stale(&self) {
        self.stale.increment(1);
    }

    pub(super) fn export(&self, text: &mut Exposition) {
        let Self { found, unknown, timeout, failed, stale, took, resolved } = self;
        let help = "Names looked up at the resolver, by result.";
        let mut lookups = text.family("latticegate_dns_lookups_total", Kind::Counter, help);
        for (result, count) in [("found", found), ("unknown", unknown), ("timeout", timeout), ("failed", failed)] {
            lookups.sample(&[("result", result)], count.value());
        }
        let help = "How long lookups at the resolver took, those that failed included.";
        took.export(&mut text.family("latticegate_dns_lookup_seconds", Kind::Histogram, help), &[]);
        let help = "From the hello or request head to the addresses of its name, most of them from the cache.";
        resolved.export(&mut text.family("latticegate_resolve_seconds", Kind::Histogram, help), &[]);
        let help = "Expired answers used because the resolver did not answer.";
        text.counter("latticegate_dns_stale_answers_total", help, stale.value());
    }
}
