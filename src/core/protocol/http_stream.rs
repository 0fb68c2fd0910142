//! Parses the client's side of a kept-alive HTTP/1 connection, so that the policy decides about every request and only
//! unambiguous framing is forwarded. Responses are parsed by [`crate::protocol::http_response`].
//!
//! The caller keeps the bytes and forwards them unchanged; this says how many. What is incomplete (a head, the line of a
//! chunk's size, the trailer fields) is held back, within a bound; data is neither read nor copied. Until the upstream
//! agrees to an `Upgrade`, everything that is not HTTP/1 is refused.

use crate::hostname::Hostname;
use crate::outcome::RefuseReason::{self, BodyMalformed, HostChanged};
use crate::protocol::http_chunks::{chunk_size, crlf, trailers};
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
    /// The progress in an incomplete head or trailer section.
    head: http_head::HeadParser,
    trailers: http_head::Lines,
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
    /// `left` bytes pass without being parsed.
    Pass {
        left: u64,
        next: Next,
    },
    ChunkSize,
    /// The CR LF after a chunk's data.
    ChunkEnd,
    Trailers,
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

#[derive(Debug, Clone, Copy)]
enum Next {
    ChunkSize,
    ChunkEnd,
    Trailers,
    End,
}

impl HttpStream {
    /// For a connection whose first request, with a head of `len` bytes, has been read ahead and allowed; the
    /// first bytes to [`advance`](Self::advance) over are those of its head.
    pub fn new(head: Head, len: usize, public_port: u16) -> Self {
        Self {
            name: head.name,
            public_port,
            state: allowed(len, head.body),
            head: http_head::HeadParser::default(),
            trailers: http_head::Lines::default(),
            last: head.last,
        }
    }

    /// The one host that may be requested on this connection.
    pub fn name(&self) -> &Hostname {
        &self.name
    }

    /// Parses the bytes that were received and have not been forwarded yet.
    pub fn advance(&mut self, bytes: &[u8]) -> RequestProgress {
        let mut passed = 0;
        loop {
            let rest = bytes.get(passed..).unwrap_or_default();
            let stopped = match self.step(rest) {
                Ok(0) => RequestProgress::NeedMore,
                Ok(len) => {
                    passed += len;
                    continue;
                }
                Err(ParseError::NeedMore) => match self.state {
                    RequestState::AwaitingPolicy { len, .. } => RequestProgress::Request { len },
                    _ => RequestProgress::NeedMore,
                },
                Err(ParseError::Refuse(reason)) => {
                    self.refuse(reason);
                    RequestProgress::Refuse(reason)
                }
            };
            return if passed > 0 { RequestProgress::Forward(passed) } else { stopped };
        }
    }

    /// Allows the request that [`RequestProgress::Request`] reported; returns what its response depends on, or `None` if
    /// there is no such request.
    pub fn allow(&mut self) -> Option<Expected> {
        let RequestState::AwaitingPolicy { len, body, last, expected } = self.state else { return None };
        self.state = allowed(len, body);
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
            RequestState::Pass { left, .. } => left,
            RequestState::Opaque => u64::MAX,
            _ => 0,
        }
    }

    /// Reports that `bytes` bytes, at most [`unseen`](Self::unseen), were forwarded without being passed here.
    pub fn pass(&mut self, bytes: u64) {
        if let RequestState::Pass { left, next } = &mut self.state {
            *left = left.saturating_sub(bytes);
            if *left == 0 {
                let next = *next;
                self.enter(next);
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

fn allowed(len: usize, body: BodyFraming) -> RequestState {
    let head = u64::try_from(len).unwrap_or(u64::MAX);
    match body {
        BodyFraming::None => RequestState::Pass { left: head, next: Next::End },
        BodyFraming::Length(length) => RequestState::Pass { left: head.saturating_add(length), next: Next::End },
        BodyFraming::Chunked => RequestState::Pass { left: head, next: Next::ChunkSize },
    }
}

/// The steps: each returns how many bytes may be forwarded, and changes to the next state.
impl HttpStream {
    fn step(&mut self, bytes: &[u8]) -> Result<usize, ParseError> {
        match self.state {
            RequestState::Pass { left, .. } => {
                let len = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
                self.pass(u64::try_from(len).unwrap_or(u64::MAX));
                Ok(len)
            }
            RequestState::ChunkSize => {
                let (size, line) = within(MAX_CHUNK_LINE, bytes, chunk_size)?;
                let next = if size == 0 { Next::Trailers } else { Next::ChunkEnd };
                self.state = RequestState::Pass { left: size, next };
                self.pass(0);
                Ok(line)
            }
            RequestState::ChunkEnd => {
                let len = crlf(bytes)?;
                self.enter(Next::ChunkSize);
                Ok(len)
            }
            RequestState::Trailers => {
                let len = within(http_head::MAX_HEAD, bytes, |bytes| trailers(&mut self.trailers, bytes))?;
                self.enter(Next::End);
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

    fn enter(&mut self, next: Next) {
        self.state = match next {
            Next::ChunkSize => RequestState::ChunkSize,
            Next::ChunkEnd => RequestState::ChunkEnd,
            Next::Trailers => {
                self.trailers = http_head::Lines::default();
                RequestState::Trailers
            }
            Next::End => {
                self.head = http_head::HeadParser::default();
                if self.last { RequestState::Over } else { RequestState::Head }
            }
        };
    }

    fn refuse(&mut self, reason: RefuseReason) {
        self.state = RequestState::Refused { reason, between: self.between_requests() };
    }
}

/// Longest line of a chunk's size in bytes, with its extensions, which hardly any client sends. Small on purpose: an
/// incomplete line is held back.
const MAX_CHUNK_LINE: usize = 256;

/// Calls `read`, and refuses if it needs more although it got `bound` bytes.
fn within<T>(bound: usize, bytes: &[u8], read: impl FnOnce(&[u8]) -> Result<T, ParseError>) -> Result<T, ParseError> {
    let window = bytes.get(..bound).unwrap_or(bytes);
    match read(window) {
        Err(ParseError::NeedMore) if window.len() == bound => Err(BodyMalformed.into()),
        read => read,
    }
}
