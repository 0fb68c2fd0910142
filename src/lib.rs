//! latticegate: a layer-4 proxy from outside into Amazon VPC Lattice.
//!
//! The modules stand in the order in which a connection meets them; this list is the table of contents.
//! The pure ones (marked so) import neither tokio nor tracing nor metrics: bytes or values in, an answer out.

#![forbid(unsafe_code)]

pub mod client; // pure: who is at the other end
pub mod config; // pure: the checked configuration
pub mod hostname; // pure: the one normal form of a DNS name
pub mod networks; // pure: a set of CIDR networks
pub mod outcome; // pure: how a connection can end, and the fixed word for each ending
pub mod relay; // bytes both ways
pub mod resolve; // from a name to addresses
pub mod verdict; // pure: what a parser answers
