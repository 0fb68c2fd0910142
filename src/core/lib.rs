//! The pure part of latticegate: bytes or values in, an answer out.
//!
//! Nothing here opens a socket, reads a file, looks at a clock, waits or logs. Cargo holds that: the crate depends on no
//! runtime and on nothing of the program. The modules stand in the order of their layers.

#![forbid(unsafe_code)]

pub mod canonical_ip; // an IP address in its one normal form
pub mod hostname; // the one normal form of a DNS name
pub mod networks; // a set of CIDR networks
pub mod diagnostic; // what is wrong with an operator's file, where, and what helps
pub mod outcome; // how a connection can end, and the fixed word for each ending
pub mod client; // who is at the other end
pub mod protocol; // parsers of what comes from the network
pub mod yaml; // YAML text to typed values that know their places
pub mod config; // the checked configuration
pub mod policy; // the access list, and which addresses may be dialled
pub mod explain; // why a connection would be let through, or not
pub mod advice; // what an operator should look at when a destination was refused
