//! The data path: one connection from accept to close.

// Sockets, deadlines and other tasks: through runtime.
#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

pub mod dial; // from addresses to a connected stream
mod groups; // the sessions of a worker, part by part
mod inquiries; // what the operator's page asks a worker
mod linger; // reading on until a refused client has the answer
pub mod listener; // bind and accept
pub mod read_ahead; // the only loop that reads ahead
pub mod refuse; // what a refused client is sent
pub mod relay; // bytes both ways
mod rule_labels; // what the log calls a rule
pub mod scratch; // the buffer that all reads of a worker share
pub mod server; // worker threads
pub mod session; // one connection, step by step
mod unread; // what a refused client has sent, for its record
pub mod worker; // what the connections of one worker share

#[cfg(test)]
mod tests;
