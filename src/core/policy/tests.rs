//! The compiled list against the plain reading of its rules, and the rules of the language.

use std::time::Duration;

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;

use super::*;

fn policy(text: &str) -> Policy {
    Policy::parse(text, Origin::file("conf/ipcontrol.yaml")).unwrap_or_else(|diagnostics| panic!("{diagnostics:?}"))
}

fn diagnostics(text: &str) -> Vec<String> {
    let diagnostics = Policy::parse(text, Origin::file("ipcontrol.yaml")).unwrap_err();
    diagnostics.iter().map(ToString::to_string).collect()
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

const TLS: ListenerView<'_> = ListenerView { name: "tls", public_port: 443, now: SystemTime::UNIX_EPOCH };
const HTTP: ListenerView<'_> = ListenerView { name: "http", public_port: 80, now: SystemTime::UNIX_EPOCH };

/// The line of the deciding rule, and its answer.
fn decided(policy: &Policy, client: &Client, listener: &ListenerView<'_>, to: &str) -> (bool, Option<u32>) {
    let decision = policy.route(client, listener, &name(to));
    (decision.allowed, decision.rule.and_then(|id| policy.rule(id)).map(|rule| rule.line))
}

#[test]
fn names_of_rules_and_listeners_are_taken_as_they_are_written() {
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
    // Its only allow rule stands behind a deny that covers every name of it.
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
            "\"no\" is not a network; write `all` or networks; whom to refuse stands behind `deny:`",
        ),
        ("rules: no", "rules: found string \"no\"; write a list"),
        ("rules:\n- {allow: all, to: 'http://a.test'}", "a character is not a letter, digit"),
    ] {
        let told = diagnostics(text);
        assert!(told.iter().any(|line| line.contains(expected)), "{text}\n{told:#?}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_up_to_a_bound() {
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

/// What the language means, without any index.
fn naive(rules: &[Rule], client: &Client, listener: &ListenerView<'_>, name: &Hostname) -> Option<usize> {
    rules.iter().position(|rule| rule.mismatch(client, listener, Some(name)).is_none())
}

/// Names and patterns from so few labels that they meet.
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
    (prop::sample::select(NAMES), any::<bool>())
        .prop_map(|(text, below)| if below { NamePattern::Below(name(text)) } else { NamePattern::Exact(name(text)) })
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
        prop::option::weighted(0.2, prop::sample::select(&[80u16, 443][..])),
        prop::option::weighted(0.2, prop::sample::select(ENDPOINTS)),
        prop::option::weighted(0.2, 0u64..3),
    )
        .prop_map(|(allow, sources, to, listener, port, via, until)| Rule {
            action: if allow { Action::Allow } else { Action::Deny },
            sources,
            to: to.unwrap_or_default().into(),
            listeners: listener.map(Box::from).into_iter().collect(),
            ports: port.into_iter().collect(),
            via: via.and_then(|id| EndpointId::parse(id.as_bytes())).into_iter().collect(),
            until: until.map(|day| SystemTime::UNIX_EPOCH + Duration::from_secs(day)),
            name: None,
            line: 0,
            column: 0,
            text: Box::default(),
        })
}

fn asking() -> impl Strategy<Value = (Client, &'static str, u16, u64)> {
    let v4 = (0u32..8).prop_map(|n| IpAddr::from(std::net::Ipv4Addr::from(n << 28 | n)));
    let mapped = (0u32..8).prop_map(|n| IpAddr::from(std::net::Ipv4Addr::from(n << 28 | n).to_ipv6_mapped()));
    let v6 = (0u128..4).prop_map(|n| IpAddr::from(std::net::Ipv6Addr::from(n << 120 | n)));
    let ip = prop_oneof![3 => v4, 1 => mapped, 1 => v6];
    let endpoint = prop::option::of(prop::sample::select(&["vpce-1", "vpce-2", "vpce-3"][..]));
    let listener = prop::sample::select(&["tls", "http"][..]);
    (ip, endpoint, listener, prop::sample::select(&[80u16, 443][..]), 0u64..3).prop_map(
        |(ip, endpoint, listener, port, now)| {
            let endpoint = endpoint.and_then(|id| EndpointId::parse(id.as_bytes()));
            let addr = SocketAddr::new(ip, 1);
            (Client::new(addr, endpoint), listener, port, now)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_index_decides_like_the_plain_loop(
        rules in prop::collection::vec(rule(), 0..24),
        (client, listener, public_port, now) in asking(),
    ) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
        let listener = ListenerView { name: listener, public_port, now };
        let policy = Policy::of_rules(rules.clone());
        let is_allow = |found: Option<usize>| found.is_some_and(|at| rules[at].action == Action::Allow);
        let mut some_name = false;
        // A name below each pattern, and one that no pattern knows, stand for all names there are.
        let fresh = NAMES.iter().map(|known| name(&format!("fresh.{known}")));
        for asked in NAMES.iter().map(|text| name(text)).chain(fresh).chain([name("unheard.of")]) {
            let expected = naive(&rules, &client, &listener, &asked);
            let decision = policy.route(&client, &listener, &asked);
            prop_assert_eq!(decision.rule.map(RuleId::index), expected, "{}", asked);
            prop_assert_eq!(decision.allowed, is_allow(expected));
            some_name |= decision.allowed;
        }
        prop_assert_eq!(policy.admit(&client, &listener) == Admission::Possible, some_name);
    }
}

fn lints(text: &str) -> Vec<String> {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    policy(text).lints(now, None).iter().map(ToString::to_string).collect()
}

#[test]
fn doubtful_rules_are_told() {
    for (text, expected) in [
        (
            "- deny: all\n- allow: 10.0.0.0/8",
            ":3:3: rules[1]: is never reached: line 2 (deny: all) decides first; move it up, or remove it",
        ),
        (
            "- allow: 10.0.0.0/8\n- allow: 10.1.0.0/16",
            "rules[1]: is never reached: line 2 (allow: 10.0.0.0/8) says it already; remove it",
        ),
        ("- allow: 10.0.0.0/8\n- allow: 10.0.0.0/8", "says the same; remove one"),
        (
            "- allow: 10.0.0.0/9\n- deny: 10.128.0.0/9\n- allow: 10.0.0.0/8",
            "rules[2]: is never reached: earlier rules together",
        ),
        (
            "- deny: 10.1.0.0/16\n- allow: [10.1.2.0/24, 11.0.0.0/8]",
            "rules[1]: has 10.1.2.0/24, which is never reached: line 2",
        ),
        ("- allow: [10.1.2.0/24, 10.0.0.0/8]", "rules[0]: has 10.1.2.0/24, which its other networks cover"),
        ("- deny: 10.0.0.0/8\n- { allow: 10.1.0.0/16, to: a.test }", "rules[1]: is never reached"),
        (
            "- { deny: all, to: '*.test' }\n- { allow: 10.1.0.0/16, to: a.test, port: 443 }",
            "rules[1]: is never reached",
        ),
        ("- allow: 0.0.0.0/0", "0.0.0.0/0 does not cover IPv6 clients; write `all`"),
        ("- deny: '::/0'", "::/0 does not cover IPv4"),
        ("- { allow: all, until: 2026-09-20 }", "ended at 2026-09-21T00:00:00Z"),
        ("- { allow: all, until: 2026-09-25 }", "ends at 2026-09-26T00:00:00Z"),
        ("- { allow: all, to: '*.-a.test' }", ":2:3: rules[0]: is for *.-a.test, which is the name of no host"),
        ("- { allow: all, to: [a.test, b-.test] }", "rules[0]: is for b-.test, which"),
        ("- { allow: all, to: localhost }", "rules[0]: is for localhost, which is the name of this machine"),
        ("- allow: all\ngroups: { a: 10.0.0.0/8 }", ":3:14: groups.a: is used by no rule"),
    ] {
        let told = lints(&format!("rules:\n{text}\n"));
        assert!(told.len() == 1 && told[0].contains(expected), "{text}\n{told:#?}");
    }
    assert!(lints("rules: []\n")[0].contains("everyone is denied"));
    let cut = "ipcontrol.yaml:2:18: ends in the middle of a line, as a file does that was cut short";
    assert!(lints("rules:\n- allow: 10.0.0.1")[0].contains(cut));
}

#[test]
fn what_is_meant_is_not_told() {
    for text in [
        "- deny: 10.1.0.0/16\n- allow: 10.0.0.0/8\n- deny: all",
        "- { deny: 10.0.0.0/8, to: a.test }\n- allow: 10.0.0.0/8",
        "- { allow: 10.0.0.0/8, port: 443 }\n- { allow: 10.0.0.0/8, port: 80 }",
        "- { allow: all, to: '*.a.test' }\n- { deny: all, to: '*.test' }",
        "- { deny: 10.0.0.0/8, until: 2026-12-31 }\n- allow: 10.0.0.0/8",
        "- allow: 0.0.0.0/0\n- allow: '::/0'",
        "- { allow: all, via: vpce-1 }\n- { deny: all, via: vpce-2 }",
    ] {
        let told = lints(&format!("rules:\n{text}\n"));
        assert!(told.is_empty(), "{text}\n{told:#?}");
    }
}

proptest! {
    /// A rule told as never reached never decides; a rule that decides somewhere is not told.
    #[test]
    fn unreached_means_unreached(rules in prop::collection::vec(rule(), 0..12), (client, listener, port, now) in asking()) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
        let listener = ListenerView { name: listener, public_port: port, now };
        let policy = Policy::of_rules(rules);
        let unreached: Vec<String> = policy
            .lints(SystemTime::UNIX_EPOCH, None)
            .iter()
            .filter(|lint| lint.message.starts_with("is never reached"))
            .map(|lint| lint.key.to_string())
            .collect();
        for asked in NAMES {
            if let Some(id) = policy.route(&client, &listener, &name(asked)).rule {
                let key = format!("rules[{}]", id.index());
                prop_assert!(!unreached.contains(&key), "{key} decided about {asked}");
            }
        }
    }
}

/// Reads a range as `diff` prints it.
fn range_has(range: &str, ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    match (range.split_once(" - "), range.parse::<IpNet>()) {
        (Some((first, last)), _) => {
            let (first, last): (IpAddr, IpAddr) = (first.parse().unwrap(), last.parse().unwrap());
            first.is_ipv4() == ip.is_ipv4() && first <= ip && ip <= last
        }
        (None, Ok(network)) => network.contains(&ip),
        (None, Err(_)) => range == "all" || range.parse::<IpAddr>() == Ok(ip),
    }
}

fn diffs(old: &str, new: &str) -> Vec<String> {
    let (old, new) = (policy(&format!("rules:\n{old}\n")), policy(&format!("rules:\n{new}\n")));
    let changes = diff::diff(&old, &new, SystemTime::UNIX_EPOCH).unwrap();
    let line = |change: diff::Change| {
        let rule = change.rule.and_then(|id| new.rule(id)).map_or(0, |rule| rule.line);
        let sign = if change.allowed { '+' } else { '-' };
        format!("{} {sign} {} by {rule}", change.scopes.join(" / "), change.ranges.join(", "))
    };
    changes.into_iter().map(line).collect()
}

#[test]
fn a_diff_is_about_addresses_not_lines() {
    let old = "- allow: 10.0.0.0/8\n- deny: all";
    assert!(diffs(old, "- allow: [10.0.0.0/9, 10.128.0.0/9]").is_empty());
    assert_eq!(diffs(old, "- deny: 10.1.0.0/16\n- allow: 10.0.0.0/8"), ["any name - 10.1.0.0/16 by 2"]);
    assert_eq!(diffs(old, "- allow: 10.0.0.0/7"), ["any name + 11.0.0.0/8 by 2"]);
    assert_eq!(
        diffs(old, "- allow: 10.0.0.0/8\n- allow: 0.0.0.0/0"),
        ["any name + 0.0.0.0 - 9.255.255.255, 11.0.0.0 - 255.255.255.255 by 3"]
    );
    assert_eq!(
        diffs(old, "- allow: all"),
        ["any name + 0.0.0.0 - 9.255.255.255, 11.0.0.0 - 255.255.255.255, ::/0 by 2"]
    );
}

#[test]
fn a_diff_tells_names_apart_where_rules_do() {
    let old = "- { allow: 10.0.0.0/8, to: [a.test, '*.b.test'] }";
    assert_eq!(diffs(old, "- { allow: 10.0.0.0/8, to: ['*.b.test'] }"), ["name a.test - 10.0.0.0/8 by 0"]);
    assert_eq!(diffs(old, "- allow: 10.0.0.0/8"), ["any name but a.test, *.b.test + 10.0.0.0/8 by 2"]);
    assert_eq!(
        diffs("- allow: 10.0.0.0/8", "- { deny: 10.0.0.0/8, port: 80 }\n- allow: 10.0.0.0/8"),
        ["any name; port 80 - 10.0.0.0/8 by 2"]
    );
    // A pattern may hold a name that the lists mention of its own.
    let both = "- { deny: 10.0.0.0/8, to: a.b.test }\n- { allow: 10.0.0.0/8, to: ['*.b.test'] }";
    assert_eq!(diffs(both, "- deny: 192.0.2.1"), ["name *.b.test, but not a.b.test - 10.0.0.0/8 by 0"]);
    assert_eq!(diffs(both, "- allow: 10.0.0.0/8"), ["any name but *.b.test, and a.b.test + 10.0.0.0/8 by 2"]);
}

#[test]
fn a_diff_says_as_little_as_it_can_about_whom() {
    let shipped = policy(include_str!("../../../conf/ipcontrol.yaml"));
    let rules = policy(include_str!("../../../conf/rules.ipcontrol.yaml"));
    let changes = diff::diff(&shipped, &rules, SystemTime::UNIX_EPOCH).unwrap();
    let scopes: Vec<String> = changes.iter().flat_map(|change| change.scopes.clone()).collect();
    assert_eq!(
        scopes,
        [
            "name orders.example.com; port 443",
            "name orders.example.com, *.api.example.com",
            "any name; listener tls; via vpce-0123456789abcdef0",
            "any name; any listener but tls; via vpce-0123456789abcdef0",
            "any name; not via vpce-0123456789abcdef0",
        ]
    );
}

proptest! {
    #[test]
    fn a_diff_is_what_changes(
        old in prop::collection::vec(rule(), 0..8),
        new in prop::collection::vec(rule(), 0..8),
        (client, listener, port, now) in asking(),
    ) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
        let (old, new) = (Policy::of_rules(old), Policy::of_rules(new));
        let changes = diff::diff(&old, &new, now).unwrap();
        // Whoever gets another answer is in a range that is told.
        let listener = ListenerView { name: listener, public_port: port, now };
        for asked in NAMES.iter().map(|text| name(text)).chain([name("unheard.of")]) {
            let before = old.route(&client, &listener, &asked).allowed;
            let after = new.route(&client, &listener, &asked).allowed;
            let told = changes.iter().filter(|change| change.allowed == after).flat_map(|change| &change.ranges);
            let told = told.into_iter().any(|range| range_has(range, client.ip.get()));
            prop_assert!(before == after || told, "{asked} {before} {after} {changes:?}");
        }
        let same = diff::diff(&new, &new, now).unwrap();
        prop_assert!(same.is_empty(), "{same:?}");
    }
}

#[test]
fn the_schema_in_conf_is_current() {
    yaml::schema::assert_current::<raw::RawPolicy>("ipcontrol.schema.json", "latticegate: access list");
}
