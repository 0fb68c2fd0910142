//! Which addresses may be dialled. Checked for the very address that is passed to connect, on each attempt.
//!
//! First comes a list that no setting overrides, then our own listeners, then the operator's networks: each listener has
//! its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::canonical_ip::CanonicalIp;
use crate::networks::{DestinationNetworks, Networks};
use crate::outcome::RefuseReason;
use crate::special_purpose::{entry, is_public};

/// Addresses of a VPC that hand out credentials or are for this machine only. No setting allows them.
const NEVER: &[(IpAddr, &str)] = &[
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

/// What no listener may dial, whatever networks it has.
#[derive(Debug, Clone)]
pub struct DestinationGuard {
    trusted: Networks,
    listeners: Vec<SocketAddr>,
    own: Vec<CanonicalIp>,
    resolver: SocketAddr,
}

/// The rules by which one listener may dial an address or not: the guard's, and the listener's networks.
#[derive(Debug, Clone, Copy)]
pub struct Destinations<'a> {
    guard: &'a DestinationGuard,
    networks: &'a DestinationNetworks,
}

impl DestinationGuard {
    /// `trusted` are the load balancer's subnets, `listeners` all addresses that this process listens on, `own` the
    /// addresses of this machine, `resolver` is `dns.server`.
    pub fn new(trusted: Networks, listeners: Vec<SocketAddr>, own: Vec<IpAddr>, resolver: SocketAddr) -> Self {
        let canonical = |address: SocketAddr| CanonicalIp::new(address.ip()).with_port(address.port());
        Self {
            trusted,
            listeners: listeners.into_iter().map(canonical).collect(),
            own: own.into_iter().map(CanonicalIp::new).collect(),
            resolver: canonical(resolver),
        }
    }

    /// What a listener with these networks may dial.
    pub fn within<'a>(&'a self, networks: &'a DestinationNetworks) -> Destinations<'a> {
        Destinations { guard: self, networks }
    }

    fn is_never(&self, ip: CanonicalIp, port: u16) -> bool {
        // On loopback a test's resolver shares its address with everything else: there only its port is closed.
        let same_ip = ip.get() == self.resolver.ip();
        let resolver = same_ip && (!ip.get().is_loopback() || port == self.resolver.port());
        resolver || never(ip).is_some()
    }

    fn is_listener(&self, ip: CanonicalIp, port: u16) -> bool {
        let here = ip.get().is_loopback() || self.own.contains(&ip);
        self.listeners.iter().any(|listener| {
            listener.port() == port && (listener.ip() == ip.get() || (here && listener.ip().is_unspecified()))
        })
    }

    /// In the load balancer's subnets, or of this machine.
    fn is_ours(&self, ip: CanonicalIp) -> bool {
        self.trusted.contains(ip) || self.own.contains(&ip)
    }
}

impl Destinations<'_> {
    /// Returns the address to dial, its IP canonical.
    ///
    /// # Errors
    ///
    /// [`RefuseReason::DestinationForbidden`] or [`RefuseReason::PointsToSelf`].
    pub fn check(&self, address: SocketAddr) -> Result<SocketAddr, RefuseReason> {
        let Self { guard, networks } = self;
        let (ip, port) = (CanonicalIp::new(address.ip()), address.port());
        // A translator in the network would turn such an IPv6 address into the IPv4 address embedded in it.
        for ip in with_embedded(ip) {
            if guard.is_never(ip, port) {
                return Err(RefuseReason::DestinationForbidden);
            }
            if guard.is_listener(ip, port) {
                return Err(RefuseReason::PointsToSelf);
            }
            if ip.get().is_loopback() && !self.allows_loopback(ip) {
                return Err(RefuseReason::DestinationForbidden);
            }
        }
        let denied = self.is_denied(ip);
        if !denied && networks.allowed.contains(ip) {
            return Ok(ip.with_port(port));
        }
        // Before `public`: the subnets of a load balancer may have public addresses, and so may this machine.
        if with_embedded(ip).any(|ip| guard.is_ours(ip)) {
            return Err(RefuseReason::PointsToSelf);
        }
        // The address as it was given: an IPv4-mapped one is not public.
        if !denied && networks.public && is_public(address.ip()) {
            return Ok(ip.with_port(port));
        }
        Err(RefuseReason::DestinationForbidden)
    }

    /// For the access log: why `address` was refused, and which setting or zone to check.
    pub fn explain(&self, address: SocketAddr, reason: RefuseReason) -> String {
        let Self { guard, networks } = self;
        let (ip, port) = (CanonicalIp::new(address.ip()), address.port());
        if let Some(what) = with_embedded(ip).find_map(never) {
            return format!("{ip} leads to {what}, which is never reached through this proxy, whatever is configured");
        }
        if guard.is_never(ip, port) {
            return format!("{ip} is `dns.server`, which is never reached through this proxy");
        }
        match reason {
            RefuseReason::PointsToSelf if guard.is_listener(ip, port) => format!(
                "{address} is a listener of this proxy: the name leads back to us; \
                 is the private hosted zone associated with this VPC?"
            ),
            RefuseReason::PointsToSelf => format!(
                "{ip} is in the load balancer's subnets (`proxy_protocol.trusted`) or this machine's own: the name \
                 leads back to us; is the private hosted zone associated with this VPC?"
            ),
            _ if ip.get().is_loopback() => format!(
                "{ip} is this machine; if a test or demo means that, name a network inside loopback in \
                 `upstream.allowed_networks`"
            ),
            _ if self.is_denied(ip) => {
                format!("{ip} is in `upstream.denied_networks`, which wins over all networks that are allowed")
            }
            _ if networks.public => format!(
                "{address_ip} is not public{kind} and in no other network of `upstream.allowed_networks`; if clients \
                 may go there, add its network to that list",
                address_ip = address.ip(),
                kind = entry(address.ip()).map_or_else(String::new, |entry| format!(" ({})", entry.name)),
            ),
            _ => format!(
                "{ip} is outside `upstream.allowed_networks`; is the private hosted zone associated with this VPC? \
                 If the service does live there, add its network to that list"
            ),
        }
    }

    fn is_denied(&self, ip: CanonicalIp) -> bool {
        with_embedded(ip).any(|ip| self.networks.denied.contains(ip))
    }

    /// Whether the operator allows a network that lies within loopback; `0.0.0.0/0` does not.
    fn allows_loopback(&self, ip: CanonicalIp) -> bool {
        let inside = |network: &&IpNet| network.network().is_loopback() && network.broadcast().is_loopback();
        self.networks.allowed.iter().filter(inside).any(|network| network.contains(&ip.get()))
    }
}

fn never(ip: CanonicalIp) -> Option<&'static str> {
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

/// `ip`, and every IPv4 address that a translator or tunnel could read out of it.
fn with_embedded(ip: CanonicalIp) -> impl Iterator<Item = CanonicalIp> {
    let embedded = embedded_ipv4(ip.get()).into_iter().map(|octets| CanonicalIp::new(IpAddr::from(octets)));
    std::iter::once(ip).chain(embedded)
}

fn embedded_ipv4(ip: IpAddr) -> Vec<[u8; 4]> {
    let IpAddr::V6(ip) = ip else { return Vec::new() };
    let o = ip.octets();
    let last = [o[12], o[13], o[14], o[15]];
    match ip.segments() {
        // IPv4-compatible (RFC 4291); `::` and `::1` are addresses of their own.
        [0, 0, 0, 0, 0, 0, ..] if !ip.is_unspecified() && !ip.is_loopback() => vec![last],
        // NAT64, well-known prefix (RFC 6052).
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => vec![last],
        // NAT64, local-use prefix (RFC 8215): the network may cut it at /48, /56, /64 or /96; octet 8 is skipped.
        [0x64, 0xff9b, 1, ..] => {
            vec![[o[6], o[7], o[9], o[10]], [o[7], o[9], o[10], o[11]], [o[9], o[10], o[11], o[12]], last]
        }
        // 6to4 (RFC 3056).
        [0x2002, ..] => vec![[o[2], o[3], o[4], o[5]]],
        // Teredo (RFC 4380): the server, and the client with all bits inverted.
        [0x2001, 0, ..] => vec![[o[4], o[5], o[6], o[7]], last.map(|octet| !octet)],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(list: &[&str]) -> Networks {
        Networks::new(list.iter().map(|network| network.parse().unwrap()).collect())
    }

    fn guard() -> DestinationGuard {
        DestinationGuard::new(
            networks(&["192.168.0.0/16", "2001:db8::/64"]),
            vec!["[::]:8443".parse().unwrap(), "127.0.0.1:9900".parse().unwrap()],
            vec!["192.168.1.7".parse().unwrap(), "10.9.0.7".parse().unwrap(), "fd00::7".parse().unwrap()],
            "10.0.0.2:53".parse().unwrap(),
        )
    }

    const LATTICE: &[&str] = &["169.254.171.0/24", "fd00:ec2:80::/64"];
    const EVERYWHERE: &[&str] = &["0.0.0.0/0", "::/0"];

    fn only(allowed: &[&str]) -> DestinationNetworks {
        DestinationNetworks { allowed: networks(allowed), ..DestinationNetworks::default() }
    }

    fn check(allowed: &[&str], address: &str) -> Result<String, RefuseReason> {
        guard().within(&only(allowed)).check(address.parse().unwrap()).map(|address| address.to_string())
    }

    #[test]
    fn lattice_addresses_pass_in_their_normal_form() {
        assert_eq!(check(LATTICE, "169.254.171.10:443").as_deref(), Ok("169.254.171.10:443"));
        assert_eq!(check(LATTICE, "[fd00:ec2:80::10]:443").as_deref(), Ok("[fd00:ec2:80::10]:443"));
        assert_eq!(check(LATTICE, "[::ffff:169.254.171.10]:80").as_deref(), Ok("169.254.171.10:80"));
    }

    #[test]
    fn what_hands_out_credentials_is_refused_whatever_the_list_says() {
        let mut refused = 0;
        for (ip, _) in NEVER {
            let mut spellings = vec![*ip];
            if let IpAddr::V4(v4) = ip {
                let [a, b, c, d] = v4.octets();
                let pair = |x: u8, y: u8| u16::from_be_bytes([x, y]);
                let (high, low) = (pair(a, b), pair(c, d));
                spellings.extend(
                    [
                        v4.to_ipv6_mapped(),
                        v4.to_ipv6_compatible(),
                        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                        Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
                        Ipv6Addr::new(0x64, 0xff9b, 1, high, pair(0, c), pair(d, 0), 0, 0),
                        Ipv6Addr::new(0x64, 0xff9b, 1, pair(0, a), pair(0, b), pair(c, d), 0, 0),
                        Ipv6Addr::new(0x64, 0xff9b, 1, 0, pair(0, a), pair(b, c), pair(d, 0), 0),
                        Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                        Ipv6Addr::new(0x2001, 0, 0x4136, 0xe378, 0x8000, 0x63bf, !high, !low),
                    ]
                    .map(IpAddr::V6),
                );
            }
            for ip in spellings {
                for port in [80, 443, 53] {
                    let found = guard().within(&only(EVERYWHERE)).check(SocketAddr::new(ip, port));
                    assert_eq!(found, Err(RefuseReason::DestinationForbidden), "{ip}");
                    refused += 1;
                }
            }
        }
        assert_eq!(refused, (6 * 10 + 4) * 3);
    }

    #[test]
    fn unspecified_multicast_and_the_resolver_are_refused() {
        for address in ["0.0.0.0:443", "0.1.2.3:443", "[::]:443", "224.0.0.1:443", "[ff02::1]:443", "10.0.0.2:443"] {
            assert_eq!(check(EVERYWHERE, address), Err(RefuseReason::DestinationForbidden), "{address}");
        }
        let everywhere = only(EVERYWHERE);
        let text =
            guard().within(&everywhere).explain("10.0.0.2:443".parse().unwrap(), RefuseReason::DestinationForbidden);
        assert!(text.contains("`dns.server`"), "{text}");
    }

    #[test]
    fn loopback_needs_a_network_inside_loopback() {
        assert_eq!(check(EVERYWHERE, "127.0.0.1:443"), Err(RefuseReason::DestinationForbidden));
        assert_eq!(check(EVERYWHERE, "[::1]:443"), Err(RefuseReason::DestinationForbidden));
        assert_eq!(check(EVERYWHERE, "[64:ff9b::7f00:1]:443"), Err(RefuseReason::DestinationForbidden));
        assert_eq!(check(&["126.0.0.0/7"], "127.0.0.1:443"), Err(RefuseReason::DestinationForbidden));
        assert!(check(&["127.0.0.0/8"], "127.0.0.1:443").is_ok());
        assert!(check(&["127.0.0.1/32"], "127.0.0.2:443").is_err());
        assert!(check(&["::1/128"], "[::1]:443").is_ok());
    }

    #[test]
    fn our_own_listeners_are_not_dialled() {
        let own = ["127.0.0.1:8443", "[::1]:8443", "10.9.0.7:8443", "[fd00::7]:8443", "[::ffff:10.9.0.7]:8443"];
        for address in own.into_iter().chain(["127.0.0.1:9900"]) {
            let found = check(&["127.0.0.0/8", "::1/128", "0.0.0.0/0", "::/0"], address);
            assert_eq!(found, Err(RefuseReason::PointsToSelf), "{address}");
        }
        assert!(check(EVERYWHERE, "10.9.0.7:443").is_ok());
        assert!(check(EVERYWHERE, "10.9.0.8:8443").is_ok());
        // A listener on one loopback address does not take the others.
        assert!(check(&["127.0.0.0/8"], "127.0.0.2:9900").is_ok());
    }

    #[test]
    fn a_name_that_leads_to_the_load_balancer_has_its_own_reason() {
        for address in ["192.168.3.4:443", "192.168.1.7:443", "10.9.0.7:443", "[2001:db8::5]:443"] {
            assert_eq!(check(LATTICE, address), Err(RefuseReason::PointsToSelf), "{address}");
        }
        for address in ["203.0.113.9:443", "10.1.1.1:443", "[2001:db8:0:1::5]:443"] {
            assert_eq!(check(LATTICE, address), Err(RefuseReason::DestinationForbidden), "{address}");
        }
    }

    #[test]
    fn the_text_names_the_setting_or_the_usual_cause() {
        let (guard, lattice) = (guard(), only(LATTICE));
        let guard = guard.within(&lattice);
        for (address, part) in [
            ("169.254.170.2:80", "task metadata"),
            ("[64:ff9b::a9fe:aa02]:80", "task metadata"),
            ("192.168.3.4:443", "private hosted zone associated with this VPC?"),
            ("127.0.0.1:8443", "a listener of this proxy"),
            ("127.0.0.1:443", "inside loopback"),
            ("203.0.113.9:443", "`upstream.allowed_networks`"),
        ] {
            let address = address.parse().unwrap();
            let text = guard.explain(address, guard.check(address).unwrap_err());
            assert!(text.contains(part), "{text}");
        }
    }
}
