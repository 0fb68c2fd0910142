//! `demo --check`: makes every call itself and compares what the client saw, what the log tells and what the
//! stand-ins counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::calls::{CALLS, Call, Expect, From, Scheme, Told};
use super::client::{self, Answer};
use super::format::{self, GREEN, RED, styled};
use super::log_line::Seen;
use super::setup::Stage;
use latticegate_core::outcome::{Outcome, RefuseReason};

/// For a record after its connection has ended; the access log gathers lines for a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes all calls; says whether all went as they should.
pub(super) async fn run(stage: &mut Stage, out: &mut impl Write) -> io::Result<bool> {
    dns_has_been_asked(stage).await;
    let mut passed = 0;
    for call in &CALLS {
        let verdict = attempt(stage, call).await;
        let (word, detail) = match &verdict {
            Ok(what) => (styled(GREEN, "pass"), what),
            Err(what) => (styled(RED, "FAIL"), what),
        };
        writeln!(out, "{word}  {}\n      {detail}", call.title)?;
        passed += usize::from(verdict.is_ok());
    }
    let frugal = asked_once(stage);
    match &frugal {
        Ok(what) => writeln!(out, "{}  DNS is asked once per name\n      {what}", styled(GREEN, "pass"))?,
        Err(what) => writeln!(out, "{}  DNS is asked once per name\n      {what}", styled(RED, "FAIL"))?,
    }
    let (passed, all) = (passed + usize::from(frugal.is_ok()), CALLS.len() + 1);
    writeln!(out, "{passed} of {all} passed")?;
    Ok(passed == all)
}

/// The gate's own first question, which makes it ready, must not be counted as a call's.
async fn dns_has_been_asked(stage: &Stage) {
    let deadline = Instant::now() + PATIENCE;
    while stage.dns.queries() == 0 && Instant::now() < deadline {
        sleep(Duration::from_millis(5)).await;
    }
}

async fn attempt(stage: &mut Stage, call: &Call) -> Result<String, String> {
    let (queries, connections) = (stage.dns.queries(), stage.lattice.connections());
    let answer = client::make(call, &stage.addresses, Arc::clone(&stage.tls)).await;
    let record = timeout(PATIENCE, stage.seen.recv()).await.ok().flatten();
    let seen = record.ok_or_else(|| format!("the access log has no line for it; the client saw {answer:?}"))?;
    let cost = Cost {
        queries: stage.dns.queries().saturating_sub(queries),
        connections: stage.lattice.connections().saturating_sub(connections),
    };
    judge(call, &answer, &seen, cost)
}

/// What a call caused behind the gate.
#[derive(Debug, Clone, Copy)]
struct Cost {
    queries: u64,
    connections: u64,
}

/// Compares everything that is known of a call with what it should be; says what was seen.
fn judge(call: &Call, answer: &Answer, seen: &Seen, cost: Cost) -> Result<String, String> {
    let told = match call.expect {
        Expect::Served(status) => served(call, status, answer, seen),
        Expect::Refused(reason, told) => refused(reason, told, answer, seen, cost),
    };
    let agreed = told.and_then(|told| {
        if let From::Client(caller) = call.from {
            same("the client's address in the log", seen.client().ip(), caller.address.into())?;
            same("the VPC endpoint in the log", seen.vpce.as_deref(), caller.endpoint)?;
        }
        same("connections to the services", cost.connections, u64::from(matches!(call.expect, Expect::Served(_))))?;
        Ok(told)
    });
    agreed.map_err(|wrong| format!("{wrong}; the client saw {answer:?}; the log: {}", format::line(seen)))
}

fn served(call: &Call, status: u16, answer: &Answer, seen: &Seen) -> Result<String, String> {
    let Answer::Http { status: got, body, end_to_end } = answer else { return Err("no HTTP answer".into()) };
    same("the status", *got, status)?;
    same("the service found the signature good", body.contains("signature  good"), call.signed)?;
    same("one TLS session from client to service", *end_to_end, (call.scheme == Scheme::Https).then_some(true))?;
    same("the outcome", seen.outcome().word(), "relayed")?;
    same("the name in the log", seen.name.as_deref(), call.name)?;
    let tls = if end_to_end.is_some() { ", one TLS session from client to service" } else { "" };
    let signed = if call.signed { ", signature good" } else { "" };
    Ok(format!("{got} from {}{tls}{signed}", call.name.unwrap_or("-")))
}

fn refused(reason: RefuseReason, told: Told, answer: &Answer, seen: &Seen, cost: Cost) -> Result<String, String> {
    let right = match (told, answer) {
        (Told::Alert(alert), Answer::Alert(got)) => alert == *got,
        (Told::Status(status), Answer::Http { status: got, body, .. }) => {
            status == *got && body.contains(reason.word())
        }
        (Told::Nothing, Answer::Closed) => true,
        _ => false,
    };
    if !right {
        return Err(format!("the client should see: {told}"));
    }
    same("the outcome", seen.outcome(), Outcome::Refused(reason))?;
    let resolves = matches!(reason, RefuseReason::NameUnknown | RefuseReason::DestinationForbidden);
    if !resolves {
        same("DNS queries", cost.queries, 0)?;
    }
    if reason == RefuseReason::ClientDenied {
        let rule = seen.rule.as_deref().unwrap_or_default();
        same("the log names the rule", rule.starts_with("ipcontrol.yaml:"), true)?;
    }
    Ok(format!("{told}; the log says {}", reason.word()))
}

/// The gate's own first question, and each name that was let through once.
fn asked_once(stage: &Stage) -> Result<String, String> {
    let mut names: Vec<_> = CALLS.iter().filter(|call| resolved(call)).filter_map(|call| call.name).collect();
    names.sort_unstable();
    names.dedup();
    let expected = u64::try_from(names.len()).unwrap_or_default() + 1;
    same("DNS queries", stage.dns.queries(), expected)?;
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
