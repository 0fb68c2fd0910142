//! The access list: a file that is read says what its rules say one by one, and one that is not read says why.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use latticegate_core::client::{Client, EndpointId};
use latticegate_core::diagnostic::Origin;
use latticegate_core::hostname::Hostname;
use latticegate_core::policy::{
    Action, Admission, ListenerView, NamePattern, Policy, RequestedPort, Rule, RuleId, Sources,
};

use crate::diagnostics;

/// Questions of each kind asked of one list: all combinations are tried.
const MOST: usize = 12;
/// 2026-01-01: some `until:` lie before it, some after.
const NOW: Duration = Duration::from_secs(1_767_225_600);

pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Policy::parse(text, Origin::file("ipcontrol.yaml")) {
        Ok(policy) => decides_as_written(&policy, text),
        Err(found) => diagnostics::are_well_formed(&found, text),
    }
}

fn decides_as_written(policy: &Policy, text: &str) {
    let rules: Vec<(RuleId, &Rule)> = policy.rules().collect();
    // YAML's lines end at a lone CR, too.
    let lines = u32::try_from(text.split(['\n', '\r']).count()).unwrap();
    for pair in rules.windows(2) {
        assert!(pair[0].1.line <= pair[1].1.line, "rules out of order");
    }
    for (id, rule) in &rules {
        assert!((1..=lines).contains(&rule.line), "{} of {lines} lines", policy.label(*id));
    }
    for listener in &listeners(&rules) {
        for client in &clients(&rules) {
            let mut possible = false;
            for name in &names(&rules) {
                let expected = first_match(&rules, client, listener, name);
                let decision = policy.route(client, listener, name);
                assert_eq!((decision.allowed, decision.rule), expected, "{client:?} {listener:?} {name}");
                let exact = NamePattern::Exact(name.clone());
                let is_written = rules.iter().any(|(_, rule)| rule.to.contains(&exact));
                assert_eq!(decision.name.is_some(), is_written, "{name}");
                assert_eq!(decision.name, policy.name_id(name));
                assert!(decision.name.is_none_or(|id| id.index() < policy.name_ids()), "{name}");
                possible |= decision.allowed;
            }
            let admission = policy.admit(client, listener);
            assert!(!possible || admission == Admission::Possible, "{client:?} {listener:?} was kept out");
            if let RequestedPort::Destination(_) = listener.port {
                let before = ListenerView { port: RequestedPort::Destination(None), ..*listener };
                let admission = policy.admit(client, &before);
                assert!(!possible || admission == Admission::Possible, "{client:?} {listener:?} was kept out early");
            }
        }
    }
}

/// The list as its documentation has it: one rule after the other, the first match decides.
fn first_match(
    rules: &[(RuleId, &Rule)],
    client: &Client,
    listener: &ListenerView<'_>,
    name: &Hostname,
) -> (bool, Option<RuleId>) {
    let found = rules.iter().find(|(_, rule)| matches(rule, client, listener, name));
    (found.is_some_and(|(_, rule)| rule.action == Action::Allow), found.map(|(id, _)| *id))
}

fn matches(rule: &Rule, client: &Client, listener: &ListenerView<'_>, name: &Hostname) -> bool {
    let source = match &rule.sources {
        Sources::All => true,
        Sources::Networks(networks) => networks.iter().any(|network| network.contains(&client.ip.get())),
    };
    let (port, named) = match listener.port {
        RequestedPort::Public(port) => (Some(port), true),
        RequestedPort::Destination(port) => (port, rule.action == Action::Deny || !rule.to.is_empty()),
    };
    let to = rule.to.iter().any(|pattern| match pattern {
        NamePattern::Any => true,
        NamePattern::Exact(exact) => exact == name,
        NamePattern::Below(parent) => name.as_str().ends_with(&format!(".{parent}")),
    });
    source
        && named
        && (rule.to.is_empty() || to)
        && (rule.listeners.is_empty() || rule.listeners.iter().any(|one| **one == *listener.name))
        && (rule.ports.is_empty() || port.is_some_and(|port| rule.ports.contains(&port)))
        && (rule.via.is_empty() || client.endpoint.is_some_and(|id| rule.via.contains(&id)))
        && rule.until.is_none_or(|end| listener.now < end)
}

/// Both ends of each network and what lies just outside; with and without each endpoint.
fn clients(rules: &[(RuleId, &Rule)]) -> Vec<Client> {
    let networks = rules.iter().flat_map(|(_, rule)| match &rule.sources {
        Sources::All => [].iter(),
        Sources::Networks(networks) => networks.iter(),
    });
    let mut addresses: Vec<IpAddr> = networks.flat_map(ends).take(MOST).collect();
    addresses.extend(["198.51.100.9", "2001:db8::9"].map(|other| other.parse::<IpAddr>().unwrap()));
    let via = rules.iter().flat_map(|(_, rule)| rule.via.iter().copied().map(Some)).take(3);
    let endpoints: Vec<Option<EndpointId>> = via.chain([None, EndpointId::parse(b"vpce-other")]).collect();
    let one = |addr: IpAddr, endpoint| Client::new((addr, 2).into(), endpoint);
    addresses.iter().flat_map(|&addr| endpoints.iter().map(move |&endpoint| one(addr, endpoint))).collect()
}

fn ends(network: &IpNet) -> Vec<IpAddr> {
    let step = |address: IpAddr, by: i8| match address {
        IpAddr::V4(v4) => IpAddr::V4(u32::from(v4).wrapping_add_signed(by.into()).into()),
        IpAddr::V6(v6) => IpAddr::V6(u128::from(v6).wrapping_add_signed(by.into()).into()),
    };
    let (first, last) = (network.network(), network.broadcast());
    // A client's address is never IPv4-mapped: the header's reader has turned it into IPv4.
    [first, last, step(first, -1), step(last, 1)].map(|address| address.to_canonical()).to_vec()
}

fn names(rules: &[(RuleId, &Rule)]) -> Vec<Hostname> {
    let patterns = rules.iter().flat_map(|(_, rule)| rule.to.iter());
    let reported = patterns.flat_map(|pattern| match pattern {
        NamePattern::Any => [None, None],
        NamePattern::Exact(name) => [Some(name.clone()), Hostname::parse(format!("x.{name}").as_bytes()).ok()],
        NamePattern::Below(name) => [Some(name.clone()), Hostname::parse(format!("a.b.{name}").as_bytes()).ok()],
    });
    reported.flatten().take(MOST).chain([Hostname::parse(b"orders.example.com").unwrap()]).collect()
}

fn listeners<'a>(rules: &[(RuleId, &'a Rule)]) -> Vec<ListenerView<'a>> {
    let now = SystemTime::UNIX_EPOCH + NOW;
    let reported = rules.iter().flat_map(|(_, rule)| {
        let port = rule.ports.first().copied().unwrap_or(443);
        rule.listeners.iter().flat_map(move |name| {
            let ports = [RequestedPort::Public(port), RequestedPort::Destination(Some(port))];
            ports.map(|port| ListenerView { name, port, now })
        })
    });
    let mut asked: Vec<u16> = rules.iter().flat_map(|(_, rule)| rule.ports.iter().copied()).take(3).collect();
    asked.push(8443);
    let egress = asked.into_iter().map(|port| ("egress", RequestedPort::Destination(Some(port))));
    let usual = [("tls", RequestedPort::Public(443)), ("http", RequestedPort::Public(80))];
    reported
        .take(3)
        .chain(usual.into_iter().chain(egress).map(|(name, port)| ListenerView { name, port, now }))
        .collect()
}
