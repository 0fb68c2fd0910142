//! What a request asks a forward proxy for: `CONNECT name:port`, or `GET http://name/path` (RFC 9112 §3.2).

use std::borrow::Cow;

use crate::hostname::Hostname;
use crate::outcome::RefuseReason::{self, HostIpAddress, OriginForm, PortMissing, SchemeUnsupported, TargetInvalid};
use crate::protocol::ParseError;
use crate::protocol::http_authority::{authority_of, canonical_port, name_and_port};

const HTTP_PORT: u16 = 80;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    pub(crate) name: Hostname,
    pub(crate) port: u16,
    /// The target in origin-form or asterisk-form, as the origin server is asked for it; empty for CONNECT.
    pub(crate) origin: Cow<'a, str>,
}

impl<'a> Target<'a> {
    pub(crate) fn of(method: &str, target: &'a str) -> Result<Self, ParseError> {
        if method == "CONNECT" { Self::authority_form(target) } else { Self::absolute_form(method, target) }
    }

    fn authority_form(target: &'a str) -> Result<Self, ParseError> {
        let (name, port) = host(target)?;
        let digits = port.filter(|digits| !digits.is_empty()).ok_or(PortMissing)?;
        Ok(Self { name, port: canonical_port(digits).ok_or(TargetInvalid)?, origin: Cow::Borrowed("") })
    }

    fn absolute_form(method: &str, target: &'a str) -> Result<Self, ParseError> {
        let authority = authority_of(target).ok_or_else(|| other_form(target))?;
        if target.contains('#') {
            return Err(TargetInvalid.into());
        }
        let (name, port) = host(authority)?;
        let port = match port {
            None => HTTP_PORT,
            Some(digits) => canonical_port(digits).ok_or(TargetInvalid)?,
        };
        let path = target.get("http://".len() + authority.len()..).unwrap_or_default();
        let origin = match path {
            // The server as a whole, not a resource of it (RFC 9112 §3.2.4).
            "" if method == "OPTIONS" => Cow::Borrowed("*"),
            "" => Cow::Borrowed("/"),
            path if path.starts_with('/') => Cow::Borrowed(path),
            query => Cow::Owned(format!("/{query}")),
        };
        Ok(Self { name, port, origin })
    }

    /// `Host` for the origin server: without the port that is the default of `http` (RFC 9110 §7.2).
    pub(crate) fn host(&self) -> Cow<'_, str> {
        match self.port {
            HTTP_PORT => Cow::Borrowed(self.name.as_str()),
            port => Cow::Owned(format!("{}:{port}", self.name)),
        }
    }
}

fn host(authority: &str) -> Result<(Hostname, Option<&[u8]>), ParseError> {
    // Userinfo (RFC 9110 §4.2.4), and no host at all.
    if authority.contains('@') || authority.is_empty() || authority.starts_with(':') && !authority.starts_with("::") {
        return Err(TargetInvalid.into());
    }
    name_and_port(authority.as_bytes())
}

/// Why it is no URL of `http`.
fn other_form(target: &str) -> RefuseReason {
    match target {
        "*" => OriginForm,
        _ if target.starts_with('/') => OriginForm,
        _ if scheme_of(target).is_some() => SchemeUnsupported,
        _ => TargetInvalid,
    }
}

/// What stands before `://`, if it is a scheme (RFC 3986 §3.1).
pub(crate) fn scheme_of(target: &str) -> Option<&str> {
    let (scheme, _) = target.split_once("://")?;
    let mut letters = scheme.bytes();
    let is_scheme = letters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    is_scheme.then_some(scheme)
}

/// Whether a Host field is a host with or without a port: an address too, since nothing is done with it but to replace it.
pub(crate) fn is_host(value: &[u8]) -> bool {
    match name_and_port(value) {
        Ok((_, port)) => port.is_none_or(|digits| canonical_port(digits).is_some()),
        Err(ParseError::Refuse(HostIpAddress)) => is_address(value),
        Err(_) => false,
    }
}

fn is_address(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    text.parse::<std::net::SocketAddr>().is_ok()
        || text.parse::<std::net::Ipv4Addr>().is_ok()
        || bare.is_some_and(|bare| bare.parse::<std::net::Ipv6Addr>().is_ok())
}
