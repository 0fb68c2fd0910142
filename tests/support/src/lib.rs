//! What several test binaries share: the bytes that clients send, stand-ins for the resolver and the upstream, a gate
//! with a network of its own, and waiting without guessing. What one binary alone uses stays with that binary.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::disallowed_methods,
    reason = "a test may block its own thread, and a panic is how it fails"
)]

pub mod child;
pub mod cli;
pub mod dns;
pub mod http;
pub mod lab;
pub mod malformed;
pub mod metrics;
pub mod namespace;
pub mod peer;
pub mod private_network;
pub mod process;
pub mod readme;
pub mod skip;
pub mod upstream;
mod wait;
pub mod wire;

pub use wait::{PATIENCE, until, within};
