//! Listeners, the peers whose PROXY header is accepted, and that no two sockets share an address.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use super::forward::RawForward;
use super::upstream::WrittenNetworks;
use super::{Checker, or};
use crate::canonical_ip::CanonicalIp;
use crate::config::raw::RawListener;
use crate::config::{Listener, Protocol, ProxyProtocol, Trusted, defaults};
use crate::diagnostic::Origin;
use crate::networks::Networks;
use crate::yaml::{Path, Read};

impl Checker<'_> {
    /// Every listener with its path in the document; `None` for one that lacks something, so that the others can be
    /// checked.
    pub(super) fn listeners(
        &mut self,
        raw: Vec<RawListener>,
        networks: &WrittenNetworks,
    ) -> Vec<(Path, Option<Listener>)> {
        let section = Path::root().key("listeners");
        if raw.is_empty() && self.document.is_empty_list(&section) {
            self.error(&section, "there is no listener", "write at least one, or remove the key for tls and http");
        }
        if !self.errors.is_empty() && raw.len() != self.document.lines(&section).len() {
            // An invalid listener was left out and reported. Without it, the indices of the others are not known.
            return Vec::new();
        }
        let mut listeners = Vec::new();
        for (index, raw) in raw.into_iter().enumerate() {
            let path = section.index(index);
            let listener = self.listener(raw, &path, networks);
            listeners.push((path, listener));
        }
        self.names_are_distinct(&listeners);
        listeners
    }

    fn listener(&mut self, raw: RawListener, path: &Path, section: &WrittenNetworks) -> Option<Listener> {
        let RawListener { name, bind, protocol, upstream_port, public_port, proxy_protocol, .. } = raw;
        let RawListener { connect_ports, http_ports, tunnel, via_name, upstream, .. } = raw;
        let name = self.required(name, path, "name", "add a name for logs and metrics, like `name: tls`");
        let bind = self.required(bind, path, "bind", "add where to listen, like `bind: \"[::]:8443\"`");
        let protocol = self.required(protocol, path, "protocol", "add `protocol: tls`, `http` or `forward`");
        let own = self.networks(upstream.unwrap_or_default(), &path.key("upstream"));
        let protocol = protocol?;
        let (usual_upstream, usual_public) = match protocol {
            Protocol::Tls => (443, 443),
            Protocol::Http => (80, 80),
            Protocol::Forward => (0, 3128),
        };
        let forward = self.forward(RawForward { connect_ports, http_ports, tunnel, via_name }, protocol, path);
        let name = name?.0;
        let port = |port: Option<Read<NonZeroU16>>, usual: u16| port.map_or(usual, |read| read.0.get());
        Some(Listener {
            networks: self.networks_of((own, section), protocol, &name),
            name,
            bind: bind?.0,
            protocol,
            upstream_port: port(upstream_port, usual_upstream),
            public_port: port(public_port, usual_public),
            proxy_protocol: or(proxy_protocol, defaults::PROXY_PROTOCOL),
            forward,
        })
    }

    fn names_are_distinct(&mut self, listeners: &[(Path, Option<Listener>)]) {
        let mut seen: HashMap<&str, &Path> = HashMap::new();
        for (path, listener) in listeners {
            let Some(Listener { name, .. }) = listener else { continue };
            match seen.get(name.as_str()) {
                Some(first) => {
                    let message = format!("is also the name of {first}");
                    self.error(&path.key("name"), message, "give each listener its own name");
                }
                None => drop(seen.insert(name, path)),
            }
        }
    }

    /// `proxy_protocol.trusted` has no default: a wrong one would let others claim any client address.
    pub(super) fn trusted(&mut self, listeners: &[(Path, Option<Listener>)], trusted: &Networks, need: Trusted) {
        let path = Path::root().key("proxy_protocol").key("trusted");
        for network in trusted.iter().filter(|network| network.prefix_len() == 0) {
            let message = format!("contains {network}: anyone who reaches a listener can pretend any client address");
            self.warning(&path, message, "write the load balancer's subnets");
        }
        let refused_before = self.document.has(&path) && !self.document.is_empty_list(&path);
        let requires = |listener: &Option<Listener>| {
            listener.as_ref().is_some_and(|l| l.proxy_protocol == ProxyProtocol::Required)
        };
        if need == Trusted::MayBeMissing || trusted.iter().next().is_some() || refused_before {
            return;
        }
        if let Some((listener, _)) = listeners.iter().find(|(_, listener)| requires(listener)) {
            let message = format!("is missing or empty, but {listener} requires the PROXY header");
            let help = "write the CIDRs of the load balancer's subnets, like \
                        `proxy_protocol: { trusted: [192.168.0.0/16] }` or \
                        LATTICEGATE_PROXY_PROTOCOL__TRUSTED='[192.168.0.0/16]'";
            let mut diagnostic = self.document.diagnostic(listener, message, help);
            (diagnostic.key, diagnostic.value) = (path.to_string().into(), None);
            if let (Origin::Defaults, Some(file)) = (&diagnostic.origin, self.file) {
                (diagnostic.origin, diagnostic.at) = (Origin::file(file), None);
            }
            self.errors.push(diagnostic);
        }
    }

    pub(super) fn addresses_are_distinct(
        &mut self,
        listeners: &[(Path, Option<Listener>)],
        health: SocketAddr,
        admin: SocketAddr,
    ) {
        let root = Path::root();
        let mut binds: Vec<(Path, SocketAddr)> =
            listeners.iter().filter_map(|(path, listener)| Some((path.key("bind"), listener.as_ref()?.bind))).collect();
        binds.push((root.key("health").key("bind"), health));
        binds.push((root.key("admin").key("bind"), admin));
        for (path, bind) in &binds {
            if let Err((message, help)) = can_be_own(*bind) {
                self.error(path, message, help);
            }
        }
        for (index, (path, bind)) in binds.iter().enumerate() {
            let earlier = binds.iter().take(index).find(|(_, other)| overlap(*bind, *other));
            if let Some((other_path, other)) = earlier {
                // Reported at the one that the operator has set; the other may be a default.
                let later = (path, other_path, other);
                let (path, other_path, other) = if self.document.has(path) { later } else { (other_path, path, bind) };
                let message = format!("collides with {other_path} ({other})");
                self.error(path, message, "give each its own port");
            }
        }
    }
}

/// Whether this can be the address of a listener; if not, what is wrong and what helps.
fn can_be_own(address: SocketAddr) -> Result<(), (&'static str, &'static str)> {
    const HELP: &str = "write an address of this machine, or \"[::]\" for all of them";
    let link_local_without_zone = |address: SocketAddr| match address {
        SocketAddr::V6(address) => address.ip().is_unicast_link_local() && address.scope_id() == 0,
        SocketAddr::V4(_) => false,
    };
    let (is_multicast, is_reserved) = match CanonicalIp::new(address.ip()).get() {
        // 0.0.0.0/8 except the wildcard, and 240.0.0.0/4 (RFC 6890 §2.2.2).
        IpAddr::V4(ip) => (ip.is_multicast(), !ip.is_unspecified() && matches!(ip.octets(), [0 | 240.., ..])),
        IpAddr::V6(ip) => (ip.is_multicast(), false),
    };
    match (is_multicast, is_reserved) {
        (true, _) => Err(("is a multicast address, which takes no connections", HELP)),
        (_, true) => Err(("is a reserved address, which no machine has", HELP)),
        _ if link_local_without_zone(address) => Err((
            "is a link-local address without an interface",
            "add the interface's number, like \"[fe80::1%2]:8443\"",
        )),
        _ => Ok(()),
    }
}

/// Whether the two cannot be bound both: they have the same port, and the same address or a wildcard that covers the
/// other.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    // For port 0 the kernel chooses a free port, never the same twice.
    if a.port() != b.port() || a.port() == 0 {
        return false;
    }
    let covers = |wide: IpAddr, other: IpAddr| match wide {
        // `[::]` is dual-stack: it accepts IPv4, too.
        IpAddr::V6(address) => address.is_unspecified(),
        IpAddr::V4(address) => address.is_unspecified() && (other.is_ipv4() || other.is_unspecified()),
    };
    let [a, b] = [a, b].map(|address| CanonicalIp::new(address.ip()).get());
    a == b || covers(a, b) || covers(b, a)
}
