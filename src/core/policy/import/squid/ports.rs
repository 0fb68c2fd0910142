//! Which ports the listener takes, and what Squid lets through beyond them.
//!
//! An access list has no condition on the method. A listener takes CONNECT for some ports and other requests for other
//! ports, so the port tells which it is.

use std::collections::BTreeSet;

use super::config::{Config, Meaning};
use super::sets::{Clients, Ports};
use crate::policy::import::SquidOptions;

/// Ports in Squid's own `Safe_ports` and `SSL_ports` that are there for other schemes, or since the nineties.
const HISTORIC: [u16; 8] = [21, 70, 210, 280, 488, 563, 591, 777];
/// Ports in a list that is carried over as it is.
const MAX_LISTED: usize = 16;

/// The ports of the listener that the list is for.
#[derive(Debug, Default)]
pub(super) struct ListenerPorts {
    pub(super) connect: BTreeSet<u16>,
    pub(super) http: BTreeSet<u16>,
    /// Whether a line has a condition on CONNECT.
    pub(super) by_method: bool,
    /// Ports that then do not tell which it is.
    pub(super) ambiguous: BTreeSet<u16>,
    /// What Squid lets through besides.
    pub(super) beyond: Vec<String>,
}

impl ListenerPorts {
    /// `None`: no `http_access` line has a condition on ports or CONNECT.
    pub(super) fn of(config: &Config<'_>, options: &SquidOptions) -> Option<Self> {
        let conditions = || config.access.iter().flat_map(|access| &access.acls);
        let on_ports = |name: &String| config.acls.get(name).is_some_and(|acl| is_about_ports(&acl.what));
        if !conditions().any(|(_, name)| on_ports(name)) {
            return None;
        }
        let named: BTreeSet<u16> = port_acls(config).flat_map(Ports::single).collect();
        let (connect_passes, http_passes) = (passing(config, true), passing(config, false));
        let usual = |port: u16| BTreeSet::from([port]);
        let connect = options.connect_ports.clone().map_or_else(
            || &choose(&connect_passes, |port| port == 443) - &usual(80),
            |given| given.into_iter().collect(),
        );
        let by_method =
            conditions().any(|(_, name)| config.acls.get(name).is_some_and(|acl| matches!(acl.what, Meaning::Connect)));
        // A port may be for both, unless a line asks which it is.
        let taken = if by_method { connect.clone() } else { usual(443) };
        let http = options.http_ports.clone().map_or_else(
            || &choose(&http_passes, |port| port == 80 || named.contains(&port)) - &taken,
            |given| given.into_iter().collect(),
        );
        let (connect, http) =
            if connect.is_empty() && http.is_empty() { (usual(443), usual(80)) } else { (connect, http) };
        let beyond = |what: &str, passes: &[(u16, u16)], taken: &BTreeSet<u16>| {
            let ports = ranges(passes, taken);
            (!ports.is_empty()).then(|| format!("{what} for ports {ports}"))
        };
        let beyond = [
            beyond("CONNECT", &connect_passes, &connect),
            beyond("other requests", &http_passes, &(&http | &usual(443))),
        ];
        let ambiguous = if by_method { &connect & &http } else { BTreeSet::new() };
        Some(Self { beyond: beyond.into_iter().flatten().collect(), connect, http, by_method, ambiguous })
    }

    pub(super) fn all(&self) -> BTreeSet<u16> {
        &self.connect | &self.http
    }

    /// Those that a condition stands for.
    pub(super) fn matching(&self, ports: &Ports) -> BTreeSet<u16> {
        self.all().into_iter().filter(|port| ports.contains(*port)).collect()
    }
}

fn is_about_ports(what: &Meaning) -> bool {
    matches!(what, Meaning::Ports(_) | Meaning::Connect)
}

fn port_acls<'a>(config: &'a Config<'_>) -> impl Iterator<Item = &'a Ports> {
    let acls = config.access.iter().flat_map(|access| &access.acls).filter_map(|(_, name)| config.acls.get(name));
    acls.filter_map(|acl| match &acl.what {
        Meaning::Ports(ports) => Some(ports),
        _ => None,
    })
}

/// The ports for which Squid lets some request through, whoever it is from and for.
fn passing(config: &Config<'_>, connect: bool) -> Vec<(u16, u16)> {
    // All ports between two cuts are alike.
    let mut cuts: BTreeSet<u16> = BTreeSet::from([1]);
    for (first, last) in port_acls(config).flat_map(|ports| &ports.0) {
        cuts.insert((*first).max(1));
        cuts.extend(last.checked_add(1));
    }
    let lasts = cuts.iter().skip(1).map(|cut| cut - 1).chain([u16::MAX]);
    let ranges = cuts.iter().copied().zip(lasts);
    ranges.filter(|(first, _)| may_pass(config, *first, connect)).collect()
}

fn may_pass(config: &Config<'_>, port: u16, connect: bool) -> bool {
    for access in &config.access {
        let mut others = false;
        let holds = access.acls.iter().all(|(negated, name)| match config.acls.get(name).map(|acl| &acl.what) {
            Some(Meaning::Ports(ports)) => ports.contains(port) != *negated,
            Some(Meaning::Connect) => connect != *negated,
            Some(Meaning::Never(_)) => *negated,
            Some(Meaning::Clients(clients)) if *clients == Clients::all() => !negated,
            _ => {
                others = true;
                true
            }
        });
        match (holds, access.allow, others) {
            (true, true, _) => return true,
            (true, false, false) => return false,
            _ => {}
        }
    }
    config.access.last().is_some_and(|last| !last.allow)
}

/// All ports if they are few, else those that are wanted; without the historic ones.
fn choose(passes: &[(u16, u16)], is_wanted: impl Fn(u16) -> bool) -> BTreeSet<u16> {
    let ports = || passes.iter().flat_map(|(first, last)| *first..=*last);
    let few = ports().nth(MAX_LISTED).is_none();
    ports().filter(|port| (few || is_wanted(*port)) && !HISTORIC.contains(port)).collect()
}

/// `21, 70, 1025-65535`.
fn ranges(passes: &[(u16, u16)], without: &BTreeSet<u16>) -> String {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    let ports = passes.iter().flat_map(|(first, last)| *first..=*last);
    for port in ports.filter(|port| !without.contains(port)) {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(port) => *last = port,
            _ => ranges.push((port, port)),
        }
    }
    let texts = ranges.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    texts.collect::<Vec<_>>().join(", ")
}
