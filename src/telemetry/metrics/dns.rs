//! Names looked up, by result.

use metrics::{Counter, counter};

use super::count::Count;

/// Lookups and their results.
#[derive(Clone)]
pub struct DnsMetrics {
    pub found: Counter,
    pub unknown: Counter,
    pub timeout: Count,
    pub failed: Count,
    stale: Counter,
}

impl DnsMetrics {
    pub(super) fn new() -> Self {
        let lookups = |result: &'static str| counter!("latticegate_dns_lookups_total", "result" => result);
        Self {
            found: lookups("found"),
            unknown: lookups("unknown"),
            timeout: Count::new(lookups("timeout")),
            failed: Count::new(lookups("failed")),
            stale: counter!("latticegate_dns_stale_answers_total"),
        }
    }

    /// Before each scrape.
    pub(super) fn export(&self) {
        self.timeout.export();
        self.failed.export();
    }

    /// Lookups without an answer since the start.
    pub fn failures(&self) -> u64 {
        self.timeout.value().saturating_add(self.failed.value())
    }

    pub fn served_stale(&self) {
        self.stale.increment(1);
    }
}
