//! Parses the origin server's side of a connection that a forward proxy has opened: where each response ends, and the head
//! that the client is sent instead of the received one.
//!
//! As strict as with requests: what is not framed unambiguously is not passed on. The caller keeps the bytes. Heads, lines of
//! a chunk's size and trailer sections are held back until they are complete; data is neither read nor copied.

use std::collections::VecDeque;
use std::io::Write as _;
use std::mem::MaybeUninit;

use crate::protocol::ParseError;
use crate::protocol::forward_fields::{ConnectionOptions, write_end, write_field};
use crate::protocol::forward_head::ForwardExpected;
use crate::protocol::http_body::{self, Body};
use crate::protocol::http_fields::{BodyFraming, is_chunked};
use crate::protocol::http_lines::{Lines, MAX_FIELDS};
use crate::protocol::http_response::{MAX_EXPECTED, MAX_SECTION, ResponseParts};

/// What to do with the bytes that were passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResponseAction {
    /// Forward this many bytes (never 0), then call again with the rest.
    Forward(usize),
    /// Send `with`, which may be empty, in place of the first `len` bytes: the head of a response with this status. Below
    /// 200 it is an interim one, and the final response is still to come.
    Replace { len: usize, with: Vec<u8>, status: u16 },
    /// Keep the bytes and call again with more. Fewer than [`MAX_SECTION`] are ever kept.
    NeedMore,
    /// A response that is no HTTP/1, or that two readers could understand differently: forward nothing more.
    Malformed,
    /// Bytes although no response is due, such as a 408 before the upstream closes an idle connection. They are not for
    /// the client; the upstream connection is of no use any more.
    Unsolicited,
}

/// The responses of one upstream connection.
#[derive(Debug, Default)]
pub struct ForwardResponses {
    state: State,
    /// Requests that were forwarded and whose final response has not ended, oldest first.
    expected: VecDeque<ForwardExpected>,
    /// The head of the final response to the first of them has been passed on.
    begun: bool,
    /// Interim responses to the first of them.
    interim: u16,
    client: ClientNow,
    upstream_ends: bool,
    client_ends: bool,
}

/// What is known of the client by the time the head of a response is passed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientNow {
    /// It is to send no further request, whatever was meant when it sent this one.
    pub ends: bool,
    /// The body of its request is not complete: its connection cannot be used again if the upstream's ends.
    pub is_sending: bool,
}

/// Interim responses to one request. A server that is at work may say so every few seconds for minutes; one that never comes to
/// an end holds the client for ever.
pub const MAX_INTERIM: u16 = 256;

#[derive(Debug)]
enum State {
    /// The progress in an incomplete head.
    Head(Lines),
    Body(Body),
    Malformed,
}

impl Default for State {
    fn default() -> Self {
        Self::Head(Lines::default())
    }
}

impl ForwardResponses {
    /// To be called when a request is forwarded, in the order of the requests.
    pub fn expect(&mut self, request: ForwardExpected) {
        if self.expected.len() >= MAX_EXPECTED {
            self.state = State::Malformed;
            return;
        }
        self.expected.push_back(request);
    }

    /// Parses the bytes that were received and have not been forwarded, or replaced, yet. `via_name` is what this proxy is
    /// called in `Via`.
    pub fn advance(&mut self, bytes: &[u8], via_name: &str) -> ResponseAction {
        let action = match &mut self.state {
            State::Malformed => ResponseAction::Malformed,
            State::Head(_) if bytes.is_empty() => ResponseAction::NeedMore,
            State::Head(_) if self.expected.is_empty() => ResponseAction::Unsolicited,
            // A server that waits behind its greeting would keep the client waiting for the end of a head.
            State::Head(lines) if !is_http(bytes, lines.seen()) => ResponseAction::Malformed,
            State::Head(lines) => {
                let window = bytes.get(..MAX_SECTION).unwrap_or(bytes);
                match lines.section_len(window, 1 + MAX_FIELDS) {
                    Ok(len) => self.head(window.get(..len).unwrap_or_default(), via_name),
                    Err(ParseError::NeedMore) if window.len() < MAX_SECTION => ResponseAction::NeedMore,
                    Err(_) => ResponseAction::Malformed,
                }
            }
            State::Body(body) => match http_body::advance(bytes, |rest| body.step(rest)) {
                Ok(len) => {
                    self.pass(0);
                    ResponseAction::Forward(len)
                }
                Err(ParseError::NeedMore) => ResponseAction::NeedMore,
                Err(ParseError::Refuse(_)) => ResponseAction::Malformed,
            },
        };
        if action == ResponseAction::Malformed {
            self.state = State::Malformed;
        }
        action
    }

    /// To be called before [`advance`](Self::advance) with what is known by then. A client is told that its connection ends
    /// behind a response whenever that is known.
    pub fn note_client(&mut self, client: ClientNow) {
        self.client = client;
    }

    /// How many bytes may be forwarded without being passed here, for a caller that moves them inside the kernel.
    pub fn unseen(&self) -> u64 {
        match &self.state {
            State::Body(body) => body.unseen(),
            State::Head(_) | State::Malformed => 0,
        }
    }

    /// Reports that `bytes` bytes, at most [`unseen`](Self::unseen), were forwarded without being passed here.
    pub fn pass(&mut self, bytes: u64) {
        if let State::Body(body) = &mut self.state {
            body.pass(bytes);
            if body.is_ended() {
                self.end();
            }
        }
    }

    /// To be called when the upstream has sent its FIN, behind all that it sent. Returns whether every request has its
    /// whole response: if not, what the client has is cut off (or, unless it [has begun](Self::has_begun), nothing).
    pub fn upstream_closed(&mut self) -> bool {
        self.upstream_ends = true;
        if matches!(&self.state, State::Body(body) if body.is_until_close()) {
            self.end();
        }
        self.all_whole()
    }

    /// Whether every request that was forwarded has its whole response.
    pub fn all_whole(&self) -> bool {
        self.expected.is_empty() && matches!(self.state, State::Head(_))
    }

    /// The number of requests without a whole response.
    pub fn owed(&self) -> usize {
        self.expected.len()
    }

    /// Whether the final response to the first of those requests has been passed on in part: an answer of our own would be
    /// taken for a part of it.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether the upstream closes its connection behind the current or last response, so that no further request is to be
    /// sent on it.
    pub fn upstream_ends(&self) -> bool {
        self.upstream_ends
    }

    /// Whether the client's connection ends behind the current or last response: it was its last request, or the
    /// content ends where the connection does. The client has been told so (`Connection: close`).
    pub fn client_ends(&self) -> bool {
        self.client_ends
    }

    fn head(&mut self, head: &[u8], via_name: &str) -> ResponseAction {
        let client = self.client;
        let read = self.expected.front().and_then(|expected| Rewritten::of(head, *expected, client, via_name));
        let Some(Rewritten { status, with, body, ends }) = read else { return ResponseAction::Malformed };
        if status < 200 {
            if self.interim >= MAX_INTERIM {
                return ResponseAction::Malformed;
            }
            self.interim += 1;
            self.state = State::default();
        } else {
            self.begun = true;
            self.upstream_ends |= ends.upstream;
            self.client_ends |= ends.client;
            self.state = State::Body(body);
            self.pass(0);
        }
        ResponseAction::Replace { len: head.len(), with, status }
    }

    /// The final response to the first request is whole.
    fn end(&mut self) {
        self.expected.pop_front();
        (self.begun, self.interim) = (false, 0);
        self.state = State::default();
    }
}

/// Whether bytes that may be incomplete can be the beginning of a response. Of the first `seen` that is known.
fn is_http(bytes: &[u8], seen: usize) -> bool {
    bytes.iter().zip(b"HTTP/1.").skip(seen).all(|(byte, expected)| byte == expected)
}

/// What the client is sent instead of a head.
struct Rewritten {
    status: u16,
    with: Vec<u8>,
    body: Body,
    ends: Ends,
}

/// Which connections end behind the response.
#[derive(Clone, Copy)]
struct Ends {
    upstream: bool,
    client: bool,
}

impl Rewritten {
    fn of(head: &[u8], expected: ForwardExpected, client: ClientNow, via_name: &str) -> Option<Self> {
        let mut room = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let parts = ResponseParts::of(head, &mut room)?;
        let options = ConnectionOptions::read(parts.fields)?;
        let framing = match (parts.coding, parts.length) {
            (None, None) => None,
            (None, Some(length)) => Some(BodyFraming::Length(length)),
            // An HTTP/1.0 client cannot read chunks, and its request was sent on as one of HTTP/1.0.
            (Some(codings), None) if parts.minor == 1 && !expected.http10 && is_chunked(codings) => {
                Some(BodyFraming::Chunked)
            }
            _ => return None,
        };
        // Nothing that we send on asks for another protocol; and a status is from 100 to 599 (RFC 9110 §15).
        if parts.status == 101 || !(100..=599).contains(&parts.status) {
            return None;
        }
        let has_no_content = expected.head || parts.status < 200 || matches!(parts.status, 204 | 304);
        let body = match framing {
            _ if has_no_content => Body::of_rewritten(BodyFraming::None),
            Some(framing) => Body::of_rewritten(framing),
            None => Body::until_close(),
        };
        let last = expected.last || client.ends;
        // We never ask a server of HTTP/1.0 to keep a connection open.
        let upstream = options.close || parts.minor == 0 || last || body.is_until_close();
        let ends = Ends { upstream, client: last || body.is_until_close() || (upstream && client.is_sending) };
        let with = match parts.status {
            // It knows no interim responses (RFC 9110 §15.2).
            ..200 if expected.http10 => Vec::new(),
            _ => rewritten(&parts, &options, framing, via_name, ends),
        };
        Some(Self { status: parts.status, with, body, ends })
    }
}

fn rewritten(
    parts: &ResponseParts<'_, '_>,
    options: &ConnectionOptions<'_>,
    framing: Option<BodyFraming>,
    via_name: &str,
    ends: Ends,
) -> Vec<u8> {
    // These must not have a length (RFC 9110 §8.6, RFC 9112 §6.1), and a client may believe one that they have.
    let is_framed = parts.status >= 200 && parts.status != 204;
    let mut length_is_due = is_framed;
    let values: usize = parts.fields.iter().map(|field| field.name.len() + field.value.len() + ": \r\n".len()).sum();
    let mut head = Vec::with_capacity(values + parts.reason.len() + 512);
    // The version is ours (RFC 9112 §2.3). Writing to a Vec cannot fail.
    let _ = write!(head, "HTTP/1.1 {:03} {}\r\n", parts.status, parts.reason);
    for field in parts.fields.iter().filter(|field| options.passes(field.name)) {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        match framing {
            Some(BodyFraming::Length(length)) if is("content-length") => {
                // Once, also if it came twice.
                if std::mem::take(&mut length_is_due) {
                    write_field(&mut head, field.name, length.to_string().as_bytes());
                }
            }
            Some(BodyFraming::Chunked) if is("transfer-encoding") => {
                if is_framed {
                    write_field(&mut head, field.name, b"chunked");
                }
            }
            _ => write_field(&mut head, field.name, field.value),
        }
    }
    write_end(&mut head, parts.minor, via_name, ends.client && parts.status >= 200);
    head
}
