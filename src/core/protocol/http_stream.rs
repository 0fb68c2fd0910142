//! Parses the client's side of a kept-alive HTTP/1 connection, so that the policy decides about every request and only
//! unambiguous framing is forwarded. Responses are parsed by [`crate::protocol::http_response`].
//!
//! The caller keeps the bytes and forwards them unchanged; this says how many. What is incomplete (a head, the line of a
//! chunk's size, the trailer fields) is held back, within a bound; data is neither read nor copied. Until the upstream
//! agrees to an `Upgrade`, everything that is not HTTP/1 is refused.

use crate::hostname::Hostname;
use crate::outcome::RefuseReason::{self, BodyMalformed, HostChanged};
use crate::protocol::http_body::{self, Body};
use crate::protocol::http_chunks::crlf;
use crate::protocol::http_head::{self, BodyFraming, Head};
use crate::protocol::http_response::Expected;
use crate::protocol::{ParseError, Verdict};

/// Fewer bytes than this are held back at any time; the longest that may be incomplete is a head.
pub const MAX_HELD: usize = http_head::MAX_HEAD;

/// What to do with the bytes that were passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestProgress {
    /// Forward this many bytes (never 0), then call again with the rest.
    Forward(usize),
    /// The first `len` bytes are the head of another request: call [`HttpStream::allow`] if the policy allows it.
    Request { len: usize },
    /// Keep the bytes and call again with more.
    NeedMore,
    /// Forward nothing more.
    Refuse(RefuseReason),
}

/// The requests of one connection.
#[derive(Debug)]
pub struct HttpStream {
    name: Hostname,
    public_port: u16,
    state: RequestState,
    /// The progress in an incomplete head.
    head: http_head::HeadParser,
    /// The current request is the last that the client may send on this connection.
    last: bool,
}

#[derive(Debug, Clone, Copy)]
enum RequestState {
    Head,
    /// A head is complete and waits for [`HttpStream::allow`].
    AwaitingPolicy {
        len: usize,
        body: BodyFraming,
        last: bool,
        expected: Expected,
    },
    /// A head that was allowed, and its body.
    Body(Body),
    /// After the last request.
    Over,
    /// Another protocol, which the upstream agreed to.
    Opaque,
    Refused {
        reason: RefuseReason,
        /// The refused bytes come after a complete request.
        between: bool,
    },
}

impl HttpStream {
    /// For a connection whose first request, with a head of `len` bytes, has been read ahead and allowed; the
    /// first bytes to [`advance`](Self::advance) over are those of its head.
    pub fn new(head: Head, len: usize, public_port: u16) -> Self {
        Self {
            name: head.name,
            public_port,
            state: RequestState::Body(Body::behind(len, head.body)),
            head: http_head::HeadParser::default(),
            last: head.last,
        }
    }

    /// The one host that may be requested on this connection.
    pub fn name(&self) -> &Hostname {
        &self.name
    }

    /// Parses the bytes that were received and have not been forwarded yet.
    pub fn advance(&mut self, bytes: &[u8]) -> RequestProgress {
        match http_body::advance(bytes, |rest| self.step(rest).inspect_err(|error| self.note(*error))) {
            Ok(passed) => RequestProgress::Forward(passed),
            Err(ParseError::NeedMore) => match self.state {
                RequestState::AwaitingPolicy { len, .. } => RequestProgress::Request { len },
                _ => RequestProgress::NeedMore,
            },
            Err(ParseError::Refuse(reason)) => RequestProgress::Refuse(reason),
        }
    }

    /// Allows the request that [`RequestProgress::Request`] reported; returns what its response depends on, or `None` if
    /// there is no such request.
    pub fn allow(&mut self) -> Option<Expected> {
        let RequestState::AwaitingPolicy { len, body, last, expected } = self.state else { return None };
        self.state = RequestState::Body(Body::behind(len, body));
        self.last = last;
        Some(expected)
    }

    /// To be called when the upstream has agreed to change the protocol: from now on everything is forwarded.
    pub fn upgraded(&mut self) {
        if !matches!(self.state, RequestState::Refused { .. }) {
            self.state = RequestState::Opaque;
        }
    }

    /// How many bytes may be forwarded without being passed here, for a caller that moves them inside the kernel.
    pub fn unseen(&self) -> u64 {
        match self.state {
            RequestState::Body(body) => body.unseen(),
            RequestState::Opaque => u64::MAX,
            _ => 0,
        }
    }

    /// Reports that `bytes` bytes, at most [`unseen`](Self::unseen), were forwarded without being passed here.
    pub fn pass(&mut self, bytes: u64) {
        if let RequestState::Body(body) = &mut self.state {
            body.pass(bytes);
            if body.is_ended() {
                self.end();
            }
        }
    }

    /// Whether the last request that was forwarded is complete; refused bytes, if any, come after it.
    pub fn between_requests(&self) -> bool {
        matches!(
            self.state,
            RequestState::Head
                | RequestState::AwaitingPolicy { .. }
                | RequestState::Over
                | RequestState::Refused { between: true, .. }
        )
    }
}

/// The steps: each returns how many bytes may be forwarded, and changes to the next state.
impl HttpStream {
    fn step(&mut self, bytes: &[u8]) -> Result<usize, ParseError> {
        match self.state {
            RequestState::Body(ref mut body) => {
                let len = body.step(bytes)?;
                if body.is_ended() {
                    self.end();
                }
                Ok(len)
            }
            RequestState::Head => Err(self.head(bytes)),
            RequestState::AwaitingPolicy { .. } => Err(ParseError::NeedMore),
            RequestState::Opaque => Ok(bytes.len()),
            // Old clients send an empty line after a body; it is not forwarded.
            RequestState::Over => Err(match crlf(bytes) {
                Ok(len) if bytes.len() == len => ParseError::NeedMore,
                Ok(_) => BodyMalformed.into(),
                Err(error) => error,
            }),
            RequestState::Refused { reason, .. } => Err(reason.into()),
        }
    }

    fn head(&mut self, bytes: &[u8]) -> ParseError {
        match self.head.parse(bytes, self.public_port) {
            Verdict::NeedMore => ParseError::NeedMore,
            Verdict::Refuse(reason) => reason.into(),
            Verdict::Found { value: head, len } => {
                if head.name != self.name {
                    return HostChanged.into();
                }
                let expected = Expected::from(&head);
                self.state = RequestState::AwaitingPolicy { len, body: head.body, last: head.last, expected };
                ParseError::NeedMore
            }
        }
    }

    /// The current request is complete.
    fn end(&mut self) {
        self.head = http_head::HeadParser::default();
        self.state = if self.last { RequestState::Over } else { RequestState::Head };
    }

    /// A refusal is final.
    fn note(&mut self, error: ParseError) {
        if let ParseError::Refuse(reason) = error {
            self.state = RequestState::Refused { reason, between: self.between_requests() };
        }
    }
}
