//! latticegate: a layer-4 proxy from outside into Amazon VPC Lattice.
//!
//! The modules stand in the order in which a connection meets them; this list is the table of contents.
//! The pure ones (marked so) import neither tokio nor tracing nor metrics: bytes or values in, an answer out.

#![forbid(unsafe_code)]

// Around the path.
pub mod config; // pure: the checked configuration
pub mod run; // the process as a service
pub mod gate; // everything put together, from start to drain

// The path of a connection.
pub mod server; // workers, listeners, accept
pub mod session; // one connection from accept to close
pub mod peek;
pub mod policy; pub mod problem; pub mod yaml; pub mod host; pub mod proxy_header; pub mod sni; // the only read-ahead loop
pub mod verdict; // pure: what a parser answers
pub mod client; // pure: who is at the other end
pub mod hostname; // pure: the one normal form of a DNS name
pub mod networks; // pure: a set of CIDR networks
pub mod resolve; // from a name to addresses
pub mod dial; // from addresses to a connected stream
pub mod relay; // bytes both ways
pub mod refuse; // what a refused client is told

// What is told.
pub mod access_log; // record → a line, without ever blocking a worker
pub mod metrics; // every metric's name, help and handle
pub mod outcome; // pure: how a connection can end, and the fixed word for each ending
pub mod record; // the one record of a connection

pub mod socket; // socket options and process limits
pub mod status; // alive, ready, leaving
pub mod web; // the health port and the admin port
