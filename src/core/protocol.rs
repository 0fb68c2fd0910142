//! Parsers of what comes from the network, and what each of them answers about the bytes so far.

pub mod client_hello; // the name in a ClientHello
mod http_chunks; // the parts of a chunked body that are not data
pub mod http_head; // the name in an HTTP/1 request head
pub mod http_response; // where the responses of an HTTP/1 connection end
pub mod http_stream; // the later requests of a kept-alive HTTP/1 connection
pub mod proxy_header; // who the client is

use crate::outcome::RefuseReason;

/// A parser is a plain function of all bytes received so far. Once it says `Found` it says the same `Found`
/// however many bytes follow; before that, every prefix gives `NeedMore`. One that remembers how far it has come, so
/// as not to look at a byte twice, says the same as one that begins anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<T> {
    /// The value, and how many bytes from the start it takes.
    Found {
        value: T,
        len: usize,
    },
    NeedMore,
    Refuse(RefuseReason),
}

/// Why a parser has no value yet: lets its steps be joined with `?`.
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

/// What the steps of a parser found, with its length.
impl<T> From<Result<(T, usize), ParseError>> for Verdict<T> {
    fn from(found: Result<(T, usize), ParseError>) -> Self {
        match found {
            Ok((value, len)) => Self::Found { value, len },
            Err(ParseError::NeedMore) => Self::NeedMore,
            Err(ParseError::Refuse(reason)) => Self::Refuse(reason),
        }
    }
}

/// The byte at `at`, if it has come.
pub(crate) fn byte_at(bytes: &[u8], at: usize) -> Result<u8, ParseError> {
    bytes.get(at).copied().ok_or(ParseError::NeedMore)
}

/// The network-order number at `at`, if both its bytes have come.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Result<usize, ParseError> {
    let high = byte_at(bytes, at)?;
    let low = byte_at(bytes, at + 1)?;
    Ok(usize::from(u16::from_be_bytes([high, low])))
}
