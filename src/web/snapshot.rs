//! The state at one moment, as the page and `/status.json` show it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::dns::CacheView;
use crate::proxy::worker::Shared;
use crate::reload::{Loaded, ShadowList};
use crate::sys::socket;
use crate::telemetry::recent::Refusal;
use crate::telemetry::status::Unready;
use latticegate_core::outcome::Outcome;
use latticegate_core::policy::hits::RuleHits;
use latticegate_core::policy::{Rule, RuleId};

pub(super) struct Snapshot {
    pub(super) now: SystemTime,
    pub(super) uptime: Duration,
    pub(super) ready: Result<(), Unready>,
    pub(super) shared: Arc<Shared>,
    pub(super) loaded: Arc<Loaded>,
    pub(super) shadow: Option<Arc<ShadowList>>,
    pub(super) dns: CacheView,
    pub(super) recent: Vec<Refusal>,
}

/// Rules shown at most.
const MAX_RULES: usize = 1000;

impl Snapshot {
    /// How connections ended, most frequent first; endings that never happened are left out.
    pub(super) fn endings(&self) -> Vec<(Outcome, u64)> {
        let mut endings: Vec<_> = self.shared.metrics.endings().into_iter().filter(|(_, count)| *count > 0).collect();
        endings.sort_by_key(|(outcome, count)| (std::cmp::Reverse(*count), outcome.reason()));
        endings
    }

    pub(super) fn rules(&self) -> impl Iterator<Item = (RuleId, &Rule, RuleHits)> {
        rules(&self.loaded)
    }

    pub(super) fn to_json(&self) -> Value {
        let Self { now, uptime, ready, shared, loaded, shadow, dns, recent } = self;
        let metrics = &shared.metrics;
        let bytes = metrics.bytes();
        let mut endings: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
        for (outcome, count) in self.endings() {
            endings.entry(outcome.word()).or_default().insert(outcome.reason(), count);
        }
        let active = metrics.listeners();
        let listeners: Vec<Value> = shared
            .config
            .listeners
            .iter()
            .map(|listener| {
                json!({
                    "name": listener.name,
                    "bind": listener.bind,
                    "protocol": listener.protocol.word(),
                    "public_port": listener.public_port,
                    "active": active.get(&listener.name).map_or(0, |listener| listener.active()),
                })
            })
            .collect();
        let (open, max_open) = shared.limits.open();
        let (half_open_bytes, max_half_open_bytes) = shared.limits.half_open.bytes();
        let names: Vec<Value> = dns
            .shown
            .iter()
            .map(|name| {
                json!({
                    "name": name.name,
                    "addresses": name.addresses,
                    "ttl_s": name.left.as_secs(),
                    "stale": name.stale,
                    "failed": name.failed,
                })
            })
            .collect();
        let recent: Vec<Value> = recent
            .iter()
            .map(|refusal| {
                json!({
                    "time": time(refusal.at),
                    "listener": refusal.listener,
                    "client": refusal.client,
                    "name": refusal.name,
                    "outcome": refusal.outcome.word(),
                    "reason": refusal.outcome.reason(),
                    "rule": refusal.rule,
                    "detail": refusal.detail,
                })
            })
            .collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "time": time(*now),
            "uptime_s": uptime.as_secs(),
            "ready": ready.is_ok(),
            "not_ready_because": ready.as_ref().err().map(ToString::to_string),
            "listeners": listeners,
            "connections": { "opened": metrics.opened(), "active": metrics.active(), "ended": endings },
            "bytes": { "up": bytes.up, "down": bytes.down },
            "policy": {
                "source": shared.config.policy.to_string(),
                "version": &*loaded.version.label,
                "hash": format!("{:08x}", loaded.version.hash),
                "since": time(loaded.since),
                "age_s": loaded.since_instant.elapsed().as_secs(),
                "reloads": loaded.number,
                "rules": loaded.policy.rules().len(),
                "hits": hits(loaded),
            },
            "shadow": shadow.as_ref().map(|shadow| json!({
                "hash": format!("{:08x}", shadow.loaded.version.hash),
                "since": time(shadow.loaded.since),
                "rules": shadow.loaded.policy.rules().len(),
                "disagreements": hits(&shadow.loaded),
                "denied_at_the_end": shadow.denied_at_the_end.load(Ordering::Relaxed),
                "might_admit": shadow.might_admit.load(Ordering::Relaxed),
            })),
            "limits": {
                "connections": { "taken": open, "limit": max_open },
                "half_open": { "taken": shared.limits.half_open.count(), "limit": shared.config.limits.half_open },
                "half_open_bytes": { "taken": half_open_bytes, "limit": max_half_open_bytes },
                "fds": { "taken": socket::open_fds(), "limit": socket::fd_soft_limit() },
            },
            "dns": { "server": shared.config.dns.server, "known": dns.names, "names": names },
            "recent": recent,
        })
    }
}

fn hits(loaded: &Loaded) -> Vec<Value> {
    rules(loaded)
        .map(|(id, rule, hits)| {
            json!({
                "rule": loaded.policy.label(id).to_string(),
                "name": rule.name,
                "text": rule.text,
                "hits": hits.count,
                "last": hits.last.map(time),
            })
        })
        .collect()
}

fn rules(loaded: &Loaded) -> impl Iterator<Item = (RuleId, &Rule, RuleHits)> {
    loaded.policy.rules().map(|(id, rule)| (id, rule, loaded.hits.of(id))).take(MAX_RULES)
}

pub(super) fn time(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| "?".to_owned(), |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

pub(super) fn age(now: SystemTime, then: SystemTime) -> u64 {
    now.duration_since(then).map_or(0, |age| age.as_secs())
}
