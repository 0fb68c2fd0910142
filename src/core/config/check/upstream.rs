//! How names are resolved, and which addresses may be dialled.

use std::collections::BTreeMap;

use super::{Checker, or};
use crate::config::raw::{RawDns, RawUpstream};
use crate::config::{Dns, Upstream, defaults};
use crate::hostname::Hostname;
use crate::networks::Networks;
use crate::yaml::{Path, Read};

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

    pub(super) fn upstream(&mut self, raw: RawUpstream) -> Upstream {
        let path = Path::root().key("upstream");
        let RawUpstream { allowed_networks, names } = raw;
        let networks = path.key("allowed_networks");
        let allowed = allowed_networks.map_or_else(defaults::allowed_networks, |list| list.0);
        if allowed.is_empty() && self.document.is_empty_list(&networks) {
            self.error(&networks, "is empty, so nothing could be reached", "remove the key, or write networks");
        }
        for network in allowed.iter().filter(|network| network.prefix_len() == 0) {
            let message = format!("contains {network}: any address can be dialled, like an open relay");
            self.warning(&networks, message, "write the networks that your services are in");
        }
        Upstream {
            allowed_networks: Networks::new(allowed),
            names: self.names(names.unwrap_or_default(), &path.key("names")),
        }
    }

    fn names(&mut self, raw: BTreeMap<String, Read<Hostname>>, path: &Path) -> BTreeMap<Hostname, Hostname> {
        let mut names = BTreeMap::new();
        for (requested, Read(instead)) in raw {
            match Hostname::parse(requested.as_bytes()) {
                Err(error) => {
                    let message = format!("the key is not a DNS name: {error}");
                    self.key_error(&path.key(&requested), message, "write it like orders.example.com");
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
