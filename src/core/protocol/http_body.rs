//! A body that is forwarded as it is, while its framing is read (RFC 9112 §6 and §7.1).
//!
//! Data is neither read nor copied. What is incomplete (the line of a chunk's size, the trailer fields) is held back,
//! within a bound.

use crate::outcome::RefuseReason::BodyMalformed;
use crate::protocol::ParseError;
use crate::protocol::forward_fields;
use crate::protocol::http_chunks::{chunk_size, crlf, frames_or_routes, trailers};
use crate::protocol::http_fields::BodyFraming;
use crate::protocol::http_lines::{Lines, MAX_HEAD};

/// Longest line of a chunk's size in bytes, with its extensions, which hardly anybody sends. Small on purpose: an
/// incomplete line is held back.
const MAX_CHUNK_LINE: usize = 256;

/// How far a body has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Body {
    state: BodyState,
    /// The progress in an incomplete trailer section.
    trailers: Lines,
    /// Its head was written anew by a forward proxy, so fields that are gone there must not come behind it.
    rewritten: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyState {
    /// `left` bytes pass without being parsed.
    Pass {
        left: u64,
        next: Next,
    },
    ChunkSize,
    /// The CR LF after a chunk's data.
    ChunkEnd,
    Trailers,
    /// Content that ends when the connection closes.
    UntilClose,
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    ChunkSize,
    ChunkEnd,
    Trailers,
    End,
}

impl Body {
    /// A body with this framing. `before` bytes pass first: its head, where that is forwarded as it is too.
    pub(crate) fn behind(before: usize, framing: BodyFraming) -> Self {
        let before = u64::try_from(before).unwrap_or(u64::MAX);
        let (left, next) = match framing {
            BodyFraming::None => (before, Next::End),
            BodyFraming::Length(length) => (before.saturating_add(length), Next::End),
            BodyFraming::Chunked => (before, Next::ChunkSize),
        };
        let mut body = Self { state: BodyState::Pass { left, next }, trailers: Lines::default(), rewritten: false };
        body.pass(0);
        body
    }

    /// A body with this framing behind a head that a forward proxy has written anew.
    pub(crate) fn of_rewritten(framing: BodyFraming) -> Self {
        Self { rewritten: true, ..Self::behind(0, framing) }
    }

    /// Content that ends when the connection closes.
    pub(crate) fn until_close() -> Self {
        Self { state: BodyState::UntilClose, trailers: Lines::default(), rewritten: true }
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.state == BodyState::End
    }

    pub(crate) fn is_until_close(&self) -> bool {
        self.state == BodyState::UntilClose
    }

    /// How many bytes may be forwarded without being passed to [`step`](Self::step).
    pub(crate) fn unseen(&self) -> u64 {
        match self.state {
            BodyState::Pass { left, .. } => left,
            BodyState::UntilClose => u64::MAX,
            _ => 0,
        }
    }

    /// Reports that `bytes` bytes, at most [`unseen`](Self::unseen), were forwarded.
    pub(crate) fn pass(&mut self, bytes: u64) {
        if let BodyState::Pass { left, next } = &mut self.state {
            *left = left.saturating_sub(bytes);
            if *left == 0 {
                self.state = match next {
                    Next::ChunkSize => BodyState::ChunkSize,
                    Next::ChunkEnd => BodyState::ChunkEnd,
                    Next::Trailers => BodyState::Trailers,
                    Next::End => BodyState::End,
                };
            }
        }
    }

    /// How many of the bytes may be forwarded; the rest is to be passed here again. Nothing behind the end is looked at.
    pub(crate) fn step(&mut self, bytes: &[u8]) -> Result<usize, ParseError> {
        match self.state {
            BodyState::Pass { left, .. } => {
                let len = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
                self.pass(u64::try_from(len).unwrap_or(u64::MAX));
                Ok(len)
            }
            BodyState::ChunkSize => {
                let (size, line) = within(MAX_CHUNK_LINE, bytes, chunk_size)?;
                let next = if size == 0 { Next::Trailers } else { Next::ChunkEnd };
                self.state = BodyState::Pass { left: size, next };
                self.pass(0);
                Ok(line)
            }
            BodyState::ChunkEnd => {
                let len = crlf(bytes)?;
                self.state = BodyState::ChunkSize;
                Ok(len)
            }
            BodyState::Trailers => {
                let is_forbidden = if self.rewritten { forward_fields::is_no_trailer } else { frames_or_routes };
                let len = within(MAX_HEAD, bytes, |bytes| trailers(&mut self.trailers, bytes, is_forbidden))?;
                self.state = BodyState::End;
                Ok(len)
            }
            BodyState::UntilClose => Ok(bytes.len()),
            BodyState::End => Ok(0),
        }
    }
}

/// Calls `read`, and refuses if it needs more although it got `bound` bytes.
fn within<T>(bound: usize, bytes: &[u8], read: impl FnOnce(&[u8]) -> Result<T, ParseError>) -> Result<T, ParseError> {
    let window = bytes.get(..bound).unwrap_or(bytes);
    match read(window) {
        Err(ParseError::NeedMore) if window.len() == bound => Err(BodyMalformed.into()),
        read => read,
    }
}

/// Takes steps until one stops: how many bytes may be forwarded (never 0), or why none.
pub(crate) fn advance(
    bytes: &[u8],
    mut step: impl FnMut(&[u8]) -> Result<usize, ParseError>,
) -> Result<usize, ParseError> {
    let mut passed = 0;
    loop {
        match step(bytes.get(passed..).unwrap_or_default()) {
            Ok(len) if len > 0 => passed += len,
            _ if passed > 0 => return Ok(passed),
            Ok(_) => return Err(ParseError::NeedMore),
            Err(error) => return Err(error),
        }
    }
}
