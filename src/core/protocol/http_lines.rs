//! The lines of an HTTP/1 message: where a section of them ends, and how the head of a request begins.
//!
//! Each is read as it arrives: what is no HTTP/1 request is refused with its first bytes, and no byte is searched twice.

use std::mem::MaybeUninit;

use memchr::memchr;

use crate::outcome::RefuseReason::{HeadMalformed, HeadTooLong, Http2Preface, Http09, NotHttp, TlsOnHttp};
use crate::protocol::http_fields::is_tchar;
use crate::protocol::{ParseError, byte_at};

/// Longest head in bytes, including the empty line at its end. nginx takes 4 x 8 KiB, Apache 8 KiB a line, Node 16 KiB.
pub const MAX_HEAD: usize = 16 * 1024;
/// Header fields at most; Apache and hyper have the same limit.
pub const MAX_FIELDS: usize = 100;

/// Finds the end of a section of lines, each ended by CR LF: header or trailer fields, or a head with its request line.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lines {
    /// Where the current line starts, and the number of lines before it.
    start: usize,
    count: usize,
    /// Bytes that have been searched.
    seen: usize,
}

impl Lines {
    /// The length of the lines up to the first empty one, which is included. A lone LF ends a line for some parsers (RFC
    /// 9112 §2.2) and not for others, so it is refused.
    pub(crate) fn section_len(&mut self, bytes: &[u8], max_lines: usize) -> Result<usize, ParseError> {
        while let Some(lf) = self.line_feed(bytes) {
            match bytes.get(self.start..lf) {
                Some(b"\r") => return Ok(lf + 1),
                Some([.., b'\r']) => {}
                _ => return Err(HeadMalformed.into()),
            }
            if self.count >= max_lines {
                return Err(HeadTooLong.into());
            }
            *self = Self { start: lf + 1, count: self.count + 1, seen: lf + 1 };
        }
        self.seen = bytes.len();
        Err(ParseError::NeedMore)
    }

    /// The number of bytes that have been searched.
    pub(crate) fn seen(&self) -> usize {
        self.seen
    }

    /// Where the current line ends.
    fn line_feed(&self, bytes: &[u8]) -> Option<usize> {
        memchr(b'\n', bytes.get(self.seen..)?).map(|at| self.seen + at)
    }
}

/// Finds the end of a request's head. It keeps its progress but no bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RequestLines {
    /// Bytes from the start of the request that are known to belong to its method.
    method: usize,
    lines: Lines,
}

/// A complete head: an empty line may come before it, which is to be ignored.
pub(crate) struct CompleteHead<'a> {
    pub(crate) head: &'a [u8],
    /// Of the head and what comes before it.
    pub(crate) len: usize,
}

impl RequestLines {
    /// Reads all bytes received so far, which must begin with those of the previous call. First bytes and request line
    /// are checked as they arrive. `check_method` may refuse the method before the rest has come.
    pub(crate) fn read<'a>(
        &mut self,
        bytes: &'a [u8],
        check_method: impl FnOnce(&[u8]) -> Result<(), ParseError>,
    ) -> Result<CompleteHead<'a>, ParseError> {
        let window = bytes.get(..MAX_HEAD).unwrap_or(bytes);
        match self.complete(window, check_method) {
            Err(ParseError::NeedMore) if window.len() == MAX_HEAD => Err(HeadTooLong.into()),
            read => read,
        }
    }

    fn complete<'a>(
        &mut self,
        bytes: &'a [u8],
        check_method: impl FnOnce(&[u8]) -> Result<(), ParseError>,
    ) -> Result<CompleteHead<'a>, ParseError> {
        // One empty line before the request is to be ignored (RFC 9112 §2.2); old clients send one after a body.
        let skipped = skip_empty_line(bytes)?;
        let request = bytes.get(skipped..).unwrap_or_default();
        check_method(self.first_bytes(request)?)?;
        self.request_line(request)?;
        let len = skipped + self.lines.section_len(request, 1 + MAX_FIELDS)?;
        Ok(CompleteHead { head: bytes.get(skipped..len).unwrap_or_default(), len })
    }
}

/// What `httparse` finds in a complete head.
pub(crate) struct RequestParts<'f, 'b> {
    pub(crate) method: &'b str,
    pub(crate) target: &'b str,
    /// Of HTTP/1: 0 or 1.
    pub(crate) minor: u8,
    pub(crate) fields: &'f [httparse::Header<'b>],
}

impl<'f, 'b> RequestParts<'f, 'b> {
    pub(crate) fn of(head: &'b [u8], room: &'f mut [MaybeUninit<httparse::Header<'b>>]) -> Result<Self, ParseError> {
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(head, room) {
            Ok(httparse::Status::Complete(len)) if len == head.len() => {}
            Err(httparse::Error::TooManyHeaders) => return Err(HeadTooLong.into()),
            // The empty line is there, so if httparse says partial, it finds the end elsewhere.
            Ok(_) | Err(_) => return Err(HeadMalformed.into()),
        }
        let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
            return Err(HeadMalformed.into());
        };
        Ok(Self { method, target, minor, fields: request.headers })
    }
}

pub const EMPTY_LINE: &[u8] = b"\r\n";

fn skip_empty_line(bytes: &[u8]) -> Result<usize, ParseError> {
    match bytes {
        [] | [b'\r'] => Err(ParseError::NeedMore),
        [b'\r', b'\n', b'\r' | b'\n', ..] | [b'\n', ..] => Err(HeadMalformed.into()),
        [b'\r', b'\n', ..] => Ok(EMPTY_LINE.len()),
        [b'\r', ..] => Err(NotHttp.into()),
        _ => Ok(0),
    }
}

impl RequestLines {
    /// What can be checked before the first line is complete; returns the method.
    fn first_bytes<'a>(&mut self, request: &'a [u8]) -> Result<&'a [u8], ParseError> {
        const TLS_HANDSHAKE: u8 = 0x16;
        const TLS_MAJOR: u8 = 3;
        if byte_at(request, 0)? == TLS_HANDSHAKE {
            let major = byte_at(request, 1)?;
            return Err(if major == TLS_MAJOR { TlsOnHttp } else { NotHttp }.into());
        }
        self.method += request.iter().skip(self.method).take_while(|&&byte| is_tchar(byte)).count();
        let Some((method, [after, ..])) = request.split_at_checked(self.method) else {
            return Err(ParseError::NeedMore);
        };
        if method.is_empty() || *after != b' ' {
            return Err(NotHttp.into());
        }
        // `PRI` is reserved for the preface of HTTP/2 (RFC 9113 §11.6), so the rest need not be awaited.
        if method == b"PRI" {
            return Err(Http2Preface.into());
        }
        Ok(method)
    }

    /// Checks the version in the request line once it is complete; a client of HTTP/0.9 sends nothing else.
    fn request_line(&self, request: &[u8]) -> Result<(), ParseError> {
        let Some(lf) = self.lines.line_feed(request).filter(|_| self.lines.count == 0) else { return Ok(()) };
        let line = request.get(..lf).unwrap_or_default();
        let line = line.strip_suffix(b"\r").ok_or(HeadMalformed)?;
        // Surplus blanks are refused by httparse once the head is complete.
        let words = || line.split(|byte| b" \t".contains(byte)).filter(|word| !word.is_empty());
        let mut word = words();
        match (word.next(), word.next(), word.next_back()) {
            (_, Some(_), Some(b"HTTP/1.1" | b"HTTP/1.0")) => Ok(()),
            (_, Some(_), Some(b"HTTP/0.9")) => Err(Http09.into()),
            _ if words().any(is_http_version) => Err(HeadMalformed.into()),
            (Some(b"GET"), Some(_), None) => Err(Http09.into()),
            _ => Err(NotHttp.into()),
        }
    }
}

fn is_http_version(word: &[u8]) -> bool {
    word.get(..5).is_some_and(|name| name.eq_ignore_ascii_case(b"HTTP/"))
}
