//! Parsers of what is received from the network.

pub mod client_hello; // the name in a ClientHello
pub mod first_bytes; // what a refused connection has sent, for its record
mod forward_fields; // the fields that a forward proxy passes on
pub mod forward_head; // the head of a request to a forward proxy, and what is sent instead of it
pub(crate) mod forward_refused; // whom a refused request asks for, for the log
pub mod forward_response; // the responses to such requests, and what is sent instead of their heads
pub mod forward_stream; // the requests of a connection to a forward proxy
pub(crate) mod forward_target; // what such a request asks for
pub(crate) mod http_authority; // host and port in a Host field or a target
mod http_body; // the framing of a body that is forwarded as it is
mod http_chunks; // the parts of a chunked body that are not data
mod http_fields; // the fields that decide where a message goes and where it ends
pub mod http_head; // the name in an HTTP/1 request head
mod http_lines; // where a head or another section of lines ends
pub mod http_response; // where the responses of an HTTP/1 connection end
pub mod http_stream; // the later requests of a kept-alive HTTP/1 connection
pub mod proxy_header; // the client in a PROXY v2 header

use crate::outcome::RefuseReason;

/// What a parser says about all bytes received so far.
///
/// A parser is a pure function. Once it has returned `Found` or `Refuse` for some bytes, it returns the same whatever
/// follows them; until then every prefix gives `NeedMore`. A parser that remembers its progress, so as not to look at a
/// byte twice, returns the same as one that starts over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<T> {
    /// The value, and its length in bytes from the start.
    Found {
        value: T,
        len: usize,
    },
    NeedMore,
    Refuse(RefuseReason),
}

/// Why a parser has no value (yet). The steps of a parser return it with `?`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParseError {
    NeedMore,
    Refuse(RefuseReason),
}

impl From<RefuseReason> for ParseError {
    fn from(reason: RefuseReason) -> Self {
        Self::Refuse(reason)
    }
}

/// From the value and its length, or why there is none.
impl<T> From<Result<(T, usize), ParseError>> for Verdict<T> {
    fn from(result: Result<(T, usize), ParseError>) -> Self {
        match result {
            Ok((value, len)) => Self::Found { value, len },
            Err(ParseError::NeedMore) => Self::NeedMore,
            Err(ParseError::Refuse(reason)) => Self::Refuse(reason),
        }
    }
}

/// The byte at `at`.
pub(crate) fn byte_at(bytes: &[u8], at: usize) -> Result<u8, ParseError> {
    bytes.get(at).copied().ok_or(ParseError::NeedMore)
}

/// The big-endian number in the two bytes at `at`.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Result<usize, ParseError> {
    let high = byte_at(bytes, at)?;
    let low = byte_at(bytes, at + 1)?;
    Ok(usize::from(u16::from_be_bytes([high, low])))
}
