//! Two formats of a line: JSON with everything that is asked for, and the incumbent's nginx line for existing parsers.

use std::time::{Duration, SystemTime};

use super::ascii;
use super::json::{Key, Object, key};
use super::timestamps::Timestamps;
use crate::telemetry::record::{Address, ForwardFacts, HelloFacts, Record, RequestFacts, SinceAccept};

use latticegate_core::client::Client;
use latticegate_core::config::{self, LogField};
use latticegate_core::outcome::{Close, Failure, Outcome, RefuseReason, Side};
use latticegate_core::protocol::client_hello::Alpn;

/// When a line is written.
pub(super) struct Now<'a> {
    pub(super) timestamps: &'a Timestamps,
    pub(super) time: SystemTime,
    /// Since the connection was accepted.
    pub(super) elapsed: Duration,
}

/// What the line of a connection is about.
pub(super) struct Connection<'a> {
    pub(super) now: Now<'a>,
    pub(super) listener: &'a config::Listener,
    pub(super) record: &'a Record,
    pub(super) outcome: Outcome,
}

/// What the line of an absolute-form request is about.
pub(super) struct Request<'a> {
    pub(super) timestamps: &'a Timestamps,
    pub(super) time: SystemTime,
    pub(super) listener: &'a config::Listener,
    pub(super) facts: &'a RequestFacts<'a>,
}

/// Writes these fields one after another. The compiler sees each by its name, so that a line with all of them is written
/// without a choice.
macro_rules! in_order {
    ($what:ident, $line:ident: $($field:ident)+) => {
        $($what.field(&mut $line, LogField::$field);)+
    };
}

/// With all that is known, or with these fields alone.
pub(super) fn json(out: &mut Vec<u8>, connection: &Connection<'_>, fields: Option<&[LogField]>) {
    match fields {
        Some(fields) => listed(out, connection, fields),
        None => {
            let mut line = Object::begin(out);
            in_order! {
                connection, line: Time Id Listener Peer Client ClientPort Vpce Rule Name Upstream Outcome Reason Detail
                BytesUp BytesDown HeaderMs HelloMs DnsMs ConnectMs TotalMs ClosedBy DnsStale Hello Forward
            }
            line.end();
        }
    }
    out.push(b'\n');
}

/// A function of its own: the line with everything is what most pay for.
#[inline(never)]
fn listed(out: &mut Vec<u8>, connection: &Connection<'_>, fields: &[LogField]) {
    let mut line = Object::begin(out);
    fields.iter().for_each(|field| connection.field(&mut line, *field));
    line.end();
}

/// The line of an absolute-form request. What it is about is in an object of its own, so that a line is either about a
/// connection, with `outcome`, or about a request, with `request`.
pub(super) fn request_json(out: &mut Vec<u8>, request: &Request<'_>, fields: Option<&[LogField]>) {
    let mut line = Object::begin(out);
    match fields {
        Some(fields) => fields.iter().for_each(|field| request.field(&mut line, *field)),
        None => {
            in_order! { request, line: Time Id Listener Peer Client ClientPort Vpce Rule Upstream Request }
        }
    }
    line.end();
    out.push(b'\n');
}

impl Connection<'_> {
    /// Nothing where it is not known.
    #[inline(always)]
    fn field(&self, line: &mut Object<'_>, field: LogField) {
        let Self { now, listener, record, outcome } = self;
        let times = &record.times;
        let accepted = Some(SinceAccept::default());
        let mut step = |key: Key, begun: Option<SinceAccept>, done: Option<SinceAccept>| {
            if let (Some(begun), Some(done)) = (begun, done) {
                line.millis(key, done.after(begun));
            }
        };
        match field {
            LogField::HeaderMs => step(key!("header_ms"), accepted, times.header),
            LogField::HelloMs => step(key!("hello_ms"), times.header.or(accepted), times.hello),
            LogField::DnsMs => step(key!("dns_ms"), times.hello, times.dns),
            LogField::ConnectMs => step(key!("connect_ms"), times.dns, times.connect),
            LogField::TotalMs => line.millis(key!("total_ms"), now.elapsed),
            LogField::Time => line.quoted(key!("time"), |out| now.timestamps.millis(out, now.time)),
            LogField::Id => line.hex(key!("id"), record.id),
            LogField::Listener => line.text(key!("listener"), &listener.name),
            LogField::Peer => line.address(key!("peer"), record.peer.get()),
            LogField::Client | LogField::ClientPort | LogField::Vpce => client(line, field, record.client.as_ref()),
            LogField::Rule => line.text_if_any(key!("rule"), record.rule.as_deref()),
            LogField::Name => line.text_if_any(key!("name"), record.name.as_deref()),
            LogField::Upstream => upstream(line, record.upstream),
            LogField::Outcome => line.word(key!("outcome"), outcome.word()),
            LogField::Reason => line.word(key!("reason"), outcome.reason()),
            LogField::Detail => line.text_if_any(key!("detail"), record.detail.as_deref()),
            LogField::BytesUp => line.number(key!("bytes_up"), record.bytes.up),
            LogField::BytesDown => line.number(key!("bytes_down"), record.bytes.down),
            LogField::ClosedBy => line.word_if_any(key!("closed_by"), record.closed_by.map(side)),
            LogField::DnsStale if record.stale => line.boolean(key!("dns_stale"), true),
            LogField::Hello => hello(line, record.hello.as_ref()),
            LogField::Forward => forward(line, record.forward.as_deref()),
            LogField::DnsStale | LogField::Request => {}
        }
    }
}

impl Request<'_> {
    /// Nothing where it is not known, or is one of its connection's.
    #[inline(always)]
    fn field(&self, line: &mut Object<'_>, field: LogField) {
        let Self { timestamps, time, listener, facts } = self;
        match field {
            LogField::Time => line.quoted(key!("time"), |out| timestamps.millis(out, *time)),
            LogField::Id => line.hex(key!("id"), facts.id),
            LogField::Listener => line.text(key!("listener"), &listener.name),
            LogField::Peer => line.address(key!("peer"), facts.peer.get()),
            LogField::Client | LogField::ClientPort | LogField::Vpce => client(line, field, facts.client),
            LogField::Rule => line.text_if_any(key!("rule"), facts.rule),
            LogField::Upstream => upstream(line, facts.upstream),
            LogField::Request => request(line, facts),
            _ => {}
        }
    }
}

#[inline(always)]
fn hello(line: &mut Object<'_>, facts: Option<&HelloFacts>) {
    let Some(facts) = facts else { return };
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

#[inline(always)]
fn forward(line: &mut Object<'_>, facts: Option<&ForwardFacts>) {
    let Some(facts) = facts.filter(|facts| !facts.method.is_empty() || facts.requests > 0) else { return };
    let mut forward = line.object(key!("forward"));
    target(&mut forward, &facts.method, facts.scheme.as_deref(), None, facts.port);
    forward.text_if_any(key!("sni"), facts.sni.as_deref());
    if facts.requests > 0 {
        forward.number(key!("requests"), facts.requests.into());
    }
    forward.end();
}

fn request(line: &mut Object<'_>, facts: &RequestFacts<'_>) {
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

#[inline(always)]
fn client(line: &mut Object<'_>, field: LogField, client: Option<&Client>) {
    let Some(client) = client else { return };
    match (field, &client.endpoint) {
        (LogField::Client, _) => line.ip(key!("client"), client.ip.get()),
        (LogField::ClientPort, _) => line.number(key!("client_port"), client.port.into()),
        (LogField::Vpce, Some(endpoint)) => {
            line.quoted(key!("vpce"), |out| out.extend_from_slice(endpoint.as_bytes()));
        }
        _ => {}
    }
}

#[inline(always)]
fn upstream(line: &mut Object<'_>, address: Option<Address>) {
    if let Some(address) = address {
        line.address(key!("upstream"), address.get());
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
