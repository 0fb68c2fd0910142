//! `demo --check`: makes every call itself and compares what the client received, what the access log
//! says and what the stand-ins counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::calls::{CALLS, Call, Expect, Rejection, Route, Scheme};
use super::client::{self, Observed};
use super::format::{self, GREEN, RED, styled};
use super::log_line::LogLine;
use super::setup::DemoSetup;
use latticegate_core::outcome::{Outcome, RefuseReason};

/// For a record after its connection has ended; the access log gathers lines for a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes all calls; returns whether all ended as expected.
pub(super) async fn run(setup: &mut DemoSetup, out: &mut impl Write) -> io::Result<bool> {
    wait_for_first_query(setup).await;
    let mut passed = 0;
    for call in &CALLS {
        let verdict = attempt(setup, call).await;
        let (word, detail) = match &verdict {
            Ok(what) => (styled(GREEN, "pass"), what),
            Err(what) => (styled(RED, "FAIL"), what),
        };
        writeln!(out, "{word}  {}\n      {detail}", call.title)?;
        passed += usize::from(verdict.is_ok());
    }
    let asked = asked_once(setup);
    match &asked {
        Ok(what) => writeln!(out, "{}  DNS is asked once per name\n      {what}", styled(GREEN, "pass"))?,
        Err(what) => writeln!(out, "{}  DNS is asked once per name\n      {what}", styled(RED, "FAIL"))?,
    }
    let (passed, all) = (passed + usize::from(asked.is_ok()), CALLS.len() + 1);
    writeln!(out, "{passed} of {all} passed")?;
    Ok(passed == all)
}

/// The gate's own first query, which makes it ready, must not be counted for a call.
async fn wait_for_first_query(setup: &DemoSetup) {
    let deadline = Instant::now() + PATIENCE;
    while setup.dns.queries() == 0 && Instant::now() < deadline {
        sleep(Duration::from_millis(5)).await;
    }
}

async fn attempt(setup: &mut DemoSetup, call: &Call) -> Result<String, String> {
    let (queries, connections) = (setup.dns.queries(), setup.lattice.connections());
    let observed = client::make(call, &setup.addresses, Arc::clone(&setup.tls)).await;
    let line = timeout(PATIENCE, setup.log.recv()).await.ok().flatten();
    let line = line.ok_or_else(|| format!("the access log has no line for it; the client saw {observed:?}"))?;
    let cost = Cost {
        queries: setup.dns.queries().saturating_sub(queries),
        connections: setup.lattice.connections().saturating_sub(connections),
    };
    compare(call, &observed, &line, cost)
}

/// What a call caused behind the gate.
#[derive(Debug, Clone, Copy)]
struct Cost {
    queries: u64,
    connections: u64,
}

/// Compares everything known about a call with what is expected; returns what was observed.
fn compare(call: &Call, observed: &Observed, line: &LogLine, cost: Cost) -> Result<String, String> {
    let result = match call.expect {
        Expect::Served(status) => served(call, status, observed, line),
        Expect::Refused(reason, rejection) => refused(reason, rejection, observed, line, cost),
    };
    let agreed = result.and_then(|summary| {
        if let Route::LoadBalancer(client) = call.route {
            same("the client's address in the log", line.client().ip(), client.address.into())?;
            same("the VPC endpoint in the log", line.vpce.as_deref(), client.endpoint)?;
        }
        same("connections to the services", cost.connections, u64::from(matches!(call.expect, Expect::Served(_))))?;
        Ok(summary)
    });
    agreed.map_err(|wrong| format!("{wrong}; the client saw {observed:?}; the log: {}", format::line(line)))
}

fn served(call: &Call, status: u16, observed: &Observed, line: &LogLine) -> Result<String, String> {
    let Observed::Http { status: got, body, end_to_end } = observed else { return Err("no HTTP answer".into()) };
    same("the status", *got, status)?;
    same("the service found the signature good", body.contains("signature  good"), call.signed)?;
    same("one TLS session from client to service", *end_to_end, (call.scheme == Scheme::Https).then_some(true))?;
    same("the outcome", line.outcome().word(), "relayed")?;
    same("the name in the log", line.name.as_deref(), call.name)?;
    let tls = if end_to_end.is_some() { ", one TLS session from client to service" } else { "" };
    let signed = if call.signed { ", signature good" } else { "" };
    Ok(format!("{got} from {}{tls}{signed}", call.name.unwrap_or("-")))
}

fn refused(
    reason: RefuseReason,
    rejection: Rejection,
    observed: &Observed,
    line: &LogLine,
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
    let resolves = matches!(reason, RefuseReason::NameUnknown | RefuseReason::DestinationForbidden);
    if !resolves {
        same("DNS queries", cost.queries, 0)?;
    }
    if reason == RefuseReason::ClientDenied {
        let rule = line.rule.as_deref().unwrap_or_default();
        same("the log names the rule", rule.starts_with("ipcontrol.yaml:"), true)?;
    }
    Ok(format!("{rejection}; the log says {}", reason.word()))
}

/// The gate's own first query, and one for each name that was let through.
fn asked_once(setup: &DemoSetup) -> Result<String, String> {
    let mut names: Vec<_> = CALLS.iter().filter(|call| resolved(call)).filter_map(|call| call.name).collect();
    names.sort_unstable();
    names.dedup();
    let expected = u64::try_from(names.len()).unwrap_or_default() + 1;
    same("DNS queries", setup.dns.queries(), expected)?;
    Ok(format!("{} names, {expected} queries with the one at start", names.len()))
}

fn resolved(call: &Call) -> bool {
    match call.expect {
        Expect::Served(_) => true,
        Expect::Refused(reason, _) => {
            matches!(reason, RefuseReason::NameUnknown | RefuseReason::DestinationForbidden)
        }
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T) -> Result<(), String> {
    if got == expected { Ok(()) } else { Err(format!("{what}: {got:?} instead of {expected:?}")) }
}
