//! Follows the client's side of a kept-alive HTTP/1 connection, so that every request is asked about and
//! only whole, unambiguous framing is forwarded. Responses are followed by [`crate::protocol::http_response`].
//!
//! The caller keeps the bytes and forwards them as they are; here is only said how many. What has not come
//! completely (a head, the line of a chunk's size, the trailer fields) is held back, within a bound; data is
//! passed without a look or a copy. Until the upstream agrees to an `Upgrade` the stream is read as HTTP/1: whatever
//! else comes before is refused.

use crate::hostname::Hostname;
use crate::outcome::RefuseReason::{self, BodyMalformed, HostChanged};
use crate::protocol::http_chunks::{chunk_size, crlf, trailers};
use crate::protocol::http_head::{self, BodyFraming, Head};
use crate::protocol::http_response::Expected;
use crate::protocol::{ParseError, Verdict};

/// Fewer bytes than these are ever held back: an incomplete head is the longest of what may be.
pub const MAX_HELD: usize = http_head::MAX_HEAD;

/// What is to be done with the bytes at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestProgress {
    /// Forward the first so many (never none), then ask again with the rest.
    Forward(usize),
    /// The first `len` are the head of a further request: ask the policy, and if it agrees say [`HttpStream::allow`].
    Request { len: usize },
    /// Keep what there is and come back with more behind it.
    NeedMore,
    /// Forward nothing more.
    Refuse(RefuseReason),
}

/// The client's side of one connection.
#[derive(Debug)]
pub struct HttpStream {
    name: Hostname,
    public_port: u16,
    state: RequestState,
    /// How far the head or the trailer section that is not complete has been looked at.
    head: http_head::Parser,
    trailers: http_head::Lines,
    /// The current request is the last that the client may send.
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
    /// So many bytes pass without a look.
    Pass {
        left: u64,
        next: Next,
    },
    ChunkSize,
    /// The CR LF after a chunk's data.
    ChunkEnd,
    Trailers,
    /// Behind the last request.
    Over,
    /// Another protocol, which the upstream agreed to.
    Opaque,
    Refused {
        reason: RefuseReason,
        /// The request before had come to its end; what was refused is behind it.
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
            head: http_head::Parser::default(),
            trailers: http_head::Lines::default(),
            last: head.last,
        }
    }

    /// The one host that this connection asks for.
    pub fn name(&self) -> &Hostname {
        &self.name
    }

    /// Judges the bytes that have come and are not forwarded yet.
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

    /// The policy agrees to the request that [`RequestProgress::Request`] announced; gives what its response depends on.
    pub fn allow(&mut self) -> Option<Expected> {
        let RequestState::AwaitingPolicy { len, body, last, expected } = self.state else { return None };
        self.state = allowed(len, body);
        self.last = last;
        Some(expected)
    }

    /// The upstream has agreed to change the protocol: all that comes from now on is forwarded without a look.
    pub fn upgraded(&mut self) {
        if !matches!(self.state, RequestState::Refused { .. }) {
            self.state = RequestState::Opaque;
        }
    }

    /// How many bytes may be forwarded without being shown here: for a caller that moves bulk inside the kernel.
    pub fn unseen(&self) -> u64 {
        match self.state {
            RequestState::Pass { left, .. } => left,
            RequestState::Opaque => u64::MAX,
            _ => 0,
        }
    }

    /// So many bytes, at most [`unseen`](Self::unseen), were forwarded without being shown here.
    pub fn pass(&mut self, bytes: u64) {
        if let RequestState::Pass { left, next } = &mut self.state {
            *left = left.saturating_sub(bytes);
            if *left == 0 {
                let next = *next;
                self.enter(next);
            }
        }
    }

    /// The last request that was forwarded has come to its end; what was refused, if anything was, is behind it.
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

/// The steps: each says how many of the bytes may pass, and goes on to the next state.
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
                self.head = http_head::Parser::default();
                if self.last { RequestState::Over } else { RequestState::Head }
            }
        };
    }

    fn refuse(&mut self, reason: RefuseReason) {
        self.state = RequestState::Refused { reason, between: self.between_requests() };
    }
}

/// Longest line of a chunk's size with its extensions, which hardly any client sends. What is held back for it is
/// small on purpose.
const MAX_CHUNK_LINE: usize = 256;

/// A reader that may be undecided about fewer than `bound` bytes only.
fn within<T>(bound: usize, bytes: &[u8], read: impl FnOnce(&[u8]) -> Result<T, ParseError>) -> Result<T, ParseError> {
    let window = bytes.get(..bound).unwrap_or(bytes);
    match read(window) {
        Err(ParseError::NeedMore) if window.len() == bound => Err(BodyMalformed.into()),
        read => read,
    }
}
