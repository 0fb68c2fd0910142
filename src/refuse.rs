//! What a refused client is told: a TLS alert, or one plain sentence in an HTTP response, then FIN.

use std::cell::RefCell;
use std::io::Write as _;
use std::net::Shutdown;
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags, recv, send as send_now};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::Protocol;
use crate::outcome::{Failure, Outcome, RefuseReason, Unfinished};

/// How long, and for how many bytes, we go on reading what a refused client still sends: closing with bytes
/// unread would be a reset, which can destroy the answer before the client has read it.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 256 * 1024;

/// The answer to a connection that ended so; none where nobody is there to read it, or it would tell a
/// stranger that there is something to talk to.
pub fn answer(outcome: Outcome, protocol: Protocol, connection: u64) -> Option<Vec<u8>> {
    let told = Told::of(outcome)?;
    if outcome == Outcome::Refused(RefuseReason::Http2Preface) {
        return Some(told.goaway(outcome.reason(), connection));
    }
    // A client that spoke the other protocol is answered in its own.
    let spoken = match outcome {
        Outcome::Refused(RefuseReason::PlainHttp) => Protocol::Http,
        Outcome::Refused(RefuseReason::TlsOnHttp) => Protocol::Tls,
        _ => protocol,
    };
    Some(match spoken {
        Protocol::Tls => told.alert.record().to_vec(),
        Protocol::Http => told.response(outcome.reason(), connection),
    })
}

/// The protocol of whoever did not begin with a PROXY header, if it is one that we have an answer in.
pub fn spoken(bytes: &[u8]) -> Option<Protocol> {
    const HANDSHAKE: u8 = 22;
    let method = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
    match bytes.first() {
        Some(&HANDSHAKE) => Some(Protocol::Tls),
        _ if method.len() < bytes.len() && method.iter().all(u8::is_ascii_uppercase) => Some(Protocol::Http),
        _ => None,
    }
}

/// Sends the answer, which may be empty, and FIN. What does not fit into the socket's buffer at once is not sent: an
/// answer is smaller than any send buffer. The system is asked directly, as the runtime has not looked yet whether a
/// socket just accepted takes anything.
pub fn send(stream: &TcpStream, answer: &[u8]) {
    // The client may be gone; its record tells what became of it.
    if !answer.is_empty() {
        // MORE: it goes out in one packet with the FIN.
        let _ = send_now(stream, answer, SendFlags::DONTWAIT | SendFlags::NOSIGNAL | SendFlags::MORE);
    }
    let _ = SockRef::from(stream).shutdown(Shutdown::Write);
}

/// Reads and throws away what has come already: closing then sends no reset, and nobody is waited for.
pub fn discard(stream: &TcpStream, scratch: &RefCell<Box<[u8]>>) {
    let mut scratch = scratch.borrow_mut();
    let room = scratch.len();
    for _ in 0..LINGER_BYTES / room.max(1) {
        // A read that does not fill the buffer has emptied the socket.
        match recv(stream, &mut **scratch, RecvFlags::DONTWAIT) {
            Ok((n, _)) if n == room => {}
            _ => return,
        }
    }
}

/// Reads and throws away what the client still sends, until it closes or a bound is reached.
pub async fn linger(stream: &TcpStream, scratch: &RefCell<Box<[u8]>>) {
    let discard = async {
        let mut rest = LINGER_BYTES;
        while rest > 0 && stream.readable().await.is_ok() {
            match stream.try_read(&mut scratch.borrow_mut()) {
                Ok(0) => return,
                Ok(n) => rest = rest.saturating_sub(n),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    let _ = timeout(LINGER, discard).await;
}

/// TLS alert descriptions (RFC 8446 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alert {
    UnexpectedMessage = 10,
    RecordOverflow = 22,
    HandshakeFailure = 40,
    IllegalParameter = 47,
    AccessDenied = 49,
    DecodeError = 50,
    ProtocolVersion = 70,
    InternalError = 80,
    MissingExtension = 109,
    UnrecognizedName = 112,
}

impl Alert {
    /// A fatal alert in a plaintext record, as it is sent before any key is agreed (RFC 8446 §5.1).
    fn record(self) -> [u8; 7] {
        const ALERT: u8 = 21;
        const FATAL: u8 = 2;
        [ALERT, 3, 3, 0, 2, FATAL, self.code()]
    }

    #[expect(clippy::as_conversions, reason = "the discriminants are the codes and fit")]
    fn code(self) -> u8 {
        self as u8
    }
}

struct Told {
    alert: Alert,
    status: &'static str,
    sentence: &'static str,
}

impl Told {
    fn of(outcome: Outcome) -> Option<Self> {
        use Alert as A;
        use RefuseReason as R;
        let (alert, status, sentence) = match outcome {
            Outcome::Relayed(_) | Outcome::Probe(_) => return None,
            Outcome::Unfinished(Unfinished::Stopped) => {
                (A::InternalError, "503 Service Unavailable", "This gateway is shutting down; try again.")
            }
            Outcome::Unfinished(_) => return None,
            Outcome::Failed(failure) => Self::of_failure(failure),
            Outcome::Refused(reason) => match reason {
                R::UntrustedPeer | R::ProxyMalformed | R::ProxyTooLong | R::ProxyUnsupported | R::ProxyChecksum => {
                    return None;
                }
                R::ProxyMissing => (
                    A::UnexpectedMessage,
                    "400 Bad Request",
                    "This port expects a PROXY protocol v2 header first, which the load balancer has to be told to send.",
                ),
                R::ProxyV1 => (
                    A::UnexpectedMessage,
                    "400 Bad Request",
                    "This port expects a PROXY protocol v2 header, but the load balancer sent one of version 1.",
                ),
                R::ClientDenied => {
                    (A::AccessDenied, "403 Forbidden", "Your address is not allowed to use this gateway.")
                }
                R::NameDenied => {
                    (A::AccessDenied, "403 Forbidden", "Your address is not allowed to reach this host name.")
                }
                R::HandshakeTimeout => {
                    (A::HandshakeFailure, "408 Request Timeout", "The request did not arrive in time.")
                }
                R::HandshakeSlow => (A::HandshakeFailure, "408 Request Timeout", "The request arrived too slowly."),
                R::Overloaded | R::ClientHalfOpen | R::ClientConnections | R::NameConnections | R::NameRate => {
                    (A::InternalError, "503 Service Unavailable", "There are too many connections; try again later.")
                }
                R::ClientRate => {
                    (A::InternalError, "503 Service Unavailable", "Your connections come too fast; try again later.")
                }
                R::LookupRate => {
                    (A::InternalError, "503 Service Unavailable", "Too many new names are asked for; try again later.")
                }
                R::NotTls => (A::UnexpectedMessage, "400 Bad Request", "This port speaks TLS."),
                R::PlainHttp => (
                    A::UnexpectedMessage,
                    "400 Bad Request",
                    "This port speaks TLS, but the request was plain HTTP; use https://.",
                ),
                R::Sslv2 => (A::ProtocolVersion, "400 Bad Request", "SSL 2.0 is not spoken here."),
                R::HelloMalformed => (A::DecodeError, "400 Bad Request", "The ClientHello is malformed."),
                R::HelloTooLong => (A::RecordOverflow, "400 Bad Request", "The ClientHello is too long."),
                R::SniMissing => {
                    (A::MissingExtension, "400 Bad Request", "The ClientHello names no server (SNI is required).")
                }
                R::SniInvalid => (A::UnrecognizedName, "400 Bad Request", "The server name is not a host name."),
                R::SniIpAddress => {
                    (A::UnrecognizedName, "400 Bad Request", "The server name is an IP address; a host name is needed.")
                }
                R::SniAmbiguous => (A::IllegalParameter, "400 Bad Request", "The ClientHello names two servers."),
                R::NotHttp => (A::UnexpectedMessage, "400 Bad Request", "This port speaks HTTP/1."),
                R::TlsOnHttp => (A::UnexpectedMessage, "400 Bad Request", "This port speaks plain HTTP, not TLS."),
                R::Http09 => (A::DecodeError, "400 Bad Request", "HTTP/0.9 is not spoken here."),
                R::Http2Preface => (
                    A::DecodeError,
                    "400 Bad Request",
                    "HTTP/2 without TLS is not spoken here; use HTTP/1.1 or https://.",
                ),
                R::ConnectMethod => {
                    (A::DecodeError, "405 Method Not Allowed", "This is not a forward proxy: CONNECT is not allowed.")
                }
                R::HeadMalformed => (A::DecodeError, "400 Bad Request", "The request head is malformed."),
                R::HeadTooLong => {
                    (A::DecodeError, "431 Request Header Fields Too Large", "The request head is too long.")
                }
                R::HostMissing => (A::DecodeError, "400 Bad Request", "The request has no Host field."),
                R::HostInvalid => (A::DecodeError, "400 Bad Request", "The Host field is not a host name."),
                R::HostIpAddress => {
                    (A::DecodeError, "400 Bad Request", "The Host field is an IP address; a host name is needed.")
                }
                R::HostAmbiguous => (A::DecodeError, "400 Bad Request", "The request names two hosts."),
                R::HostPort => {
                    (A::DecodeError, "421 Misdirected Request", "The port in the Host field is not served here.")
                }
                R::HostChanged => (
                    A::DecodeError,
                    "421 Misdirected Request",
                    "A connection serves one host name; open another one for this Host.",
                ),
                R::BodyMalformed => (A::DecodeError, "400 Bad Request", "The request body is malformed."),
                R::NameUnknown => {
                    (A::UnrecognizedName, "404 Not Found", "There is no such host name behind this gateway.")
                }
                R::DestinationForbidden => {
                    (A::AccessDenied, "403 Forbidden", "This host name leads where this gateway may not go.")
                }
                R::PointsToSelf => {
                    (A::UnrecognizedName, "421 Misdirected Request", "This host name leads back to this gateway.")
                }
            },
        };
        Some(Self { alert, status, sentence })
    }

    fn of_failure(failure: Failure) -> (Alert, &'static str, &'static str) {
        let (status, sentence) = match failure {
            Failure::DnsTimeout => ("504 Gateway Timeout", "The host name could not be resolved in time."),
            Failure::DnsFailed => ("502 Bad Gateway", "The host name could not be resolved."),
            Failure::ConnectTimeout => ("504 Gateway Timeout", "The service did not answer in time."),
            Failure::ConnectRefused => ("502 Bad Gateway", "The service refused the connection."),
            Failure::ConnectUnreachable => ("502 Bad Gateway", "The service cannot be reached."),
            Failure::NoLocalPort => ("503 Service Unavailable", "This gateway has no port left; try again."),
            Failure::ConnectFailed => ("502 Bad Gateway", "The connection to the service failed."),
        };
        (Alert::InternalError, status, sentence)
    }

    fn text(&self, reason: &str, connection: u64) -> String {
        format!("latticegate: {} (reason: {reason}, connection: {connection:016x})\n", self.sentence)
    }

    /// HTTP/2 cannot read a status of HTTP/1.1: the server's empty SETTINGS, and GOAWAY before any stream, with the code
    /// for "use HTTP/1.1" and the sentence as debug data (RFC 9113 §3.4, §6.8, §7).
    fn goaway(&self, reason: &str, connection: u64) -> Vec<u8> {
        const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        const LAST_STREAM: [u8; 4] = [0; 4];
        const HTTP_1_1_REQUIRED: [u8; 4] = [0, 0, 0, 0x0d];
        let text = self.text(reason, connection);
        let length = u8::try_from(LAST_STREAM.len() + HTTP_1_1_REQUIRED.len() + text.len()).unwrap_or(u8::MAX);
        let mut frames = SETTINGS.to_vec();
        frames.extend_from_slice(&[0, 0, length, 7, 0, 0, 0, 0, 0]);
        frames.extend(LAST_STREAM);
        frames.extend(HTTP_1_1_REQUIRED);
        frames.extend_from_slice(text.as_bytes());
        frames
    }

    fn response(&self, reason: &str, connection: u64) -> Vec<u8> {
        let body = self.text(reason, connection);
        let mut response = Vec::with_capacity(256);
        // Writing to a Vec cannot fail.
        let _ = write!(
            response,
            "HTTP/1.1 {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n{body}",
            self.status,
            body.len()
        );
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_well_formed() {
        for outcome in Outcome::all() {
            for protocol in [Protocol::Tls, Protocol::Http] {
                let Some(bytes) = answer(outcome, protocol, 7) else { continue };
                if bytes.starts_with(b"HTTP") {
                    let mut headers = [httparse::EMPTY_HEADER; 8];
                    let mut response = httparse::Response::new(&mut headers);
                    let httparse::Status::Complete(head) = response.parse(&bytes).unwrap() else {
                        panic!("{outcome:?}")
                    };
                    let length = response.headers.iter().find(|h| h.name == "Content-Length").unwrap().value;
                    assert_eq!(std::str::from_utf8(length).unwrap(), (bytes.len() - head).to_string());
                    let body = std::str::from_utf8(&bytes[head..]).unwrap();
                    assert!(body.contains(outcome.reason()) && body.contains("0000000000000007"), "{body}");
                } else if bytes.starts_with(&[0, 0, 0, 4]) {
                    assert_eq!(outcome.reason(), "http2_preface");
                    assert_eq!(bytes.len(), 9 + 9 + usize::from(bytes[11]));
                    assert!(bytes.ends_with(b"(reason: http2_preface, connection: 0000000000000007)\n"));
                } else {
                    let (rest, record) = tls_parser::parse_tls_plaintext(&bytes).unwrap();
                    assert!(rest.is_empty());
                    assert!(matches!(record.msg[..], [tls_parser::TlsMessage::Alert(_)]));
                }
            }
        }
    }
}
