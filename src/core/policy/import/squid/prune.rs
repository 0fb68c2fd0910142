//! Rules without what never matches, because rules before them decide about all of it.
//!
//! Parts of the requests are decided apart from each other, so a line may come out as rules of which some are about the
//! same requests. `check` would warn about them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::compile::Rule;
use super::sets::Clients;

/// Rules up to which each is compared with all before it. Past it they stay as they are.
const MAX_COMPARED: usize = 2000;

/// `ports` are all that there are: a rule that denies these is for any.
pub(super) fn prune(rules: Vec<Rule>, ports: Option<&BTreeSet<u16>>) -> Vec<Rule> {
    if rules.len() > MAX_COMPARED {
        return rules;
    }
    let mut kept: Vec<Rule> = Vec::with_capacity(rules.len());
    for mut rule in rules {
        let decides = |earlier: &&Rule| {
            let (ours, theirs) = (rule.ports_beside(ports), earlier.ports_beside(ports));
            let ports = theirs.is_none_or(|theirs| ours.is_some_and(|ours| ours.is_subset(theirs)));
            ports && earlier.region.has_names_of(&rule.region)
        };
        let decided = kept.iter().filter(decides).map(|earlier| &earlier.region.clients);
        let decided = decided.fold(Clients::default(), |sum, clients| sum.union(clients));
        if decided.intersection(&rule.region.clients) == rule.region.clients {
            continue;
        }
        // A rule that allows no more than is left stays right without those above it, if it is as short.
        let left = rule.region.clients.intersection(&decided.complement());
        if rule.allow && length(&left) <= length(&rule.region.clients) {
            rule.region.clients = left;
        }
        // Networks that are decided about in part stay whole: they are what somebody wrote. The others may be written in
        // another way without them.
        while let Some(rest) = without(&rule.region.clients, &decided) {
            rule.region.clients = rest;
        }
        kept.push(rule);
    }
    kept
}

/// Without the networks of which `decided` has all clients; `None`: there is no such network.
fn without(clients: &Clients, decided: &Clients) -> Option<Clients> {
    let networks = clients.networks()?;
    let never = networks.iter().map(of).filter(|network| network.intersection(decided) == *network);
    let never = never.fold(Clients::default(), |sum, network| sum.union(&network));
    (!never.is_empty()).then(|| clients.intersection(&never.complement()))
}

fn length(clients: &Clients) -> usize {
    clients.networks().map_or(1, |networks| networks.len())
}

fn of(network: &IpNet) -> Clients {
    let (first, last): (IpAddr, IpAddr) = (network.network(), network.broadcast());
    Clients::between(first, last).unwrap_or_default()
}
