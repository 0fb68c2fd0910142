//! The one normal form of a DNS name. A name chosen by a client enters the program only as a [`Hostname`].
//!
//! It is lower case, without a final dot, and never an IP address in any notation, so it can be compared, logged and
//! resolved without further checks.

use std::fmt;

/// Longest name in its textual form without the final dot, in bytes (RFC 1035 §2.3.4).
pub const MAX_NAME: usize = 253;
/// Longest label, in bytes (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;

/// A DNS name: lower case, without a final dot, labels of letters, digits, `-` and `_`, 1 to 253 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hostname(Box<str>);

/// Why bytes are not a [`Hostname`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    Empty,
    TooLong,
    BadLabel,
    BadCharacter,
    /// A name followed by a port.
    Port,
    IpAddress,
}

impl Hostname {
    /// Parses a name as written in a ClientHello, a Host field or a configuration file.
    pub fn parse(name: &[u8]) -> Result<Self, NameError> {
        let name = name.strip_suffix(b".").unwrap_or(name);
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.starts_with(b"[") || name.contains(&b':') {
            return Err(with_colons(name));
        }
        if name.len() > MAX_NAME {
            return Err(NameError::TooLong);
        }
        let mut text = String::with_capacity(name.len());
        for label in name.split(|&byte| byte == b'.') {
            if !text.is_empty() {
                text.push('.');
            }
            push_label(label, &mut text)?;
        }
        if ends_in_a_number(&text) {
            return Err(NameError::IpAddress);
        }
        Ok(Self(text.into_boxed_str()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn push_label(label: &[u8], text: &mut String) -> Result<(), NameError> {
    for &byte in label {
        if !byte.is_ascii_alphanumeric() && byte != b'-' && byte != b'_' {
            return Err(NameError::BadCharacter);
        }
        text.push(char::from(byte.to_ascii_lowercase()));
    }
    if label.is_empty() || label.len() > MAX_LABEL {
        return Err(NameError::BadLabel);
    }
    Ok(())
}

/// The error for a text with a colon or brackets, which no name has: an IPv6 address, perhaps with a port or a zone, or
/// something else with a port.
fn with_colons(name: &[u8]) -> NameError {
    let of_ipv6 = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
    let mut parts = name.split(|&byte| byte == b':');
    match (parts.next(), parts.next(), parts.next()) {
        _ if name.starts_with(b"[") => NameError::IpAddress,
        (Some(host), Some(port), None) => match Hostname::parse(host) {
            Err(NameError::IpAddress) => NameError::IpAddress,
            Ok(_) if port.iter().all(u8::is_ascii_digit) => NameError::Port,
            _ => NameError::BadCharacter,
        },
        _ if name.split(|&byte| byte == b'%').next().is_some_and(|address| address.iter().all(of_ipv6)) => {
            NameError::IpAddress
        }
        _ => NameError::BadCharacter,
    }
}

/// Whether the last label is a number (WHATWG URL Standard, "ends in a number"): resolvers read `127.1`, `0x7f000001` and
/// `017700000001` as IPv4 addresses, and no DNS name ends in such a label.
fn ends_in_a_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hex = last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    hex || last.bytes().all(|b| b.is_ascii_digit())
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the name is empty",
            Self::TooLong => "the name is longer than 253 bytes",
            Self::BadLabel => "a label is empty or longer than 63 bytes",
            Self::BadCharacter => "a character is not a letter, digit, `-`, `_` or `.`",
            Self::Port => "a port is no part of a name",
            Self::IpAddress => "it is an IP address, not a name",
        })
    }
}

impl std::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises_case_and_the_final_dot() {
        for name in ["orders.example.com", "ORDERS.Example.COM", "orders.example.com."] {
            assert_eq!(Hostname::parse(name.as_bytes()).unwrap().as_str(), "orders.example.com");
        }
        assert_eq!(Hostname::parse(b"_acme.a-b.local").unwrap().as_str(), "_acme.a-b.local");
    }

    #[test]
    fn refuses_addresses_in_every_notation() {
        for name in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "169.254.170.2.",
            "::1",
            "[::1]",
            "::ffff:127.0.0.1",
            "1.2.3.0x",
            "[fd00:ec2::254]",
            "[fd00:ec2::254]:443",
            "10.0.0.1:443",
            "fe80::1%eth0",
        ] {
            assert_eq!(Hostname::parse(name.as_bytes()), Err(NameError::IpAddress), "{name}");
        }
        assert!(Hostname::parse(b"1.2.3.4.example").is_ok());
        assert!(Hostname::parse(b"0xg").is_ok());
    }

    #[test]
    fn refuses_what_is_not_a_name() {
        let long_label = [b'a'; 64];
        let long_name = "a.".repeat(126) + "ab";
        let cases: [(&[u8], NameError); 15] = [
            (b"", NameError::Empty),
            (b".", NameError::Empty),
            (b"a..b", NameError::BadLabel),
            (b".a", NameError::BadLabel),
            (&long_label, NameError::BadLabel),
            (long_name.as_bytes(), NameError::TooLong),
            (b"a\0b", NameError::BadCharacter),
            (b"a b", NameError::BadCharacter),
            ("bücher.example".as_bytes(), NameError::BadCharacter),
            (b"orders.example.com:443", NameError::Port),
            (b"cafe.de:443", NameError::Port),
            (b"cafe.de:", NameError::Port),
            (b"cafe.de:https", NameError::BadCharacter),
            (b"a..b:443", NameError::BadCharacter),
            (b"https://cafe.de:443", NameError::BadCharacter),
        ];
        for (name, error) in cases {
            assert_eq!(Hostname::parse(name), Err(error), "{name:?}");
        }
        assert!(Hostname::parse(&long_name.as_bytes()[..253]).is_ok());
    }
}
