//! `demo --check`: makes every call itself and compares what the client received, what the access log
//! says and what the stand-ins counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::calls::{CALLS, Call, Expect, Route, Scheme};
use super::client::{self, Observed};
use super::egress;
use super::egress::calls::EGRESS_CALLS;
use super::evidence::{Cost, Logged, PATIENCE, logged, refused, resolves, same};
use super::format::{GREEN, RED, styled};
use super::log_line::ConnectionLine;
use super::setup::DemoSetup;

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
