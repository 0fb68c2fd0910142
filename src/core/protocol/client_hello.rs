//! The server name of a TLS ClientHello, however the hello is cut into records.
//!
//! Records are read here, because `tls-parser` neither joins a hello from several records within our bounds nor refuses
//! it at the first wrong byte; the extensions of the joined hello are then read by `tls-parser`. Only server_name decides;
//! the other fields are cheap facts for the log. Nothing is decrypted or changed. [`HelloParser`] remembers which records it
//! has read, so that a hello costs the same however it was cut into records and reads.

use std::borrow::Cow;
use std::fmt;

use tls_parser::{SNIType, TlsExtension, parse_tls_extension_sni_hostname, parse_tls_extension_unknown};

use crate::hostname::{Hostname, NameError};
use crate::outcome::RefuseReason::{
    self, HelloMalformed, HelloTooLong, NotTls, PlainHttp, SniAmbiguous, SniInvalid, SniIpAddress, SniMissing, Sslv2,
};
use crate::protocol::{ParseError, Verdict, byte_at, u16_at};

/// Longest hello, its 4-byte handshake header included. The largest seen from real clients are 2 KB
/// (post-quantum key share); session tickets add some. 16 KiB is also the longest record.
pub const MAX_HELLO: usize = 16 * 1024;
/// Bytes that the longest hello may take with its record headers: each of its bytes may be in a record of its own, since
/// only empty records are forbidden (RFC 8446 §5.1). The read-ahead buffer must hold this much.
pub const MAX_BYTES: usize = MAX_HELLO * (RECORD_HEADER + 1);

/// The facts that are read from a ClientHello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    pub name: Hostname,
    /// Length of the hello in bytes, without record headers.
    pub size: u16,
    /// Number of records that carried the hello.
    pub records: u16,
    /// The first protocol of the ALPN list that is not GREASE.
    pub alpn: Option<Alpn>,
    /// There is an encrypted_client_hello extension. Browsers also send it as GREASE.
    pub ech: bool,
    /// The group of the first key share that is not GREASE, which the client prefers.
    pub key_share: Option<Group>,
}

/// The application protocols that the log distinguishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    H2,
    Http11,
    Http10,
    Other,
}

impl Alpn {
    pub fn word(self) -> &'static str {
        match self {
            Self::H2 => "h2",
            Self::Http11 => "http/1.1",
            Self::Http10 => "http/1.0",
            Self::Other => "other",
        }
    }
}

/// A named group of the IANA registry "TLS Supported Groups".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group(pub u16);

impl Group {
    /// Its name, if it is one of those in use.
    pub fn word(self) -> Option<&'static str> {
        Some(match self.0 {
            0x0017 => "secp256r1",
            0x0018 => "secp384r1",
            0x0019 => "secp521r1",
            0x001d => "x25519",
            0x001e => "x448",
            0x0200 => "mlkem512",
            0x0201 => "mlkem768",
            0x0202 => "mlkem1024",
            0x11eb => "secp256r1mlkem768",
            0x11ec => "x25519mlkem768",
            0x11ed => "secp384r1mlkem1024",
            0x6399 => "x25519kyber768draft00",
            _ => return None,
        })
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.word() {
            Some(word) => f.write_str(word),
            None => write!(f, "0x{:04x}", self.0),
        }
    }
}

/// Parses all bytes received so far. `len` is the end of the hello's last record. A record that carries more than the
/// end of the hello is refused; further records (early data) are not read.
pub fn parse(bytes: &[u8]) -> Verdict<Hello> {
    HelloParser::default().parse(bytes)
}

/// [`parse`] for bytes that arrive in several reads. It keeps its progress but no bytes: the caller passes all of them
/// each time, from the first on, and only those of the current record are read.
#[derive(Debug, Clone, Default)]
pub struct HelloParser {
    /// Where the current record starts.
    at: usize,
    /// The records before it, and how many bytes of the hello they carried.
    records: u16,
    joined: usize,
    start: Start,
}

/// The names of a hello that was refused because of them, as the client sent them: at most two, for the log. The hello is
/// parsed a second time here, so that allowed ones cost nothing.
#[cold]
pub fn refused_names(reason: RefuseReason, bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    if !matches!(reason, SniInvalid | SniIpAddress | SniAmbiguous) {
        return names;
    }
    let Ok(joined) = HelloParser::default().join_records(bytes) else { return names };
    let mut list = extensions(joined.message.get(HANDSHAKE_HEADER..).unwrap_or_default()).unwrap_or_default();
    while let Some((kind, data, rest)) = next_extension(list) {
        list = rest;
        let (mut entries, _) = vec16(data).filter(|_| kind == EXT_SERVER_NAME).unwrap_or_default();
        while let Ok((more, (_, name))) = parse_tls_extension_sni_hostname(entries) {
            entries = more;
            names.push(name.to_vec());
        }
    }
    names.truncate(2);
    names
}

/// Whether these bytes are one whole ClientHello, after which its client sends nothing until it is answered: nothing is
/// behind it, and it announces no early data (RFC 8446 §4.2.10).
#[cold]
pub fn awaits_answer(bytes: &[u8]) -> bool {
    let Ok(joined) = HelloParser::default().join_records(bytes) else { return false };
    let Ok(mut list) = extensions(joined.message.get(HANDSHAKE_HEADER..).unwrap_or_default()) else { return false };
    while let Some((kind, _, rest)) = next_extension(list) {
        if kind == EXT_EARLY_DATA {
            return false;
        }
        list = rest;
    }
    list.is_empty() && joined.len == bytes.len()
}

const RECORD_HEADER: usize = 5;
const HANDSHAKE_HEADER: usize = 4;
/// Longest fragment of a plaintext record (RFC 8446 §5.1).
const MAX_FRAGMENT: usize = 1 << 14;
const CONTENT_HANDSHAKE: u8 = 22;
const TLS_MAJOR: u8 = 3;
const CLIENT_HELLO: u8 = 1;
/// Longest session id (RFC 8446 §4.1.2).
const MAX_SESSION_ID: usize = 32;

const EXT_SERVER_NAME: u16 = 0;
const EXT_ALPN: u16 = 16;
const EXT_EARLY_DATA: u16 = 42;
const EXT_KEY_SHARE: u16 = 51;
const EXT_ECH: u16 = 0xfe0d;

impl HelloParser {
    /// Parses all bytes received so far, which must begin with those of the previous call.
    pub fn parse(&mut self, bytes: &[u8]) -> Verdict<Hello> {
        self.hello(bytes).into()
    }

    fn hello(&mut self, bytes: &[u8]) -> Result<(Hello, usize), ParseError> {
        if byte_at(bytes, 0)? != CONTENT_HANDSHAKE {
            return Err(not_tls(bytes));
        }
        let joined = self.join_records(bytes)?;
        let body = joined.message.get(HANDSHAKE_HEADER..).unwrap_or_default();
        let extensions = Extensions::read(extensions(body)?)?;
        let hello = Hello {
            name: hostname(extensions.server_name.ok_or(SniMissing)?)?,
            size: u16::try_from(joined.message.len()).map_err(|_| HelloTooLong)?,
            records: joined.records,
            alpn: extensions.alpn,
            ech: extensions.ech,
            key_share: extensions.key_share,
        };
        Ok((hello, joined.len))
    }

    /// Every check is made where the byte that decides it is read, so the verdict does not depend on how the bytes were
    /// split. Nothing is copied before the last byte of the hello has been received. The last record does not count as
    /// read, so that another call returns the same.
    fn join_records<'a>(&mut self, bytes: &'a [u8]) -> Result<Joined<'a>, ParseError> {
        loop {
            let len = record_header(bytes, self.at)?;
            let body = self.at + RECORD_HEADER;
            let end = body + len;
            let mut start = self.start;
            let total = start.read(bytes.get(body..).unwrap_or_default().iter().take(len))?;
            let joined = self.joined + len;
            if total.is_some_and(|total| joined > total) {
                return Err(HelloMalformed.into());
            }
            let fragment = bytes.get(body..end).ok_or(ParseError::NeedMore)?;
            let records = self.records.checked_add(1).ok_or(HelloTooLong)?;
            if total == Some(joined) {
                let message = if records == 1 { Cow::Borrowed(fragment) } else { Cow::Owned(join(bytes, joined)) };
                return Ok(Joined { message, records, len: end });
            }
            *self = Self { at: end, records, joined, start };
        }
    }
}

/// The hello with its handshake header; a copy only if it was in several records.
struct Joined<'a> {
    message: Cow<'a, [u8]>,
    records: u16,
    /// Bytes from the start of the first record to the end of the last.
    len: usize,
}

/// The header of the handshake message, which may be spread over records.
#[derive(Debug, Clone, Copy, Default)]
struct Start {
    bytes: [u8; HANDSHAKE_HEADER],
    read: usize,
}

impl Start {
    /// Reads the bytes that are still missing; returns the length of the whole message once it is known.
    fn read<'a>(&mut self, fragment: impl Iterator<Item = &'a u8>) -> Result<Option<usize>, ParseError> {
        for (slot, &byte) in self.bytes.iter_mut().skip(self.read).zip(fragment) {
            *slot = byte;
            self.read += 1;
        }
        let [kind, a, b, c] = self.bytes;
        if self.read > 0 && kind != CLIENT_HELLO {
            return Err(HelloMalformed.into());
        }
        if self.read < HANDSHAKE_HEADER {
            return Ok(None);
        }
        let body = usize::try_from(u32::from_be_bytes([0, a, b, c])).map_err(|_| HelloTooLong)?;
        if HANDSHAKE_HEADER + body > MAX_HELLO {
            return Err(HelloTooLong.into());
        }
        Ok(Some(HANDSHAKE_HEADER + body))
    }
}

/// The length of the record at `at`. Its version is to be ignored (RFC 8446 §5.1), but in the first record one that is not
/// 3.x means that this is not TLS.
fn record_header(bytes: &[u8], at: usize) -> Result<usize, ParseError> {
    let wrong = if at == 0 { NotTls } else { HelloMalformed };
    if byte_at(bytes, at)? != CONTENT_HANDSHAKE || byte_at(bytes, at + 1)? != TLS_MAJOR {
        return Err(wrong.into());
    }
    // Empty handshake records are forbidden (RFC 8446 §5.1) and would cost us work without an end.
    match u16_at(bytes, at + 3)? {
        len @ 1..=MAX_FRAGMENT => Ok(len),
        _ => Err(HelloMalformed.into()),
    }
}

/// Joins the fragments of records that have all been received.
fn join(bytes: &[u8], total: usize) -> Vec<u8> {
    let mut message = Vec::with_capacity(total);
    let mut at = 0;
    while message.len() < total {
        let Ok(len) = u16_at(bytes, at + 3) else { break };
        let body = at + RECORD_HEADER;
        at = body + len;
        message.extend_from_slice(bytes.get(body..at).unwrap_or_default());
    }
    message
}

/// The bytes of the extension list. A hello without one is valid (SSL 3.0, TLS 1.0), one with a wrong length is not. What
/// stands before it (RFC 8446 §4.1.2) is stepped over: `tls-parser` would collect suites and compression methods, of which
/// nothing is used. A test holds the two against each other.
fn extensions(body: &[u8]) -> Result<&[u8], ParseError> {
    extension_list(body).ok_or(HelloMalformed.into())
}

fn extension_list(body: &[u8]) -> Option<&[u8]> {
    const VERSION_AND_RANDOM: usize = 2 + 32;
    let (_, rest) = body.split_at_checked(VERSION_AND_RANDOM)?;
    let (session_id, rest) = vec8(rest)?;
    let (suites, rest) = vec16(rest)?;
    let (compression, rest) = vec8(rest)?;
    if session_id.len() > MAX_SESSION_ID || suites.is_empty() || suites.len() % 2 != 0 || compression.is_empty() {
        return None;
    }
    if rest.is_empty() {
        return Some(rest);
    }
    vec16(rest).filter(|(_, after)| after.is_empty()).map(|(list, _)| list)
}

/// The first extension of a list that is not empty: its type, its contents and the rest of the list. By the function of
/// `tls-parser` that does not parse contents: the one for whole lists stops silently at the first that it cannot parse. The
/// only call of it, so that it is compiled into this function, without the enum that it returns.
#[inline(never)]
fn next_extension(list: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    match parse_tls_extension_unknown(list) {
        Ok((rest, TlsExtension::Unknown(kind, data))) => Some((kind.0, data, rest)),
        _ => None,
    }
}

#[derive(Default)]
struct Extensions<'a> {
    server_name: Option<&'a [u8]>,
    alpn: Option<Alpn>,
    ech: bool,
    key_share: Option<Group>,
}

impl<'a> Extensions<'a> {
    /// Reads the list in one pass.
    fn read(mut list: &'a [u8]) -> Result<Self, ParseError> {
        let mut read = Self::default();
        while !list.is_empty() {
            let (kind, data, rest) = next_extension(list).ok_or(HelloMalformed)?;
            list = rest;
            match kind {
                EXT_SERVER_NAME if read.server_name.is_some() => return Err(SniAmbiguous.into()),
                EXT_SERVER_NAME => read.server_name = Some(host_name(data)?),
                EXT_ALPN => read.alpn = read.alpn.or_else(|| first_alpn(data)),
                EXT_KEY_SHARE => read.key_share = read.key_share.or_else(|| first_key_share(data)),
                EXT_ECH => read.ech = true,
                _ => {}
            }
        }
        Ok(read)
    }
}

/// The one name of a server_name extension (RFC 6066 §3): a list of (type, name), of which only the type
/// host_name was ever defined. Nothing may follow it: a more lenient parser behind us could find another name there.
fn host_name(data: &[u8]) -> Result<&[u8], ParseError> {
    let (list, after) = vec16(data).ok_or(if data.is_empty() { SniInvalid } else { HelloMalformed })?;
    if !after.is_empty() {
        return Err(HelloMalformed.into());
    }
    if list.is_empty() {
        return Err(SniInvalid.into());
    }
    match parse_tls_extension_sni_hostname(list) {
        Ok(([], (SNIType::HostName, name))) => Ok(name),
        Ok(([], _)) => Err(SniInvalid.into()),
        Ok((more, _)) if parse_tls_extension_sni_hostname(more).is_ok() => Err(SniAmbiguous.into()),
        _ => Err(HelloMalformed.into()),
    }
}

fn hostname(name: &[u8]) -> Result<Hostname, ParseError> {
    Hostname::parse(name).map_err(|error| match error {
        NameError::IpAddress => SniIpAddress.into(),
        NameError::Empty | NameError::TooLong | NameError::BadLabel | NameError::BadCharacter | NameError::Port => {
            SniInvalid.into()
        }
    })
}

/// For the log only: an invalid list gives nothing here and is left to Lattice.
fn first_alpn(data: &[u8]) -> Option<Alpn> {
    let (mut list, _) = vec16(data)?;
    loop {
        let (&len, rest) = list.split_first()?;
        let (protocol, rest) = rest.split_at_checked(usize::from(len))?;
        list = rest;
        match protocol {
            b"h2" => return Some(Alpn::H2),
            b"http/1.1" => return Some(Alpn::Http11),
            b"http/1.0" => return Some(Alpn::Http10),
            &[high, low] if is_grease(u16::from_be_bytes([high, low])) => {}
            _ => return Some(Alpn::Other),
        }
    }
}

/// For the log only, like [`first_alpn`].
fn first_key_share(data: &[u8]) -> Option<Group> {
    let (mut list, _) = vec16(data)?;
    loop {
        let (group, rest) = list.split_first_chunk()?;
        let group = u16::from_be_bytes(*group);
        (_, list) = vec16(rest)?;
        if !is_grease(group) {
            return Some(Group(group));
        }
    }
}

/// The reserved values 0x0a0a, 0x1a1a … 0xfafa (RFC 8701).
fn is_grease(value: u16) -> bool {
    let [high, low] = value.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

/// A vector with an 8-bit length prefix, and what follows it.
fn vec8(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*len))
}

/// A vector with a 16-bit length prefix, and what follows it.
fn vec16(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}

/// What the client speaks if not TLS. There are several reasons because there are several remedies.
fn not_tls(bytes: &[u8]) -> ParseError {
    http_request(bytes).or_else(|| sslv2_hello(bytes)).unwrap_or(NotTls.into())
}

/// `None`: this cannot be an HTTP request.
fn http_request(bytes: &[u8]) -> Option<ParseError> {
    const METHODS: [&[u8]; 10] =
        [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"CONNECT ", b"OPTIONS ", b"TRACE ", b"PATCH ", b"PRI "];
    let method = METHODS.iter().find(|method| method.iter().zip(bytes).all(|(wanted, byte)| wanted == byte))?;
    Some(if bytes.len() < method.len() { ParseError::NeedMore } else { PlainHttp.into() })
}

/// An SSLv2 hello, also as used by old clients to offer SSL 3.0 or TLS 1.0: a two-byte length with the high bit set,
/// message type 1, version 0.2 or 3.x. `None`: this cannot be one.
fn sslv2_hello(bytes: &[u8]) -> Option<ParseError> {
    const LIKELY: [fn(u8) -> bool; 5] = [
        |length| length & 0x80 != 0,
        |_| true,
        |kind| kind == CLIENT_HELLO,
        |major| major == 0 || major == 3,
        |minor| minor <= 4,
    ];
    if !LIKELY.iter().zip(bytes).all(|(fits, &byte)| fits(byte)) {
        return None;
    }
    Some(if bytes.len() < LIKELY.len() { ParseError::NeedMore } else { Sslv2.into() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tls_parser::parse_tls_handshake_client_hello;

    use super::*;

    /// As `tls-parser` reads the fields, which takes an extension list that is too long as none and leaves it over.
    fn reference(body: &[u8]) -> Option<&[u8]> {
        match parse_tls_handshake_client_hello(body) {
            Ok(([], hello)) if !hello.ciphers.is_empty() && !hello.comp.is_empty() => {
                Some(hello.ext.unwrap_or_default())
            }
            _ => None,
        }
    }

    /// A vector whose length may be wrong by a little.
    fn vector(width: usize, content: Vec<u8>, wrong: i64) -> Vec<u8> {
        let len = (i64::try_from(content.len()).unwrap() + wrong).to_be_bytes();
        [&len[8 - width..], &content].concat()
    }

    proptest! {
        #[test]
        fn the_fields_before_the_extensions_are_stepped_over_as_tls_parser_reads_them(
            session_id in proptest::collection::vec(any::<u8>(), 0..36),
            suites in proptest::collection::vec(any::<u8>(), 0..9),
            compression in proptest::collection::vec(any::<u8>(), 0..3),
            list in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)),
            wrong in proptest::sample::select(vec![[0; 4], [1, 0, 0, 0], [0, -1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, -1]]),
            cut in proptest::option::of(any::<proptest::sample::Index>()),
        ) {
            let [a, b, c, d] = wrong;
            let list = list.map(|list| vector(2, list, d)).unwrap_or_default();
            let fields = [vector(1, session_id, a), vector(2, suites, b), vector(1, compression, c), list].concat();
            let mut body = [&[3; 34][..], &fields].concat();
            if let Some(cut) = cut {
                body.truncate(cut.index(body.len() + 1));
            }
            prop_assert_eq!(extension_list(&body), reference(&body));
        }
    }
}
