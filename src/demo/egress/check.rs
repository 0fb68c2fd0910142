//! `demo --check` of the explicit proxy: what the client received, what the access log says of the connection and of the
//! requests on it, and what the sites counted.

use std::sync::Arc;

use super::calls::{EGRESS_CALLS, EgressAddresses, EgressCall};
use super::client;
use crate::demo::calls::{Expect, Rejection, Scheme};
use crate::demo::check::{Cost, Logged, logged, refused, resolves, same};
use crate::demo::client::Observed;
use crate::demo::log_line::{ConnectionLine, ForwardFacts, RequestLine};
use crate::demo::names;
use crate::demo::setup::DemoSetup;
use latticegate_core::outcome::{Outcome, RefuseReason};

pub(in crate::demo) async fn attempt(setup: &mut DemoSetup, call: &EgressCall) -> Result<String, String> {
    let before = Cost::so_far(setup);
    let observed = client::make(call, &setup.egress, Arc::clone(&setup.tls)).await;
    let logged = logged(setup).await.map_err(|wrong| format!("{wrong}; the client saw {observed:?}"))?;
    let cost = Cost::since(before, setup);
    compare(call, &setup.egress, &observed, &logged, cost)
        .map_err(|wrong| format!("{wrong}; the client saw {observed:?}; the log: {logged}"))
}

/// The names that are asked for and resolved.
pub(in crate::demo) fn resolved_names() -> impl Iterator<Item = &'static str> {
    EGRESS_CALLS.iter().filter(|call| resolves(call.expect)).map(EgressCall::requested_name)
}

fn compare(
    call: &EgressCall,
    addresses: &EgressAddresses,
    observed: &Observed,
    logged: &Logged,
    cost: Cost,
) -> Result<String, String> {
    let line = &logged.connection;
    let summary = match call.expect {
        Expect::Served(status) => served(call, status, observed, line)?,
        Expect::Refused(reason, rejection) => {
            proxy_status(reason, rejection, observed)?;
            refused(reason, rejection, observed, line, cost)?
        }
    };
    same("the client's address in the log", line.origin.client().ip(), call.client.address.into())?;
    same("the VPC endpoint in the log", line.origin.vpce.as_deref(), call.client.endpoint)?;
    same("connections to the sites", cost.connections, u64::from(connects(call)))?;
    // A client that is denied for every name is refused before its request is read.
    if matches!(call.expect, Expect::Refused(RefuseReason::ClientDenied, _)) {
        return Ok(summary);
    }
    same("the name in the log", line.name.as_deref(), Some(call.requested_name()))?;
    let is_tunnel = call.scheme == Scheme::Https;
    let forward = ForwardFacts {
        method: if is_tunnel { "CONNECT" } else { "GET" }.to_owned(),
        port: call.port(addresses),
        sni: (is_tunnel && connects(call)).then(|| call.name.to_owned()),
        requests: u32::from(!is_tunnel),
    };
    same("`forward` in the log", line.forward.as_ref(), Some(&forward))?;
    match (logged.requests.as_slice(), is_tunnel) {
        ([], true) => Ok(summary),
        ([request], false) => request_line(call, &forward, request, line).map(|()| summary),
        (requests, _) => Err(format!("{} lines of requests in the log", requests.len())),
    }
}

fn served(call: &EgressCall, status: u16, observed: &Observed, line: &ConnectionLine) -> Result<String, String> {
    let Observed::Http { status: got, body, end_to_end, .. } = observed else { return Err("no HTTP answer".into()) };
    same("the status", *got, status)?;
    same("the outcome", line.outcome().word(), "relayed")?;
    let via = body.lines().find_map(|line| line.trim().strip_prefix("via")).map(str::trim);
    let (via_expected, one_session, what) = match call.scheme {
        Scheme::Https => ("-".to_owned(), Some(true), "one TLS session from client to site"),
        Scheme::Http => (format!("1.1 {}", names::VIA_NAME), None, "in origin form, with Via"),
    };
    same("one TLS session from client to site", *end_to_end, one_session)?;
    same("Via at the site", via, Some(via_expected.as_str()))?;
    same("the target at the site is in origin form", body.contains("  request    GET /, "), true)?;
    Ok(format!("{got} from {}, {what}", call.name))
}

/// An answer of the proxy itself says so, and why, for programs too.
fn proxy_status(reason: RefuseReason, rejection: Rejection, observed: &Observed) -> Result<(), String> {
    let (Rejection::Status(_), Observed::Http { proxy_status, .. }) = (rejection, observed) else { return Ok(()) };
    let error = match reason {
        RefuseReason::DestinationForbidden => "destination_ip_prohibited",
        _ => "http_request_denied",
    };
    let expected = format!("{}; error={error}; details=\"{}\"", names::VIA_NAME, reason.word());
    same("Proxy-Status", proxy_status.as_deref(), Some(expected.as_str()))
}

/// Whether a site is connected: the ClientHello comes only after that.
fn connects(call: &EgressCall) -> bool {
    matches!(call.expect, Expect::Served(_) | Expect::Refused(RefuseReason::TunnelSniDenied, _))
}

fn request_line(
    call: &EgressCall,
    forward: &ForwardFacts,
    line: &RequestLine,
    connection: &ConnectionLine,
) -> Result<(), String> {
    let request = &line.request;
    same("the connection of the request", &line.origin.id, &connection.origin.id)?;
    same("the method of the request", &request.method, &forward.method)?;
    same("the host of the request", request.host.as_str(), call.name)?;
    same("the port of the request", request.port, forward.port)?;
    let (status, cut) = match call.expect {
        Expect::Served(status) => (Some(status), None),
        Expect::Refused(reason, Rejection::Status(status)) => (Some(status), Some(Outcome::Refused(reason))),
        Expect::Refused(reason, _) => (None, Some(Outcome::Refused(reason))),
    };
    same("the status of the request", request.status, status)?;
    same("the reason of the request", request.cut(), cut)
}
