//! Once ready, a dead resolver is a warning, in the body of `/readyz`, in the metrics and in the log.

use support::dns::{NXDOMAIN, Reply, SERVFAIL};
use support::http::get;
use support::lab::{Parts, Setup};

use crate::gate::Gate;

const OWN: &str = "readiness.latticegate.internal";
const WARNING: &str = "latticegate_warning{warning=\"dns\"}";

fn start(environment: &[(&str, &str)]) -> Gate {
    let dns = "ipv6: off, timeout: 300ms, negative_ttl: 100ms";
    Gate::start(Parts::make(&Setup { dns, ..Setup::default() }), 1024, environment)
}

/// A client whose name cannot be looked up.
fn ask(gate: &Gate) {
    let mut client = support::peer::Peer::connect(gate.address("tls"));
    client.say([support::wire::tcp4(&[]), support::wire::Hello::to(b"broken.example.com").record()].concat());
    client.hear_all();
}

#[test]
fn a_dead_resolver_is_a_warning_until_it_answers_again() {
    let gate = start(&[]);
    gate.parts.dns.set("broken.example.com", Reply::Silence);
    gate.parts.dns.set(OWN, Reply::Silence);
    ask(&gate);
    let health = gate.address("health");
    support::until("warned", || get(health, "/readyz").1.contains("warning: dns.server does not answer"));
    assert_eq!(get(health, "/readyz").0, 200);
    assert_eq!(gate.metric(WARNING), 1.0);
    gate.parts.dns.set(OWN, Reply::Code(NXDOMAIN));
    support::until("over", || get(health, "/readyz") == (200, "ready\n".into()));
    assert_eq!(gate.metric(WARNING), 0.0);
    for line in ["dns.server does not answer", "dns.server answers again"] {
        assert_eq!(gate.said().matches(line).count(), 1, "{}", gate.said());
    }
}

#[test]
fn one_broken_zone_is_no_dead_resolver() {
    let gate = start(&[("LATTICEGATE_READINESS__FAIL_ON_DNS", "true")]);
    gate.parts.dns.set("broken.example.com", Reply::Code(SERVFAIL));
    let asked = gate.parts.dns.asked(OWN, support::dns::A);
    // As often as it takes for our own name to be asked for in doubt.
    support::until("the resolver was asked for our own name", || {
        ask(&gate);
        gate.parts.dns.asked(OWN, support::dns::A) > asked
    });
    assert_eq!(get(gate.address("health"), "/readyz"), (200, "ready\n".into()));
}

#[test]
fn where_it_is_asked_for_a_dead_resolver_makes_it_unready() {
    let gate = start(&[("LATTICEGATE_READINESS__FAIL_ON_DNS", "true")]);
    gate.parts.dns.set("broken.example.com", Reply::Silence);
    gate.parts.dns.set(OWN, Reply::Silence);
    ask(&gate);
    let health = gate.address("health");
    support::until("unready", || get(health, "/readyz").0 == 503);
    gate.parts.dns.set(OWN, Reply::Code(NXDOMAIN));
    support::until("ready again", || get(health, "/readyz").0 == 200);
}
