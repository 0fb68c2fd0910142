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
pub mod policy; // pure: the access list, and which addresses may be dialled
pub mod verdict; // pure: what a parser answers

// For the operator.
pub mod cli; // the verbs and their help
pub mod problem; // pure: what is wrong with an operator's file, where, and how to mend it
pub mod yaml; // pure: YAML text to typed values that know their places
