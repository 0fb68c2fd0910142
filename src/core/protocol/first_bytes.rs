//! What the first bytes of a connection say that is refused before, or because of, its hello or head: for its record, and for
//! nothing else. They may end anywhere, and what follows need not be valid: what has come is read as far as it goes.

use std::borrow::Cow;

use memchr::memchr;
use ppp::v2;

use crate::protocol::client_hello::MAX_HELLO;
use crate::protocol::forward_refused::{MAX_METHOD, host_in, host_in_target, request_line};
use crate::protocol::http_fields::is_token;
use crate::protocol::http_lines::{EMPTY_LINE, MAX_HEAD};

/// What a connection begins with, behind a PROXY header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstBytes<'a> {
    /// A ClientHello, of SSLv2 too, or the beginning of one.
    Hello(&'a [u8]),
    /// A request. Its fields and its path may be secrets.
    Request { method: &'a str, host: Option<&'a [u8]> },
    /// Anything else, a secret perhaps: no more of it than shows a protocol.
    Other(&'a [u8]),
}

impl<'a> FirstBytes<'a> {
    const OTHER: usize = 16;

    pub fn of(bytes: &'a [u8]) -> Self {
        if is_hello(bytes) {
            return Self::Hello(bytes);
        }
        match method(bytes) {
            Some(method) if method.len() <= MAX_METHOD => Self::Request { method, host: host(bytes) },
            _ => Self::Other(bytes.get(..Self::OTHER).unwrap_or(bytes)),
        }
    }
}

/// The name asked for, as the client wrote it, but without a port.
#[cold]
pub fn name(bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
    if is_hello(bytes) {
        return match handshake(bytes) {
            Cow::Borrowed(message) => server_name(message).map(Cow::Borrowed),
            Cow::Owned(message) => server_name(&message).map(|name| Cow::Owned(name.to_vec())),
        };
    }
    method(bytes)?;
    // `Host: :8080` has a port and no name.
    host(bytes).map(without_port).filter(|name| !name.is_empty()).map(Cow::Borrowed)
}

/// A PROXY header of version 1 or 2, whatever is in it, as far as it has come; and what is behind it.
pub fn split_header(bytes: &[u8]) -> (&[u8], &[u8]) {
    /// Signature, version and command, family, length.
    const FIXED: usize = 16;
    const LONGEST_V1: usize = 107;
    let len = if bytes.starts_with(b"PROXY ") {
        let line = bytes.get(..LONGEST_V1).unwrap_or(bytes);
        memchr(b'\n', line).map_or(0, |end| end + 1)
    } else if bytes.starts_with(v2::PROTOCOL_PREFIX) {
        match bytes.first_chunk::<FIXED>() {
            Some([.., high, low]) => FIXED + usize::from(u16::from_be_bytes([*high, *low])),
            None => bytes.len(),
        }
    } else {
        0
    };
    bytes.split_at_checked(len).unwrap_or((bytes, &[]))
}

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;

fn is_hello(bytes: &[u8]) -> bool {
    matches!(bytes, [HANDSHAKE] | [HANDSHAKE, 3, ..] | [0x80..=0xff, _, CLIENT_HELLO, 0 | 3, ..])
}

/// What has come of the handshake message; a copy only if it is in several records.
fn handshake(bytes: &[u8]) -> Cow<'_, [u8]> {
    let (mut rest, mut joined) = (bytes, Cow::Borrowed(&[][..]));
    while let [HANDSHAKE, 3, _, high, low, after @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let (fragment, next) = after.split_at_checked(len).unwrap_or((after, &[]));
        match &mut joined {
            Cow::Borrowed([]) => joined = Cow::Borrowed(fragment),
            joined => joined.to_mut().extend_from_slice(fragment),
        }
        if joined.len() >= MAX_HELLO {
            break;
        }
        rest = next;
    }
    joined
}

/// The first name in the server_name extension, if it has come whole.
fn server_name(message: &[u8]) -> Option<&[u8]> {
    const LENGTH: usize = 3;
    const VERSION_AND_RANDOM: usize = 2 + 32;
    let mut rest = message;
    (*rest.split_off_first()? == CLIENT_HELLO).then_some(())?;
    rest.split_off(..LENGTH + VERSION_AND_RANDOM)?;
    vec8(&mut rest)?;
    vec16(&mut rest)?;
    vec8(&mut rest)?;
    // How many bytes of extensions there are to be.
    u16_off(&mut rest)?;
    loop {
        let kind = u16_off(&mut rest)?;
        let mut data = vec16(&mut rest)?;
        if kind == SERVER_NAME {
            u16_off(&mut data)?;
            data.split_off_first()?;
            return vec16(&mut data).filter(|name| !name.is_empty());
        }
    }
}

fn u16_off(rest: &mut &[u8]) -> Option<u16> {
    let [high, low] = *rest.split_off(..2)?.first_chunk()?;
    Some(u16::from_be_bytes([high, low]))
}

/// A vector with an 8-bit length prefix.
fn vec8<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::from(*rest.split_off_first()?);
    rest.split_off(..len)
}

/// A vector with a 16-bit length prefix.
fn vec16<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::from(u16_off(rest)?);
    rest.split_off(..len)
}

/// The word before the first blank, if it can be a method: one of any length, as behind a listener for Host it is the
/// service that knows its methods.
fn method(bytes: &[u8]) -> Option<&str> {
    let bytes = bytes.strip_prefix(EMPTY_LINE).unwrap_or(bytes);
    let method = bytes.get(..memchr(b' ', bytes)?)?;
    std::str::from_utf8(method).ok().filter(|method| is_token(method.as_bytes()))
}

/// The host of a request, with its port if there is one: that of its target if it has one, which takes precedence (RFC 9112
/// §3.2.2), or else of the first complete Host field.
fn host(bytes: &[u8]) -> Option<&[u8]> {
    let in_target = request_line(bytes).and_then(|(method, target)| host_in_target(method, target));
    in_target.or_else(|| host_field(bytes))
}

fn host_field(bytes: &[u8]) -> Option<&[u8]> {
    let bytes = bytes.strip_prefix(EMPTY_LINE).unwrap_or(bytes);
    let bytes = bytes.get(..MAX_HEAD).unwrap_or(bytes);
    // The last piece has no end.
    let complete = bytes.get(..bytes.iter().rposition(|byte| *byte == b'\n')?)?;
    let lines = complete.split(|byte| *byte == b'\n').skip(1).map(<[u8]>::trim_ascii_end);
    let mut fields = lines.take_while(|line| !line.is_empty());
    let value = fields.find_map(|line| {
        let (name, value) = line.split_at_checked(memchr(b':', line)?)?;
        name.eq_ignore_ascii_case(b"host").then(|| value.get(1..))?
    })?;
    host_in(value.trim_ascii())
}

fn without_port(host: &[u8]) -> &[u8] {
    let colon = host.iter().rposition(|byte| *byte == b':');
    let port = colon.and_then(|colon| host.split_at_checked(colon));
    match port {
        // With two colons it is an address.
        Some((name, port)) if !name.contains(&b':') && port.iter().skip(1).all(u8::is_ascii_digit) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests;
