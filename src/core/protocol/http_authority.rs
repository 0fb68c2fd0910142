//! The host and the port in a Host field or a target.

use std::net::Ipv6Addr;

use memchr::memchr;

use crate::hostname::{Hostname, NameError};
use crate::outcome::RefuseReason::{HostInvalid, HostIpAddress, HostPort};
use crate::protocol::ParseError;

/// The part between scheme and path of an absolute target.
pub(crate) fn authority_of(target: &str) -> Option<&str> {
    const SCHEME: &str = "http://";
    let (scheme, rest) = target.split_at_checked(SCHEME.len())?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    rest.get(..end).filter(|_| scheme.eq_ignore_ascii_case(SCHEME))
}

/// A host with or without the public port. Userinfo is not allowed (RFC 9110 §4.2.4): no name contains `@`.
pub(crate) fn authority(text: &[u8], public_port: u16) -> Result<Hostname, ParseError> {
    let (name, port) = name_and_port(text)?;
    match port {
        None => Ok(name),
        Some(digits) if !digits.iter().all(u8::is_ascii_digit) => Err(HostInvalid.into()),
        Some(digits) if canonical_port(digits) == Some(public_port) => Ok(name),
        Some(_) => Err(HostPort.into()),
    }
}

/// A host, and what stands behind a colon.
pub(crate) fn name_and_port(text: &[u8]) -> Result<(Hostname, Option<&[u8]>), ParseError> {
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
    Ok((name, port.split_first().map(|(_, digits)| digits)))
}

/// The port if the digits are its canonical form: not `080`, not 0, and not empty.
pub(crate) fn canonical_port(digits: &[u8]) -> Option<u16> {
    let plain = !digits.starts_with(b"0") && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}
