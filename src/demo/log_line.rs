//! One line of latticegate's own JSON access log, read back: the demo shows nothing that the log does not have.

use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

use latticegate_core::outcome::{Outcome, Unfinished};

/// A line is about a connection that has ended, or about one request in absolute form on a connection.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum LogLine {
    /// The one with `request`.
    Request(RequestLine),
    Connection(ConnectionLine),
}

impl LogLine {
    pub(super) fn read(line: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(line)
    }
}

/// What both kinds of lines begin with.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Origin {
    time: String,
    /// Of the connection.
    pub(super) id: String,
    pub(super) listener: String,
    peer: SocketAddr,
    client: Option<IpAddr>,
    client_port: Option<u16>,
    pub(super) vpce: Option<String>,
    pub(super) rule: Option<String>,
    pub(super) upstream: Option<SocketAddr>,
}

impl Origin {
    /// The client of the PROXY header, or the TCP peer where there is no trusted header.
    pub(super) fn client(&self) -> SocketAddr {
        self.client.zip(self.client_port).map_or(self.peer, SocketAddr::from)
    }

    /// `10:15:22` of `2026-11-21T10:15:22.123Z`
    pub(super) fn time_of_day(&self) -> &str {
        self.time.get(11..19).unwrap_or(&self.time)
    }
}

/// What the access log says about a connection, as far as the demo shows it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ConnectionLine {
    #[serde(flatten)]
    pub(super) origin: Origin,
    pub(super) name: Option<String>,
    reason: String,
    pub(super) detail: Option<String>,
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
    pub(super) total_ms: f64,
    pub(super) forward: Option<ForwardFacts>,
}

impl ConnectionLine {
    pub(super) fn outcome(&self) -> Outcome {
        outcome(&self.reason)
    }
}

/// What only connections to the explicit proxy have.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct ForwardFacts {
    pub(super) method: String,
    pub(super) port: u16,
    pub(super) sni: Option<String>,
    #[serde(default)]
    pub(super) requests: u32,
}

/// What the access log says about a request in absolute form.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct RequestLine {
    #[serde(flatten)]
    pub(super) origin: Origin,
    pub(super) request: RequestFacts,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct RequestFacts {
    pub(super) method: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) status: Option<u16>,
    /// Why it ended otherwise than by a whole answer of the site.
    pub(super) reason: Option<String>,
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
    pub(super) ms: f64,
}

impl RequestFacts {
    pub(super) fn cut(&self) -> Option<Outcome> {
        self.reason.as_deref().map(outcome)
    }
}

/// Each reason word belongs to one outcome.
fn outcome(reason: &str) -> Outcome {
    let outcome = Outcome::all().find(|outcome| outcome.reason() == reason);
    outcome.unwrap_or(Outcome::Unfinished(Unfinished::Lost))
}
