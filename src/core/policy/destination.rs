//! Which addresses may be dialled. Checked for the very address that is passed to connect, on each attempt.
//!
//! First comes a list that no setting overrides, then this machine, then the operator's networks: each listener has its
//! own.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::canonical_ip::CanonicalIp;
use crate::networks::{DestinationNetworks, Networks};
use crate::never_dialled::never;
use crate::outcome::RefuseReason;
use crate::special_purpose::{entry, is_public};

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

    /// An address of this machine that others reach it by, whatever listens there.
    fn is_own(&self, ip: CanonicalIp) -> bool {
        !ip.get().is_loopback() && self.own.contains(&ip)
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
            if guard.is_listener(ip, port) || !networks.own_machine && guard.is_own(ip) {
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
        // Before `public`: the subnets of a load balancer may have public addresses.
        if with_embedded(ip).any(|ip| guard.trusted.contains(ip) || guard.is_own(ip)) {
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
            RefuseReason::PointsToSelf if !networks.own_machine && with_embedded(ip).any(|ip| guard.is_own(ip)) => {
                format!(
                    "{ip} leads to this machine's own address, which is dialled neither for a forward listener nor beside \
                 `public`, on any port and whatever network allows it"
                )
            }
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
            _ if networks.public => not_public(address.ip()),
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

/// Why a listener with `public` does not dial the address, which none of its other networks has.
fn not_public(ip: IpAddr) -> String {
    let kind = |ip: IpAddr| entry(ip).map_or_else(String::new, |entry| format!(" ({})", entry.name));
    let translated = embedded_ipv4(ip).into_iter().next().map(IpAddr::from);
    match translated.filter(|_| entry(ip).is_some_and(|entry| entry.globally_reachable)) {
        // NAT64. Its block is for addresses of all kinds, so it is no network to add.
        Some(inside) => format!(
            "{ip} leads to {inside}, which is not public{}; if clients may go there, give the name that address (A) in \
             DNS, and add its network to `upstream.allowed_networks`",
            kind(inside)
        ),
        None => format!(
            "{ip} is not public{} and in no other network of `upstream.allowed_networks`; if clients may go there, add \
             its network to that list",
            kind(ip)
        ),
    }
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
mod tests;
