//! Somebody sets the machine's clock: dates and the `until:` of rules follow it, and nothing else does.

use std::thread;
use std::time::{Duration, Instant};

use support::http::get;
use support::lab::{Lab, Port, Setup, word};
use support::wire::{hello, tcp4};

const DAY: i64 = 24 * 3600;

/// Whether one more client is let in.
fn is_let_in(lab: &mut Lab) -> bool {
    let client = lab.client();
    let upstream = lab.upstream.accept_within(Duration::from_millis(500));
    drop((client, upstream));
    word(&lab.record(), "outcome") == "relayed"
}

#[test]
fn a_rule_ends_by_the_clock_on_the_wall_and_holds_again_when_that_is_set_back() {
    let mut lab = Lab::with(Setup {
        rules: "- allow: [192.0.2.0/24]\n  until: 2100-01-01T00:00:00Z\n- deny: all",
        ..Setup::default()
    });
    assert!(is_let_in(&mut lab));
    lab.clock.jump(200 * 365 * DAY);
    assert!(!is_let_in(&mut lab));
    lab.clock.jump(-200 * 365 * DAY);
    assert!(is_let_in(&mut lab));
    lab.end();
}

#[test]
fn a_clock_that_jumps_ends_no_session_and_no_wait() {
    // Beside each other: most of the time is the deadline's.
    thread::scope(|scope| {
        for jump in [30 * DAY, -30 * DAY] {
            scope.spawn(move || jump_by(jump));
        }
    });
}

fn jump_by(jump: i64) {
    let timeouts = "handshake: 2s, connect: 3s, idle: 60s";
    let mut lab = Lab::with(Setup { timeouts, ..Setup::default() });
    let (mut client, mut upstream) = lab.pair();
    let start = Instant::now();
    let mut late = lab.connect(Port::Tls);
    late.say([&tcp4(&[])[..], &hello()[..20]].concat());
    lab.clock.jump(jump);
    // An open session is idle for as long as it was, by its own clock.
    client.hears_nothing();
    client.say(b"more").finish();
    assert_eq!(upstream.hear_all().0, b"more");
    upstream.finish();
    client.hear_all();
    let record = lab.record();
    assert_eq!(word(&record, "reason"), "done");
    // It took moments, whatever the clock says; but the date is the new one.
    assert!(record["total_ms"].as_f64().unwrap() < start.elapsed().as_millis() as f64 + 1.0, "{record}");
    let today = jiff::Timestamp::now();
    let reported: jiff::Timestamp = word(&record, "time").parse().unwrap();
    let moved = reported.as_second() - today.as_second();
    assert!((moved - jump).abs() < 60, "{moved} s");
    // The deadline of the handshake comes when it would have.
    late.hear_all();
    assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(word(&lab.record(), "reason"), "handshake_timeout");
    // And an answer of the resolver, the age of the list and a warning are as old as they were.
    let age = lab.metrics()["latticegate_policy_age_seconds"];
    assert!(age <= start.elapsed().as_secs_f64() + 5.0, "{age}");
    drop(lab.pair());
    assert_eq!(get(lab.health, "/readyz"), (200, "ready\n".into()));
    lab.end();
}
