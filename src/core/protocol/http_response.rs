//! Finds where each response of an HTTP/1 connection ends (RFC 9112 §6.3).
//!
//! Nothing is held back or changed: the caller forwards every byte as it arrives and passes it here, except for bodies,
//! which it may move inside the kernel. A stream that is not framed unambiguously (not HTTP/1, two lengths, a response
//! without a request, a chunk line that parsers understand differently) counts from then on as not ended.

use std::collections::VecDeque;
use std::mem::MaybeUninit;

use memchr::{memchr, memmem};

use crate::protocol::http_chunks::{chunk_size, frames_or_routes, trailers};
use crate::protocol::http_fields::{content_length, ends_in_chunked, is_token, list};
use crate::protocol::http_head;
use crate::protocol::http_lines::{Lines, MAX_FIELDS};

/// Longest head or trailer section that is parsed, in bytes. Proxies and clients accept 8 to 64 KiB; a longer one is
/// forwarded all the same, but its end is not found.
pub const MAX_SECTION: usize = 64 * 1024;
/// Longest line of a chunk's size that is parsed, with its extensions, in bytes.
const MAX_CHUNK_LINE: usize = 4 * 1024;
/// Outstanding requests at most; far more than a client that waits for responses has.
pub(crate) const MAX_EXPECTED: usize = 1024;

/// The facts of a request that decide how its response is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The method is HEAD: no content follows the head of the response.
    pub head: bool,
    /// The client offers to change the protocol: a 101 is a valid response.
    pub upgrade: bool,
}

impl From<&http_head::Head> for Expected {
    fn from(request: &http_head::Head) -> Self {
        Self { head: request.is_head, upgrade: request.upgrade }
    }
}

/// The responses of one connection.
#[derive(Debug)]
pub struct Responses {
    state: ResponseState,
    /// Requests that were forwarded and whose final response has not ended, oldest first.
    expected: VecDeque<Expected>,
    /// The response to the first of them has begun; complete interim responses do not count.
    begun: bool,
    /// The received part of an incomplete head, chunk line or trailer section.
    partial: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ResponseState {
    ResponseHead,
    /// `left` bytes pass without being parsed.
    Pass {
        left: u64,
        next: AfterData,
    },
    ChunkSize,
    /// The CR LF after a chunk's data.
    ChunkEnd,
    Trailers,
    /// Content that ends when the connection closes.
    UntilClose,
    /// After a 101: another protocol.
    Opaque,
    /// It is no longer known where responses begin and end.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AfterData {
    ChunkEnd,
    End,
}

/// How far the responses of a connection have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseProgress {
    /// The number of requests without a complete response. `begun`: that of the first of them has begun.
    Owed { requests: usize, begun: bool },
    /// The connection has changed to another protocol.
    Opaque,
    /// The end of a response cannot be found.
    Lost,
}

impl Default for Responses {
    fn default() -> Self {
        Self { state: ResponseState::ResponseHead, expected: VecDeque::new(), begun: false, partial: Vec::new() }
    }
}

impl Responses {
    /// To be called when a request is forwarded, in the order of the requests.
    pub fn expect(&mut self, request: Expected) {
        if self.expected.len() >= MAX_EXPECTED {
            return self.lose();
        }
        self.expected.push_back(request);
    }

    /// Parses bytes that the upstream has sent.
    pub fn follow(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = match self.state {
                ResponseState::Pass { left, .. } => {
                    let len = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
                    self.pass(u64::try_from(len).unwrap_or(u64::MAX));
                    len
                }
                ResponseState::ResponseHead if self.expected.is_empty() => return self.lose(),
                ResponseState::ResponseHead => {
                    self.begun = true;
                    self.gather(rest, MAX_SECTION, end_of_head, Self::head)
                }
                ResponseState::ChunkSize => self.gather(rest, MAX_CHUNK_LINE, end_of_line, Self::chunk_line),
                ResponseState::ChunkEnd => self.gather(rest, b"\r\n".len(), end_of_line, Self::chunk_end),
                ResponseState::Trailers => self.gather(rest, MAX_SECTION, end_of_trailers, Self::trailers),
                ResponseState::UntilClose | ResponseState::Opaque | ResponseState::Lost => return,
            };
            rest = rest.get(taken..).unwrap_or_default();
        }
    }

    /// How many bytes may be forwarded without being passed here, for a caller that moves them inside the kernel.
    pub fn unseen(&self) -> u64 {
        match self.state {
            ResponseState::Pass { left, .. } => left,
            ResponseState::UntilClose | ResponseState::Opaque | ResponseState::Lost => u64::MAX,
            ResponseState::ResponseHead
            | ResponseState::ChunkSize
            | ResponseState::ChunkEnd
            | ResponseState::Trailers => 0,
        }
    }

    /// Reports that `bytes` bytes, at most [`unseen`](Self::unseen), were forwarded without being passed here.
    pub fn pass(&mut self, bytes: u64) {
        if let ResponseState::Pass { left, next } = &mut self.state {
            *left = left.saturating_sub(bytes);
            if *left == 0 {
                match next {
                    AfterData::ChunkEnd => self.state = ResponseState::ChunkEnd,
                    AfterData::End => self.end(),
                }
            }
        }
    }

    pub fn progress(&self) -> ResponseProgress {
        match self.state {
            ResponseState::Opaque => ResponseProgress::Opaque,
            ResponseState::Lost => ResponseProgress::Lost,
            _ => ResponseProgress::Owed { requests: self.expected.len(), begun: self.begun },
        }
    }

    /// Whether every request that was forwarded has its complete response.
    pub fn all_whole(&self) -> bool {
        self.progress() == ResponseProgress::Owed { requests: 0, begun: false }
    }

    /// Gathers bytes up to `end`, reads them, and returns how many were taken. Bytes of earlier calls are not searched
    /// again: the work is linear however the bytes are split.
    fn gather(
        &mut self,
        bytes: &[u8],
        bound: usize,
        end: fn(&[u8], usize) -> Option<usize>,
        read: fn(&mut Self, &[u8]),
    ) -> usize {
        if self.partial.is_empty()
            && let Some(whole) = end(bytes, 0).and_then(|end| bytes.get(..end))
        {
            if whole.len() > bound {
                self.lose();
            } else {
                read(self, whole);
            }
            return whole.len();
        }
        let before = self.partial.len();
        let window = bytes.get(..bound.saturating_sub(before)).unwrap_or(bytes);
        self.partial.extend_from_slice(window);
        let mut gathered = std::mem::take(&mut self.partial);
        match end(&gathered, before) {
            Some(end) => {
                gathered.truncate(end);
                read(self, &gathered);
                end.saturating_sub(before)
            }
            None if gathered.len() >= bound => {
                self.lose();
                window.len()
            }
            None => {
                self.partial = gathered;
                window.len()
            }
        }
    }

    fn head(&mut self, head: &[u8]) {
        let Some(expected) = self.expected.front().copied() else { return self.lose() };
        self.state = match ResponseHead::parse(head) {
            Some(head) if head.status == 101 && expected.upgrade && head.leaves_http => ResponseState::Opaque,
            Some(head) if head.status == 101 => ResponseState::Lost,
            // Neither interim nor final (RFC 9110 §15).
            Some(head) if head.status < 100 => ResponseState::Lost,
            // Interim: the final response is still to come.
            Some(head) if head.status < 200 => {
                self.begun = false;
                ResponseState::ResponseHead
            }
            Some(head) if expected.head || matches!(head.status, 204 | 304) => return self.end(),
            Some(head) => head.framing,
            None => ResponseState::Lost,
        };
        match self.state {
            ResponseState::Lost => self.lose(),
            // Content of no bytes has ended already.
            ResponseState::Pass { .. } => self.pass(0),
            _ => {}
        }
    }

    fn chunk_line(&mut self, line: &[u8]) {
        match chunk_size(line) {
            Ok((0, _)) => self.state = ResponseState::Trailers,
            Ok((left, len)) if len == line.len() => {
                self.state = ResponseState::Pass { left, next: AfterData::ChunkEnd }
            }
            _ => self.lose(),
        }
    }

    fn chunk_end(&mut self, line: &[u8]) {
        if line == b"\r\n" {
            self.state = ResponseState::ChunkSize;
        } else {
            self.lose();
        }
    }

    fn trailers(&mut self, section: &[u8]) {
        match trailers(&mut Lines::default(), section, frames_or_routes) {
            Ok(len) if len == section.len() => self.end(),
            _ => self.lose(),
        }
    }

    /// The final response to the first request is complete.
    fn end(&mut self) {
        self.expected.pop_front();
        self.begun = false;
        self.state = ResponseState::ResponseHead;
    }

    fn lose(&mut self) {
        *self = Self { state: ResponseState::Lost, ..Self::default() };
    }
}

/// The facts that are read from the head of a response.
struct ResponseHead {
    status: u16,
    framing: ResponseState,
    /// The protocol after a 101 is not HTTP. With h2c, requests and their hosts would be hidden in frames: then the
    /// client's side is still read as HTTP/1, and refused.
    leaves_http: bool,
}

impl ResponseHead {
    fn parse(bytes: &[u8]) -> Option<Self> {
        // A lone LF ends a line for some parsers only.
        if Lines::default().section_len(bytes, 1 + MAX_FIELDS) != Ok(bytes.len()) {
            return None;
        }
        let mut room = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let parts = ResponseParts::of(bytes, &mut room)?;
        let framing = match (parts.coding, parts.length) {
            (None, None) => ResponseState::UntilClose,
            (None, Some(left)) => ResponseState::Pass { left, next: AfterData::End },
            (Some(codings), None) if parts.minor == 1 && ends_in_chunked(codings) => ResponseState::ChunkSize,
            (Some(codings), None) if parts.minor == 1 && list(codings).all(is_other_coding) => {
                ResponseState::UntilClose
            }
            // Both, chunked not last, or a transfer coding in HTTP/1.0: parsers disagree (RFC 9112 §6.1, §6.3).
            _ => ResponseState::Lost,
        };
        let upgrades = parts.fields.iter().filter(|field| field.name.eq_ignore_ascii_case("upgrade"));
        let mut protocols = upgrades.flat_map(|field| list(field.value)).peekable();
        let leaves_http = protocols.peek().is_some() && !protocols.any(is_http);
        Some(Self { status: parts.status, framing, leaves_http })
    }
}

/// What `httparse` finds in a complete head of a response, and the fields that frame its content.
pub(crate) struct ResponseParts<'f, 'b> {
    pub(crate) status: u16,
    /// Of HTTP/1: 0 or 1.
    pub(crate) minor: u8,
    pub(crate) reason: &'b str,
    pub(crate) fields: &'f [httparse::Header<'b>],
    pub(crate) length: Option<u64>,
    pub(crate) coding: Option<&'b [u8]>,
}

impl<'f, 'b> ResponseParts<'f, 'b> {
    pub(crate) fn of(head: &'b [u8], room: &'f mut [MaybeUninit<httparse::Header<'b>>]) -> Option<Self> {
        let mut response = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut response, head, room);
        if !matches!(parsed, Ok(httparse::Status::Complete(len)) if len == head.len()) {
            return None;
        }
        let (status, minor, reason) = (response.code?, response.version?, response.reason.unwrap_or_default());
        let (mut length, mut coding) = (None, None);
        for field in &*response.headers {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            if is("content-length") {
                // The same length twice is one length (RFC 9110 §8.6).
                for value in list(field.value) {
                    let value = content_length(value)?;
                    if *length.get_or_insert(value) != value {
                        return None;
                    }
                }
            } else if is("transfer-encoding") && coding.replace(field.value).is_some() {
                return None;
            }
        }
        Some(Self { status, minor, reason, fields: response.headers, length, coding })
    }
}

/// A transfer coding that does not show where the content ends, so that it ends with the connection.
fn is_other_coding(coding: &[u8]) -> bool {
    is_token(coding) && !coding.eq_ignore_ascii_case(b"chunked")
}

fn is_http(protocol: &[u8]) -> bool {
    let name = protocol.split(|&byte| byte == b'/').next().unwrap_or_default();
    name.eq_ignore_ascii_case(b"h2c") || name.eq_ignore_ascii_case(b"h2") || name.eq_ignore_ascii_case(b"http")
}

/// The end of a head in `bytes`, of which the first `searched` have been searched.
fn end_of_head(bytes: &[u8], searched: usize) -> Option<usize> {
    const END: &[u8] = b"\r\n\r\n";
    let from = searched.saturating_sub(END.len() - 1);
    memmem::find(bytes.get(from..)?, END).map(|at| from + at + END.len())
}

/// The end of a trailer section, which may be an empty line alone.
fn end_of_trailers(bytes: &[u8], searched: usize) -> Option<usize> {
    const EMPTY: &[u8] = b"\r\n";
    if bytes.starts_with(EMPTY) { Some(EMPTY.len()) } else { end_of_head(bytes, searched) }
}

fn end_of_line(bytes: &[u8], searched: usize) -> Option<usize> {
    memchr(b'\n', bytes.get(searched..)?).map(|at| searched + at + 1)
}
