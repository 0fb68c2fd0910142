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
fn a_diff_distinguishes_names_where_rules_do() {
    let old = "- { allow: 10.0.0.0/8, to: [a.test, '*.b.test'] }";
    assert_eq!(diffs(old, "- { allow: 10.0.0.0/8, to: ['*.b.test'] }"), ["name a.test - 10.0.0.0/8 by 0"]);
    assert_eq!(diffs(old, "- allow: 10.0.0.0/8"), ["any name but a.test, *.b.test + 10.0.0.0/8 by 2"]);
    assert_eq!(
        diffs("- allow: 10.0.0.0/8", "- { deny: 10.0.0.0/8, port: 80 }\n- allow: 10.0.0.0/8"),
        ["any name; port 80 - 10.0.0.0/8 by 2"]
    );
    // A pattern may match a name that the lists also mention exactly.
    let both = "- { deny: 10.0.0.0/8, to: a.b.test }\n- { allow: 10.0.0.0/8, to: ['*.b.test'] }";
    assert_eq!(diffs(both, "- deny: 192.0.2.1"), ["name *.b.test, but not a.b.test - 10.0.0.0/8 by 0"]);
    assert_eq!(diffs(both, "- allow: 10.0.0.0/8"), ["any name but *.b.test, and a.b.test + 10.0.0.0/8 by 2"]);
}

#[test]
fn a_diff_describes_scopes_in_few_lines() {
    let shipped = policy(include_str!("../../../../conf/ipcontrol.yaml"));
    let rules = policy(include_str!("../../../../conf/rules.ipcontrol.yaml"));
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
        (client, listener, port, now) in connection(),
    ) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
        let (old, new) = (Policy::of_rules(old), Policy::of_rules(new));
        let changes = diff::diff(&old, &new, now).unwrap();
        // A client whose decision changes is in a reported range.
        let listener = ListenerView { name: listener, port: RequestedPort::Public(port), now };
        for requested in NAMES.iter().map(|text| name(text)).chain([name("unheard.of")]) {
            let before = old.route(&client, &listener, &requested).allowed;
            let after = new.route(&client, &listener, &requested).allowed;
            let reported = changes.iter().filter(|change| change.allowed == after).flat_map(|change| &change.ranges);
            let reported = reported.into_iter().any(|range| range_has(range, client.ip.get()));
            prop_assert!(before == after || reported, "{requested} {before} {after} {changes:?}");
        }
        let same = diff::diff(&new, &new, now).unwrap();
        prop_assert!(same.is_empty(), "{same:?}");
    }
}
