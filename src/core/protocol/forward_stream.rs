//! Parses the client's side of a connection to a forward proxy: each request may ask for another host, and the policy
//! decides about each. The responses are parsed by [`crate::protocol::forward_response`].
//!
//! The caller keeps the bytes. Bodies are forwarded unchanged; of each head, the caller sends what was written instead of
//! it. What is incomplete is held back, within the bound of [`MAX_HELD`](crate::protocol::http_stream::MAX_HELD).

use crate::outcome::RefuseReason::{self, BodyMalformed};
use crate::protocol::forward_head::{ForwardHead, ForwardParser};
use crate::protocol::http_body::{self, Body};
use crate::protocol::http_chunks::crlf;
use crate::protocol::{ParseError, Verdict};

/// What to do with the bytes that were passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardProgress {
    /// Forward this many bytes (never 0), then call again with the rest.
    Forward(usize),
    /// The first `len` bytes are the head of a request, see [`ForwardStream::requested`]. If the policy allows it, call
    /// [`ForwardStream::allow`] and send the rewritten head in place of these bytes.
    Request { len: usize },
    /// Keep the bytes and call again with more.
    NeedMore,
    /// Forward nothing more.
    Refuse(RefuseReason),
}

/// The requests of one connection.
#[derive(Debug)]
pub struct ForwardStream {
    state: State,
    /// The progress in an incomplete head.
    parser: ForwardParser,
    /// The current request is the last that the client may send on this connection.
    last: bool,
}

#[derive(Debug)]
enum State {
    Head,
    /// A head is complete and waits for [`ForwardStream::allow`].
    AwaitingPolicy {
        len: usize,
        head: Box<ForwardHead>,
    },
    /// The body of a request that was allowed.
    Body(Body),
    /// After the last request.
    Over,
    /// Behind a CONNECT that was allowed.
    Tunnel,
    Refused {
        reason: RefuseReason,
        /// The refused bytes come after a complete request.
        between: bool,
    },
}

impl ForwardStream {
    /// For a connection whose first request, with a head of `len` bytes, has been read ahead. It waits for
    /// [`allow`](Self::allow) like any other; the first bytes to [`advance`](Self::advance) over are those of its head.
    pub fn new(head: ForwardHead, len: usize) -> Self {
        let state = State::AwaitingPolicy { len, head: Box::new(head) };
        Self { state, parser: ForwardParser::default(), last: false }
    }

    /// Parses the bytes that were received and have not been forwarded, or replaced, yet.
    pub fn advance(&mut self, bytes: &[u8], via_name: &str) -> ForwardProgress {
        match http_body::advance(bytes, |rest| self.step(rest, via_name).inspect_err(|error| self.note(*error))) {
            Ok(passed) => ForwardProgress::Forward(passed),
            Err(ParseError::NeedMore) => match self.state {
                State::AwaitingPolicy { len, .. } => ForwardProgress::Request { len },
                _ => ForwardProgress::NeedMore,
            },
            Err(ParseError::Refuse(reason)) => ForwardProgress::Refuse(reason),
        }
    }

    /// The request that [`ForwardProgress::Request`] reported.
    pub fn requested(&self) -> Option<&ForwardHead> {
        match &self.state {
            State::AwaitingPolicy { head, .. } => Some(head),
            _ => None,
        }
    }

    /// Allows the request that [`ForwardProgress::Request`] reported, and returns it. The bytes of its head are not to be
    /// passed to [`advance`](Self::advance) again. `None` if there is no such request.
    pub fn allow(&mut self) -> Option<ForwardHead> {
        match std::mem::replace(&mut self.state, State::Head) {
            State::AwaitingPolicy { head, .. } => {
                self.last = head.expected.last;
                if head.is_connect() {
                    self.state = State::Tunnel;
                } else {
                    self.enter(Body::of_rewritten(head.body));
                }
                Some(*head)
            }
            other => {
                self.state = other;
                None
            }
        }
    }

    /// How many bytes may be forwarded without being passed here, for a caller that moves them inside the kernel.
    pub fn unseen(&self) -> u64 {
        match &self.state {
            State::Body(body) => body.unseen(),
            State::Tunnel => u64::MAX,
            _ => 0,
        }
    }

    /// Reports that `bytes` bytes, at most [`unseen`](Self::unseen), were forwarded without being passed here.
    pub fn pass(&mut self, bytes: u64) {
        if let State::Body(mut body) = self.state {
            body.pass(bytes);
            self.enter(body);
        }
    }

    /// Whether the last request that was forwarded is complete; refused bytes, if any, come after it.
    pub fn between_requests(&self) -> bool {
        matches!(
            self.state,
            State::Head | State::AwaitingPolicy { .. } | State::Over | State::Refused { between: true, .. }
        )
    }

    /// Whether the client may send no further request.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }
}

/// The steps: each returns how many bytes may be forwarded, and changes to the next state.
impl ForwardStream {
    fn step(&mut self, bytes: &[u8], via_name: &str) -> Result<usize, ParseError> {
        match self.state {
            State::Body(mut body) => {
                let step = body.step(bytes);
                self.enter(body);
                step
            }
            State::Head => Err(self.head(bytes, via_name)),
            State::AwaitingPolicy { .. } => Err(ParseError::NeedMore),
            State::Tunnel => Ok(bytes.len()),
            // Old clients send an empty line after a body; it is not forwarded.
            State::Over => Err(match crlf(bytes) {
                Ok(len) if bytes.len() == len => ParseError::NeedMore,
                Ok(_) => BodyMalformed.into(),
                Err(error) => error,
            }),
            State::Refused { reason, .. } => Err(reason.into()),
        }
    }

    fn head(&mut self, bytes: &[u8], via_name: &str) -> ParseError {
        match self.parser.parse(bytes, via_name) {
            Verdict::NeedMore => ParseError::NeedMore,
            Verdict::Refuse(reason) => reason.into(),
            Verdict::Found { value: head, len } => {
                self.state = State::AwaitingPolicy { len, head: Box::new(head) };
                ParseError::NeedMore
            }
        }
    }

    /// In this body, or behind it.
    fn enter(&mut self, body: Body) {
        self.state = match (body.is_ended(), self.last) {
            (false, _) => State::Body(body),
            (true, false) => {
                self.parser = ForwardParser::default();
                State::Head
            }
            (true, true) => State::Over,
        };
    }

    /// A refusal is final.
    fn note(&mut self, error: ParseError) {
        if let ParseError::Refuse(reason) = error {
            self.state = State::Refused { reason, between: self.between_requests() };
        }
    }
}
