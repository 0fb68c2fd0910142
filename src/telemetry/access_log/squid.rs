//! Squid's native format, for those who have parsers of it: `time elapsed client code/status bytes method URL user
//! hierarchy/address type` (its `logformat squid`).
//!
//! As Squid does, it has a line for each tunnel and for each absolute-form request, and none for a connection that
//! carried requests. Where Squid writes a path there is only `/`: paths and queries carry secrets. As with Squid, the bytes
//! are those that the client was sent, our own answers included.
//!
//! What the format has no field for is in the last one, which is a media type: [`TYPE`] with parameters. Parsers take
//! anything without a blank there, and some allow nothing behind it. `repeated` is behind the others, if the line stands for
//! more than one.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::ascii;
use super::line::Now;
use crate::telemetry::record::{Address, ForwardFacts, Record, RequestFacts};

use latticegate_core::config::{self, Protocol};
use latticegate_core::outcome::{Close, Failure, Outcome, RefuseReason};

/// A connection whose requests have their own lines has none.
pub(super) fn has_line(record: &Record, outcome: Outcome) -> bool {
    record.forward.as_deref().is_none_or(|facts| facts.requests == 0 || is_of_no_request(facts, outcome))
}

/// Of one that [has a line](has_line).
pub(super) fn connection(
    out: &mut Vec<u8>,
    now: Now<'_>,
    listener: &config::Listener,
    record: &Record,
    outcome: Outcome,
) {
    let forward = record.forward.as_deref();
    let method = match (forward, listener.protocol) {
        (Some(facts), _) => &*facts.method,
        (None, Protocol::Tls) if record.name.is_some() => CONNECT,
        (None, _) => "",
    };
    let port = forward.map_or(listener.upstream_port, |facts| facts.port);
    let (before, answered) = forward.map_or((0, 0), |facts| (facts.reported.down, facts.answered));
    let answer = forward.and_then(|facts| facts.answer_status);
    let is_refused_within = method == CONNECT && answer == Some(200) && matches!(outcome, Outcome::Refused(_));
    let sni = forward.and_then(|facts| facts.sni.as_deref());
    Line {
        time: now.time,
        elapsed: now.elapsed,
        client: record.client.as_ref().map_or(record.peer.get().ip(), |client| client.ip.get()),
        code: if is_refused_within { DENIED } else { code(outcome, method == CONNECT) },
        // What the client was sent: of a tunnel that was refused after it was opened, that it was opened.
        status: if matches!(outcome, Outcome::Relayed(_)) { Some(200) } else { answer.or_else(|| status(outcome)) },
        bytes: record.bytes.down.saturating_sub(before).saturating_add(answered.into()),
        method,
        scheme: forward.and_then(|facts| facts.scheme.as_deref()),
        host: record.name.as_deref(),
        port,
        upstream: record.upstream.filter(|_| is_dialled(outcome)),
        reason: Some(outcome).filter(|outcome| *outcome != Outcome::Relayed(Close::Done)),
        rule: record.rule.as_deref(),
        sni: sni.filter(|sni| record.name.as_deref() != Some(sni)),
    }
    .write(out);
}

pub(super) fn request(out: &mut Vec<u8>, time: SystemTime, facts: &RequestFacts<'_>) {
    // A request that was refused may have come over the connection of one that was not.
    let is_sent = facts.bytes.up > 0 || !matches!(facts.cut, Some(Outcome::Refused(_)));
    let is_dialled = is_sent && facts.cut.is_none_or(is_dialled);
    Line {
        time,
        elapsed: facts.duration,
        client: facts.client.map_or(facts.peer.get().ip(), |client| client.ip.get()),
        code: facts.cut.map_or("TCP_MISS", |cut| code(cut, false)),
        status: facts.status,
        bytes: facts.bytes.down.saturating_add(facts.answered.into()),
        method: facts.method,
        scheme: facts.scheme,
        host: Some(facts.host).filter(|host| !host.is_empty()),
        port: facts.port,
        upstream: facts.upstream.filter(|_| is_dialled),
        reason: facts.cut,
        rule: facts.rule,
        sni: None,
    }
    .write(out);
}

const CONNECT: &str = "CONNECT";
const DENIED: &str = "TCP_DENIED";

/// Whether a connection ended as a tunnel, or before, or between, requests that have lines of their own.
fn is_of_no_request(facts: &ForwardFacts, outcome: Outcome) -> bool {
    facts.is_connect() || (facts.open.is_none() && matches!(outcome, Outcome::Refused(_)))
}

/// Whether the address in the record is one that was dialled, and not the reason why none was.
fn is_dialled(outcome: Outcome) -> bool {
    !matches!(outcome, Outcome::Refused(RefuseReason::DestinationForbidden | RefuseReason::PointsToSelf))
}

/// Squid's result code.
fn code(outcome: Outcome, tunnel: bool) -> &'static str {
    use RefuseReason as R;
    match (outcome, tunnel) {
        (Outcome::Relayed(Close::Done | Close::DrainIdle), true) => "TCP_TUNNEL",
        (Outcome::Relayed(Close::Done | Close::DrainIdle), false) => "TCP_MISS",
        (Outcome::Relayed(Close::Idle), _) => "TCP_MISS_TIMEDOUT",
        (Outcome::Refused(R::BodyTimeout), _) => "TCP_MISS_TIMEDOUT",
        (Outcome::Refused(R::BodyCut), _) => "TCP_MISS_ABORTED",
        (Outcome::Relayed(_), true) => "TCP_TUNNEL_ABORTED",
        (Outcome::Relayed(_), false) => "TCP_MISS_ABORTED",
        (Outcome::Refused(R::ClientDenied | R::NameDenied | R::PortDenied), _) => DENIED,
        (Outcome::Refused(_) | Outcome::Probe(_) | Outcome::Unfinished(_), _) => "NONE_NONE",
        (Outcome::Failed(_), true) => "TCP_TUNNEL",
        (Outcome::Failed(_), false) => "TCP_MISS",
    }
}

/// The status of the answer to what ended so.
pub fn status(outcome: Outcome) -> Option<u16> {
    use RefuseReason as R;
    Some(match outcome {
        Outcome::Refused(reason) => match reason {
            R::UntrustedPeer | R::ProxyMalformed | R::ProxyUnsupported | R::ProxyChecksum | R::TunnelNotTls => {
                return None;
            }
            R::ClientDenied | R::NameDenied | R::PortDenied | R::TunnelSniDenied => 403,
            R::TraceMethod | R::ConnectMethod => 405,
            R::HandshakeTimeout | R::HandshakeSlow | R::BodyTimeout => 408,
            R::HeadTooLong => 431,
            R::NameUnknown | R::DestinationForbidden | R::PointsToSelf | R::ViaLoop => 502,
            R::Overloaded
            | R::ClientHalfOpen
            | R::ClientConnections
            | R::ClientRate
            | R::NameConnections
            | R::NameRate
            | R::LookupRate => 503,
            R::MaxForwards => 200,
            _ => 400,
        },
        Outcome::Failed(Failure::DnsTimeout | Failure::ConnectTimeout | Failure::ResponseTimeout) => 504,
        Outcome::Failed(Failure::NoLocalPort) => 503,
        Outcome::Failed(_) => 502,
        Outcome::Relayed(_) | Outcome::Probe(_) | Outcome::Unfinished(_) => return None,
    })
}

struct Line<'a> {
    time: SystemTime,
    elapsed: Duration,
    client: IpAddr,
    code: &'static str,
    status: Option<u16>,
    bytes: u64,
    /// Empty if it cannot be read.
    method: &'a str,
    /// If it is not `http`.
    scheme: Option<&'a str>,
    host: Option<&'a str>,
    /// 0: what is known of it is in the host.
    port: u16,
    upstream: Option<Address>,
    /// If it is worth a word.
    reason: Option<Outcome>,
    rule: Option<&'a str>,
    /// If it is another than the host.
    sni: Option<&'a str>,
}

impl Line<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        ascii::thousandths(out, millis(self.time.duration_since(UNIX_EPOCH).unwrap_or_default()));
        out.push(b' ');
        // Right-aligned to six characters, as Squid's %6tr.
        let mut elapsed = itoa::Buffer::new();
        let elapsed = elapsed.format(millis(self.elapsed));
        out.extend(std::iter::repeat_n(b' ', ELAPSED_WIDTH.saturating_sub(elapsed.len())));
        out.extend_from_slice(elapsed.as_bytes());
        out.push(b' ');
        ascii::ip(out, self.client);
        out.push(b' ');
        out.extend_from_slice(self.code.as_bytes());
        out.push(b'/');
        ascii::three(out, self.status.unwrap_or_default().into());
        out.push(b' ');
        ascii::decimal(out, self.bytes);
        out.push(b' ');
        escaped(out, if self.method.is_empty() { "NONE" } else { self.method });
        out.push(b' ');
        self.url(out);
        out.extend_from_slice(b" - ");
        match self.upstream {
            Some(upstream) => {
                out.extend_from_slice(b"HIER_DIRECT/");
                ascii::ip(out, upstream.get().ip());
            }
            None => out.extend_from_slice(b"HIER_NONE/-"),
        }
        out.push(b' ');
        self.details(out);
        out.push(b'\n');
    }

    /// The field of the media type, which we do not look at.
    fn details(&self, out: &mut Vec<u8>) {
        let reason = self.reason.map(Outcome::reason);
        let rule = self.rule.filter(|_| reason.is_some());
        let details = [(";reason=", reason), (";rule=", rule), (";sni=", self.sni)];
        if reason.is_none() && self.sni.is_none() {
            return out.push(b'-');
        }
        out.extend_from_slice(TYPE.as_bytes());
        for (name, value) in details {
            let Some(value) = value else { continue };
            out.extend_from_slice(name.as_bytes());
            escaped(out, value);
        }
    }

    fn url(&self, out: &mut Vec<u8>) {
        let Some(host) = self.host else { return out.extend_from_slice(b"error:invalid-request") };
        let tunnel = self.method == CONNECT;
        if !tunnel {
            escaped(out, self.scheme.unwrap_or("http"));
            out.extend_from_slice(b"://");
        }
        escaped(out, host);
        if self.port > 0 && (tunnel || self.port != HTTP_PORT) {
            out.push(b':');
            ascii::decimal(out, self.port.into());
        }
        if !tunnel {
            out.push(b'/');
        }
    }
}

/// What has more to say than Squid's fields.
const TYPE: &str = "application/x-latticegate";
const ELAPSED_WIDTH: usize = 6;
const HTTP_PORT: u16 = 80;

/// With what would end a field or a line, and what is not ASCII, as `%20`.
fn escaped(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !b"\"%\\;".contains(&byte) {
            out.push(byte);
        } else {
            ascii::display(out, format_args!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests;
