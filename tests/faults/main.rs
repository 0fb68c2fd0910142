//! Limits, faults and load, each with its stated expectation. What would disturb its neighbours runs
//! in a network namespace of its own or in a process with limits of its own. `docs/reliability.md` lists every fault with the test that causes it.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test may block its own thread, and a panic is how it fails"
)]

mod gate;
mod python;

// The tests.
mod clock;
mod flood;
mod forward;
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
