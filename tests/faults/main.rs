//! Limits, faults and load, each with its stated expectation. Gate, resolver and upstream are those of
//! `tests/loopback`; what would disturb its neighbours runs in a network namespace of its own or in a process with
//! limits of its own. `docs/reliability.md` lists every fault with the test that causes it.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test may block its own thread, a panic is how it fails, and the parts are shared with other tests"
)]

use std::thread;
use std::time::{Duration, Instant};

// The parts.
#[path = "../support/src/dns.rs"]
mod dns;
mod gate;
#[path = "../support/src/lab.rs"]
mod lab;
#[path = "../support/src/namespace.rs"]
mod lab_namespace;
#[path = "../support/src/malformed/mod.rs"]
mod malformed;
#[path = "../support/src/private_network.rs"]
mod namespace;
#[path = "../support/src/peer.rs"]
mod peer;
#[path = "../support/src/upstream.rs"]
mod upstream;
#[path = "../support/src/wire.rs"]
mod wire;

// The tests.
mod clock;
mod flood;
mod hanging;
mod limits;
mod memory;
mod network;
mod output;
mod readiness;
mod requests;
mod shortage;
mod stuck;
mod threads;

/// Longer than anything here takes, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for what must come true.
#[track_caller]
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
