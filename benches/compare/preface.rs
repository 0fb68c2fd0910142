//! What a client sends before its first command: the PROXY v2 header that a Network Load Balancer puts in front, then a
//! captured ClientHello. The hellos are real (curl 7.88 with OpenSSL 3.0: 517 bytes; Chromium 156 with X25519MLKEM768:
//! 2 033 bytes, the server name after the key shares); only the digits of their server name are changed.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};

/// The name inside the captured hellos. Its digits are replaced; its length never changes.
pub const CAPTURED_NAME: &str = "n00000.orders.lattice.example";

const CURL: &[u8] = include_bytes!("../fixtures/hello-curl-7.88.bin");
const CHROMIUM: &[u8] = include_bytes!("../fixtures/hello-chromium-156.bin");

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

/// A captured ClientHello whose server name can be exchanged.
#[derive(Clone)]
pub struct Hello {
    bytes: &'static [u8],
    name_at: usize,
}

impl Hello {
    pub fn classic() -> Result<Self> {
        Self::captured(CURL)
    }

    pub fn post_quantum() -> Result<Self> {
        Self::captured(CHROMIUM)
    }

    fn captured(bytes: &'static [u8]) -> Result<Self> {
        let name_at = bytes
            .windows(CAPTURED_NAME.len())
            .position(|window| window == CAPTURED_NAME.as_bytes())
            .context("the fixture does not hold the expected server name")?;
        Ok(Self { bytes, name_at })
    }

    pub fn with_name(&self, name: &str) -> Vec<u8> {
        assert_eq!(name.len(), CAPTURED_NAME.len(), "a name of another length would break the hello");
        let mut hello = self.bytes.to_vec();
        hello[self.name_at..self.name_at + name.len()].copy_from_slice(name.as_bytes());
        hello
    }
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
