//! What a new list changes, in addresses.

use super::super::diff;
use super::*;

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
    diffs_on(None, old, new)
}

fn diffs_on(listeners: Option<&[config::Listener]>, old: &str, new: &str) -> Vec<String> {
    let (old, new) = (policy(&format!("rules:\n{old}\n")), policy(&format!("rules:\n{new}\n")));
    let changes = diff::diff(&old, &new, listeners, SystemTime::UNIX_EPOCH).unwrap();
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
fn a_diff_distinguishes_names_where_rules_do() {
    let old = "- { allow: 10.0.0.0/8, to: [a.test, '*.b.test'] }";
    assert_eq!(diffs(old, "- { allow: 10.0.0.0/8, to: ['*.b.test'] }"), ["name a.test - 10.0.0.0/8 by 0"]);
    assert_eq!(
        diffs(old, "- allow: 10.0.0.0/8"),
        [
            "any name but a.test, *.b.test + 10.0.0.0/8 by 2",
            "name a.test, *.b.test; on forward listeners - 10.0.0.0/8 by 0",
        ]
    );
    assert_eq!(
        diffs("- allow: 10.0.0.0/8", "- { deny: 10.0.0.0/8, port: 80 }\n- allow: 10.0.0.0/8"),
        ["any name; port 80 - 10.0.0.0/8 by 2"]
    );
    // A pattern may match a name that the lists also mention exactly.
    let both = "- { deny: 10.0.0.0/8, to: a.b.test }\n- { allow: 10.0.0.0/8, to: ['*.b.test'] }";
    assert_eq!(diffs(both, "- deny: 192.0.2.1"), ["name *.b.test, but not a.b.test - 10.0.0.0/8 by 0"]);
    assert_eq!(
        diffs(both, "- allow: 10.0.0.0/8"),
        [
            "any name but *.b.test, and a.b.test + 10.0.0.0/8 by 2",
            "name *.b.test, but not a.b.test; on forward listeners - 10.0.0.0/8 by 0",
        ]
    );
}

#[test]
fn a_diff_says_what_is_allowed_on_forward_listeners_only() {
    // What is needed there is said in so many words: nothing changes elsewhere.
    assert_eq!(
        diffs("- allow: 10.0.0.0/8", "- { allow: 10.0.0.0/8, to: any }"),
        ["any name; on forward listeners + 10.0.0.0/8 by 2"]
    );
    assert_eq!(
        diffs("- { allow: 10.0.0.0/8, to: any }", "- allow: 10.0.0.0/8"),
        ["any name; on forward listeners - 10.0.0.0/8 by 0"]
    );
    // Names instead of all of them close a tls listener and open a forward one.
    assert_eq!(
        diffs("- allow: 10.0.0.0/8", "- { allow: 10.0.0.0/8, to: a.test }"),
        ["name a.test; on forward listeners + 10.0.0.0/8 by 2", "any name but a.test - 10.0.0.0/8 by 0"]
    );
    assert_eq!(
        diffs("- { allow: 10.0.0.0/8, to: any, port: 443 }", "- { allow: 10.0.0.0/8, to: any, port: [443, 8443] }"),
        ["any name; port 8443 + 10.0.0.0/8 by 2"]
    );
    // A list for both says where each of its changes is.
    assert_eq!(
        diffs("- { allow: 10.1.0.0/16, to: '*' }", "- allow: 10.0.0.0/8"),
        [
            "any name; on tls and http listeners + 10.0.0.0/16, 10.2.0.0 - 10.255.255.255 by 2",
            "any name; on forward listeners - 10.1.0.0/16 by 0",
        ]
    );
}

#[test]
fn a_diff_for_known_listeners_is_about_those() {
    let listeners = |text: &str| {
        let text = format!("proxy_protocol: {{ trusted: 10.0.0.0/8 }}\nlisteners:\n{text}");
        configuration(&text).listeners
    };
    let reverse = listeners("- { name: tls, bind: '[::]:8443', protocol: tls }\n");
    let forward = listeners("- { name: egress, bind: '[::]:3128', protocol: forward }\n");
    let both: Vec<config::Listener> = reverse.iter().chain(&forward).cloned().collect();
    let named = ("- allow: 10.0.0.0/8", "- { allow: 10.0.0.0/8, to: any }");
    assert!(diffs_on(Some(&reverse), named.0, named.1).is_empty());
    assert_eq!(diffs_on(Some(&forward), named.0, named.1), ["any name + 10.0.0.0/8 by 2"]);
    assert_eq!(diffs_on(Some(&both), named.0, named.1), ["any name; on forward listeners + 10.0.0.0/8 by 2"]);
    assert_eq!(
        diffs_on(Some(&both), "- deny: all", "- allow: 10.0.0.0/8"),
        ["any name; on tls and http listeners + 10.0.0.0/8 by 2"]
    );
    // A rule for one listener, which is of one kind.
    let egress = ("- deny: all", "- { allow: 10.0.0.0/8, listener: egress, to: any }");
    assert_eq!(
        diffs_on(Some(&both), egress.0, egress.1),
        ["any name; listener egress; on forward listeners + 10.0.0.0/8 by 2"]
    );
    let unnamed = "- { allow: 10.0.0.0/8, listener: egress }";
    assert!(diffs_on(Some(&both), "- deny: all", unnamed).is_empty());
}

/// Nobody gets through to a port that no listener has, nor through an endpoint where no header names it.
#[test]
fn a_diff_for_known_listeners_is_about_their_ports_and_endpoints() {
    let listeners = |text: &str| {
        let text = format!("proxy_protocol: {{ trusted: 10.0.0.0/8 }}\nlisteners:\n{text}");
        configuration(&text).listeners
    };
    let egress = listeners("- { name: egress, bind: '[::]:3128', protocol: forward, connect_ports: [443, 22] }\n");
    let off = listeners("- { name: egress, bind: '[::]:3128', protocol: forward, proxy_protocol: off }\n");
    let both = listeners(
        "- { name: tls, bind: '[::]:8443', protocol: tls }\n- { name: http, bind: '[::]:8080', protocol: http }\n",
    );
    let nothing = "- deny: all";
    let rule = |more: &str| format!("- {{ allow: 10.0.0.0/8, to: any, {more} }}");
    for (listeners, more, expected) in [
        (&egress, "port: 8443", &[][..]),
        (&egress, "port: [443, 8443]", &["any name; port 443 + 10.0.0.0/8 by 2"]),
        (&egress, "port: [443, 22, 80]", &["any name + 10.0.0.0/8 by 2"]),
        (&egress, "port: [443, 22]", &["any name; port 443, 22 + 10.0.0.0/8 by 2"]),
        (&egress, "via: vpce-1", &["any name; via vpce-1 + 10.0.0.0/8 by 2"]),
        (&off, "via: vpce-1", &[]),
        (&both, "port: 8443", &[]),
        (&both, "port: [443, 8443]", &["any name; port 443 + 10.0.0.0/8 by 2"]),
        (&both, "port: 443, listener: http", &[]),
        (&both, "port: 443, listener: tls", &["any name; listener tls; port 443 + 10.0.0.0/8 by 2"]),
    ] {
        assert_eq!(diffs_on(Some(listeners), nothing, &rule(more)), expected, "{more}");
    }
    // Combinations that do not exist are not missed: what is left of the deny's listener and port is everything.
    let new = "- { deny: 192.0.2.1, port: 443, listener: tls }\n- allow: 10.0.0.0/8";
    assert_eq!(diffs_on(Some(&both), nothing, new), ["any name + 10.0.0.0/8 by 3"]);
}

#[test]
fn a_diff_describes_scopes_in_few_lines() {
    let shipped = policy(include_str!("../../../../conf/ipcontrol.yaml"));
    let rules = policy(include_str!("../../../../conf/rules.ipcontrol.yaml"));
    let changes = diff::diff(&shipped, &rules, None, SystemTime::UNIX_EPOCH).unwrap();
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
        (client, listener, port, now) in connection(),
    ) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
        let (old, new) = (Policy::of_rules(old), Policy::of_rules(new));
        let changes = diff::diff(&old, &new, None, now).unwrap();
        // A client whose decision changes is in a reported range.
        let listener = ListenerView { name: listener, port, now };
        for requested in NAMES.iter().map(|text| name(text)).chain([name("unheard.of")]) {
            let before = old.route(&client, &listener, &requested).allowed;
            let after = new.route(&client, &listener, &requested).allowed;
            let elsewhere = match listener.port {
                RequestedPort::Public(_) => "on forward listeners",
                RequestedPort::Destination(_) => "on tls and http listeners",
            };
            let here = |change: &&diff::Change| change.scopes.iter().any(|scope| !scope.ends_with(elsewhere));
            let reported = changes.iter().filter(|change| change.allowed == after).filter(here);
            let reported = reported.flat_map(|change| &change.ranges);
            let reported = reported.into_iter().any(|range| range_has(range, client.ip.get()));
            prop_assert!(before == after || reported, "{requested} {before} {after} {changes:?}");
        }
        let same = diff::diff(&new, &new, None, now).unwrap();
        prop_assert!(same.is_empty(), "{same:?}");
    }
}
