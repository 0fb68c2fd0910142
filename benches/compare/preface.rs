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

const PROXY_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const TLV_CRC32C: u8 = 0x03;
const TLV_NOOP: u8 = 0x04;
const TLV_AWS: u8 = 0xEA;
const AWS_VPC_ENDPOINT: u8 = 0x01;
const ENDPOINT: &[u8] = b"vpce-0a1b2c3d4e5f60718";

/// A name of the benchmark's zone that the DNS server knows.
pub fn known_name(number: usize) -> String {
    format!("n{:05}{}", number % 100_000, &CAPTURED_NAME[6..])
}

/// A name of the same length for which the DNS server answers NXDOMAIN.
pub fn unknown_name(number: usize) -> String {
    format!("x{:05}{}", number % 100_000, &CAPTURED_NAME[6..])
}

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

/// The header as the load balancer writes it: CRC32C, the VPC endpoint, padding. 104 bytes.
pub fn proxy_header(client: Ipv4Addr, port: u16, target_port: u16) -> Vec<u8> {
    const PADDING: usize = 42;
    let mut body = Vec::with_capacity(100);
    body.extend_from_slice(&client.octets());
    body.extend_from_slice(&Ipv4Addr::new(10, 0, 0, 10).octets());
    body.extend_from_slice(&port.to_be_bytes());
    body.extend_from_slice(&target_port.to_be_bytes());
    body.extend_from_slice(&[TLV_CRC32C, 0, 4]);
    let checksum_at = PROXY_SIGNATURE.len() + 4 + body.len();
    body.extend_from_slice(&[0; 4]);
    body.extend_from_slice(&[TLV_AWS, 0, ENDPOINT.len() as u8 + 1, AWS_VPC_ENDPOINT]);
    body.extend_from_slice(ENDPOINT);
    body.extend_from_slice(&[TLV_NOOP, 0, PADDING as u8]);
    body.extend_from_slice(&[0; PADDING]);

    let mut header = PROXY_SIGNATURE.to_vec();
    header.extend_from_slice(&[0x21, 0x11]);
    header.extend_from_slice(&(body.len() as u16).to_be_bytes());
    header.extend_from_slice(&body);
    let checksum = crc32c::crc32c(&header);
    header[checksum_at..checksum_at + 4].copy_from_slice(&checksum.to_be_bytes());
    header
}
