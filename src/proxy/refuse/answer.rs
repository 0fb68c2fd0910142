//! The answers themselves: which alert, status and sentence a refusal has, and their bytes.

use std::io::Write as _;
use std::time::SystemTime;

use super::Request;
use super::date::with_date;
use super::forward;
use latticegate_core::outcome::{Failure, Outcome, RefuseReason, Unfinished};

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

pub(super) struct AnswerText {
    alert: Alert,
    status: &'static str,
    sentence: &'static str,
}

impl AnswerText {
    pub(super) fn of(outcome: Outcome) -> Option<Self> {
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
                R::UntrustedPeer | R::ProxyMalformed | R::ProxyUnsupported | R::ProxyChecksum => {
                    return None;
                }
                // No answer would be understood inside of the tunnel.
                R::TunnelNotTls => return None,
                R::ProxyMissing => (
                    A::UnexpectedMessage,
                    "400 Bad Request",
                    "This port expects a PROXY protocol v2 header first, which has to be switched on at the load balancer.",
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
                R::OriginForm => (
                    A::DecodeError,
                    "400 Bad Request",
                    "This is a proxy: ask for http://name/path, or use CONNECT name:port.",
                ),
                R::SchemeUnsupported => (
                    A::DecodeError,
                    "400 Bad Request",
                    "This proxy asks for http:// URLs only; for https:// use CONNECT name:port.",
                ),
                R::PortMissing => (A::DecodeError, "400 Bad Request", "CONNECT needs a port: CONNECT name:443."),
                R::TargetInvalid => (
                    A::DecodeError,
                    "400 Bad Request",
                    "The target is invalid: it has to be name:port for CONNECT and http://name/path for the other methods.",
                ),
                R::TraceMethod => (A::DecodeError, "405 Method Not Allowed", "TRACE is not allowed."),
                R::ViaLoop => {
                    (A::DecodeError, "502 Bad Gateway", "The request has been forwarded by this proxy before: a loop.")
                }
                R::MaxForwards => (A::DecodeError, "200 OK", "Max-Forwards is 0, so this proxy answers."),
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
                R::BodyTimeout => {
                    (A::DecodeError, "408 Request Timeout", "The rest of the request body did not arrive in time.")
                }
                R::BodyCut => (
                    A::DecodeError,
                    "400 Bad Request",
                    "The connection was closed before the request body was complete.",
                ),
                R::TunnelSniMissing => (
                    A::MissingExtension,
                    "400 Bad Request",
                    "The ClientHello in the tunnel names no server (SNI is required).",
                ),
                R::TunnelSniDenied => (
                    A::AccessDenied,
                    "403 Forbidden",
                    "The server name in the tunnel is not the one in CONNECT, nor allowed itself.",
                ),
                R::PortDenied => (A::AccessDenied, "403 Forbidden", "This proxy does not allow requests to this port."),
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
            Failure::ResponseMalformed => ("502 Bad Gateway", "The service's response is not valid HTTP/1."),
            Failure::UpstreamClosed => ("502 Bad Gateway", "The service closed the connection before it had answered."),
            Failure::ResponseTimeout => ("504 Gateway Timeout", "The service did not answer the request in time."),
        };
        (Alert::InternalError, status, sentence)
    }

    /// The answer of a forward proxy.
    pub(super) fn forward(self, outcome: Outcome) -> Self {
        let (status, sentence) = forward::adapted(outcome).unwrap_or((self.status, self.sentence));
        Self { status, sentence, ..self }
    }

    pub(super) fn alert(&self) -> Vec<u8> {
        self.alert.record().to_vec()
    }

    fn text(&self, reason: &str, connection: u64) -> String {
        format!("latticegate: {} (reason: {reason}, connection: {connection:016x})\n", self.sentence)
    }

    /// HTTP/2 cannot read a status of HTTP/1.1: the server's empty SETTINGS, and GOAWAY before any stream, with the code
    /// for "use HTTP/1.1" and the sentence as debug data (RFC 9113 §3.4, §6.8, §7).
    pub(super) fn goaway(&self, reason: &str, connection: u64) -> Vec<u8> {
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

    /// HTTP/1.1 also to a client of 1.0 (RFC 9112 §2.3). There is no `Via`: the response begins here. There is no
    /// `Server`: what we are is no concern of the client. A forward proxy, which the client has chosen, has a
    /// `proxy_status`.
    pub(super) fn response(
        &self,
        reason: &str,
        connection: u64,
        request: Request,
        now: SystemTime,
        proxy_status: Option<&str>,
    ) -> Vec<u8> {
        let body = self.text(reason, connection);
        let status = request.status(reason).unwrap_or(self.status);
        let mut response = Vec::with_capacity(512);
        // Writing to a Vec cannot fail.
        let _ = write!(response, "HTTP/1.1 {status}\r\n");
        with_date(now, |date| response.extend([b"Date: ", date.as_bytes(), b"\r\n"].concat()));
        if let Some(proxy_status) = proxy_status {
            let _ = write!(response, "Proxy-Status: {proxy_status}\r\n");
        }
        let _ = write!(
            response,
            "Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n{}Cache-Control: no-store\r\nConnection: close\r\n\r\n",
            body.len(),
            demanded(status, proxy_status.is_some()),
        );
        // The answer to HEAD has the same fields and no content (RFC 9110 §9.3.2).
        if !request.is_head() {
            response.extend_from_slice(body.as_bytes());
        }
        response
    }
}

/// The field that belongs to a status. `forward`: in the answer of a forward proxy.
fn demanded(status: &str, forward: bool) -> &'static str {
    match status.split(' ').next() {
        Some("200" | "405") if forward => "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, CONNECT\r\n",
        // Whatever a service may allow, but the one that is refused (RFC 9110 §15.5.6).
        Some("405") => "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE\r\n",
        // Every limit of ours is of one second, or of connections that end any moment (§10.2.3).
        Some("503") => "Retry-After: 1\r\n",
        _ => "",
    }
}
