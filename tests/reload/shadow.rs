//! The shadow list decides nothing, and tells where it would have.

use std::fs;

use support::http::get;
use support::lab::{Parts, Setup};
use support::peer::Peer;
use support::until;
use support::wire::tcp4;

use crate::gate::Gate;

#[test]
fn disagreements_are_counted_for_each_rule_and_logged() {
    // Written before the start is not possible here: a list that comes later is taken as well.
    let gate = Gate::start(&[("LATTICEGATE_SHADOW", "shadow.yaml")]);
    gate.wait_for(1, "the shadow list cannot be read");
    gate.admits();
    fs::write(gate.file("next"), "rules:\n- allow: 10.0.0.0/8\n- deny: 192.0.2.0/25\n").unwrap();
    fs::rename(gate.file("next"), gate.file("shadow.yaml")).unwrap();
    gate.wait_for(1, "shadow list loaded");
    for _ in 0..5 {
        gate.admits();
    }
    let sample = "latticegate_shadow_disagreements_total{rule=\"shadow.yaml:3\"}";
    assert_eq!(gate.metrics()[sample], 5.0);
    // One line for all five: more come only after ten seconds.
    let line = gate.wait_for(1, "would have decided otherwise").remove(0);
    for part in ["192.0.2.1", "orders.example.com", "deny", "shadow.yaml:3"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    // The rule that stays keeps its count in the next list.
    fs::write(gate.file("next"), "rules:\n- deny: 192.0.2.0/25\n- allow: all\n").unwrap();
    fs::rename(gate.file("next"), gate.file("shadow.yaml")).unwrap();
    until("the next is loaded", || gate.lines("shadow list loaded").len() == 2);
    gate.admits();
    assert_eq!(gate.metrics()["latticegate_shadow_disagreements_total{rule=\"shadow.yaml:2\"}"], 6.0);
    assert_eq!(get(gate.process.address("health"), "/healthz").0, 200);
}

/// On a `forward` listener, the list decides about destination ports, and not without `to:`.
#[test]
fn on_a_forward_listener_it_is_judged_as_there() {
    let parts = Parts::make(&Setup { forward: Some(""), ..Setup::default() });
    let port = parts.upstream.address.port();
    fs::write(parts.files.path().join("ipcontrol.yaml"), "rules:\n- { allow: 192.0.2.0/24, to: any }\n").unwrap();
    let list =
        format!("rules:\n- {{ deny: 192.0.2.0/24, to: orders.example.com, port: {port} }}\n- allow: 192.0.2.0/24\n");
    fs::write(parts.files.path().join("shadow.yaml"), list).unwrap();
    let gate = Gate::of(parts, &[("LATTICEGATE_SHADOW", "shadow.yaml")]);
    gate.wait_for(1, "shadow list loaded");
    // Clients connect to 443 there, and the second rule allows them.
    gate.admits();
    let disagreements = |rule: &str| {
        let sample = format!("latticegate_shadow_disagreements_total{{rule=\"{rule}\"}}");
        gate.metrics().get(&sample).copied().unwrap_or(0.0)
    };
    assert_eq!((disagreements("shadow.yaml:2"), disagreements("none")), (0.0, 0.0));
    let connect = |name: &str| {
        let mut client = Peer::connect(gate.process.address("forward"));
        client.say([tcp4(&[]), format!("CONNECT {name}:{port} HTTP/1.0\r\n\r\n").into_bytes()].concat());
        let answer = client.hear(12);
        assert!(answer.starts_with(b"HTTP/1.1 "), "{}", answer.escape_ascii());
    };
    connect("orders.example.com");
    assert_eq!((disagreements("shadow.yaml:2"), disagreements("none")), (1.0, 0.0));
    // The rule without `to:` allows nothing here.
    connect("unknown.example.com");
    assert_eq!((disagreements("shadow.yaml:2"), disagreements("none")), (1.0, 1.0));
}
