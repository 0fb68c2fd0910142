//! The head of an HTTP/1.x request: the requested host, and how the end of the body is found.
//!
//! `httparse` parses the syntax. What it leaves open is decided here by RFC 9112 and RFC 9110, always in the stricter way:
//! the bytes are forwarded unchanged to a server that may parse them differently, so everything that two parsers could
//! understand differently is refused.

use std::mem::MaybeUninit;
use std::net::Ipv6Addr;

use memchr::memchr;

use crate::hostname::{Hostname, NameError};
use crate::outcome::RefuseReason::{
    self, ConnectMethod, HeadMalformed, HeadTooLong, HostAmbiguous, HostInvalid, HostIpAddress, HostMissing, HostPort,
    Http2Preface, Http09, NotHttp, TlsOnHttp,
};
use crate::protocol::{ParseError, Verdict, byte_at};

/// Longest head in bytes, including the empty line at its end. nginx takes 4 x 8 KiB, Apache 8 KiB a line, Node 16 KiB.
pub const MAX_HEAD: usize = 16 * 1024;
/// Header fields at most; Apache and hyper have the same limit.
pub const MAX_FIELDS: usize = 100;

/// The facts that are read from the head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub name: Hostname,
    pub body: BodyFraming,
    /// The last request of the connection (`Connection: close`, or HTTP/1.0 without keep-alive).
    pub last: bool,
    /// The client offers to change the protocol; until the upstream agrees, what follows is read as HTTP/1.
    pub upgrade: bool,
    /// The method is HEAD, whose response has no content.
    pub is_head: bool,
}

/// How the end of a request's body is found (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFraming {
    None,
    Length(u64),
    Chunked,
}

/// Parses all bytes received so far; `len` is the length of the head. `public_port` is the port that clients connect to,
/// the only one that Host may name. First bytes and request line are checked as they arrive, the fields once the head is
/// complete.
pub fn parse(bytes: &[u8], public_port: u16) -> Verdict<Head> {
    HeadParser::default().parse(bytes, public_port)
}

/// [`parse`] for bytes that arrive in several reads. It keeps its progress but no bytes: the caller passes all of them
/// each time, from the first on, and none is read twice.
#[derive(Debug, Clone, Copy, Default)]
pub struct HeadParser {
    /// Bytes from the start of the request that are known to belong to its method.
    method: usize,
    lines: Lines,
}

impl HeadParser {
    /// Parses all bytes received so far, which must begin with those of the previous call.
    pub fn parse(&mut self, bytes: &[u8], public_port: u16) -> Verdict<Head> {
        let window = bytes.get(..MAX_HEAD).unwrap_or(bytes);
        match self.head(window, public_port) {
            Err(ParseError::NeedMore) if window.len() == MAX_HEAD => Verdict::Refuse(HeadTooLong),
            result => result.into(),
        }
    }

    fn head(&mut self, bytes: &[u8], public_port: u16) -> Result<(Head, usize), ParseError> {
        // One empty line before the request is to be ignored (RFC 9112 §2.2); old clients send one after a body.
        let skipped = skip_empty_line(bytes)?;
        let request = bytes.get(skipped..).unwrap_or_default();
        self.first_bytes(request)?;
        self.request_line(request)?;
        let len = skipped + self.lines.section_len(request, 1 + MAX_FIELDS)?;
        let head = complete_head(bytes.get(skipped..len).unwrap_or_default(), public_port)?;
        Ok((head, len))
    }
}

/// The hosts of a head that was refused because of them, as the client sent them: at most two, for the log, Host before
/// the target. The head is parsed a second time here, so that allowed ones cost nothing.
#[cold]
pub fn refused_names(reason: RefuseReason, bytes: &[u8]) -> Vec<Vec<u8>> {
    if !matches!(reason, HostInvalid | HostIpAddress | HostAmbiguous | HostPort | RefuseReason::HostChanged) {
        return Vec::new();
    }
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    let bytes = bytes.strip_prefix(EMPTY_LINE).unwrap_or(bytes);
    if request.parse_with_uninit_headers(bytes, &mut fields).is_err() {
        return Vec::new();
    }
    let hosts = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("host"));
    let target = request.path.and_then(authority_of);
    let names = hosts.map(|field| field.value).chain(target.map(str::as_bytes));
    names.take(2).map(<[u8]>::to_vec).collect()
}

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

    /// Where the current line ends.
    fn line_feed(&self, bytes: &[u8]) -> Option<usize> {
        memchr(b'\n', bytes.get(self.seen..)?).map(|at| self.seen + at)
    }
}

const EMPTY_LINE: &[u8] = b"\r\n";

fn skip_empty_line(bytes: &[u8]) -> Result<usize, ParseError> {
    match bytes {
        [] | [b'\r'] => Err(ParseError::NeedMore),
        [b'\r', b'\n', b'\r' | b'\n', ..] | [b'\n', ..] => Err(HeadMalformed.into()),
        [b'\r', b'\n', ..] => Ok(EMPTY_LINE.len()),
        [b'\r', ..] => Err(NotHttp.into()),
        _ => Ok(0),
    }
}

impl HeadParser {
    /// What can be checked before the first line is complete.
    fn first_bytes(&mut self, request: &[u8]) -> Result<(), ParseError> {
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
        if method.eq_ignore_ascii_case(b"CONNECT") {
            return Err(ConnectMethod.into());
        }
        Ok(())
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

fn complete_head(head: &[u8], public_port: u16) -> Result<Head, ParseError> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut fields) {
        Ok(httparse::Status::Complete(len)) if len == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(HeadTooLong.into()),
        // The empty line is there, so if httparse says partial, it finds the end elsewhere.
        Ok(_) | Err(_) => return Err(HeadMalformed.into()),
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(HeadMalformed.into());
    };
    let fields = Fields::read(request.headers)?;
    let name = fields.host(public_port)?;
    target_agrees(method, target, &name, public_port)?;
    let body = fields.body(minor)?;
    // RFC 9110 §9.3.8: a client must not send content in TRACE.
    if method == "TRACE" && !matches!(body, BodyFraming::None | BodyFraming::Length(0)) {
        return Err(HeadMalformed.into());
    }
    let last = fields.close || (minor == 0 && !fields.keep_alive);
    // Methods are case-sensitive (RFC 9110 §9.1).
    Ok(Head { name, body, last, upgrade: fields.upgrade, is_head: method == "HEAD" })
}

/// The fields that matter, read in one pass.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a [u8]>,
    content_length: Option<&'a [u8]>,
    transfer_encoding: Option<&'a [u8]>,
    close: bool,
    keep_alive: bool,
    upgrade: bool,
}

impl<'a> Fields<'a> {
    fn read(fields: &[httparse::Header<'a>]) -> Result<Self, ParseError> {
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

    fn host(&self, public_port: u16) -> Result<Hostname, ParseError> {
        authority(self.host.ok_or(HostMissing)?, public_port)
    }

    /// RFC 9112 §6.3 without any leniency. Both fields, a coding that this proxy would have to decode to find the end, and
    /// a transfer coding in HTTP/1.0 (§6.1) are forms of request smuggling.
    fn body(&self, minor: u8) -> Result<BodyFraming, ParseError> {
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

pub(crate) fn list(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// Checks the target's form (RFC 9112 §3.2). An absolute target must name the same host, because its receiver may route
/// by it and ignore Host (§3.2.2).
fn target_agrees(method: &str, target: &str, name: &Hostname, public_port: u16) -> Result<(), ParseError> {
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(());
    }
    let requested = authority(authority_of(target).ok_or(HeadMalformed)?.as_bytes(), public_port)?;
    if requested == *name { Ok(()) } else { Err(HostAmbiguous.into()) }
}

/// The part between scheme and path of an absolute target.
fn authority_of(target: &str) -> Option<&str> {
    const SCHEME: &str = "http://";
    let (scheme, rest) = target.split_at_checked(SCHEME.len())?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    rest.get(..end).filter(|_| scheme.eq_ignore_ascii_case(SCHEME))
}

/// A host with or without the public port. Userinfo is not allowed (RFC 9110 §4.2.4): no name contains `@`.
fn authority(text: &[u8], public_port: u16) -> Result<Hostname, ParseError> {
    if text.starts_with(b"[") || std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok()) {
        return Err(HostIpAddress.into());
    }
    let colon = memchr(b':', text).unwrap_or(text.len());
    let (name, port) = text.split_at_checked(colon).unwrap_or((text, &[]));
    let name = Hostname::parse(name).map_err(|error| match error {
        NameError::IpAddress => HostIpAddress,
        NameError::Empty | NameError::TooLong | NameError::BadLabel | NameError::BadCharacter | NameError::Port => {
            HostInvalid
        }
    })?;
    match port {
        [] => Ok(name),
        [_, digits @ ..] if !digits.iter().all(u8::is_ascii_digit) => Err(HostInvalid.into()),
        [_, digits @ ..] if is_port(digits, public_port) => Ok(name),
        _ => Err(HostPort.into()),
    }
}

/// Whether the digits are the port in its canonical form: not `080`, and not empty.
fn is_port(digits: &[u8], port: u16) -> bool {
    !digits.starts_with(b"0") && std::str::from_utf8(digits).is_ok_and(|text| text.parse() == Ok(port))
}

pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| is_tchar(byte))
}

/// RFC 9110 §5.6.2.
fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
