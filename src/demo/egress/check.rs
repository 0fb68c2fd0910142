//! `demo --check` of the explicit proxy: what the client received, what the access log says of the connection and of the
//! requests on it, and what the sites counted.

use std::sync::Arc;

use super::calls::{EGRESS_CALLS, EgressCall};
use super::client;
use crate::demo::addresses::EgressAddresses;
use crate::demo::calls::{Expect, Rejection, Scheme};
use crate::demo::client::Observed;
use crate::demo::evidence::{Cost, Logged, logged, refused, resolves, same};
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
            same("bytes passed on to the site", line.bytes_up, 0)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::log_line::LogLine;

    const CONNECTION: &str = r#"{"time":"-","id":"7","listener":"egress","peer":"127.0.0.5:1","client":"10.50.0.9",
        "client_port":2,"vpce":"vpce-0f9e8d7c6b5a43210","rule":"ipcontrol.yaml:13","name":"blocked.example.org",
        "outcome":"refused","reason":"name_denied","bytes_up":0,"bytes_down":0,"total_ms":1,
        "forward":{"method":"GET","port":80,"requests":1}}"#;
    const REQUEST: &str = r#"{"time":"-","id":"7","listener":"egress","peer":"127.0.0.5:1","request":{"method":"GET",
        "host":"blocked.example.org","port":80,"status":403,"reason":"name_denied","bytes_up":0,"bytes_down":0,"ms":1}}"#;
    const PROXY_STATUS: &str = r#"latticegate; error=http_request_denied; details="name_denied""#;

    fn check(connection: &str, requests: &[&str], proxy_status: &str, cost: Cost) -> Result<String, String> {
        let refused = |call: &&EgressCall| {
            call.scheme == Scheme::Http && matches!(call.expect, Expect::Refused(RefuseReason::NameDenied, _))
        };
        let call = EGRESS_CALLS.iter().find(refused).unwrap();
        let addresses = EgressAddresses { fronts: Vec::new(), https_port: 443, http_port: 80 };
        let observed = Observed::Http {
            status: 403,
            proxy_status: Some(proxy_status.to_owned()),
            body: "(reason: name_denied)".to_owned(),
            end_to_end: None,
        };
        let read = |line: &str| LogLine::read(line.as_bytes()).unwrap();
        let LogLine::Connection(connection) = read(connection) else { panic!("{connection} is about a connection") };
        let requests = requests.iter().map(|line| match read(line) {
            LogLine::Request(request) => request,
            LogLine::Connection(_) => panic!("{line} is about a request"),
        });
        compare(call, &addresses, &observed, &Logged { requests: requests.collect(), connection }, cost)
    }

    /// Each fact that the log or the answer may have wrong is noticed.
    #[test]
    fn one_wrong_fact_fails_a_call() {
        let none = Cost::default();
        check(CONNECTION, &[REQUEST], PROXY_STATUS, none).unwrap();
        for (right, wrong, noticed) in [
            ("10.50.0.9", "10.50.0.8", "the client's address"),
            ("vpce-0f9e", "vpce-0000", "the VPC endpoint"),
            ("name_denied", "port_denied", "the outcome"),
            ("ipcontrol.yaml:13", "defaults:1", "names the rule"),
            ("blocked.", "other.", "the name in the log"),
            (r#""port":80"#, r#""port":81"#, "`forward`"),
            (r#""requests":1"#, r#""requests":2"#, "`forward`"),
            (r#""bytes_up":0"#, r#""bytes_up":1"#, "passed on"),
        ] {
            let found = check(&CONNECTION.replace(right, wrong), &[REQUEST], PROXY_STATUS, none).unwrap_err();
            assert!(found.contains(noticed), "{wrong}: {found}");
        }
        for (right, wrong, noticed) in [
            (r#""id":"7""#, r#""id":"8""#, "the connection of the request"),
            ("GET", "HEAD", "the method"),
            ("blocked.", "other.", "the host"),
            (r#""port":80"#, r#""port":81"#, "the port"),
            (r#""status":403,"#, "", "the status"),
            ("name_denied", "client_denied", "the reason"),
        ] {
            let found = check(CONNECTION, &[&REQUEST.replace(right, wrong)], PROXY_STATUS, none).unwrap_err();
            assert!(found.contains(noticed), "{wrong}: {found}");
        }
        for requests in [&[][..], &[REQUEST, REQUEST]] {
            check(CONNECTION, requests, PROXY_STATUS, none).unwrap_err();
        }
        check(CONNECTION, &[REQUEST], &PROXY_STATUS.replace("http_request_denied", "dns_error"), none).unwrap_err();
        check(CONNECTION, &[REQUEST], PROXY_STATUS, Cost { connections: 1, ..none }).unwrap_err();
        check(CONNECTION, &[REQUEST], PROXY_STATUS, Cost { queries: 1, ..none }).unwrap_err();
    }
}
