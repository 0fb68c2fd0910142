//! Which addresses are public: reachable from everywhere on the internet by what IANA has registered.
//!
//! The tables are IANA's "IPv4 Special-Purpose Address Registry" and "IPv6 Special-Purpose Address Registry" (RFC 6890,
//! RFC 8190; iana.org/assignments/iana-ipv4-special-registry and iana-ipv6-special-registry), every entry, as of
//! 2026-07-18. Where entries nest, the most specific one decides.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// One entry of a registry.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub network: IpNet,
    /// As in the registry.
    pub name: &'static str,
    /// Whether its "Globally Reachable" is "True". Those without an answer ("N/A", or none since it was deprecated) are
    /// not.
    pub globally_reachable: bool,
}

const GLOBAL: bool = true;
const NOT: bool = false;

#[rustfmt::skip] // one entry a line, to be compared with the registry
const IPV4: &[Entry] = &[
    v4([0, 0, 0, 0], 8, "\"This network\"", NOT),
    v4([0, 0, 0, 0], 32, "\"This host on this network\"", NOT),
    v4([10, 0, 0, 0], 8, "Private-Use", NOT),
    v4([100, 64, 0, 0], 10, "Shared Address Space", NOT),
    v4([127, 0, 0, 0], 8, "Loopback", NOT),
    v4([169, 254, 0, 0], 16, "Link Local", NOT),
    v4([172, 16, 0, 0], 12, "Private-Use", NOT),
    v4([192, 0, 0, 0], 24, "IETF Protocol Assignments", NOT),
    v4([192, 0, 0, 0], 29, "IPv4 Service Continuity Prefix", NOT),
    v4([192, 0, 0, 8], 32, "IPv4 dummy address", NOT),
    v4([192, 0, 0, 9], 32, "Port Control Protocol Anycast", GLOBAL),
    v4([192, 0, 0, 10], 32, "Traversal Using Relays around NAT Anycast", GLOBAL),
    v4([192, 0, 0, 170], 32, "NAT64/DNS64 Discovery", NOT),
    v4([192, 0, 0, 171], 32, "NAT64/DNS64 Discovery", NOT),
    v4([192, 0, 2, 0], 24, "Documentation (TEST-NET-1)", NOT),
    v4([192, 31, 196, 0], 24, "AS112-v4", GLOBAL),
    v4([192, 52, 193, 0], 24, "AMT", GLOBAL),
    v4([192, 88, 99, 0], 24, "Deprecated (6to4 Relay Anycast)", NOT),
    v4([192, 88, 99, 2], 32, "6a44-relay anycast address", NOT),
    v4([192, 168, 0, 0], 16, "Private-Use", NOT),
    v4([192, 175, 48, 0], 24, "Direct Delegation AS112 Service", GLOBAL),
    v4([198, 18, 0, 0], 15, "Benchmarking", NOT),
    v4([198, 51, 100, 0], 24, "Documentation (TEST-NET-2)", NOT),
    v4([203, 0, 113, 0], 24, "Documentation (TEST-NET-3)", NOT),
    v4([240, 0, 0, 0], 4, "Reserved", NOT),
    v4([255, 255, 255, 255], 32, "Limited Broadcast", NOT),
];

#[rustfmt::skip]
const IPV6: &[Entry] = &[
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128, "Loopback Address", NOT),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 128, "Unspecified Address", NOT),
    v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96, "IPv4-mapped Address", NOT),
    v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, "IPv4-IPv6 Translat.", GLOBAL),
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, "IPv4-IPv6 Translat.", NOT),
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64, "Discard-Only Address Block", NOT),
    v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64, "Dummy IPv6 Prefix", NOT),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "IETF Protocol Assignments", NOT),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, "TEREDO", NOT),
    v6([0x2001, 1, 0, 0, 0, 0, 0, 1], 128, "Port Control Protocol Anycast", GLOBAL),
    v6([0x2001, 1, 0, 0, 0, 0, 0, 2], 128, "Traversal Using Relays around NAT Anycast", GLOBAL),
    v6([0x2001, 1, 0, 0, 0, 0, 0, 3], 128, "DNS-SD Service Registration Protocol Anycast", GLOBAL),
    v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48, "Benchmarking", NOT),
    v6([0x2001, 3, 0, 0, 0, 0, 0, 0], 32, "AMT", GLOBAL),
    v6([0x2001, 4, 0x112, 0, 0, 0, 0, 0], 48, "AS112-v6", GLOBAL),
    v6([0x2001, 0x10, 0, 0, 0, 0, 0, 0], 28, "Deprecated (previously ORCHID)", NOT),
    v6([0x2001, 0x20, 0, 0, 0, 0, 0, 0], 28, "ORCHIDv2", GLOBAL),
    v6([0x2001, 0x30, 0, 0, 0, 0, 0, 0], 28, "Drone Remote ID Protocol Entity Tags (DETs) Prefix", GLOBAL),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "Documentation", NOT),
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, "6to4", NOT),
    v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48, "Direct Delegation AS112 Service", GLOBAL),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "Documentation", NOT),
    v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, "Segment Routing (SRv6) SIDs", NOT),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "Unique-Local", NOT),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "Link-Local Unicast", NOT),
];

/// All that IANA has allocated for global unicast (RFC 4291 §2.4).
pub const GLOBAL_UNICAST: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Whether the address is public: IPv4 that is not multicast, or 2000::/3, and not special-purpose without being globally
/// reachable. An address of NAT64's well-known prefix (RFC 6052) is public if the IPv4 address in it is.
///
/// The address is judged as it is: an IPv4-mapped one is not public, whatever is in it.
pub fn is_public(address: IpAddr) -> bool {
    let reachable = || entry(address).is_none_or(|entry| entry.globally_reachable);
    match address {
        IpAddr::V4(v4) => !v4.is_multicast() && reachable(),
        IpAddr::V6(v6) => match v6.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
                let [.., a, b, c, d] = v6.octets();
                is_public(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
            }
            _ => GLOBAL_UNICAST.contains(&v6) && reachable(),
        },
    }
}

/// Whether every address of the network is public.
pub fn is_public_network(network: &IpNet) -> bool {
    if let IpNet::V6(v6) = network
        && let [0x64, 0xff9b, 0, 0, 0, 0, ..] = v6.addr().segments()
        && let Some(prefix) = v6.prefix_len().checked_sub(96)
    {
        let [.., a, b, c, d] = v6.addr().octets();
        return Ipv4Net::new(Ipv4Addr::new(a, b, c, d), prefix).is_ok_and(|v4| is_public_network(&v4.into()));
    }
    let registry = if network.addr().is_ipv4() { IPV4 } else { IPV6 };
    let has = |entry: &Entry| !entry.globally_reachable && network.contains(&entry.network);
    // Both ends, so that it lies within no block that is not public; then what lies within it.
    [network.network(), network.broadcast()].into_iter().all(is_public) && !registry.iter().any(has)
}

/// The most specific entry that the address is in.
pub fn entry(address: IpAddr) -> Option<&'static Entry> {
    let registry = if address.is_ipv4() { IPV4 } else { IPV6 };
    registry.iter().filter(|entry| entry.network.contains(&address)).max_by_key(|entry| entry.network.prefix_len())
}

const fn v4([a, b, c, d]: [u8; 4], prefix: u8, name: &'static str, globally_reachable: bool) -> Entry {
    let network = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix));
    Entry { network, name, globally_reachable }
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], prefix: u8, name: &'static str, globally_reachable: bool) -> Entry {
    let network = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix));
    Entry { network, name, globally_reachable }
}

#[cfg(test)]
mod tests;
