//! The access list as a living thing, by the real binary: every way in which a list can change or go away.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::disallowed_methods,
    reason = "a test may block its own thread, and a panic is how it fails"
)]

mod gate;
mod web_server;

// The tests.
mod connections;
mod file;
mod http;
mod shadow;
#[cfg(feature = "s3")]
mod s3;

const LATTICEGATE: &str = env!("CARGO_BIN_EXE_latticegate");
