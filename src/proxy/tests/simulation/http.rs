//! Requests and their responses, as they are drawn and as they are written.

use std::fmt::Write as _;

use super::plan::{DENIED, name};
use super::scenario::{Settings, length, payload};
use crate::sys::random::Random;
use latticegate_core::config::Protocol;

#[derive(Debug)]
pub(super) struct Request {
    pub(super) destination: usize,
    pub(super) method: &'static str,
    pub(super) body: Body,
    /// The next one is sent without waiting for this one's response.
    pub(super) pipelined: bool,
    /// With `Connection: close`.
    pub(super) last: bool,
    pub(super) fault: Option<Fault>,
    pub(super) response: Response,
}

/// Why it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A name that the list denies.
    Denied,
    /// A chunk's size that is none.
    BadChunk,
}

#[derive(Debug)]
pub(super) struct Response {
    pub(super) delay: u64,
    pub(super) status: u16,
    pub(super) body: Body,
    pub(super) then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Keep,
    /// Closed behind it, as was said before.
    Close,
    /// Closed so many milliseconds behind it, without a word.
    Drop(u64),
    /// Closed in the middle of it: of so many thousandths.
    Cut(usize),
    /// It never comes.
    Never,
}

pub(super) enum Body {
    None,
    Length(Vec<u8>),
    Chunked(Vec<Vec<u8>>),
    UntilClose(Vec<u8>),
}

/// The requests of one connection.
pub(super) fn draw(destinations: usize, protocol: Protocol, settings: &Settings, random: &mut Random) -> Vec<Request> {
    let count = 1 + random.index(5);
    let mut requests: Vec<Request> = (0..count)
        .map(|index| Request::draw(random.index(destinations), index + 1 == count, protocol, settings, random))
        .collect();
    // Nothing follows what is refused.
    if let Some(refused) = requests.iter().position(|request| request.fault.is_some()) {
        requests.truncate(refused + 1);
    }
    requests
}

/// How many bytes they are about, and their responses.
pub(super) fn sizes(requests: &[Request]) -> (usize, usize) {
    let request = |request: &Request| 200 + request.body.content().len();
    let response = |request: &Request| 200 + request.response.body.content().len();
    (requests.iter().map(request).sum(), requests.iter().map(response).sum())
}

impl Request {
    fn draw(destination: usize, last: bool, protocol: Protocol, settings: &Settings, random: &mut Random) -> Self {
        let method = ["GET", "PUT", "POST"][random.index(3)];
        let body = if method == "GET" { Body::None } else { Body::draw(random) };
        let fault = match random.below(16) {
            0 => Some(Fault::Denied),
            1 if matches!(body, Body::Chunked(_)) => Some(Fault::BadChunk),
            _ => None,
        };
        let mut response = Response::draw(settings, random);
        if protocol == Protocol::Http && !last {
            // Only a proxy goes on with another upstream.
            response.then = Then::Keep;
            if let Body::UntilClose(bytes) = response.body {
                response.body = Body::Length(bytes);
            }
        }
        let last = last && random.below(4) == 0;
        Self { destination, method, body, pipelined: random.below(3) == 0, last, fault, response }
    }

    /// As it is sent on a listener of this protocol.
    pub(super) fn write(&self, connection: usize, index: usize, protocol: Protocol) -> Vec<u8> {
        let host = match self.fault {
            Some(Fault::Denied) => DENIED.to_owned(),
            _ => name(connection, self.destination),
        };
        let scheme = if protocol == Protocol::Forward { format!("http://{host}") } else { String::new() };
        let mut head = format!("{} {scheme}/r{index} HTTP/1.1\r\nHost: {host}\r\n", self.method);
        if self.last {
            head.push_str("Connection: close\r\n");
        }
        let mut bytes = self.body.write(head);
        if self.fault == Some(Fault::BadChunk) {
            // Instead of the last chunk.
            bytes.truncate(bytes.len() - 5);
            bytes.extend_from_slice(b"zz\r\n");
        }
        bytes
    }
}

impl Response {
    fn draw(settings: &Settings, random: &mut Random) -> Self {
        let then = match random.below(16) {
            0 => Then::Close,
            1 => Then::Drop(random.below(200)),
            2 => Then::Cut(random.index(1000)),
            3 if random.below(2) == 0 => Then::Never,
            _ => Then::Keep,
        };
        let body = match Body::draw(random) {
            Body::Length(bytes) if then == Then::Close && random.below(2) == 0 => Body::UntilClose(bytes),
            body => body,
        };
        let status = if matches!(body, Body::None) { 204 } else { 200 };
        Self { delay: random.below(settings.idle.min(2000) / 4), status, body, then }
    }

    pub(super) fn write(&self, index: usize) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} X\r\nX-Response: {index}\r\n", self.status);
        if self.then == Then::Close {
            head.push_str("Connection: close\r\n");
        }
        self.body.write(head)
    }
}

impl Body {
    fn draw(random: &mut Random) -> Self {
        match random.below(5) {
            0 => Self::None,
            1 | 2 => {
                let len = length(random);
                Self::Length(payload(random, len))
            }
            _ => Self::Chunked(
                (0..random.below(5))
                    .map(|_| {
                        let len = 1 + length(random) / 4;
                        payload(random, len)
                    })
                    .collect(),
            ),
        }
    }

    fn write(&self, mut head: String) -> Vec<u8> {
        match self {
            Self::None => head.push_str("\r\n"),
            Self::Length(bytes) => write!(head, "Content-Length: {}\r\n\r\n", bytes.len()).unwrap(),
            Self::Chunked(_) => head.push_str("Transfer-Encoding: chunked\r\n\r\n"),
            Self::UntilClose(_) => head.push_str("\r\n"),
        }
        let mut bytes = head.into_bytes();
        match self {
            Self::None => {}
            Self::Length(content) | Self::UntilClose(content) => bytes.extend_from_slice(content),
            Self::Chunked(chunks) => {
                for chunk in chunks {
                    bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    bytes.extend_from_slice(chunk);
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(b"0\r\n\r\n");
            }
        }
        bytes
    }

    pub(super) fn content(&self) -> Vec<u8> {
        match self {
            Self::None => Vec::new(),
            Self::Length(bytes) | Self::UntilClose(bytes) => bytes.clone(),
            Self::Chunked(chunks) => chunks.concat(),
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self {
            Self::None => "None",
            Self::Length(_) => "Length",
            Self::Chunked(_) => "Chunked",
            Self::UntilClose(_) => "UntilClose",
        };
        write!(f, "{kind}({})", self.content().len())
    }
}
