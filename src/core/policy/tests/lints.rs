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
        "- { allow: all, via: vpce-1 }\n- { deny: all, via: vpce-2 }",
    ] {
        let lines = lints(&format!("rules:\n{text}\n"));
        assert!(lines.is_empty(), "{text}\n{lines:#?}");
    }
}

proptest! {
    /// A rule reported as never matching never decides.
    #[test]
    fn unreached_means_unreached(rules in prop::collection::vec(rule(), 0..12), (client, listener, port, now) in connection()) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
        let listener = ListenerView { name: listener, port: RequestedPort::Public(port), now };
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
