//! The gate as a whole over loopback sockets: every ending, every promise about bytes, hostile input, drain.
//!
//! Each test has a gate of its own (`lab.rs`) between a client, an upstream (`peer.rs`, `upstream.rs`) and a
//! resolver (`dns.rs`) that do exactly what the test says.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::disallowed_methods,
    reason = "a test may block its own thread, and a panic is how it fails"
)]

use std::thread;
use std::time::{Duration, Instant};

// The parts.
mod dns;
mod lab;
mod namespace;
mod peer;
mod process;
mod upstream;

#[path = "../malformed/mod.rs"]
mod malformed;
#[path = "../wire/mod.rs"]
mod wire;

// The tests.
mod admin;
mod answers;
mod dialing;
mod drain;
mod edge;
mod emf;
mod endings;
mod environment;
mod health;
mod healthcheck;
mod hostile;
mod log_keep;
mod lookups;
mod protocol;
mod reasons;
mod relaying;
mod starting;

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
