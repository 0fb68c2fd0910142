//! The client of a connection, and the key by which limits count it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZero;

use crate::canonical_ip::CanonicalIp;

/// The client of one connection: the source in the PROXY header, or the TCP peer where there is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    pub ip: CanonicalIp,
    pub port: u16,
    /// The VPC endpoint that the client came through (PrivateLink).
    pub endpoint: Option<EndpointId>,
}

impl Client {
    pub fn new(address: SocketAddr, endpoint: Option<EndpointId>) -> Self {
        Self { ip: CanonicalIp::new(address.ip()), port: address.port(), endpoint }
    }
}

/// A VPC endpoint id (`vpce-0123456789abcdef0`): 1 to 32 letters, digits and `-`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EndpointId {
    bytes: [u8; Self::MAX],
    /// Never zero, so that an Option needs no more room.
    len: NonZero<u8>,
}

impl EndpointId {
    /// AWS ids are `vpce-` and 17 hexadecimal digits; room is left for longer ones.
    const MAX: usize = 32;

    pub fn parse(id: &[u8]) -> Option<Self> {
        let len = NonZero::new(u8::try_from(id.len()).ok()?)?;
        let mut bytes = [0; Self::MAX];
        bytes.get_mut(..id.len())?.copy_from_slice(id);
        // All of them, and none is left out early: the compiler checks sixteen at once.
        let valid: u8 = bytes.iter().map(|b| u8::from(b.is_ascii_alphanumeric() | (*b == b'-'))).sum();
        (valid == len.get()).then_some(Self { bytes, len })
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Letters, digits and `-`.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len.get())).unwrap_or_default()
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a limit counts as one client: an IPv4 address or an IPv6 /64, together with the VPC endpoint. Behind different
/// endpoints the same address belongs to different clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientKey {
    endpoint: Option<EndpointId>,
    ip: IpAddr,
}

impl From<&Client> for ClientKey {
    fn from(client: &Client) -> Self {
        let ip = match client.ip.get() {
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
            v4 @ IpAddr::V4(_) => v4,
        };
        Self { endpoint: client.endpoint, ip }
    }
}
