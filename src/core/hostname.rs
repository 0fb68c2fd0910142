//! The one normal form of a DNS name. A name chosen by a client enters the program only as a [`Hostname`].
//!
//! It is lower case, without a final dot, and never an IP address in any notation, so it can be compared, logged and
//! resolved without further checks.

use std::fmt;
use std::sync::Arc;

/// Longest name in its textual form without the final dot, in bytes (RFC 1035 §2.3.4).
pub const MAX_NAME: usize = 253;
/// Longest label, in bytes (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;

/// A DNS name: lower case, without a final dot, labels of letters, digits, `-` and `_`, 1 to 253 bytes. A clone shares the
/// text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hostname(Arc<str>);

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
        match normalise(name) {
            // No name has these, so they are looked for only here.
            Err(_) if name.starts_with(b"[") || name.contains(&b':') => Err(with_colons(name)),
            normal => normal.map(Self),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same text, for whoever keeps texts of other kinds as well.
    pub fn to_text(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

/// In one pass: each connection has a name.
fn normalise(name: &[u8]) -> Result<Arc<str>, NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > MAX_NAME {
        return Err(NameError::TooLong);
    }
    let mut text = [0; MAX_NAME];
    let mut label_start = 0;
    for (at, (normal, byte)) in text.iter_mut().zip(name).enumerate() {
        *normal = match NORMAL.get(usize::from(*byte)) {
            None | Some(0) => return Err(NameError::BadCharacter),
            Some(&normal) => normal,
        };
        if *normal == b'.' {
            check_label(at - label_start)?;
            label_start = at + 1;
        }
    }
    check_label(name.len() - label_start)?;
    let text = text.get(..name.len()).unwrap_or_default();
    if text.get(label_start..).is_some_and(is_a_number) {
        return Err(NameError::IpAddress);
    }
    str::from_utf8(text).map(Arc::from).map_err(|_| NameError::BadCharacter)
}

/// Each byte of a name, the dot included, in its normal form; 0 for one that no name has.
const NORMAL: [u8; 256] = {
    let mut table = [0; 256];
    let (mut index, mut byte) = (0, 0_u8);
    while index < table.len() {
        #[expect(clippy::indexing_slicing, reason = "checked when it is compiled")]
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            table[index] = byte.to_ascii_lowercase();
        }
        index += 1;
        byte = byte.wrapping_add(1);
    }
    table
};

fn check_label(len: usize) -> Result<(), NameError> {
    if (1..=MAX_LABEL).contains(&len) { Ok(()) } else { Err(NameError::BadLabel) }
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

/// Whether the last label, in its normal form, is a number (WHATWG URL Standard, "ends in a number"): resolvers read
/// `127.1`, `0x7f000001` and `017700000001` as IPv4 addresses, and no DNS name ends in such a label.
fn is_a_number(last: &[u8]) -> bool {
    let hex = last.strip_prefix(b"0x").is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    hex || last.iter().all(u8::is_ascii_digit)
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

    /// What a name is, label by label and slowly: the parser has to agree with it on every input.
    fn reference(name: &[u8]) -> Result<String, NameError> {
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
        let labels: Vec<&[u8]> = name.split(|byte| *byte == b'.').collect();
        for label in &labels {
            if !label.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte)) {
                return Err(NameError::BadCharacter);
            }
            if label.is_empty() || label.len() > MAX_LABEL {
                return Err(NameError::BadLabel);
            }
        }
        let text = str::from_utf8(name).unwrap().to_ascii_lowercase();
        let last = text.rsplit('.').next().unwrap();
        let is_hex = last.strip_prefix("0x").is_some_and(|rest| rest.chars().all(|c| c.is_ascii_hexdigit()));
        if is_hex || last.chars().all(|c| c.is_ascii_digit()) { Err(NameError::IpAddress) } else { Ok(text) }
    }

    fn agrees(name: &[u8]) {
        let parsed = Hostname::parse(name).map(|name| name.to_string());
        assert_eq!(parsed, reference(name), "{:?}", String::from_utf8_lossy(name));
    }

    #[test]
    fn every_byte_at_every_place_is_judged_as_the_reference_does() {
        let mut allowed = 0;
        for byte in 0..=u8::MAX {
            for place in 0..6 {
                let mut name = *b"ab.cde";
                name[place] = byte;
                agrees(&name);
            }
            agrees(&[byte]);
            agrees(&[byte, byte]);
            allowed += usize::from(Hostname::parse(&[b'a', byte, b'a']).is_ok());
        }
        assert_eq!(allowed, 26 + 26 + 10 + 3);
    }

    #[test]
    fn every_length_of_labels_and_names_is_judged_as_the_reference_does() {
        for len in 0..=MAX_NAME + 3 {
            for label in [1, 2, MAX_LABEL, MAX_LABEL + 1, MAX_NAME + 3] {
                let name: Vec<u8> = (1..=len).map(|n| if n % (label + 1) == 0 { b'.' } else { b'A' }).collect();
                agrees(&name);
                agrees(&[name.as_slice(), b"!"].concat());
                agrees(&[name.as_slice(), b":443"].concat());
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn the_parser_agrees_with_the_reference(
            names in proptest::collection::vec("[a-fA-FxX0-9._:%-]{0,12}|[a-z.]{0,70}|\\PC{0,6}", 0..6),
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
        ) {
            agrees(names.concat().as_bytes());
            agrees(names.join(".").as_bytes());
            agrees(&bytes);
        }
    }
}
