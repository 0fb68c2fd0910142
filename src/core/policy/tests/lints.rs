//! Rules that are probably not meant are reported, and others are not.

use super::*;

fn lints(text: &str) -> Vec<String> {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    policy(text).lints(now, None).iter().map(ToString::to_string).collect()
}

#[test]
fn doubtful_rules_are_reported() {
    for (text, expected) in [
        (
            "- deny: all\n- allow: 10.0.0.0/8",
            ":3:3: rules[1]: never matches: line 2 (deny: all) decides first; move it up, or remove it",
        ),
        (
            "- allow: 10.0.0.0/8\n- allow: 10.1.0.0/16",
            "rules[1]: never matches: line 2 (allow: 10.0.0.0/8) already covers it; remove it",
        ),
        ("- allow: 10.0.0.0/8\n- allow: 10.0.0.0/8", "says the same; remove one"),
        (
            "- allow: 10.0.0.0/9\n- deny: 10.128.0.0/9\n- allow: 10.0.0.0/8",
            "rules[2]: never matches: earlier rules together",
        ),
        (
            "- deny: 10.1.0.0/16\n- allow: [10.1.2.0/24, 11.0.0.0/8]",
            "rules[1]: has 10.1.2.0/24, which never matches: line 2",
        ),
        ("- allow: [10.1.2.0/24, 10.0.0.0/8]", "rules[0]: has 10.1.2.0/24, which its other networks cover"),
        ("- deny: 10.0.0.0/8\n- { allow: 10.1.0.0/16, to: a.test }", "rules[1]: never matches"),
        ("- { deny: all, to: '*.test' }\n- { allow: 10.1.0.0/16, to: a.test, port: 443 }", "rules[1]: never matches"),
        ("- allow: 0.0.0.0/0", "0.0.0.0/0 does not cover IPv6 clients; write `all`"),
        ("- deny: '::/0'", "::/0 does not cover IPv4"),
        ("- { allow: all, until: 2026-09-20 }", "ended at 2026-09-21T00:00:00Z"),
        ("- { allow: all, until: 2026-09-25 }", "ends at 2026-09-26T00:00:00Z"),
        ("- { allow: all, to: '*.-a.test' }", ":2:3: rules[0]: is for *.-a.test, which is the name of no host"),
        ("- { allow: all, to: [a.test, b-.test] }", "rules[0]: is for b-.test, which"),
        ("- { allow: all, to: localhost }", "rules[0]: is for localhost, which is the name of this machine"),
        ("- allow: all\ngroups: { a: 10.0.0.0/8 }", ":3:14: groups.a: is used by no rule"),
    ] {
        let lines = lints(&format!("rules:\n{text}\n"));
        assert!(lines.len() == 1 && lines[0].contains(expected), "{text}\n{lines:#?}");
    }
    assert!(lints("rules: []\n")[0].contains("everyone is denied"));
    let cut = "ipcontrol.yaml:2:18: ends in the middle of a line, as a file does that was cut short";
    assert!(lints("rules:\n- allow: 10.0.0.1")[0].contains(cut));
}

#[test]
fn sensible_rules_are_not_reported() {
    for text in [
        "- deny: 10.1.0.0/16\n- allow: 10.0.0.0/8\n- deny: all",
        "- { deny: 10.0.0.0/8, to: a.test }\n- allow: 10.0.0.0/8",
        "- { allow: 10.0.0.0/8, port: 443 }\n- { allow: 10.0.0.0/8, port: 80 }",
        "- { allow: all, to: '*.a.test' }\n- { deny: all, to: '*.test' }",
        "- { deny: 10.0.0.0/8, until: 2026-12-31 }\n- allow: 10.0.0.0/8",
        "- allow: 0.0.0.0/0\n- allow: '::/0'",
        "- deny: [0.0.0.0/5, 128.0.0.0/1, '::/0']",
        "- allow: [0.0.0.0/0, '2001:db8::/32']",
        "- { allow: all, via: vpce-1 }\n- { deny: all, via: vpce-2 }",
    ] {
        let lines = lints(&format!("rules:\n{text}\n"));
        assert!(lines.is_empty(), "{text}\n{lines:#?}");
    }
}

const LISTENERS: &str = "
  - { name: tls, bind: \"[::]:8443\", protocol: tls }
  - { name: egress, bind: \"[::]:3128\", protocol: forward, connect_ports: [443, 8443], http_ports: [80] }
";

fn lints_on(listeners: &str, text: &str) -> Vec<String> {
    let config = configuration(&format!("proxy_protocol: {{ trusted: 10.0.0.0/8 }}\nlisteners:{listeners}"));
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    // A client of the load balancer's own network, about which there is a warning otherwise.
    let policy = policy(&format!("rules:\n{text}\n- {{ allow: 10.0.0.0/8, to: balancer.test }}\n"));
    policy.lints(now, Some(&config)).iter().map(ToString::to_string).collect()
}

#[test]
fn rules_that_do_not_fit_a_forward_listener_are_reported() {
    for (text, expected) in [
        (
            "- allow: 10.0.0.0/8",
            ":2:3: rules[0]: allows nothing on listener egress; write `to: any` or names, or `listener: [tls]` if it is \
             not for that one",
        ),
        (
            "- { allow: 192.0.2.0/24, listener: egress }",
            ":2:3: rules[0]: allows nothing on listener egress; write `to: any` or names",
        ),
        ("- { allow: 192.0.2.0/24, port: 443, via: vpce-1 }", "rules[0]: allows nothing on listener egress"),
        (
            "- { allow: all, to: any }",
            ":2:3: rules[0]: makes listener egress an open proxy: to anywhere, for anyone; write the networks",
        ),
        ("- { allow: all, to: ['*'], port: 443 }", "rules[0]: makes listener egress an open proxy"),
        ("- { allow: [0.0.0.0/1, 128.0.0.0/1], to: any }", "rules[0]: makes listener egress an open proxy"),
        ("- { allow: 64.0.0.0/4, to: any, listener: [egress] }", "rules[0]: makes listener egress an open proxy"),
        ("- { allow: 2000::/3, to: any, listener: [egress] }", "rules[0]: makes listener egress an open proxy"),
        (
            "- { allow: 192.0.2.0/24, to: any, listener: egress, port: 3128 }",
            "rules[0]: is for port 3128, which no listener of the rule has; write the destination's port, one of \
             `connect_ports` or `http_ports` of the listener",
        ),
        (
            "- { allow: 192.0.2.0/24, to: a.test, listener: tls, port: 8443 }",
            "rules[0]: is for port 8443, which no listener of the rule has; write the port that clients connect to \
             (`public_port` of a listener)",
        ),
        (
            "- { deny: 192.0.2.0/24, port: 25 }",
            "rules[0]: is for port 25, which no listener has; write the port that clients connect to (`public_port`); \
             on a forward listener the destination's",
        ),
    ] {
        let lines = lints_on(LISTENERS, text);
        let about_it: Vec<&String> = lines.iter().filter(|line| line.contains(":2:3:")).collect();
        assert!(about_it.len() == 1 && about_it[0].contains(expected), "{text}\n{lines:#?}");
    }
}

#[test]
fn rules_that_fit_a_forward_listener_are_not_reported() {
    for text in [
        "- { allow: 10.0.0.0/8, listener: tls }",
        "- { allow: 10.0.0.0/8, listener: tls }\n- { allow: 10.0.0.0/8, to: any, listener: egress }",
        // The second is for the forward listener what the first is for the other.
        "- { allow: 192.0.2.0/24, listener: tls }\n- { allow: 192.0.2.0/24, to: any }",
        "- { deny: 192.0.2.0/24 }\n- { allow: all, to: any, via: vpce-1 }",
        "- { allow: [10.0.0.0/8, 'fc00::/7', 172.16.0.0/12], to: any }",
        "- { allow: all, to: [a.test, '*.b.test'], port: [80, 443, 8443] }",
        "- { allow: all, to: any, listener: tls }",
    ] {
        let mut lines = lints_on(LISTENERS, text);
        // The rule for the load balancer's network may be covered by those of the text.
        let balancers = format!(":{}:3: ", 2 + text.lines().count());
        lines.retain(|line| !line.contains(&balancers));
        assert!(lines.is_empty(), "{text}\n{lines:#?}");
    }
    // Without a forward listener nothing of it is said, and `to: any` says the same as nothing.
    let tls = "\n- { name: tls, bind: \"[::]:8443\", protocol: tls }\n";
    assert!(lints_on(tls, "- allow: 192.0.2.0/24").is_empty());
    assert!(lints_on(tls, "- allow: 192.0.2.0/24\n- { allow: 192.0.2.0/24, to: any }")[0].contains("says the same"));
    // Nor on one that reaches some networks only.
    let inside =
        "\n- { name: egress, bind: \"[::]:3128\", protocol: forward, upstream: { allowed_networks: 10.1.0.0/16 } }\n";
    let lines = lints_on(inside, "- { allow: all, to: any }");
    assert!(lines.iter().all(|line| !line.contains("open proxy")), "{lines:#?}");
}

#[test]
fn an_unnamed_rule_does_not_hide_one_that_is_for_forward_listeners_too() {
    let unnamed_first = "- allow: 192.0.2.0/24\n- { allow: 192.0.2.0/24, to: [any] }";
    let hidden = |lines: Vec<String>| lines.iter().any(|line| line.contains("rules[1]: never matches"));
    assert!(!hidden(lints_on(LISTENERS, unnamed_first)));
    // There may be a forward listener where the listeners are not known.
    assert!(!hidden(lints(&format!("rules:\n{unnamed_first}\n"))));
    assert!(hidden(lints_on(LISTENERS, "- { allow: 192.0.2.0/24, to: '*' }\n- allow: 192.0.2.0/24")));
    assert!(hidden(lints_on(LISTENERS, "- deny: 192.0.2.0/24\n- { allow: 192.0.2.0/24, to: [any] }")));
}

proptest! {
    /// A rule reported as never matching never decides.
    #[test]
    fn unreached_means_unreached(rules in prop::collection::vec(rule(), 0..12), (client, listener, port, now) in connection()) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
        let listener = ListenerView { name: listener, port, now };
        let policy = Policy::of_rules(rules);
        let unreached: Vec<String> = policy
            .lints(SystemTime::UNIX_EPOCH, None)
            .iter()
            .filter(|lint| lint.message.starts_with("never matches"))
            .map(|lint| lint.key.to_string())
            .collect();
        for requested in NAMES {
            if let Some(id) = policy.route(&client, &listener, &name(requested)).rule {
                let key = format!("rules[{}]", id.index());
                prop_assert!(!unreached.contains(&key), "{key} decided about {requested}");
            }
        }
    }
}

/// The endpoint that a client comes through is in the PROXY header.
#[test]
fn a_rule_with_via_where_no_listener_reads_a_header_is_reported() {
    let listeners = |tls: &str, egress: &str| {
        format!(
            "\n- {{ name: tls, bind: '[::]:8443', protocol: tls, proxy_protocol: {tls} }}\n\
             - {{ name: egress, bind: '[::]:3128', protocol: forward, proxy_protocol: {egress} }}\n"
        )
    };
    let rule = |more: &str| format!("- {{ allow: 192.0.2.0/24, to: a.test, via: vpce-1{more} }}");
    let off = "rules[0]: never matches: with `proxy_protocol: off`, ";
    for (tls, egress, more, expected) in [
        ("off", "off", "", Some("tls, egress knows no `via:`; write `proxy_protocol: required` for a listener")),
        ("required", "off", ", listener: egress", Some("egress knows no `via:`")),
        ("required", "off", ", listener: tls", None),
        ("required", "off", "", None),
        ("off", "required", ", listener: [tls, egress]", None),
    ] {
        let lines = lints_on(&listeners(tls, egress), &rule(more));
        let about_it: Vec<&String> = lines.iter().filter(|line| line.contains(":2:3:")).collect();
        let found = about_it.iter().any(|line| line.contains(off) && expected.is_some_and(|part| line.contains(part)));
        assert!(about_it.len() == usize::from(found) && found == expected.is_some(), "{more}\n{lines:#?}");
    }
    let denied = lints_on(&listeners("off", "off"), "- { deny: all, via: vpce-1 }");
    assert!(denied.iter().any(|line| line.contains(off)), "{denied:#?}");
}
