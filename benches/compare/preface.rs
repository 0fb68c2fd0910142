//! What a client sends before its first command: the PROXY v2 header that a Network Load Balancer puts in front, then a
//! captured ClientHello. The hellos are real (curl 7.88 with OpenSSL 3.0: 517 bytes; Chromium 156 with X25519MLKEM768:
//! 2 033 bytes, the server name after the key shares); only the digits of their server name are changed.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};

/// The name inside the captured hellos. Its digits are replaced; its length never changes.
pub const CAPTURED_NAME: &str = "n00000.orders.lattice.example";

const CURL: &[u8] = include_bytes!("../fixtures/hello-curl-7.88.bin");
const CHROMIUM: &[u8] = include_bytes!("../fixtures/hello-chromium-156.bin");

const RECORD_HEADER: usize = 5;
const HANDSHAKE_HEADER: usize = 4;
const EXTENSION_HEADER: usize = 4;
/// The type of a record.
pub const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const PADDING: u8 = 21;
/// Server name, groups, signature algorithms, versions, key share.
const NEEDED: [u8; 5] = [0, 10, 13, 43, 51];

/// A client that the access list of every peer lets in.
pub const ALLOWED_CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 3);
/// A client that it does not.
pub const REFUSED_CLIENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

/// 106 bytes, as a Network Load Balancer writes it: addresses, CRC32C, the VPC endpoint (0xEA), padding.
const PROXY_HEADER: &[u8] = include_bytes!("../fixtures/proxy-header.bin");
const CLIENT_AT: usize = 16;
const PORTS_AT: usize = 24;
const CHECKSUM_AT: usize = 31;

/// A name of the benchmark's zone that the DNS server knows.
pub fn known_name(number: usize) -> String {
    format!("n{:05}{}", number % 100_000, &CAPTURED_NAME[6..])
}

/// A name of the same length for which the DNS server answers NXDOMAIN.
pub fn unknown_name(number: usize) -> String {
    format!("x{:05}{}", number % 100_000, &CAPTURED_NAME[6..])
}

/// A name that no access list for explicit proxies has.
pub const DENIED_NAME: &str = "n00000.denied.example";

/// Which ClientHello is sent.
#[derive(Clone, Copy)]
pub enum Shape {
    /// curl's.
    Classic,
    /// Chromium's.
    PostQuantum,
    /// So many bytes with their record headers, in one record or in records of so many bytes of the hello.
    Sized { bytes: usize, record: Option<usize> },
}

/// A ClientHello whose server name can be exchanged.
#[derive(Clone)]
pub struct Hello {
    /// In one record.
    bytes: Cow<'static, [u8]>,
    name_at: usize,
    /// Cut into records of so many bytes when it is sent.
    record: Option<usize>,
}

impl Hello {
    pub fn of(shape: Shape) -> Result<Self> {
        match shape {
            Shape::Classic => Self::captured(CURL),
            Shape::PostQuantum => Self::captured(CHROMIUM),
            Shape::Sized { bytes, record } => sized(bytes, record),
        }
    }

    fn captured(bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self> {
        let bytes = bytes.into();
        let name_at = bytes
            .windows(CAPTURED_NAME.len())
            .position(|window| window == CAPTURED_NAME.as_bytes())
            .context("the fixture does not hold the expected server name")?;
        Ok(Self { bytes, name_at, record: None })
    }

    pub fn with_name(&self, name: &str) -> Vec<u8> {
        assert_eq!(name.len(), CAPTURED_NAME.len(), "a name of another length would break the hello");
        let mut hello = self.bytes.to_vec();
        hello[self.name_at..self.name_at + name.len()].copy_from_slice(name.as_bytes());
        match self.record {
            None => hello,
            Some(length) => hello[RECORD_HEADER..].chunks(length).flat_map(record).collect(),
        }
    }
}

/// curl's hello without what a client of TLS 1.3 can do without, 221 bytes, filled up by the padding extension (RFC 7685). That is in
/// front of the server name, so that a proxy has to read all of it.
fn sized(bytes: usize, cut: Option<usize>) -> Result<Hello> {
    let records = cut.map_or(1, |length| bytes.div_ceil(length + RECORD_HEADER));
    let body = smallest_body(&[])?.len() + HANDSHAKE_HEADER + EXTENSION_HEADER;
    let padding = bytes.checked_sub(records * RECORD_HEADER + body).context("no hello is that small")?;
    let body = smallest_body(&vec![0; padding])?;
    let length = (body.len() as u32).to_be_bytes();
    let handshake = [&[CLIENT_HELLO], &length[1..], &body].concat();
    let hello = Hello { record: cut, ..Hello::captured(record(&handshake))? };
    let sent = hello.with_name(CAPTURED_NAME).len();
    ensure!(sent == bytes, "a hello of {bytes} bytes in {records} records has {sent}");
    Ok(hello)
}

/// The body of that hello: no session id, three cipher suites, and of the extensions those that are needed, behind the padding if
/// there is any.
fn smallest_body(padding: &[u8]) -> Result<Vec<u8>> {
    let version_and_random = &CURL[RECORD_HEADER + HANDSHAKE_HEADER..][..34];
    let after_session = &CURL[44 + usize::from(CURL[43])..];
    let suites = &after_session[2..][..6];
    let after_suites = &after_session[2 + u16_of(after_session)..];
    let mut extensions = &after_suites[1 + usize::from(after_suites[0])..];
    extensions = &extensions[2..];
    let mut kept = match padding {
        [] => Vec::new(),
        zeroes => [&[0, PADDING], &(zeroes.len() as u16).to_be_bytes()[..], zeroes].concat(),
    };
    while !extensions.is_empty() {
        let (extension, rest) = extensions.split_at(EXTENSION_HEADER + u16_of(&extensions[2..]));
        if NEEDED.contains(&extension[1]) && extension[0] == 0 {
            kept.extend_from_slice(extension);
        }
        extensions = rest;
    }
    let length = u16::try_from(kept.len()).context("extensions of more than 64 KiB")?.to_be_bytes();
    Ok([version_and_random, &[0, 0, 6], suites, &[1, 0], &length, &kept].concat())
}

fn record(part: &[u8]) -> Vec<u8> {
    [&[HANDSHAKE, 3, 1], &(part.len() as u16).to_be_bytes()[..], part].concat()
}

fn u16_of(bytes: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// The header with another client and other ports, its checksum made anew.
pub fn proxy_header(client: Ipv4Addr, port: u16, target_port: u16) -> Vec<u8> {
    let mut header = PROXY_HEADER.to_vec();
    header[CLIENT_AT..][..4].copy_from_slice(&client.octets());
    header[PORTS_AT..][..2].copy_from_slice(&port.to_be_bytes());
    header[PORTS_AT + 2..][..2].copy_from_slice(&target_port.to_be_bytes());
    header[CHECKSUM_AT..][..4].fill(0);
    let checksum = crc32c::crc32c(&header);
    header[CHECKSUM_AT..][..4].copy_from_slice(&checksum.to_be_bytes());
    header
}
