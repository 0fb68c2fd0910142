//! Who is at the other end, as the PROXY header tells it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The client of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Who opened the TCP connection to us: a load balancer's node, or the client where no header is used.
    pub peer: SocketAddr,
    /// The client's own address, as the header tells it; IPv4-mapped IPv6 is kept as IPv4.
    pub addr: SocketAddr,
    /// The VPC endpoint that the client came through (PrivateLink).
    pub endpoint: Option<EndpointId>,
}

/// A VPC endpoint id (`vpce-0123456789abcdef0`): 1 to 32 letters, digits and `-`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EndpointId {
    bytes: [u8; Self::MAX],
    len: u8,
}

impl EndpointId {
    /// AWS ids are `vpce-` and 17 hexadecimal digits; room is left for longer ones.
    const MAX: usize = 32;

    pub fn parse(id: &[u8]) -> Option<Self> {
        let valid = !id.is_empty() && id.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-');
        let mut bytes = [0; Self::MAX];
        bytes.get_mut(..id.len()).filter(|_| valid)?.copy_from_slice(id);
        Some(Self { bytes, len: u8::try_from(id.len()).ok()? })
    }

    pub fn as_str(&self) -> &str {
        let used = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        std::str::from_utf8(used).unwrap_or_default()
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

/// Whom a limit counts: behind one VPC endpoint an address is the consumer's own, so both together tell clients
/// apart; an IPv6 client owns its /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientKey {
    endpoint: Option<EndpointId>,
    ip: IpAddr,
}

impl From<&Client> for ClientKey {
    fn from(client: &Client) -> Self {
        let ip = match client.addr.ip().to_canonical() {
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
            v4 @ IpAddr::V4(_) => v4,
        };
        Self { endpoint: client.endpoint, ip }
    }
}
