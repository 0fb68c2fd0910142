//! The fields of an HTTP/1 message that decide where it goes and where it ends.

use crate::outcome::RefuseReason::{self, HeadMalformed, HostAmbiguous};
use crate::protocol::ParseError;

/// How the end of a request's body is found (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFraming {
    None,
    Length(u64),
    Chunked,
}

/// The fields that matter, read in one pass.
#[derive(Default)]
pub(crate) struct Fields<'a> {
    pub(crate) host: Option<&'a [u8]>,
    pub(crate) content_length: Option<&'a [u8]>,
    pub(crate) transfer_encoding: Option<&'a [u8]>,
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
}

impl<'a> Fields<'a> {
    pub(crate) fn read(fields: &[httparse::Header<'a>]) -> Result<Self, ParseError> {
        let mut read = Self::default();
        for field in fields {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            if is("host") {
                once(&mut read.host, field.value, HostAmbiguous)?;
            } else if is("content-length") {
                // Equal lengths could be merged (RFC 9110 §8.6); no client needs to send them.
                once(&mut read.content_length, field.value, HeadMalformed)?;
            } else if is("transfer-encoding") {
                once(&mut read.transfer_encoding, field.value, HeadMalformed)?;
            } else if is("connection") {
                for option in list(field.value) {
                    read.close |= option.eq_ignore_ascii_case(b"close");
                    read.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            } else if is("upgrade") {
                read.upgrade = true;
            }
        }
        Ok(read)
    }

    /// RFC 9112 §6.3 without any leniency. Both fields, a coding that this proxy would have to decode to find the end, and
    /// a transfer coding in HTTP/1.0 (§6.1) are forms of request smuggling.
    pub(crate) fn body(&self, minor: u8) -> Result<BodyFraming, ParseError> {
        match (self.content_length, self.transfer_encoding) {
            (None, None) => Ok(BodyFraming::None),
            (Some(length), None) => Ok(BodyFraming::Length(content_length(length).ok_or(HeadMalformed)?)),
            (None, Some(codings)) if minor == 1 && ends_in_chunked(codings) => Ok(BodyFraming::Chunked),
            _ => Err(HeadMalformed.into()),
        }
    }
}

fn once<'a>(slot: &mut Option<&'a [u8]>, value: &'a [u8], reason: RefuseReason) -> Result<(), ParseError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(reason.into()),
    }
}

/// Digits only: no sign, no list, no blank. More than 63 bits would be negative for some parsers.
pub(crate) fn content_length(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok().filter(|length| *length <= i64::MAX.unsigned_abs())
}

/// A list of plain tokens of which the last, and only the last, is `chunked`.
pub(crate) fn ends_in_chunked(codings: &[u8]) -> bool {
    let mut codings = list(codings).rev();
    codings.next().is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"))
        && codings.all(|coding| is_token(coding) && !coding.eq_ignore_ascii_case(b"chunked"))
}

/// One coding, `chunked`, and no other before it.
pub(crate) fn is_chunked(codings: &[u8]) -> bool {
    codings.eq_ignore_ascii_case(b"chunked")
}

pub(crate) fn list(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| is_tchar(byte))
}

/// RFC 9110 §5.6.2.
pub(crate) fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
