//! The PROXY v2 header: read a second time here, byte by byte, and compared.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use latticegate_core::protocol::Verdict;
use latticegate_core::protocol::first_bytes::split_header;
use latticegate_core::protocol::proxy_header::{Header, MAX_HEADER, parse};

use crate::verdict::stable;

pub fn check(bytes: &[u8]) -> Verdict<Header> {
    let verdict = judge(bytes);
    crate::first_bytes::check(bytes, None);
    // libFuzzer cannot guess a checksum: the same header with the right one.
    if let Some(sealed) = with_true_checksum(bytes) {
        judge(&sealed);
    }
    verdict
}

fn judge(bytes: &[u8]) -> Verdict<Header> {
    let verdict = stable(bytes, MAX_HEADER, parse);
    if let Verdict::Found { value, len } = &verdict {
        assert!(bytes.starts_with(b"\r\n\r\n\0\r\nQUIT\n"));
        assert_eq!(*len, 16 + usize::from(u16::from_be_bytes([bytes[14], bytes[15]])));
        assert_eq!(split_header(bytes).0.len(), *len);
        let command = bytes[12];
        match value {
            Header::Local => assert_eq!(command, 0x20),
            Header::Proxy(client) => {
                assert_eq!(command, 0x21);
                assert_eq!((client.ip.get(), client.port), source(bytes));
                let sum = checksum_at(&bytes[..*len]);
                assert!(sum.is_none_or(|at| bytes[at..at + 4] == crc32c(&bytes[..*len], at).to_be_bytes()));
                if let Some(id) = client.endpoint {
                    let id = id.as_str().as_bytes();
                    assert!(!id.is_empty() && bytes[..*len].windows(id.len()).any(|window| window == id));
                }
            }
        }
    }
    verdict
}

fn source(bytes: &[u8]) -> (IpAddr, u16) {
    let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let four = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&bytes[at..at + 4]).unwrap());
    let six = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[at..at + 16]).unwrap()).to_canonical();
    match bytes[13] {
        0x11 => (four(16).into(), port(24)),
        0x21 => (six(16), port(48)),
        family => panic!("family {family:#x} was believed"),
    }
}

/// Where the value of the first CRC32C TLV is, in a header whose TLVs are well formed that far.
fn checksum_at(header: &[u8]) -> Option<usize> {
    let mut at = if *header.get(13)? == 0x11 { 28 } else { 52 };
    loop {
        let len = usize::from(u16::from_be_bytes([*header.get(at + 1)?, *header.get(at + 2)?]));
        if header[at] == 0x03 && len == 4 {
            return (at + 7 <= header.len()).then_some(at + 3);
        }
        at += 3 + len;
    }
}

fn with_true_checksum(bytes: &[u8]) -> Option<Vec<u8>> {
    let len = 16 + usize::from(u16::from_be_bytes([*bytes.get(14)?, *bytes.get(15)?]));
    let mut sealed = bytes.to_vec();
    let at = checksum_at(bytes.get(..len)?)?;
    let sum = crc32c(&bytes[..len], at);
    sealed[at..at + 4].copy_from_slice(&sum.to_be_bytes());
    Some(sealed)
}

/// CRC-32C bit by bit, the four bytes at `hole` taken as zero.
fn crc32c(bytes: &[u8], hole: usize) -> u32 {
    !bytes.iter().enumerate().fold(!0, |crc, (at, &byte)| {
        let byte = if (hole..hole + 4).contains(&at) { 0 } else { byte };
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1)))
    })
}
