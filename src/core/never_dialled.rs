//! Addresses that are never dialled, whatever is configured: they hand out credentials, or are for this machine only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::canonical_ip::CanonicalIp;

/// Addresses of a VPC that hand out credentials or are for this machine only. No setting allows them.
pub(crate) const NEVER: &[(IpAddr, &str)] = &[
    (IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), "instance metadata"),
    (IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)), "ECS task metadata and credentials"),
    (IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)), "EKS pod credentials"),
    (IpAddr::V4(Ipv4Addr::new(169, 254, 169, 253)), "the VPC's resolver"),
    (IpAddr::V4(Ipv4Addr::new(169, 254, 169, 123)), "the time service"),
    (IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), "instance metadata"),
    (IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)), "EKS pod credentials"),
    (IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253)), "the VPC's resolver"),
    (IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x123)), "the time service"),
    (IpAddr::V4(Ipv4Addr::BROADCAST), "broadcast"),
];

/// What all of the network is, if none of it is ever dialled.
pub(crate) fn never_within(network: &IpNet) -> Option<&'static str> {
    let [first, last] = [network.network(), network.broadcast()].map(|ip| never(CanonicalIp::new(ip)));
    // No two of these addresses or blocks have the same words in one family.
    first.filter(|_| first == last)
}

/// Whether some address of the network hands out credentials or is of this machine only.
pub(crate) fn has_never(network: &IpNet) -> bool {
    NEVER.iter().any(|(ip, _)| network.contains(ip))
}

/// What the address is, if it is never dialled.
pub(crate) fn never(ip: CanonicalIp) -> Option<&'static str> {
    let ip = ip.get();
    if let Some((_, what)) = NEVER.iter().find(|(never, _)| *never == ip) {
        return Some(what);
    }
    let this_network = matches!(ip, IpAddr::V4(ip) if ip.octets().starts_with(&[0]));
    if ip.is_unspecified() || this_network {
        return Some("this machine (unspecified address)");
    }
    ip.is_multicast().then_some("multicast")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_is_never_dialled_is_known() {
        for (network, what) in [
            ("169.254.169.254/32", Some("instance metadata")),
            ("fd00:ec2::254/128", Some("instance metadata")),
            ("0.0.0.0/8", Some("this machine (unspecified address)")),
            ("224.0.0.0/4", Some("multicast")),
            ("ff02::/16", Some("multicast")),
            ("169.254.169.0/24", None),
            ("0.0.0.0/7", None),
            ("10.0.0.0/8", None),
        ] {
            assert_eq!(never_within(&network.parse().unwrap()), what, "{network}");
        }
        assert!(has_never(&"169.254.0.0/16".parse().unwrap()) && !has_never(&"169.254.171.0/24".parse().unwrap()));
    }
}
