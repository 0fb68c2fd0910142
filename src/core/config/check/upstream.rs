//! How names are resolved, and which addresses may be dialled.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{Checker, or};
use crate::config::raw::{RawDns, RawNetworks, RawUpstream};
use crate::config::values::Destination;
use crate::config::{Dns, Protocol, Upstream, defaults};
use crate::hostname::Hostname;
use crate::hostname_help::name_help;
use crate::networks::{DestinationNetworks, Networks};
use crate::never_dialled::{has_never, never_within};
use crate::special_purpose::is_public_network;
use crate::yaml::{Many, Path, Read};

/// `allowed_networks`, if it is written, and `denied_networks`.
#[derive(Debug, Default)]
pub(super) struct WrittenNetworks {
    allowed: Option<Allowed>,
    denied: Vec<IpNet>,
}

/// A list of allowed networks, and where it is.
#[derive(Debug)]
struct Allowed {
    public: bool,
    networks: Vec<IpNet>,
    path: Path,
}

impl Checker<'_> {
    pub(super) fn dns(&mut self, raw: RawDns) -> Dns {
        let path = Path::root().key("dns");
        let RawDns { server, ipv6, timeout, min_ttl, max_ttl, negative_ttl, max_stale, cache_size } = raw;
        let dns = Dns {
            server: server.map_or(defaults::DNS_SERVER, |read| read.0.0),
            ipv6: or(ipv6, defaults::DNS_IPV6),
            timeout: or(timeout, defaults::DNS_TIMEOUT),
            min_ttl: or(min_ttl, defaults::DNS_MIN_TTL),
            max_ttl: or(max_ttl, defaults::DNS_MAX_TTL),
            negative_ttl: or(negative_ttl, defaults::DNS_NEGATIVE_TTL),
            max_stale: or(max_stale, defaults::DNS_MAX_STALE),
            cache_size: or(cache_size, defaults::DNS_CACHE_SIZE),
        };
        if dns.server.port() == 0 || dns.server.ip().is_unspecified() {
            self.error(&path.key("server"), "cannot be the address of a resolver", "write \"169.254.169.253:53\"");
        }
        if dns.min_ttl > dns.max_ttl {
            let key = if self.document.has(&path.key("min_ttl")) { "min_ttl" } else { "max_ttl" };
            let message = format!("min_ttl ({:?}) is above max_ttl ({:?})", dns.min_ttl, dns.max_ttl);
            self.key_error(&path.key(key), message, "lower min_ttl or raise max_ttl");
        }
        dns
    }

    /// The section, and its networks, which are for the listeners.
    pub(super) fn upstream(&mut self, raw: RawUpstream) -> (Upstream, WrittenNetworks) {
        let path = Path::root().key("upstream");
        let RawUpstream { allowed_networks, denied_networks, names } = raw;
        let networks = self.networks(RawNetworks { allowed_networks, denied_networks }, &path);
        (Upstream { names: self.names(names.unwrap_or_default(), &path.key("names")) }, networks)
    }

    /// `allowed_networks` and `denied_networks` of the section at `path`.
    pub(super) fn networks(&mut self, raw: RawNetworks, path: &Path) -> WrittenNetworks {
        let RawNetworks { allowed_networks, denied_networks } = raw;
        let path = path.key("allowed_networks");
        let denied = denied_networks.map(|list| list.0).unwrap_or_default();
        let allowed = allowed_networks.map(|Many(list)| {
            if list.is_empty() && self.document.is_empty_list(&path) {
                self.error(&path, "is empty, so nothing could be reached", "remove the key, or write networks");
            }
            let mut allowed = Allowed { public: false, networks: Vec::new(), path: path.clone() };
            for destination in list {
                let written_before = match destination {
                    Destination::Public => std::mem::replace(&mut allowed.public, true),
                    Destination::Network(network) => {
                        allowed.networks.push(network);
                        allowed.networks.iter().filter(|other| **other == network).count() > 1
                    }
                };
                if written_before {
                    self.warning(&path, format!("contains {destination} twice"), "remove one of the two");
                }
            }
            self.allowed(&allowed, &denied);
            allowed
        });
        WrittenNetworks { allowed, denied }
    }

    /// Warns about networks that are allowed and hardly meant to be.
    fn allowed(&mut self, allowed: &Allowed, denied: &[IpNet]) {
        let Allowed { public, networks, path } = allowed;
        for network in networks {
            if network.prefix_len() == 0 {
                let message = format!("contains {network}: any address can be dialled, like an open relay");
                self.warning(path, message, "write the networks that your services are in");
            } else if let Some(what) = never_within(network) {
                let message = format!("contains {network}, which is never dialled, whatever is configured: {what}");
                self.warning(path, message, "remove it");
            } else if *public && !is_public_network(network) {
                let but = if has_never(network) {
                    ", except to what is never dialled, like the metadata service"
                } else {
                    ""
                };
                let message = format!(
                    "contains {network} beside `public`: whoever has a name that clients may request can lead them into \
                     that network{but}"
                );
                self.warning(path, message, "give the network a listener of its own");
            }
            if let Some(by) = denied.iter().find(|denied| denied.contains(network)) {
                let message = format!("contains {network}, which {by} in denied_networks denies");
                self.warning(path, message, "remove it from one of the two");
            }
        }
    }

    /// The networks of one listener: its own, then the section's, then those of its protocol. What the section denies, no
    /// listener reaches.
    pub(super) fn networks_of(
        &mut self,
        (own, section): (WrittenNetworks, &WrittenNetworks),
        protocol: Protocol,
        name: &str,
    ) -> DestinationNetworks {
        let usual = match protocol {
            Protocol::Tls | Protocol::Http => defaults::lattice(),
            Protocol::Forward => defaults::internet(),
        };
        let mut networks = usual;
        if let Some(Allowed { public, networks: allowed, path }) = own.allowed.as_ref().or(section.allowed.as_ref()) {
            if *public && protocol != Protocol::Forward {
                let message = format!("contains public: listener {name} can be sent to any site, like an open relay");
                let help = "give `public` to a listener with `protocol: forward`, under its own `upstream`";
                self.warning(path, message, help);
            }
            networks = DestinationNetworks { public: *public, allowed: Networks::new(allowed.clone()), ..networks };
        }
        let denied = section.denied.iter().chain(&own.denied).copied().collect();
        let own_machine = protocol != Protocol::Forward && !networks.public;
        DestinationNetworks { denied: Networks::new(denied), own_machine, ..networks }
    }

    fn names(&mut self, raw: BTreeMap<String, Read<Hostname>>, path: &Path) -> BTreeMap<Hostname, Hostname> {
        let mut names = BTreeMap::new();
        for (requested, Read(instead)) in raw {
            match Hostname::parse(requested.as_bytes()) {
                Err(error) => {
                    let message = format!("the key is not a DNS name: {error}");
                    self.key_error(&path.key(&requested), message, &name_help(&requested, error));
                }
                Ok(name) => {
                    if names.insert(name, instead).is_some() {
                        let message = "the same name appears twice, in different spellings";
                        self.key_error(&path.key(&requested), message, "remove one of the two");
                    }
                }
            }
        }
        names
    }
}
