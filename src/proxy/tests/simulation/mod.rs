//! Whole workers by the thousand in virtual time: clients and upstreams of all kinds, each run replayed from its seed.
//!
//! What is simulated is the behaviour of the network, of the peers and of the operator. The sockets are local ones of the kernel,
//! and everything between them is what runs in production: acceptors, sessions, event loop. `tests/simulate SEED…` replays runs.

mod check;
mod clients;
mod content;
mod expected;
mod http;
mod messages;
mod network;
mod peers;
mod plan;
mod run;
mod scenario;
mod seeds;
mod truth;
mod upstreams;
