//! Squid's native format, for those who have parsers of it: `time elapsed client code/status bytes method URL user
//! hierarchy/address type` (its `logformat squid`).
//!
//! As Squid does, it has a line for each tunnel and for each absolute-form request, and none for a connection that
//! carried requests. Where Squid writes a path there is only `/`: paths and queries carry secrets.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::ascii;
use super::line::Now;
use crate::telemetry::record::{Address, Record, RequestFacts};

use latticegate_core::config::{self, Protocol};
use latticegate_core::outcome::{Close, Failure, Outcome, RefuseReason};

/// Nothing for a connection whose requests have their own lines.
pub(super) fn connection(
    out: &mut Vec<u8>,
    now: Now<'_>,
    listener: &config::Listener,
    record: &Record,
    outcome: Outcome,
) {
    let forward = record.forward.as_deref();
    if forward.is_some_and(|facts| facts.requests > 0) && !is_of_no_request(outcome) {
        return;
    }
    let method = match (forward, listener.protocol) {
        (Some(facts), _) => &*facts.method,
        (None, Protocol::Tls) if record.name.is_some() => CONNECT,
        (None, _) => "NONE",
    };
    let port = forward.map_or(listener.upstream_port, |facts| facts.port);
    Line {
        time: now.time,
        elapsed: now.elapsed,
        client: record.client.as_ref().map_or(record.peer.get().ip(), |client| client.ip.get()),
        code: code(outcome, method == CONNECT),
        status: connection_status(outcome),
        bytes: record.bytes.down,
        method,
        host: record.name.as_deref(),
        port,
        upstream: record.upstream,
    }
    .write(out);
}

pub(super) fn request(out: &mut Vec<u8>, time: SystemTime, facts: &RequestFacts<'_>) {
    Line {
        time,
        elapsed: facts.duration,
        client: facts.client.map_or(facts.peer.get().ip(), |client| client.ip.get()),
        code: facts.cut.map_or("TCP_MISS", |cut| code(cut, false)),
        status: facts.status,
        bytes: facts.bytes.down,
        method: facts.method,
        host: Some(facts.host),
        port: facts.port,
        upstream: facts.upstream,
    }
    .write(out);
}

const CONNECT: &str = "CONNECT";

/// Whether a connection ended so before, or between, requests that have lines of their own.
fn is_of_no_request(outcome: Outcome) -> bool {
    use RefuseReason as R;
    match outcome {
        Outcome::Refused(
            R::NameDenied
            | R::PortDenied
            | R::NameConnections
            | R::NameRate
            | R::LookupRate
            | R::NameUnknown
            | R::DestinationForbidden
            | R::PointsToSelf
            | R::BodyMalformed
            | R::BodyTimeout
            | R::BodyCut,
        ) => false,
        Outcome::Refused(_) => true,
        Outcome::Relayed(_) | Outcome::Failed(_) | Outcome::Probe(_) | Outcome::Unfinished(_) => false,
    }
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
        (
            Outcome::Refused(
                R::ClientDenied
                | R::NameDenied
                | R::PortDenied
                | R::TunnelNotTls
                | R::TunnelSniMissing
                | R::TunnelSniDenied,
            ),
            _,
        ) => "TCP_DENIED",
        (Outcome::Refused(_) | Outcome::Probe(_) | Outcome::Unfinished(_), _) => "NONE_NONE",
        (Outcome::Failed(_), true) => "TCP_TUNNEL",
        (Outcome::Failed(_), false) => "TCP_MISS",
    }
}

/// What the client was sent; for a tunnel that was refused after it was opened, that it was opened.
fn connection_status(outcome: Outcome) -> Option<u16> {
    match outcome {
        Outcome::Relayed(_)
        | Outcome::Refused(
            RefuseReason::TunnelNotTls | RefuseReason::TunnelSniMissing | RefuseReason::TunnelSniDenied,
        ) => Some(200),
        outcome => status(outcome),
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
    method: &'a str,
    host: Option<&'a str>,
    port: u16,
    upstream: Option<Address>,
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
        escaped(out, self.method);
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
        out.extend_from_slice(b" -\n");
    }

    fn url(&self, out: &mut Vec<u8>) {
        let Some(host) = self.host else { return out.extend_from_slice(b"error:invalid-request") };
        let tunnel = self.method == CONNECT;
        if !tunnel {
            out.extend_from_slice(b"http://");
        }
        escaped(out, host);
        if tunnel || self.port != HTTP_PORT {
            out.push(b':');
            ascii::decimal(out, self.port.into());
        }
        if !tunnel {
            out.push(b'/');
        }
    }
}

const ELAPSED_WIDTH: usize = 6;
const HTTP_PORT: u16 = 80;

/// With what would end a field or a line, and what is not ASCII, as `%20`.
fn escaped(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !b"\"%\\".contains(&byte) {
            out.push(byte);
        } else {
            ascii::display(out, format_args!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests;
