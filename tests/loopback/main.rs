//! The gate as a whole over loopback sockets: every ending, every promise about bytes, hostile input, drain.
//!
//! Each test has a gate of its own (`support::lab`) between a client, an upstream and a resolver that do exactly what
//! the test says.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::disallowed_methods,
    reason = "a test may block its own thread, and a panic is how it fails"
)]

// The tests.
mod admin;
mod answers;
mod dialing;
mod drain;
mod edge;
mod emf;
mod endings;
mod environment;
mod forward;
mod health;
mod healthcheck;
mod hostile;
mod insights;
mod live;
mod log_keep;
mod lookups;
mod protocol;
mod reasons;
mod refused;
mod relaying;
mod starting;
mod status;
mod unread;

const LATTICEGATE: &str = env!("CARGO_BIN_EXE_latticegate");
