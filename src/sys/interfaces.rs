//! What this machine has: routes and addresses.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use latticegate_core::config::{Config, Ipv6};
use latticegate_core::networks::DestinationNetworks;
use latticegate_core::special_purpose::GLOBAL_UNICAST;

/// Whether AAAA is worth asking: a connected UDP socket finds a route without sending a packet.
pub fn ask_ipv6(config: &Config) -> bool {
    let routed = |network: &ipnet::IpNet| {
        let target = SocketAddr::new(network.addr(), 443);
        UdpSocket::bind("[::]:0").and_then(|socket| socket.connect(target)).is_ok()
    };
    match config.dns.ipv6 {
        Ipv6::On => true,
        Ipv6::Off => false,
        Ipv6::Auto => config.listeners.iter().any(|listener| {
            let DestinationNetworks { public, allowed, .. } = &listener.networks;
            let named = allowed.iter().filter(|network| network.addr().is_ipv6()).any(routed);
            named || *public && routed(&GLOBAL_UNICAST.into())
        }),
    }
}

/// The addresses of this machine's interfaces.
pub fn own_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let addresses = interfaces.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    });
    addresses.collect()
}
