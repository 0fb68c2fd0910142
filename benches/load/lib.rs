//! The load test for a deployed latticegate: requests that are planned ahead and sent whatever became of the earlier ones,
//! so that a slow answer cannot hide the ones that it delayed. `benches/run load` starts it; see `docs/load-test.md`.
//!
//! A run is a [plan] whose moments a thread of its own announces to [users](user), each of which has a [connection] and a queue.
//! What becomes of every planned request is counted in exactly one place of the [tally].
#![allow(clippy::as_conversions, reason = "a measuring tool: it turns counts into fractions")]

pub mod addresses;
pub mod arguments;
pub mod connection;
pub mod credentials;
pub mod failure;
pub mod limits;
pub mod plan;
pub mod report;
pub mod run;
pub mod say;
pub mod signing;
pub mod tally;
pub mod target;
pub mod trust;
pub mod user;

pub use arguments::Arguments;
pub use report::Report;
pub use run::run;
