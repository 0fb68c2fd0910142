//! What hostile and broken peers send, and the word with which each is refused. One table for the tests of the
//! pure parsers and for those that send the same bytes through a real socket.

mod forward;
mod http;
mod proxy;
pub mod stream;
mod tls;

pub use tls::padded as padded_hello;

/// Where the bytes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// First on a connection whose listener requires a PROXY header.
    Proxy,
    /// Where the ClientHello is expected.
    Tls,
    /// Where the request head is expected; the public port is 80.
    Http,
    /// Where a forward proxy expects the request head.
    Forward,
}

impl Stage {
    pub const ALL: [Self; 4] = [Self::Proxy, Self::Tls, Self::Http, Self::Forward];
}

/// One input, and what becomes of it.
pub struct Malformed {
    pub name: &'static str,
    pub stage: Stage,
    pub bytes: Vec<u8>,
    /// The word of the refusal.
    pub reason: &'static str,
}

/// Every row of the table.
pub fn all() -> Vec<Malformed> {
    let stages = [
        (Stage::Proxy, proxy::all()),
        (Stage::Tls, tls::all()),
        (Stage::Http, http::all()),
        (Stage::Forward, forward::all()),
    ];
    let rows = stages.into_iter().flat_map(|(stage, rows)| rows.into_iter().map(move |row| (stage, row)));
    rows.map(|(stage, (name, bytes, reason))| Malformed { name, stage, bytes, reason }).collect()
}
