//! What of the head of a refused request may be logged: whom it asks for, and nothing that may be a secret. Userinfo is
//! one, a path and a query may be.

use std::mem::MaybeUninit;
use std::net::Ipv6Addr;

use memchr::{memchr, memmem, memrchr};

use crate::outcome::RefuseReason::{self, HostAmbiguous, HostInvalid};
use crate::protocol::forward_target::{Target, is_host, scheme_of};
use crate::protocol::http_fields::is_token;
use crate::protocol::http_lines::{EMPTY_LINE, MAX_FIELDS};

/// Longest method. The longest that is registered has 17 bytes; it goes into the log.
pub(crate) const MAX_METHOD: usize = 32;
/// Longer than any that is registered; it goes into the log.
const MAX_SCHEME: usize = 32;
const CONNECT: &str = "CONNECT";

/// What a request asks for, as far as its first line says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub method: Box<str>,
    /// Of a target that is a URL, whatever else is wrong with it.
    pub scheme: Option<Box<str>>,
    /// In its normal form if the target is valid; otherwise as the client wrote it, with the port if it has one.
    pub host: Option<Vec<u8>>,
    /// Of a valid target.
    pub port: Option<u16>,
}

impl Asked {
    /// Nothing if the request line is not complete or its method too long, whatever is wrong with the rest.
    #[cold]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let (method, target) = request_line(bytes).filter(|(method, _)| method.len() <= MAX_METHOD)?;
        let scheme = scheme_of(target).filter(|scheme| method != CONNECT && scheme.len() <= MAX_SCHEME);
        let (host, port) = match Target::of(method, target) {
            Ok(target) => (Some(target.name.as_str().as_bytes().to_vec()), Some(target.port)),
            Err(_) => (refused_host(method, target), None),
        };
        Some(Self {
            method: method.into(),
            scheme: scheme.map(|scheme| scheme.to_ascii_lowercase().into()),
            host,
            port,
        })
    }
}

/// What the log says of a request that was refused without, or because of, what its head says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RefusedRequest {
    /// Nothing if not even its first line is complete.
    pub asked: Option<Asked>,
    /// Hosts, at most two. Those for which it was refused are what the client wrote, Host before the target.
    pub names: Vec<Vec<u8>>,
}

impl RefusedRequest {
    /// The head is parsed a second time here, so that allowed ones cost nothing.
    #[cold]
    pub fn of(reason: RefuseReason, bytes: &[u8]) -> Self {
        let asked = Asked::of(bytes);
        let mut names = match reason {
            HostInvalid | HostAmbiguous => refused_hosts(bytes),
            _ => Vec::new(),
        };
        names.extend(asked.as_ref().and_then(|asked| asked.host.clone()));
        names.truncate(2);
        Self { asked, names }
    }
}

/// The Host fields, if it is them that are wrong.
pub(crate) fn refused_hosts(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut room = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    if request.parse_with_uninit_headers(behind_empty_line(bytes), &mut room).is_err() {
        return Vec::new();
    }
    let hosts = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("host"));
    let hosts: Vec<&[u8]> = hosts.map(|field| field.value).collect();
    if hosts.len() == 1 && hosts.iter().all(|host| is_host(host)) {
        return Vec::new();
    }
    hosts.into_iter().filter_map(host_in).map(<[u8]>::to_vec).collect()
}

/// Method and target of a complete request line.
pub(crate) fn request_line(bytes: &[u8]) -> Option<(&str, &str)> {
    let bytes = behind_empty_line(bytes);
    let line = bytes.get(..memchr(b'\n', bytes)?)?;
    let line = std::str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line)).ok()?;
    let mut words = line.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    (words.next().is_none() && is_token(method.as_bytes()) && version.starts_with("HTTP/")).then_some((method, target))
}

fn behind_empty_line(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(EMPTY_LINE).unwrap_or(bytes)
}

/// The host of a target that is not valid. A word without a scheme may be anything.
pub(crate) fn refused_host(method: &str, target: &str) -> Option<Vec<u8>> {
    host_in_target(method, target).map(<[u8]>::to_vec)
}

/// The host in a target of CONNECT, or in one that is a URL, as the client wrote it.
pub(crate) fn host_in_target<'a>(method: &str, target: &'a str) -> Option<&'a [u8]> {
    let has_host = method == CONNECT || scheme_of(target).is_some();
    if has_host { host_in(target.as_bytes()) } else { None }
}

/// What can be a host, with its port, of what a client wrote where one belongs. What stands before an `@` may be a password,
/// what stands behind one of `/?#\%` a path, a query or an encoded password. If an `@` follows one of those, the text may
/// be either, so that none of it is logged. Behind a colon only digits are a port; anything else may be a password too.
pub(crate) fn host_in(text: &[u8]) -> Option<&[u8]> {
    let scheme = std::str::from_utf8(text).ok().and_then(scheme_of);
    let text = text.get(scheme.map_or(0, |scheme| scheme.len() + "://".len())..)?;
    let end = text.iter().position(|byte| b"/?#\\%".contains(byte)).unwrap_or(text.len());
    let (authority, rest) = text.split_at_checked(end)?;
    if rest.contains(&b'@') || memmem::find(rest, b"%40").is_some() {
        return None;
    }
    let host = authority.get(memrchr(b'@', authority).map_or(0, |at| at + 1)..)?;
    host.get(..host_len(host)).filter(|host| !host.is_empty())
}

/// With the port, if there is one.
fn host_len(text: &[u8]) -> usize {
    let is_address = || std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
    let address = match text {
        [b'[', ..] => memchr(b']', text).unwrap_or(text.len()),
        _ if is_address() => text.len(),
        _ => 0,
    };
    let behind = text.get(address..).unwrap_or_default();
    match memchr(b':', behind) {
        Some(colon) if !behind.iter().skip(colon + 1).all(u8::is_ascii_digit) => address + colon,
        _ => text.len(),
    }
}
