//! The two shapes of a line: JSON with everything, and the incumbent's nginx line for those who parse it.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use crate::config;
use crate::outcome::{Close, Failure, Outcome, RefuseReason};
use crate::record::Record;
use crate::relay::Side;
use crate::sni::Alpn;

/// Names that a client chose are cut here, in bytes.
const MAX_NAME: usize = 255;

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    id: String,
    listener: &'a str,
    peer: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<std::net::IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vpce: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<SocketAddr>,
    outcome: &'static str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    bytes_up: u64,
    bytes_down: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    header_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hello_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dns_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connect_ms: Option<f64>,
    total_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_by: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dns_stale: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    hello: Option<Hello>,
}

#[derive(Serialize)]
struct Hello {
    bytes: u16,
    records: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    alpn: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    ech: bool,
}

pub(super) fn json(out: &mut Vec<u8>, time: String, listener: &config::Listener, record: &Record, outcome: Outcome) {
    let client = record.client.as_ref();
    let times = &record.times;
    let line = Line {
        time,
        id: format!("{:016x}", record.id),
        listener: &listener.name,
        peer: record.peer,
        client: client.map(|client| client.addr.ip()),
        client_port: client.map(|client| client.addr.port()),
        vpce: client.and_then(|client| client.endpoint.as_ref()).map(|endpoint| endpoint.as_str()),
        rule: record.rule.as_deref(),
        name: record.name.as_deref().map(cut),
        upstream: record.upstream,
        outcome: outcome.word(),
        reason: outcome.reason(),
        detail: record.detail.as_deref(),
        bytes_up: record.tally.up,
        bytes_down: record.tally.down,
        header_ms: times.header.map(millis),
        hello_ms: step(times.header.or(Some(Duration::ZERO)), times.hello),
        dns_ms: step(times.hello, times.dns),
        connect_ms: step(times.dns, times.connect),
        total_ms: millis(times.elapsed()),
        closed_by: record.closed_by.map(|side| match side {
            Side::Client => "client",
            Side::Upstream => "upstream",
        }),
        dns_stale: record.stale,
        hello: record.hello.map(|hello| Hello {
            bytes: hello.size,
            records: hello.records,
            alpn: hello.alpn.map(Alpn::word),
            group: hello.key_share.map(|group| group.to_string()),
            ech: hello.ech,
        }),
    };
    // Strings, numbers and addresses always have a JSON form, and a Vec takes every byte.
    let _ = serde_json::to_writer(&mut *out, &line);
    out.push(b'\n');
}

/// The incumbent's `log_format`: `$time_iso8601 $remote_addr $proxy_protocol_addr $proxy_protocol_port $protocol
/// $server_port $status $upstream_addr $upstream_bytes_sent $upstream_bytes_received $session_time
/// $upstream_connect_time`.
pub(super) fn nginx(out: &mut Vec<u8>, time: &str, listener: &config::Listener, record: &Record, outcome: Outcome) {
    let client = record.client.as_ref().map(|client| client.addr);
    // Writing to a Vec cannot fail.
    let _ = writeln!(
        out,
        "{} {} {} {} TCP {} {} {} {} {} {} {}",
        time,
        record.peer.ip().to_canonical(),
        or_dash(client.map(|client| client.ip())),
        or_dash(client.map(|client| client.port())),
        listener.bind.port(),
        nginx_status(outcome),
        or_dash(record.upstream),
        record.tally.up,
        record.tally.down,
        seconds(record.times.elapsed()),
        or_dash(record.times.connect.zip(record.times.dns).map(|(done, start)| seconds(done.saturating_sub(start)))),
    );
}

/// nginx stream's `$status`: 200, 400 client's fault, 403 denied, 500 internal, 502 upstream, 503 limited.
fn nginx_status(outcome: Outcome) -> u16 {
    match outcome {
        Outcome::Relayed(Close::Drained) => 500,
        Outcome::Relayed(_) | Outcome::Probe(_) => 200,
        Outcome::Refused(
            RefuseReason::ClientDenied
            | RefuseReason::NameDenied
            | RefuseReason::UntrustedPeer
            | RefuseReason::DestinationForbidden,
        ) => 403,
        Outcome::Refused(RefuseReason::NameUnknown | RefuseReason::PointsToSelf) => 502,
        Outcome::Refused(_) => 400,
        Outcome::Failed(Failure::NoLocalPort) => 500,
        Outcome::Failed(_) => 502,
        Outcome::Unfinished(_) => 400,
    }
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

/// Cut at a character's edge.
fn cut(name: &str) -> &str {
    let end = (0..=MAX_NAME.min(name.len())).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
    name.get(..end).unwrap_or_default()
}

/// Milliseconds with three digits behind the point.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}

/// The time between two steps.
fn step(from: Option<Duration>, to: Option<Duration>) -> Option<f64> {
    Some(millis(to?.saturating_sub(from?)))
}

#[cfg(test)]
mod tests;
