//! One line of latticegate's own JSON access log, read back: the demo shows nothing that the log does not have.

use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

use latticegate_core::outcome::{Outcome, Unfinished};

/// What the access log says about a connection, as far as the demo shows it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct LogLine {
    time: String,
    pub(super) listener: String,
    peer: SocketAddr,
    client: Option<IpAddr>,
    client_port: Option<u16>,
    pub(super) vpce: Option<String>,
    pub(super) rule: Option<String>,
    pub(super) name: Option<String>,
    pub(super) upstream: Option<SocketAddr>,
    reason: String,
    pub(super) detail: Option<String>,
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
    pub(super) total_ms: f64,
}

impl LogLine {
    pub(super) fn read(line: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(line)
    }

    /// The client of the PROXY header, or the TCP peer where there is no trusted header.
    pub(super) fn client(&self) -> SocketAddr {
        self.client.zip(self.client_port).map_or(self.peer, SocketAddr::from)
    }

    /// Each reason word belongs to one outcome.
    pub(super) fn outcome(&self) -> Outcome {
        let outcome = Outcome::all().find(|outcome| outcome.reason() == self.reason);
        outcome.unwrap_or(Outcome::Unfinished(Unfinished::Lost))
    }

    /// `10:15:22` of `2026-11-21T10:15:22.123Z`
    pub(super) fn time_of_day(&self) -> &str {
        self.time.get(11..19).unwrap_or(&self.time)
    }
}
