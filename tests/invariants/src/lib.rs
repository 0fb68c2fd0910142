//! What must hold for every input, whoever sends it. Each `check` is one fuzz target of
//! `tests/fuzz`; `tests/captures.rs` runs the same functions over the committed captures and seeds, without libFuzzer.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how an invariant fails")]

pub mod client_hello;
pub mod configuration;
pub mod forward_head;
pub mod forward_response;
pub mod forward_stream;
pub mod http_head;
pub mod policy;
mod diagnostics;
mod first_bytes;
pub mod proxy_header;
pub mod request_stream;
pub mod response_stream;
mod simple_http;
mod verdict;
pub mod yaml;
