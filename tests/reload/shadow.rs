//! The shadow list decides nothing, and tells where it would have.

use std::fs;

use support::http::get;
use support::until;

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
