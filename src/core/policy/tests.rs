//! The rules of the language, and the compiled list against a plain loop over its rules.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::Config;

mod diff;
mod forward;
mod lints;

fn policy(text: &str) -> Policy {
    Policy::parse(text, Origin::file("conf/ipcontrol.yaml")).unwrap_or_else(|diagnostics| panic!("{diagnostics:?}"))
}

fn diagnostics(text: &str) -> Vec<String> {
    let diagnostics = Policy::parse(text, Origin::file("ipcontrol.yaml")).unwrap_err();
    diagnostics.iter().map(ToString::to_string).collect()
}

fn configuration(text: &str) -> Config {
    let file = config::File { path: Path::new("latticegate.yaml"), text };
    let machine = config::Machine { open_files: 65_536, cpus: NonZeroUsize::MIN, memory: 1 << 30 };
    let config = Config::parse(Some(file), std::iter::empty(), &machine);
    config.unwrap_or_else(|diagnostics| panic!("{diagnostics:?}")).0
}

fn client(ip: &str) -> Client {
    let addr = SocketAddr::new(ip.parse().unwrap(), 40000);
    Client::new(addr, None)
}

fn client_via(ip: &str, endpoint: &str) -> Client {
    Client { endpoint: EndpointId::parse(endpoint.as_bytes()), ..client(ip) }
}

fn name(text: &str) -> Hostname {
    Hostname::parse(text.as_bytes()).unwrap()
}

const TLS: ListenerView<'_> =
    ListenerView { name: "tls", port: RequestedPort::Public(443), now: SystemTime::UNIX_EPOCH };
const HTTP: ListenerView<'_> =
    ListenerView { name: "http", port: RequestedPort::Public(80), now: SystemTime::UNIX_EPOCH };
const EGRESS: ListenerView<'_> =
    ListenerView { name: "egress", port: RequestedPort::Destination(None), now: SystemTime::UNIX_EPOCH };

/// Whether the client is allowed, and the line of the deciding rule.
fn decided(policy: &Policy, client: &Client, listener: &ListenerView<'_>, to: &str) -> (bool, Option<u32>) {
    let decision = policy.route(client, listener, &name(to));
    (decision.allowed, decision.rule.and_then(|id| policy.rule(id)).map(|rule| rule.line))
}

#[test]
fn names_of_rules_and_listeners_are_read_as_written() {
    for look in
        ["1.10", "0x1F", "0o17", "017", "yes", "True", "1e3", ".5", "2026-12-31", "123456789012345678901234567890"]
    {
        let list = policy(&format!("rules:\n- {{ allow: all, name: {look}, listener: [{look}], port: 0x1BB }}\n"));
        let (_, rule) = list.rules().next().unwrap();
        assert_eq!((rule.name.as_deref(), &*rule.listeners[0], &rule.ports[..]), (Some(look), look, &[443][..]));
    }
}

#[test]
fn the_shipped_list_is_the_incumbents() {
    let policy = policy(include_str!("../../../conf/ipcontrol.yaml"));
    for (ip, allowed) in [
        ("192.168.0.1", true),
        ("172.16.0.1", true),
        ("172.32.0.1", false),
        ("10.255.255.255", true),
        ("11.0.0.0", false),
        ("203.0.113.9", false),
        ("2001:db8::1", false),
        ("::ffff:10.1.2.3", true),
        ("::ffff:203.0.113.9", false),
    ] {
        assert_eq!(decided(&policy, &client(ip), &TLS, "a.test").0, allowed, "{ip}");
        let possible = matches!(policy.admit(&client(ip), &TLS), Admission::Possible);
        assert_eq!(possible, allowed, "{ip}");
    }
    let Admission::Denied(Some(rule)) = policy.admit(&client("203.0.113.9"), &TLS) else { panic!("let in") };
    assert!(policy.label(rule).to_string().starts_with("ipcontrol.yaml:"));
    assert_eq!(&*policy.rule(rule).unwrap().text, "deny: all");
}

#[test]
fn the_first_match_decides_even_if_a_later_one_is_narrower() {
    let policy = policy("rules:\n- deny: 10.1.0.0/16\n- allow: 10.0.0.0/8\n- deny: 10.2.3.4\n- allow: \"::/0\"\n");
    assert_eq!(decided(&policy, &client("10.1.2.3"), &TLS, "a.test"), (false, Some(2)));
    assert_eq!(decided(&policy, &client("10.2.3.4"), &TLS, "a.test"), (true, Some(3)));
    assert_eq!(decided(&policy, &client("2001:db8::1"), &TLS, "a.test"), (true, Some(5)));
    assert_eq!(decided(&policy, &client("192.0.2.1"), &TLS, "a.test"), (false, None));
}

#[test]
fn an_empty_list_denies_and_a_missing_one_is_refused() {
    assert_eq!(policy("rules: []").admit(&client("10.0.0.1"), &TLS), Admission::Denied(None));
    assert!(diagnostics("groups: {}")[0].contains("rules: is missing"));
    assert!(diagnostics("")[0].contains("is empty"));
    assert!(diagnostics("rules:\n")[0].contains("1:6: rules: has no value"), "{:?}", diagnostics("rules:\n"));
}

#[test]
fn conditions_must_all_hold() {
    let policy = policy(
        "groups:
  partners: [203.0.113.0/24, 198.51.100.7]
rules:
  - { allow: partners, to: [orders.example.com, '*.api.example.com'], port: 443, name: partners }
  - { allow: 10.0.0.0/8, listener: http }
  - { allow: all, via: vpce-0a }
  - { deny: 192.0.2.0/24, to: 'secret.example.com' }
  - { allow: 192.0.2.0/24, until: 1970-01-02 }
",
    );
    for (ip, listener, to, expected) in [
        ("203.0.113.9", TLS, "orders.example.com", (true, Some(4))),
        ("198.51.100.7", TLS, "a.b.api.example.com", (true, Some(4))),
        ("203.0.113.9", TLS, "api.example.com", (false, None)),
        ("203.0.113.9", HTTP, "orders.example.com", (false, None)),
        ("10.1.1.1", HTTP, "x.test", (true, Some(5))),
        ("10.1.1.1", TLS, "x.test", (false, None)),
        ("192.0.2.1", TLS, "secret.example.com", (false, Some(7))),
        ("192.0.2.1", TLS, "open.example.com", (true, Some(8))),
    ] {
        assert_eq!(decided(&policy, &client(ip), &listener, to), expected, "{ip} {to}");
    }
    assert_eq!(decided(&policy, &client_via("10.1.1.1", "vpce-0a"), &TLS, "x.test"), (true, Some(6)));
    assert_eq!(decided(&policy, &client_via("10.1.1.1", "vpce-0b"), &TLS, "x.test"), (false, None));
    let later = ListenerView { now: SystemTime::UNIX_EPOCH + Duration::from_secs(2 * 86_400), ..TLS };
    let last_second = ListenerView { now: later.now - Duration::from_secs(1), ..TLS };
    assert!(decided(&policy, &client("192.0.2.1"), &last_second, "open.example.com").0);
    assert!(!decided(&policy, &client("192.0.2.1"), &later, "open.example.com").0);
}

#[test]
fn a_client_without_any_name_is_refused_before_it_names_one() {
    let policy = policy(
        "rules:
  - { deny: 10.0.0.0/8, to: '*.example.com' }
  - { allow: 10.0.0.0/8, to: [a.example.com, '*.b.example.com'] }
  - { allow: 10.1.0.0/16, to: c.example.org }
  - { allow: 192.0.2.0/24, to: d.example.com, port: 80 }
  - deny: all
",
    );
    // Its only allow rule comes after a deny rule that covers all its names.
    assert!(matches!(policy.admit(&client("10.2.0.1"), &TLS), Admission::Denied(Some(_))));
    assert_eq!(policy.admit(&client("10.1.0.1"), &TLS), Admission::Possible);
    assert!(matches!(policy.admit(&client("192.0.2.1"), &TLS), Admission::Denied(Some(_))));
    assert_eq!(policy.admit(&client("192.0.2.1"), &HTTP), Admission::Possible);
}

#[test]
fn a_rule_keeps_its_text_without_comments() {
    let policy = policy(
        "rules:
  # before
  - allow: [10.0.0.0/8, # why
            192.0.2.1]
    to: a.test   # and why
    # within
    name: office
  # after
  - deny: all
",
    );
    let texts: Vec<(u32, &str)> = policy.rules().map(|(_, rule)| (rule.line, &*rule.text)).collect();
    assert_eq!(texts, [(3, "allow: [10.0.0.0/8, 192.0.2.1], to: a.test, name: office"), (9, "deny: all")]);
}

#[test]
fn mistakes_are_reported_with_place_and_help() {
    for (text, expected) in [
        (
            "rules:\n- allow: 10.1.0.0/8",
            ":2:10: rules[0].allow: \"10.1.0.0/8\" has bits set after its prefix; write \"10.0.0.0/8\"",
        ),
        (
            "rules:\n- allow: [10.0.0.0/8, ofice]\ngroups: {office: 10.0.0.0/8}",
            ":2:23: rules[0].allow[1]: \"ofice\" is neither a network nor a group of this file; did you mean \"office\"?",
        ),
        ("rules:\n- alow: all", ":2:3: rules[0].alow: unknown key; did you mean \"allow\"?"),
        ("rules:\n- allow: all\n  deny: all", ":2:3: rules[0]: has both"),
        ("rules:\n- to: a.test", ":2:3: rules[0]: has neither"),
        ("rules:\n- allow: any", "write `all` for every client"),
        ("rules:\n- {allow: all, to: 10.0.0.1}", "it is an IP address"),
        (
            "rules:\n- {allow: all, to: [a.test, ALL]}",
            ":2:29: rules[0].to[1]: \"ALL\" is not a name of a service; write `any`",
        ),
        ("rules:\n- {allow: all, to: Any}", "\"Any\" is not a name of a service; write `any` for every name"),
        ("rules:\n- {allow: all, port: 70000}", "\"70000\" is not a port"),
        ("rules:\n- {allow: all, via: vpce-svc-1}", "is not a VPC endpoint's id"),
        ("rules:\n- {allow: all, until: 2026-02-30}", "is not a time"),
        ("rules:\n- {allow: all, until: tomorrow}", "is not a time"),
        ("rules:\n- {allow: []}", "rules[0].allow: is empty"),
        ("rules:\n- allow", "found string \"allow\"; write a rule"),
        ("rules: all", "found string \"all\"; write"),
        ("groups: {all: 10.0.0.0/8}\nrules: []", "groups.all: is not a group's name"),
        ("groups: {a: [b]}\nrules: []", "groups.a[0]: \"b\" is not a network"),
        (
            "rules:\n- allow: no",
            "\"no\" is not a network; write `all` or networks; clients to refuse belong under `deny:`",
        ),
        ("rules: no", "rules: found string \"no\"; write a list"),
        ("rules:\n- {allow: all, to: 'http://a.test'}", "a character is not a letter, digit"),
    ] {
        let lines = diagnostics(text);
        assert!(lines.iter().any(|line| line.contains(expected)), "{text}\n{lines:#?}");
    }
}

#[test]
fn all_errors_are_reported_at_once_up_to_a_bound() {
    assert_eq!(diagnostics("rules:\n- allow: x1\n- alow: all\n- {deny: all, port: 0}\n").len(), 3);
    let many = "- allow: 300.0.0.0/8\n".repeat(5000);
    assert_eq!(diagnostics(&format!("rules:\n{many}")).len(), 25);
    let many = "- alow: all\n".repeat(5000);
    assert_eq!(diagnostics(&format!("rules:\n{many}")).len(), 25);
}

impl Policy {
    fn of_rules(rules: Vec<Rule>) -> Self {
        let index = Index::new(&rules);
        Self { origin: Origin::Defaults, source: "test".into(), rules, notes: Vec::new(), index }
    }
}

/// The meaning of the language, without any index.
fn naive(rules: &[Rule], client: &Client, listener: &ListenerView<'_>, name: &Hostname) -> Option<usize> {
    rules.iter().position(|rule| rule.mismatch(client, listener, Some(name)).is_none())
}

/// Names and patterns made of so few labels that they overlap.
const NAMES: &[&str] = &["a", "b.a", "c.b.a", "d.c.b.a", "c.a", "x.y"];
const ENDPOINTS: &[&str] = &["vpce-1", "vpce-2"];

fn network() -> impl Strategy<Value = IpNet> {
    // Few addresses and all lengths: prefixes nest and collide.
    let v4 = (0u32..8, 0u8..=32)
        .prop_map(|(n, len)| ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::from(n << 28 | n), len).trunc().into());
    let v6 = (0u128..4, 0u8..=128)
        .prop_map(|(n, len)| ipnet::Ipv6Net::new_assert(std::net::Ipv6Addr::from(n << 120 | n), len).trunc().into());
    prop_oneof![3 => v4, 1 => v6]
}

fn pattern() -> impl Strategy<Value = NamePattern> {
    (prop::sample::select(NAMES), 0..7_u8).prop_map(|(text, kind)| match kind {
        0 => NamePattern::Any,
        1..4 => NamePattern::Below(name(text)),
        _ => NamePattern::Exact(name(text)),
    })
}

/// Two that rules name, and one that none does.
const PORTS: [u16; 3] = [80, 443, 8443];

fn requested_port() -> impl Strategy<Value = RequestedPort> {
    let ports = prop::sample::select(&PORTS[..]);
    prop_oneof![
        ports.clone().prop_map(RequestedPort::Public),
        ports.prop_map(|port| RequestedPort::Destination(Some(port))),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    let sources = prop_oneof![
        1 => Just(Sources::All),
        4 => prop::collection::vec(network(), 1..4).prop_map(|networks| Sources::Networks(networks.into())),
    ];
    (
        any::<bool>(),
        sources,
        prop::option::weighted(0.4, prop::collection::vec(pattern(), 1..3)),
        prop::option::weighted(0.2, prop::sample::select(&["tls", "http"][..])),
        prop::option::weighted(0.3, prop::sample::subsequence(vec![80u16, 443], 1..=2)),
        prop::option::weighted(0.2, prop::sample::select(ENDPOINTS)),
        prop::option::weighted(0.2, 0u64..3),
    )
        .prop_map(|(allow, sources, to, listener, port, via, until)| Rule {
            action: if allow { Action::Allow } else { Action::Deny },
            sources,
            to: to.unwrap_or_default().into(),
            listeners: listener.map(Box::from).into_iter().collect(),
            ports: port.unwrap_or_default().into(),
            via: via.and_then(|id| EndpointId::parse(id.as_bytes())).into_iter().collect(),
            until: until.map(|day| SystemTime::UNIX_EPOCH + Duration::from_secs(day)),
            name: None,
            line: 0,
            column: 0,
            text: Box::default(),
        })
}

fn connection() -> impl Strategy<Value = (Client, &'static str, RequestedPort, u64)> {
    let v4 = (0u32..8).prop_map(|n| IpAddr::from(std::net::Ipv4Addr::from(n << 28 | n)));
    let mapped = (0u32..8).prop_map(|n| IpAddr::from(std::net::Ipv4Addr::from(n << 28 | n).to_ipv6_mapped()));
    let v6 = (0u128..4).prop_map(|n| IpAddr::from(std::net::Ipv6Addr::from(n << 120 | n)));
    let ip = prop_oneof![3 => v4, 1 => mapped, 1 => v6];
    let endpoint = prop::option::of(prop::sample::select(&["vpce-1", "vpce-2", "vpce-3"][..]));
    let listener = prop::sample::select(&["tls", "http"][..]);
    (ip, endpoint, listener, requested_port(), 0u64..3).prop_map(|(ip, endpoint, listener, port, now)| {
        let endpoint = endpoint.and_then(|id| EndpointId::parse(id.as_bytes()));
        let addr = SocketAddr::new(ip, 1);
        (Client::new(addr, endpoint), listener, port, now)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_index_decides_like_the_plain_loop(
        rules in prop::collection::vec(rule(), 0..24),
        (client, listener, port, now) in connection(),
    ) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
        let listener = ListenerView { name: listener, port, now };
        let policy = Policy::of_rules(rules.clone());
        let is_allow = |found: Option<usize>| found.is_some_and(|at| rules[at].action == Action::Allow);
        let mut some_name = false;
        for requested in every_kind_of_name() {
            let expected = naive(&rules, &client, &listener, &requested);
            let decision = policy.route(&client, &listener, &requested);
            prop_assert_eq!(decision.rule.map(RuleId::index), expected, "{}", requested);
            prop_assert_eq!(decision.allowed, is_allow(expected));
            some_name |= decision.allowed;
        }
        prop_assert_eq!(policy.admit(&client, &listener) == Admission::Possible, some_name);
    }

    #[test]
    fn before_the_port_is_known_only_those_denied_for_all_names_and_ports_are_refused(
        rules in prop::collection::vec(rule(), 0..6),
        (client, listener, _, now) in connection(),
    ) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
        let listener = ListenerView { name: listener, port: RequestedPort::Destination(None), now };
        let policy = Policy::of_rules(rules.clone());
        let is_allowed = |port: &u16, requested: &Hostname| {
            let found = naive(&rules, &client, &listener.to_port(*port), requested);
            found.is_some_and(|at| rules[at].action == Action::Allow)
        };
        let names: Vec<Hostname> = every_kind_of_name().collect();
        let some = PORTS.iter().any(|port| names.iter().any(|requested| is_allowed(port, requested)));
        let admission = policy.admit(&client, &listener);
        prop_assert_eq!(admission == Admission::Possible, some);
        if let Admission::Denied(Some(rule)) = admission {
            let mismatch = rules[rule.index()].mismatch(&client, &listener, None);
            prop_assert_eq!(mismatch, None, "the rule that is named does not deny");
        }
    }
}

/// Those in patterns, a name below each, and one that no pattern matches: together they represent all names.
fn every_kind_of_name() -> impl Iterator<Item = Hostname> {
    let fresh = NAMES.iter().map(|known| name(&format!("fresh.{known}")));
    NAMES.iter().map(|text| name(text)).chain(fresh).chain([name("unheard.of")])
}

#[test]
fn the_schema_in_conf_is_current() {
    yaml::schema::assert_current::<raw::RawPolicy>("ipcontrol.schema.json", "latticegate: access list");
}
