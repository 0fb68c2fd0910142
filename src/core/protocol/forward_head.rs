//! The head of a request to a forward proxy: where it goes, and the head that the origin server is sent instead.
//!
//! The strict reading of [`http_head`](crate::protocol::http_head) with another form of target. The new head is written from
//! that reading, so that there is nothing in it which the origin server could read differently: the target in origin-form,
//! `Host` from the target (RFC 9112 §3.2.2), one `Content-Length` in its plain form or `Transfer-Encoding: chunked`, none
//! of the fields that are for this hop only, and `Via`.

use std::io::Write as _;
use std::mem::MaybeUninit;

use crate::hostname::Hostname;
use crate::outcome::RefuseReason::{HeadMalformed, HostInvalid, HostMissing, MaxForwards, TraceMethod, ViaLoop};
use crate::protocol::forward_fields::{ConnectionOptions, names_us, write_end, write_field};
use crate::protocol::forward_refused::MAX_METHOD;
pub use crate::protocol::forward_refused::{Asked, RefusedRequest};
use crate::protocol::forward_target::{Target, is_host};
use crate::protocol::http_fields::{BodyFraming, Fields, is_chunked};
use crate::protocol::http_lines::{MAX_FIELDS, RequestLines, RequestParts};
use crate::protocol::{ParseError, Verdict};

/// What is read from the head of a request to a forward proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardHead {
    /// As the client wrote it: methods are case-sensitive (RFC 9110 §9.1).
    pub method: Box<str>,
    pub name: Hostname,
    pub port: u16,
    pub body: BodyFraming,
    pub expected: ForwardExpected,
    /// The head to send to the origin server instead; empty for CONNECT.
    pub rewritten: Vec<u8>,
}

impl ForwardHead {
    /// It asks for a tunnel: what follows the head is not HTTP of this connection.
    pub fn is_connect(&self) -> bool {
        &*self.method == "CONNECT"
    }
}

/// The facts of a request that decide how its response is read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForwardExpected {
    /// The method is HEAD: no content follows the head of the response.
    pub head: bool,
    /// The client speaks HTTP/1.0: it is sent no interim response and no chunks.
    pub http10: bool,
    /// The last request of the connection. So is each one of HTTP/1.0: a proxy must not keep such a connection open (RFC
    /// 9112 §C.2.2), since `keep-alive` may come from a client behind an old proxy that has passed it on blindly.
    pub last: bool,
}

/// Parses a head that arrives in several reads. It keeps its progress but no bytes: the caller passes all of them each
/// time, from the first on, and none is read twice.
#[derive(Debug, Clone, Copy, Default)]
pub struct ForwardParser(RequestLines);

impl ForwardParser {
    /// Parses all bytes received so far, which must begin with those of the previous call; `len` is the length of the head.
    /// `via_name` is what this proxy is called in `Via`.
    pub fn parse(&mut self, bytes: &[u8], via_name: &str) -> Verdict<ForwardHead> {
        self.head(bytes, via_name).into()
    }

    fn head(&mut self, bytes: &[u8], via_name: &str) -> Result<(ForwardHead, usize), ParseError> {
        let complete = self.0.read(bytes, is_method)?;
        Ok((complete_head(complete.head, via_name)?, complete.len))
    }
}

/// Methods are case-sensitive, but there are servers to which `head` is HEAD: those that change how a message is read
/// are taken in their own form only.
fn is_method(method: &[u8]) -> Result<(), ParseError> {
    const EXACT: [&[u8]; 4] = [b"CONNECT", b"HEAD", b"OPTIONS", b"TRACE"];
    let is_other = EXACT.iter().any(|exact| method.eq_ignore_ascii_case(exact) && method != *exact);
    if is_other || method.len() > MAX_METHOD { Err(HeadMalformed.into()) } else { Ok(()) }
}

fn complete_head(head: &[u8], via_name: &str) -> Result<ForwardHead, ParseError> {
    let mut room = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let parts = RequestParts::of(head, &mut room)?;
    if parts.method == "TRACE" {
        return Err(TraceMethod.into());
    }
    let target = Target::of(parts.method, parts.target)?;
    let fields = Fields::read(parts.fields)?;
    match fields.host {
        None if parts.minor > 0 => return Err(HostMissing.into()),
        Some(host) if !is_host(host) => return Err(HostInvalid.into()),
        _ => {}
    }
    let body = framing(&fields, &parts)?;
    let options = ConnectionOptions::read(parts.fields).ok_or(HeadMalformed)?;
    if parts.fields.iter().any(|field| is(field, "via") && names_us(field.value, via_name)) {
        return Err(ViaLoop.into());
    }
    let http10 = parts.minor == 0;
    let expected = ForwardExpected { head: parts.method == "HEAD", http10, last: http10 || options.close };
    let rewritten = if parts.method == "CONNECT" {
        Vec::new()
    } else {
        rewritten(&parts, &target, body, &options, Hop { via_name, hops: hops_left(&parts)?, last: expected.last })
    };
    Ok(ForwardHead { method: parts.method.into(), name: target.name, port: target.port, body, expected, rewritten })
}

fn is(field: &httparse::Header<'_>, name: &str) -> bool {
    field.name.eq_ignore_ascii_case(name)
}

/// We ask for no transfer coding but chunked. A tunnel has no body: what is longer than nothing would be content to some
/// servers and the tunnel's first bytes to others (RFC 9110 §9.3.6). Windows says `Content-Length: 0`, which is true.
fn framing(fields: &Fields<'_>, parts: &RequestParts<'_, '_>) -> Result<BodyFraming, ParseError> {
    if fields.transfer_encoding.is_some_and(|codings| !is_chunked(codings)) {
        return Err(HeadMalformed.into());
    }
    match fields.body(parts.minor)? {
        BodyFraming::None | BodyFraming::Length(0) if parts.method == "CONNECT" => Ok(BodyFraming::None),
        _ if parts.method == "CONNECT" => Err(HeadMalformed.into()),
        framing => Ok(framing),
    }
}

/// The `Max-Forwards` to send, for the only method of those that have it which is passed on (RFC 9110 §7.6.2).
fn hops_left(parts: &RequestParts<'_, '_>) -> Result<Option<u32>, ParseError> {
    if parts.method != "OPTIONS" {
        return Ok(None);
    }
    let mut values = parts.fields.iter().filter(|field| is(field, "max-forwards")).map(|field| field.value);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(digits), None) if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
            // More than fits is lowered to the most that we support.
            let hops = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(u32::MAX);
            Ok(Some(hops.checked_sub(1).ok_or(MaxForwards)?))
        }
        _ => Err(HeadMalformed.into()),
    }
}

/// What this hop adds.
struct Hop<'a> {
    via_name: &'a str,
    hops: Option<u32>,
    last: bool,
}

/// The version is the client's: a server answers HTTP/1.0 without chunks and interim responses, which it could not read.
fn rewritten(
    parts: &RequestParts<'_, '_>,
    target: &Target<'_>,
    body: BodyFraming,
    options: &ConnectionOptions<'_>,
    hop: Hop<'_>,
) -> Vec<u8> {
    let values: usize = parts.fields.iter().map(|field| field.name.len() + field.value.len() + ": \r\n".len()).sum();
    let mut head = Vec::with_capacity(values + parts.method.len() + target.origin.len() + 512);
    // Writing to a Vec cannot fail.
    let _ = write!(head, "{} {} HTTP/1.{}\r\n", parts.method, target.origin, parts.minor);
    write_field(&mut head, "Host", target.host().as_bytes());
    for field in parts.fields {
        if is(field, "host") || !options.passes(field.name) {
            continue;
        }
        match (body, hop.hops) {
            (BodyFraming::Length(length), _) if is(field, "content-length") => {
                write_field(&mut head, field.name, length.to_string().as_bytes());
            }
            (BodyFraming::Chunked, _) if is(field, "transfer-encoding") => {
                write_field(&mut head, field.name, b"chunked");
            }
            (_, Some(hops)) if is(field, "max-forwards") => {
                write_field(&mut head, field.name, hops.to_string().as_bytes());
            }
            _ => write_field(&mut head, field.name, field.value),
        }
    }
    write_end(&mut head, parts.minor, hop.via_name, hop.last);
    head
}
