//! The head of an HTTP/1.x request: the requested host, and how the end of the body is found.
//!
//! `httparse` parses the syntax. What it leaves open is decided here by RFC 9112 and RFC 9110, always in the stricter way:
//! the bytes are forwarded unchanged to a server that may parse them differently, so everything that two parsers could
//! understand differently is refused.

use std::mem::MaybeUninit;

use memchr::memmem;

use crate::hostname::Hostname;
use crate::outcome::RefuseReason::{
    self, ConnectMethod, HeadMalformed, HostAmbiguous, HostInvalid, HostIpAddress, HostMissing, HostPort,
};
use crate::protocol::forward_refused::host_in;
use crate::protocol::http_authority::{authority, authority_of};
pub use crate::protocol::http_fields::BodyFraming;
use crate::protocol::http_fields::Fields;
pub use crate::protocol::http_lines::{EMPTY_LINE, MAX_FIELDS, MAX_HEAD};
use crate::protocol::http_lines::{RequestLines, RequestParts};
use crate::protocol::{ParseError, Verdict};

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

/// Parses all bytes received so far; `len` is the length of the head. `public_port` is the port that clients connect to,
/// the only one that Host may name. First bytes and request line are checked as they arrive, the fields once the head is
/// complete.
pub fn parse(bytes: &[u8], public_port: u16) -> Verdict<Head> {
    HeadParser::default().parse(bytes, public_port)
}

/// [`parse`] for bytes that arrive in several reads. It keeps its progress but no bytes: the caller passes all of them
/// each time, from the first on, and none is read twice.
#[derive(Debug, Clone, Copy, Default)]
pub struct HeadParser(RequestLines);

impl HeadParser {
    /// Parses all bytes received so far, which must begin with those of the previous call.
    pub fn parse(&mut self, bytes: &[u8], public_port: u16) -> Verdict<Head> {
        self.head(bytes, public_port).into()
    }

    fn head(&mut self, bytes: &[u8], public_port: u16) -> Result<(Head, usize), ParseError> {
        let complete = self.0.read(bytes, |method| {
            if method.eq_ignore_ascii_case(b"CONNECT") { Err(ConnectMethod.into()) } else { Ok(()) }
        })?;
        Ok((complete_head(complete.head, public_port)?, complete.len))
    }
}

/// The hosts of a head that was refused because of them, as the client sent them but for what may be a password: at most two,
/// for the log, Host before the target. The head is parsed a second time here, so that allowed ones cost nothing.
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
    names.filter_map(without_userinfo).take(2).map(<[u8]>::to_vec).collect()
}

/// Of a host with an `@` what is behind it, if that can be told.
fn without_userinfo(host: &[u8]) -> Option<&[u8]> {
    let has_userinfo = host.contains(&b'@') || memmem::find(host, b"%40").is_some();
    if has_userinfo { host_in(host) } else { Some(host) }
}

fn complete_head(head: &[u8], public_port: u16) -> Result<Head, ParseError> {
    let mut room = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let RequestParts { method, target, minor, fields } = RequestParts::of(head, &mut room)?;
    let fields = Fields::read(fields)?;
    let name = authority(fields.host.ok_or(HostMissing)?, public_port)?;
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

/// Checks the target's form (RFC 9112 §3.2). An absolute target must name the same host, because its receiver may route
/// by it and ignore Host (§3.2.2).
fn target_agrees(method: &str, target: &str, name: &Hostname, public_port: u16) -> Result<(), ParseError> {
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(());
    }
    let requested = authority(authority_of(target).ok_or(HeadMalformed)?.as_bytes(), public_port)?;
    if requested == *name { Ok(()) } else { Err(HostAmbiguous.into()) }
}
