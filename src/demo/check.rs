//! `demo --check`: makes every call itself and compares what the client received, what the access log
//! says and what the stand-ins counted.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::calls::{CALLS, Call, Expect, Rejection, Route, Scheme};
use super::client::{self, Observed};
use super::egress;
use super::egress::calls::EGRESS_CALLS;
use super::format::{self, GREEN, RED, styled};
use super::log_line::{ConnectionLine, LogLine, RequestLine};
use super::setup::DemoSetup;
use latticegate_core::outcome::{Outcome, RefuseReason};

/// For a record after its connection has ended; the access log gathers lines for a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes all calls; returns whether all ended as expected.
pub(super) async fn run(setup: &mut DemoSetup, out: &mut impl Write) -> io::Result<bool> {
    wait_for_first_query(setup).await;
    let mut tally = Tally::default();
    for call in &CALLS {
        tally.report(out, call.title, attempt(setup, call).await)?;
    }
    for call in &EGRESS_CALLS {
        let title = format!("proxy: {}", call.title);
        tally.report(out, &title, egress::check::attempt(setup, call).await)?;
    }
    tally.report(out, "DNS is asked once per name", asked_once(setup))?;
    let Tally { passed, all } = tally;
    writeln!(out, "{passed} of {all} passed")?;
    Ok(passed == all)
}

#[derive(Default)]
struct Tally {
    passed: usize,
    all: usize,
}

impl Tally {
    fn report(&mut self, out: &mut impl Write, title: &str, verdict: Result<String, String>) -> io::Result<()> {
        self.all += 1;
        self.passed += usize::from(verdict.is_ok());
        let (word, detail) = match verdict {
            Ok(what) => (styled(GREEN, "pass"), what),
            Err(what) => (styled(RED, "FAIL"), what),
        };
        writeln!(out, "{word}  {title}\n      {detail}")
    }
}

/// The gate's own first query, which makes it ready, must not be counted for a call.
async fn wait_for_first_query(setup: &DemoSetup) {
    let deadline = Instant::now() + PATIENCE;
    while setup.dns.queries() == 0 && Instant::now() < deadline {
        sleep(Duration::from_millis(5)).await;
    }
}

async fn attempt(setup: &mut DemoSetup, call: &Call) -> Result<String, String> {
    let before = Cost::so_far(setup);
    let observed = client::make(call, &setup.addresses, Arc::clone(&setup.tls)).await;
    let logged = logged(setup).await.map_err(|wrong| format!("{wrong}; the client saw {observed:?}"))?;
    let cost = Cost::since(before, setup);
    compare(call, &observed, &logged, cost)
        .map_err(|wrong| format!("{wrong}; the client saw {observed:?}; the log: {logged}"))
}

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

/// Compares everything known about a call with what is expected; returns what was observed.
fn compare(call: &Call, observed: &Observed, logged: &Logged, cost: Cost) -> Result<String, String> {
    let line = &logged.connection;
    let summary = match call.expect {
        Expect::Served(status) => served(call, status, observed, line)?,
        Expect::Refused(reason, rejection) => refused(reason, rejection, observed, line, cost)?,
    };
    if let Route::LoadBalancer(client) = call.route {
        same("the client's address in the log", line.origin.client().ip(), client.address.into())?;
        same("the VPC endpoint in the log", line.origin.vpce.as_deref(), client.endpoint)?;
    }
    same("connections to the services", cost.connections, u64::from(matches!(call.expect, Expect::Served(_))))?;
    same("lines of requests in the log", logged.requests.len(), 0)?;
    Ok(summary)
}

fn served(call: &Call, status: u16, observed: &Observed, line: &ConnectionLine) -> Result<String, String> {
    let Observed::Http { status: got, body, end_to_end, .. } = observed else { return Err("no HTTP answer".into()) };
    same("the status", *got, status)?;
    same("the service found the signature good", body.contains("signature  good"), call.signed)?;
    same("one TLS session from client to service", *end_to_end, (call.scheme == Scheme::Https).then_some(true))?;
    same("the outcome", line.outcome().word(), "relayed")?;
    same("the name in the log", line.name.as_deref(), call.name)?;
    let tls = if end_to_end.is_some() { ", one TLS session from client to service" } else { "" };
    let signed = if call.signed { ", signature good" } else { "" };
    Ok(format!("{got} from {}{tls}{signed}", call.name.unwrap_or("-")))
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

/// The gate's own first query, and one for each name that was let through.
fn asked_once(setup: &DemoSetup) -> Result<String, String> {
    let resolved = CALLS.iter().filter(|call| resolves(call.expect)).filter_map(|call| call.name);
    let mut names: Vec<_> = resolved.chain(egress::check::resolved_names()).collect();
    names.sort_unstable();
    names.dedup();
    let expected = u64::try_from(names.len()).unwrap_or_default() + 1;
    same("DNS queries", setup.dns.queries(), expected)?;
    Ok(format!("{} names, {expected} queries with the one at start", names.len()))
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
