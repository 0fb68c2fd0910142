//! latticegate: a layer-4 proxy from outside into Amazon VPC Lattice.
//!
//! The modules stand in the order in which a connection meets them; this list is the table of contents.
//! The pure ones (marked so) import neither tokio nor tracing nor metrics: bytes or values in, an answer out.

#![forbid(unsafe_code)]

pub mod client; // pure: who is at the other end
pub mod config; // pure: the checked configuration
pub mod host; // pure: bytes → the head of an HTTP/1 request
pub mod hostname; // pure: the one normal form of a DNS name
pub mod http_stream; // pure: a client's HTTP/1 bytes → what may be forwarded, request by request
pub mod networks; // pure: a set of CIDR networks
pub mod outcome; // pure: how a connection can end, and the fixed word for each ending
pub mod proxy_header; // pure: bytes → who the load balancer speaks for
pub mod sni; // pure: bytes → the server name of a TLS ClientHello
pub mod verdict; // pure: what a parser answers
