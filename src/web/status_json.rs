//! The state at one moment, as JSON: for programs, and for `latticegate status`.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::snapshot::{Snapshot, Upstream, Usage, first_by, mean, rules, time};
use crate::reload::Loaded;
use crate::sys::socket;
use crate::telemetry::history::{Sample, Series};
use crate::telemetry::live::LiveConnection;
use latticegate_core::config::Setting;

/// Names and clients of each order.
const BUSIEST: usize = 25;

pub(super) fn of(now: &Snapshot) -> Value {
    let Snapshot { now: at, uptime, ready, shared, loaded, shadow, dns, workers, history } = now;
    let (metrics, live) = (&shared.metrics, &workers.live);
    let relayed = metrics.bytes();
    let mut endings: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    for (outcome, count) in now.endings() {
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
    let known: Vec<Value> = dns
        .shown
        .iter()
        .map(|name| {
            json!({
                "name": name.name,
                "addresses": name.addresses,
                "age_s": name.age.as_secs(),
                "ttl_s": name.left.as_secs(),
                "stale": name.stale,
                "failed": name.failed,
            })
        })
        .collect();
    let recent: Vec<Value> = workers
        .refusals
        .iter()
        .map(|refusal| {
            json!({
                "time": time(refusal.at),
                "listener": refusal.listener,
                "client": refusal.client,
                "name": refusal.name.as_deref(),
                "outcome": refusal.outcome.word(),
                "reason": refusal.outcome.reason(),
                "rule": refusal.rule,
                "detail": refusal.detail,
            })
        })
        .collect();
    let (names, clients) = (now.names(), now.clients());
    let history = history.borrow();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "time": time(*at),
        "uptime_s": uptime.as_secs(),
        "ready": ready.is_ok(),
        "not_ready_because": ready.as_ref().err().map(ToString::to_string),
        "warnings": now.warnings(),
        "log_lines_lost": metrics.lines_lost(),
        "listeners": listeners,
        "connections": { "opened": metrics.opened(), "active": metrics.active(), "ended": endings },
        "bytes": { "up": relayed.up, "down": relayed.down },
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
        "dns": { "server": shared.config.dns.server, "known": dns.names, "names": known },
        "recent": recent,
        "live": {
            "relaying": live.all.connections,
            "found": live.found,
            "newest": connections(&live.newest),
            "longest": connections(&live.oldest),
            "largest": connections(&live.largest),
            "silent_workers": workers.silent,
        },
        "names": busiest("name", &names),
        "clients": busiest("client", &clients),
        "upstreams": upstreams(now),
        "history": { "minutes": series(&history.minutes), "hours": series(&history.hours) },
        "configuration": shared.config.settings.iter().map(setting).collect::<Vec<_>>(),
    })
}

fn connections(list: &[LiveConnection]) -> Vec<Value> {
    let one = |one: &LiveConnection| {
        let LiveConnection { id, listener, client, endpoint, name, upstream, age, bytes } = one;
        json!({
            "id": format!("{id:016x}"),
            "listener": listener,
            "client": client,
            "endpoint": endpoint.map(|endpoint| endpoint.to_string()),
            "name": name,
            "upstream": upstream,
            "age_s": age.as_secs(),
            "bytes_up": bytes.up,
            "bytes_down": bytes.down,
        })
    };
    list.iter().map(one).collect()
}

fn busiest(what: &str, all: &[(String, Usage)]) -> Value {
    let rows = |key: fn(&Usage) -> u64| {
        let rows = first_by(all, BUSIEST, key).into_iter().map(|(label, Usage { open, ended, bytes })| {
            json!({
                what: label,
                "open": open,
                "ended": ended.connections,
                "refused": ended.refused,
                "failed": ended.failed,
                "bytes_up": bytes.up,
                "bytes_down": bytes.down,
            })
        });
        rows.collect::<Vec<_>>()
    };
    json!({ "by_traffic": rows(Usage::traffic), "by_refusals": rows(Usage::refusals) })
}

fn upstreams(now: &Snapshot) -> Vec<Value> {
    let one = |upstream: &Upstream| {
        let Upstream { address, open, dialled } = upstream;
        let dialled = dialled.as_ref();
        let failed = dialled.map_or(&[][..], |dialled| &dialled.failed);
        json!({
            // Null: all whose connects are not counted by themselves.
            "address": address,
            "open": open.connections,
            "bytes_up": open.bytes.up,
            "bytes_down": open.bytes.down,
            "connected": dialled.map(|dialled| dialled.connected),
            "connect_mean_ms": dialled.and_then(mean).map(|mean| mean.as_secs_f64() * 1000.0),
            "failed": failed.iter().map(|(failure, count)| (failure.word(), *count)).collect::<BTreeMap<_, _>>(),
        })
    };
    now.upstreams().iter().map(one).collect()
}

fn series(series: &Series) -> Value {
    let millis = |duration: Option<Duration>| duration.map(|duration| duration.as_secs_f64() * 1000.0);
    let sample = |sample: &Sample| {
        let Sample { at, span, open, opened, refused, failed, up, down, connect_p50, connect_p99, busiest } = sample;
        json!({
            "time": time(*at),
            "span_s": span.as_secs_f64(),
            "open": open,
            "opened": opened,
            "refused": refused,
            "failed": failed,
            "bytes_up": up,
            "bytes_down": down,
            "connect_p50_ms": millis(*connect_p50),
            "connect_p99_ms": millis(*connect_p99),
            "busiest_worker": busiest,
        })
    };
    json!({ "step_s": series.step.as_secs(), "samples": series.samples.iter().map(sample).collect::<Vec<_>>() })
}

fn setting(setting: &Setting) -> Value {
    let Setting { key, value, written } = setting;
    let written: Vec<String> = written.iter().map(ToString::to_string).collect();
    json!({ "key": key, "value": value, "written": written })
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
