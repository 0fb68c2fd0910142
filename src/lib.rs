//! latticegate: a layer-4 proxy from outside into Amazon VPC Lattice.
//!
//! The modules stand in the order in which a connection meets them; this list is the table of contents.
//! The pure ones (marked so) import neither tokio nor tracing nor metrics: bytes or values in, an answer out.

#![forbid(unsafe_code)]

// The path of a connection.
pub mod server; // worker threads
pub mod listener; // accept
pub mod worker; // what the connections of one worker share
pub mod session; // one connection from accept to close
pub mod peek; // the only read-ahead loop
pub mod verdict; // pure: what a parser answers
pub mod proxy_header; // pure: who the client is
pub mod client; // pure: the client, as the header tells it
pub mod policy; // pure: the access list, and which addresses may be dialled
pub mod sni; // pure: the name in a ClientHello
pub mod host; // pure: the name in an HTTP/1 request head
mod http_chunks; // pure: the parts of a chunked body that are not data
pub mod http_stream; // pure: the later requests of a kept-alive HTTP/1 connection
pub mod http_response; // pure: where the responses of such a connection end
pub mod hostname; // pure: the one normal form of a DNS name
pub mod resolve; // from a name to addresses
pub mod limits; // how much a client, a name or everybody may take
pub mod dial; // from addresses to a connected stream
pub mod relay; // bytes both ways
pub mod refuse; // what a refused client is told
mod linger; // reading on until a refused client has the answer

// What is told.
pub mod outcome; // pure: how a connection can end, and the fixed word for each ending
pub mod record; // what is known of one connection when it ends
pub mod reporter; // the one report of each connection, to all who want it
pub mod advice; // pure: what an operator should look at when a destination was refused
pub mod access_log; // record → a line, without ever blocking a worker
pub mod metrics; // every metric's name, help and handle
pub mod emf; // metrics → CloudWatch, as lines in the log
pub mod process_log; // what the process logs about itself, without ever waiting for its reader
pub mod recent; // the last refusals, for the operator's page

// Around the path.
pub mod cli; // the verbs and their help
pub mod explain; // pure: why a connection would be let through, or not
pub mod import; // pure: an nginx access list in our language
pub mod run; // the process as a service
pub mod reload; // the access list as a living thing
pub mod gate; // everything put together, from start to drain
#[cfg(feature = "demo")]
pub mod demo; // the stand-ins of `latticegate demo`
pub mod config; // pure: the checked configuration
pub mod yaml; // pure: YAML text to typed values that know their places
pub mod problem; // pure: what is wrong with an operator's file, where, and how to mend it
pub mod networks; // pure: a set of CIDR networks
pub mod status; // alive, ready, leaving
pub mod web; // the health port and the admin port
pub mod health_socket; // how healthcheck finds the running process
pub mod wall; // the clock that people read, and that may jump
pub mod blocking; // calls that may never return, on threads of their own
pub mod files; // reading an operator's files
pub mod machine; // open files, CPUs and memory that this process may use
pub mod socket; // socket options and process limits
mod random; // the order of addresses, simulations
