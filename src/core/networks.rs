//! A set of CIDR networks.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use crate::canonical_ip::CanonicalIp;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    pub fn contains(&self, ip: CanonicalIp) -> bool {
        self.0.iter().any(|network| network.contains(&ip.get()))
    }

    pub fn iter(&self) -> impl Iterator<Item = &IpNet> {
        self.0.iter()
    }
}

/// Where connections of a listener may go: `allowed_networks` and `denied_networks`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DestinationNetworks {
    /// The word `public` is among the allowed ones: every [public](crate::special_purpose::is_public) address.
    pub public: bool,
    pub allowed: Networks,
    /// Wins over the others.
    pub denied: Networks,
    /// An allowed network may lead to an address of this machine too: to a service beside this proxy. Not where clients
    /// ask a proxy for any name, nor beside `public`.
    pub own_machine: bool,
}

/// Why a text is not a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkError {
    /// Bits are set after the prefix. The network with these bits cleared.
    HostBits(IpNet),
    NotANetwork,
}

/// Parses a network, like `10.0.0.0/8`. A bare address is the network of that address alone; IPv4-mapped IPv6 becomes IPv4.
pub fn parse_network(text: &str) -> Result<IpNet, NetworkError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(CanonicalIp::new(address).get()));
    }
    let network: IpNet = text.parse().map_err(|_| NetworkError::NotANetwork)?;
    let network = as_ipv4(network).unwrap_or(network);
    if network != network.trunc() {
        return Err(NetworkError::HostBits(network.trunc()));
    }
    Ok(network)
}

/// `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
fn as_ipv4(network: IpNet) -> Option<IpNet> {
    /// Length of the prefix `::ffff:0:0/96`.
    const MAPPED: u8 = 96;
    let IpNet::V6(network) = network else { return None };
    let address = network.addr().to_ipv4_mapped()?;
    let prefix = network.prefix_len().checked_sub(MAPPED)?;
    Ipv4Net::new(address, prefix).ok().map(IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_networks_and_bare_addresses() {
        for (text, network) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("203.0.113.7", "203.0.113.7/32"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("::/0", "::/0"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.1.2.3", "10.1.2.3/32"),
        ] {
            assert_eq!(parse_network(text), Ok(network.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn refuses_host_bits_and_what_is_not_a_network() {
        assert_eq!(parse_network("10.1.0.0/8"), Err(NetworkError::HostBits("10.0.0.0/8".parse().unwrap())));
        assert_eq!(parse_network("::ffff:10.1.0.0/104"), Err(NetworkError::HostBits("10.0.0.0/8".parse().unwrap())));
        assert_eq!(parse_network("2001:db8::1/32"), Err(NetworkError::HostBits("2001:db8::/32".parse().unwrap())));
        for text in ["", "10.0.0.0/33", "010.0.0.1", "10.0.0/8", "10.0.0.0/255.0.0.0", "10.0.0.1-10.0.0.9", "no"] {
            assert_eq!(parse_network(text), Err(NetworkError::NotANetwork), "{text}");
        }
    }

    #[test]
    fn a_mapped_address_is_looked_up_as_ipv4() {
        let networks = Networks::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let contains = |address: &str| networks.contains(CanonicalIp::new(address.parse().unwrap()));
        assert!(contains("::ffff:10.9.9.9"));
        assert!(!contains("::10.9.9.9"));
    }
}
