//! A log that cannot be written stops no traffic: its lines are dropped and counted.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use nix::sys::signal::Signal;
use support::lab::{Parts, Setup};
use support::peer::Peer;

use crate::gate::Gate;

const DROPPED: &str = "latticegate_access_log_dropped_lines_total";

/// A connection that costs little more than its line.
fn refuse(gate: &Gate) {
    Peer::connect(gate.address("tls-direct")).say(b"x").hear_all();
}

#[test]
fn a_full_disk_loses_lines_and_no_connection() {
    let gate = Gate::start(Parts::make(&Setup::default()), 1024, &[("LATTICEGATE_ACCESS_LOG__OUTPUT", "/dev/full")]);
    for _ in 0..20 {
        gate.pass();
    }
    support::until("every line is counted as lost", || gate.metric(DROPPED) == 20.0);
    assert_eq!(gate.said().matches("the access log cannot be written").count(), 1, "{}", gate.said());
}

#[test]
fn a_reader_that_is_stuck_loses_lines_and_no_connection() {
    let mut gate = Gate::writing_to(Parts::make(&Setup::default()), 1024, &[], Stdio::piped());
    let mut sent = 0_u64;
    let deadline = std::time::Instant::now() + 2 * support::PATIENCE;
    // 64 KiB in the pipe and 64 pieces in the queue, each of as much as comes in 100 ms.
    while gate.metric(DROPPED) == 0.0 {
        assert!(std::time::Instant::now() < deadline, "nothing was dropped of {sent}");
        for _ in 0..50 {
            refuse(&gate);
        }
        sent += 50;
    }
    gate.pass();
    sent += 1;
    // The reader comes back: what it reads and what was dropped is all there was.
    let stdout = gate.child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || BufReader::new(stdout).lines().count() as u64);
    support::until("the pipe runs again", || {
        refuse(&gate);
        sent += 1;
        let before = gate.metric(DROPPED);
        refuse(&gate);
        sent += 1;
        std::thread::sleep(std::time::Duration::from_millis(150));
        gate.metric(DROPPED) == before
    });
    let dropped = gate.metric(DROPPED) as u64;
    gate.signal(Signal::SIGTERM);
    gate.child.exit_status();
    assert_eq!(reader.join().unwrap() + dropped, sent);
}
