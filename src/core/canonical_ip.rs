//! An IP address in its one normal form: an IPv4-mapped IPv6 address (`::ffff:10.0.0.1`) is the IPv4 address.
//!
//! A dual-stack socket reports IPv4 peers as IPv4-mapped IPv6, while operators write networks and rules in IPv4. Only a
//! [`CanonicalIp`] is compared with them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// An IP address that is never IPv4-mapped IPv6.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CanonicalIp(IpAddr);

impl CanonicalIp {
    pub fn new(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }

    pub fn get(self) -> IpAddr {
        self.0
    }

    pub fn with_port(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.0, port)
    }
}

impl fmt::Display for CanonicalIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for CanonicalIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mapped_addresses_become_ipv4() {
        for (written, canonical) in [
            ("10.0.0.1", "10.0.0.1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("::ffff:a00:1", "10.0.0.1"),
            ("::10.0.0.1", "::10.0.0.1"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            let ip = CanonicalIp::new(written.parse().unwrap());
            assert_eq!(ip.get(), canonical.parse::<IpAddr>().unwrap(), "{written}");
            assert_eq!(ip.with_port(443).ip(), ip.get(), "{written}");
        }
    }
}
