//! What must hold for every input, whoever sends it. Each function is one fuzz target; `tests/captures.rs` runs
//! the same functions over the committed captures and their mutations, without libFuzzer.

pub mod client_hello;
pub mod http_head;
pub mod proxy_header;
mod verdict;
