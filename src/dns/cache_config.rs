//! The bounds of the cache; see `config::Dns` for their meaning.

use std::time::Duration;

use super::Family;
use crate::limits::Rate;
use latticegate_core::config::{Config, Quota};

#[derive(Debug, Clone)]
pub struct CacheConfig {
    pub ipv6: bool,
    /// For one query, and for the wait in the queue before it.
    pub timeout: Duration,
    pub min_ttl: Duration,
    pub max_ttl: Duration,
    pub negative_ttl: Duration,
    pub max_stale: Duration,
    pub capacity: usize,
    /// Names looked up for connections, in total, and what one client has of them while others wait as well. Renewals
    /// are not counted: names in use keep their share of the server's capacity.
    pub lookups: Rate,
    pub per_client: Quota,
}

impl CacheConfig {
    /// How long a first failure is held against a name (RFC 9520 §3.2), and for how long the addresses of one family
    /// serve while the other's are missing.
    pub(super) const FIRST_HOLD: Duration = Duration::from_secs(1);

    pub fn new(config: &Config, ipv6: bool) -> Self {
        let Config { dns, limits, .. } = config;
        Self {
            ipv6,
            timeout: dns.timeout.get(),
            lookups: Rate::per_second(limits.lookups_per_second),
            per_client: Quota { concurrent: None, per_second: Some(limits.lookups_per_client) },
            min_ttl: dns.min_ttl,
            max_ttl: dns.max_ttl,
            negative_ttl: dns.negative_ttl,
            max_stale: dns.max_stale,
            capacity: dns.cache_size.get(),
        }
    }

    pub(super) fn first_hold(&self) -> Duration {
        Self::FIRST_HOLD.min(self.negative_ttl)
    }

    pub(super) fn families(&self) -> &'static [Family] {
        Family::queried(self.ipv6)
    }
}
