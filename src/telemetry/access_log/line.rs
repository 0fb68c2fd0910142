//! Two formats of a line: JSON with everything, and the incumbent's nginx line for existing parsers.

use std::time::{Duration, SystemTime};

use super::ascii;
use super::json::{Key, Object, key};
use super::timestamps::Timestamps;
use crate::telemetry::record::{Address, Record, RequestFacts, SinceAccept};

use latticegate_core::client::Client;
use latticegate_core::config;
use latticegate_core::outcome::{Close, Failure, Outcome, RefuseReason, Side};
use latticegate_core::protocol::client_hello::Alpn;

/// When a line is written.
pub(super) struct Now<'a> {
    pub(super) timestamps: &'a Timestamps,
    pub(super) time: SystemTime,
    /// Since the connection was accepted.
    pub(super) elapsed: Duration,
}

pub(super) fn json(out: &mut Vec<u8>, now: Now<'_>, listener: &config::Listener, record: &Record, outcome: Outcome) {
    let mut line = Object::begin(out);
    line.quoted(key!("time"), |out| now.timestamps.millis(out, now.time));
    line.hex(key!("id"), record.id);
    line.text(key!("listener"), &listener.name);
    line.address(key!("peer"), record.peer.get());
    client(&mut line, record.client.as_ref());
    line.text_if_any(key!("rule"), record.rule.as_deref());
    line.text_if_any(key!("name"), record.name.as_deref());
    if let Some(upstream) = record.upstream {
        line.address(key!("upstream"), upstream.get());
    }
    line.word(key!("outcome"), outcome.word());
    line.word(key!("reason"), outcome.reason());
    line.text_if_any(key!("detail"), record.detail.as_deref());
    line.number(key!("bytes_up"), record.bytes.up);
    line.number(key!("bytes_down"), record.bytes.down);
    let times = &record.times;
    let mut step = |key: Key, begun: Option<SinceAccept>, done: Option<SinceAccept>| {
        if let (Some(begun), Some(done)) = (begun, done) {
            line.millis(key, done.after(begun));
        }
    };
    let accepted = Some(SinceAccept::default());
    step(key!("header_ms"), accepted, times.header);
    step(key!("hello_ms"), times.header.or(accepted), times.hello);
    step(key!("dns_ms"), times.hello, times.dns);
    step(key!("connect_ms"), times.dns, times.connect);
    line.millis(key!("total_ms"), now.elapsed);
    line.word_if_any(key!("closed_by"), record.closed_by.map(side));
    if record.stale {
        line.boolean(key!("dns_stale"), true);
    }
    if let Some(facts) = &record.hello {
        let mut hello = line.object(key!("hello"));
        hello.number(key!("bytes"), facts.size.into());
        hello.number(key!("records"), facts.records.into());
        hello.word_if_any(key!("alpn"), facts.alpn.map(Alpn::word));
        if let Some(group) = facts.key_share {
            hello.quoted(key!("group"), |out| match group.word() {
                Some(word) => out.extend_from_slice(word.as_bytes()),
                None => ascii::display(out, group),
            });
        }
        hello.boolean(key!("ech"), facts.ech);
        hello.end();
    }
    if let Some(facts) = record.forward.as_deref().filter(|facts| !facts.method.is_empty() || facts.requests > 0) {
        let mut forward = line.object(key!("forward"));
        target(&mut forward, &facts.method, facts.scheme.as_deref(), None, facts.port);
        forward.text_if_any(key!("sni"), facts.sni.as_deref());
        if facts.requests > 0 {
            forward.number(key!("requests"), facts.requests.into());
        }
        forward.end();
    }
    line.end();
    out.push(b'\n');
}

/// The line of an absolute-form request. What it is about is in an object of its own, so that a line is either about a
/// connection, with `outcome`, or about a request, with `request`.
pub(super) fn request_json(
    out: &mut Vec<u8>,
    timestamps: &Timestamps,
    time: SystemTime,
    listener: &config::Listener,
    facts: &RequestFacts<'_>,
) {
    let mut line = Object::begin(out);
    line.quoted(key!("time"), |out| timestamps.millis(out, time));
    line.hex(key!("id"), facts.id);
    line.text(key!("listener"), &listener.name);
    line.address(key!("peer"), facts.peer.get());
    client(&mut line, facts.client);
    line.text_if_any(key!("rule"), facts.rule);
    if let Some(upstream) = facts.upstream {
        line.address(key!("upstream"), upstream.get());
    }
    let mut request = line.object(key!("request"));
    target(&mut request, facts.method, facts.scheme, Some(facts.host), facts.port);
    if let Some(status) = facts.status {
        request.number(key!("status"), status.into());
    }
    request.word_if_any(key!("reason"), facts.cut.map(Outcome::reason));
    request.number(key!("bytes_up"), facts.bytes.up);
    request.number(key!("bytes_down"), facts.bytes.down);
    request.millis(key!("ms"), facts.duration);
    request.end();
    line.end();
    out.push(b'\n');
}

/// What is known of whom a request asks for.
fn target(object: &mut Object<'_>, method: &str, scheme: Option<&str>, host: Option<&str>, port: u16) {
    let known = |text: &&str| !text.is_empty();
    object.text_if_any(key!("method"), Some(method).filter(known));
    object.text_if_any(key!("scheme"), scheme);
    object.text_if_any(key!("host"), host.filter(known));
    if port > 0 {
        object.number(key!("port"), port.into());
    }
}

fn client(line: &mut Object<'_>, client: Option<&Client>) {
    let Some(client) = client else { return };
    line.ip(key!("client"), client.ip.get());
    line.number(key!("client_port"), client.port.into());
    if let Some(endpoint) = &client.endpoint {
        line.quoted(key!("vpce"), |out| out.extend_from_slice(endpoint.as_bytes()));
    }
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Upstream => "upstream",
    }
}

/// The incumbent's `log_format`: `$time_iso8601 $remote_addr $proxy_protocol_addr $proxy_protocol_port $protocol
/// $server_port $status $upstream_addr $upstream_bytes_sent $upstream_bytes_received $session_time
/// $upstream_connect_time`.
pub(super) fn nginx(out: &mut Vec<u8>, now: Now<'_>, listener: &config::Listener, record: &Record, outcome: Outcome) {
    let client = record.client.as_ref();
    let connect = record.times.connect.zip(record.times.dns).map(|(done, begun)| done.after(begun));
    now.timestamps.iso8601(out, now.time);
    field(out, Some(record.peer.get().ip()), ascii::ip);
    field(out, client.map(|client| client.ip.get()), ascii::ip);
    field(out, client.map(|client| client.port.into()), ascii::decimal);
    out.extend_from_slice(b" TCP");
    field(out, Some(listener.bind.port().into()), ascii::decimal);
    field(out, Some(nginx_status(outcome).into()), ascii::decimal);
    field(out, record.upstream.map(Address::get), ascii::address);
    field(out, Some(record.bytes.up), ascii::decimal);
    field(out, Some(record.bytes.down), ascii::decimal);
    field(out, Some(now.elapsed), seconds);
    field(out, connect, seconds);
    out.push(b'\n');
}

/// A value, or a dash for what is not known.
fn field<T>(out: &mut Vec<u8>, value: Option<T>, write: fn(&mut Vec<u8>, T)) {
    out.push(b' ');
    match value {
        Some(value) => write(out, value),
        None => out.push(b'-'),
    }
}

/// With milliseconds, rounded.
fn seconds(out: &mut Vec<u8>, time: Duration) {
    let millis = time.saturating_add(Duration::from_micros(500)).as_millis();
    ascii::thousandths(out, u64::try_from(millis).unwrap_or(u64::MAX));
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

#[cfg(test)]
pub(super) mod tests;
