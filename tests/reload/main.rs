//! The access list as a living thing, by the real binary: every way in which a list can change or go away.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::disallowed_methods,
    reason = "a test may block its own thread, and a panic is how it fails; not all of the loopback parts are used"
)]

use std::thread;
use std::time::{Duration, Instant};

// The parts, shared with tests/loopback.
#[path = "../support/src/dns.rs"]
mod dns;
#[path = "../support/src/lab.rs"]
mod lab;
#[path = "../support/src/peer.rs"]
mod peer;
#[path = "../support/src/process.rs"]
mod process;
#[path = "../support/src/upstream.rs"]
mod upstream;
#[path = "../support/src/wire.rs"]
mod wire;

mod gate;
mod web_server;

// The tests.
mod connections;
mod file;
mod http;
mod shadow;
#[cfg(feature = "s3")]
mod s3;

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
