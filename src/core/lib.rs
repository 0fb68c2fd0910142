//! The pure part of latticegate: bytes or values in, a decision out.
//!
//! Nothing here opens a socket, reads a file or a clock, waits or logs. The crate depends on no runtime and on nothing of
//! the program, and its `clippy.toml` bans what the standard library has of these. The modules are in the order of their
//! layers.

#![forbid(unsafe_code)]
// What Cargo cannot keep out: see clippy.toml beside this file.
#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_methods))]

pub mod canonical_ip; // an IP address in its one normal form
pub mod hostname; // the one normal form of a DNS name
mod hostname_help; // what to write instead of something that is almost a name
pub mod networks; // a set of CIDR networks
mod never_dialled; // addresses that no setting allows
pub mod special_purpose; // which addresses are public, by IANA's registries
pub mod diagnostic; // what is wrong with an operator's file, where, and how to fix it
pub mod outcome; // how a connection can end, and the fixed word for each ending
pub mod client; // the client of a connection
pub mod protocol; // parsers of what is received from the network
pub mod yaml; // YAML text → typed values with their locations
pub mod config; // the checked configuration
pub mod policy; // the access list, and which addresses may be dialled
pub mod explain; // why a connection would be allowed or refused
pub mod replay; // an access log against a list
pub mod advice; // what an operator should check when a destination was refused
