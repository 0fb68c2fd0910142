//! What a call has left behind: lines in the access log, and counts at the stand-ins.

use std::fmt;
use std::time::Duration;

use tokio::time::timeout;

use super::calls::{Expect, Rejection};
use super::client::Observed;
use super::format;
use super::log_line::{ConnectionLine, LogLine, RequestLine};
use super::setup::DemoSetup;
use latticegate_core::outcome::{Outcome, RefuseReason};

/// For a record after its connection has ended; the access log gathers lines for a tenth of a second.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// What the access log says of one connection.
pub(super) struct Logged {
    /// Lines about requests on it, which come first.
    pub(super) requests: Vec<RequestLine>,
    pub(super) connection: ConnectionLine,
}

impl fmt::Display for Logged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.requests.iter().try_for_each(|line| write!(f, "{}; ", format::request(line)))?;
        f.write_str(&format::connection(&self.connection))
    }
}

/// Waits for the lines of the next connection that ends.
pub(super) async fn logged(setup: &mut DemoSetup) -> Result<Logged, String> {
    let mut requests = Vec::new();
    loop {
        match timeout(PATIENCE, setup.log.recv()).await {
            Ok(Some(LogLine::Request(line))) => requests.push(line),
            Ok(Some(LogLine::Connection(connection))) => return Ok(Logged { requests, connection }),
            Ok(None) | Err(_) => return Err("the access log has no line for it".into()),
        }
    }
}

/// What a call caused behind the gate.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    pub(super) queries: u64,
    pub(super) connections: u64,
}

impl Cost {
    /// Of everything since the start.
    pub(super) fn so_far(setup: &DemoSetup) -> Self {
        let connections = setup.lattice.connections() + setup.internet.connections();
        Self { queries: setup.dns.queries(), connections }
    }

    pub(super) fn since(before: Self, setup: &DemoSetup) -> Self {
        let now = Self::so_far(setup);
        Self {
            queries: now.queries.saturating_sub(before.queries),
            connections: now.connections.saturating_sub(before.connections),
        }
    }
}

/// Compares a refusal of whichever listener.
pub(super) fn refused(
    reason: RefuseReason,
    rejection: Rejection,
    observed: &Observed,
    line: &ConnectionLine,
    cost: Cost,
) -> Result<String, String> {
    let right = match (rejection, observed) {
        (Rejection::Alert(alert), Observed::Alert(got)) => alert == *got,
        (Rejection::Status(status), Observed::Http { status: got, body, .. }) => {
            status == *got && body.contains(reason.word())
        }
        (Rejection::Close, Observed::Closed) => true,
        _ => false,
    };
    if !right {
        return Err(format!("expected for the client: {rejection}"));
    }
    same("the outcome", line.outcome(), Outcome::Refused(reason))?;
    if !resolves(Expect::Refused(reason, rejection)) {
        same("DNS queries", cost.queries, 0)?;
    }
    if matches!(reason, RefuseReason::ClientDenied | RefuseReason::NameDenied | RefuseReason::TunnelSniDenied) {
        let rule = line.origin.rule.as_deref().unwrap_or_default();
        same("the log names the rule", rule.starts_with("ipcontrol.yaml:"), true)?;
    }
    Ok(format!("{rejection}; the log says {}", reason.word()))
}

/// Whether the requested name is looked up.
pub(super) fn resolves(expect: Expect) -> bool {
    use RefuseReason::{DestinationForbidden, NameUnknown, TunnelSniDenied};
    match expect {
        Expect::Served(_) => true,
        Expect::Refused(reason, _) => matches!(reason, NameUnknown | DestinationForbidden | TunnelSniDenied),
    }
}

pub(super) fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T) -> Result<(), String> {
    if got == expected { Ok(()) } else { Err(format!("{what}: {got:?} instead of {expected:?}")) }
}
