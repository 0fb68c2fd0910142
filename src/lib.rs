//! latticegate: a layer-4 proxy from outside into Amazon VPC Lattice.
//!
//! The rooms stand in the order of their layers: each uses only those before it, and `tests/house.rs` holds them to it.
//! Each `mod.rs` is the table of contents of its room; `docs/architecture.md` describes the life of a connection.

#![forbid(unsafe_code)]

// src/core: the pure part, a crate of its own (`latticegate_core`).
pub mod sys; // what the system offers: sockets, clock, files, threads
pub mod event_loop; // what a worker runs on: which sockets are ready, and whose turn it is
pub mod runtime; // what its tasks wait for: streams, moments, each other
pub mod limits; // how much one client, one name or all together may take
pub mod telemetry; // what is logged and counted
pub mod dns; // from a name to addresses
pub mod reload; // the access list, its sources and its reloads
pub mod proxy; // the data path: one connection from accept to close
pub mod web; // the health port and the admin port
pub mod control; // the process from its start to its drain
pub mod doctor; // checks of machine, resolver and path, before and beside `run`
#[cfg(feature = "demo")]
pub mod demo; // the stand-ins of `latticegate demo`
pub mod cli; // the verbs and their help
