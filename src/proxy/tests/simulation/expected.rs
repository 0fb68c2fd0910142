//! What the record of a connection has to say that nothing but its own peers has ended.

use super::http::{Body, Fault, Request, Then};
use super::plan::{Destination, Dns, Ending, Incomplete, Kind, Plan, Reach, Relay, TunnelHello};
use super::scenario::{Scenario, Settings};
use crate::dns::LookupError;
use latticegate_core::config::Protocol;

pub(super) type Outcome = (&'static str, &'static str);

const DONE: Outcome = ("relayed", "done");
const IDLE: Outcome = ("relayed", "idle");
const LEFT: Outcome = ("unfinished", "client_left");

/// None: it depends on the moment at which something happens.
pub(super) fn expected(scenario: &Scenario, connection: usize) -> Option<Outcome> {
    let (settings, plan) = (&scenario.settings, &scenario.plans[connection]);
    let is_steady = plan.client.reads_on() && plan.server.reads_on();
    if settings.disturbs(connection) || !(is_steady || matches!(plan.kind, Kind::Incomplete(_))) {
        return None;
    }
    match &plan.kind {
        Kind::Incomplete(incomplete) => of_incomplete(incomplete),
        Kind::Relay(relay) => of_relay(settings, plan, relay),
        Kind::Requests(requests) if plan.protocol == Protocol::Http => of_http(settings, plan, requests),
        Kind::Requests(requests) => of_forward(settings, plan, requests),
    }
}

fn of_incomplete(incomplete: &Incomplete) -> Option<Outcome> {
    match (incomplete.sends, incomplete.leaves_after, incomplete.trickle) {
        (0, ..) => Some(("probe", "empty")),
        // Or it is too slow before.
        (_, _, Some(_)) => None,
        (_, Some(_), None) => Some(LEFT),
        (_, None, None) => Some(("refused", "handshake_timeout")),
    }
}

fn of_relay(settings: &Settings, plan: &Plan, relay: &Relay) -> Option<Outcome> {
    if let Err(failed) = reached(settings, &plan.destinations[0])? {
        return Some(failed);
    }
    if plan.protocol == Protocol::Forward && !settings.tunnel_any {
        match relay.hello {
            TunnelHello::Allowed => {}
            TunnelHello::Denied => return Some(("refused", "tunnel_sni_denied")),
            TunnelHello::Missing if plan.client.ending == Ending::First => return Some(LEFT),
            TunnelHello::Missing => return Some(("refused", "handshake_timeout")),
        }
    }
    Some(match (plan.client.ending, plan.server.ending) {
        (Ending::Second, Ending::Second) => IDLE,
        _ => DONE,
    })
}

fn of_http(settings: &Settings, plan: &Plan, requests: &[Request]) -> Option<Outcome> {
    if requests[0].fault == Some(Fault::Denied) {
        return Some(("refused", "name_denied"));
    }
    if let Err(failed) = reached(settings, &plan.destinations[0])? {
        return Some(failed);
    }
    let last = requests.last()?;
    match (last.fault, last.response.then) {
        (Some(Fault::Denied), _) => return Some(("refused", "host_changed")),
        (Some(Fault::BadChunk), _) => return Some(("refused", "body_malformed")),
        // The client's FIN ends the wait.
        (None, Then::Never) if plan.client.ending == Ending::First && last.pipelined => return Some(DONE),
        (None, Then::Never) => return Some(IDLE),
        // Its FIN is passed on, whatever the client waits for.
        (None, Then::Close | Then::Drop(_) | Then::Cut(_)) => return Some(DONE),
        (None, Then::Keep) => {}
    }
    Some(at_the_end(plan))
}

fn of_forward(settings: &Settings, plan: &Plan, requests: &[Request]) -> Option<Outcome> {
    for (index, request) in requests.iter().enumerate() {
        if request.fault == Some(Fault::Denied) {
            return Some(("refused", "name_denied"));
        }
        if let Err(failed) = reached(settings, &plan.destinations[request.destination])? {
            return Some(failed);
        }
        if request.fault == Some(Fault::BadChunk) {
            return Some(("refused", "body_malformed"));
        }
        match request.response.then {
            // The client's FIN is passed on, and the upstream sends its own.
            Then::Never if plan.client.ending == Ending::First && request.pipelined && index + 1 == requests.len() => {
                return Some(("failed", "upstream_closed"));
            }
            Then::Never => return Some(("failed", "response_timeout")),
            Then::Cut(thousandths) => return Some(of_cut(request, index, thousandths)),
            // The next request may be on its way.
            Then::Drop(_) if index + 1 < requests.len() => return None,
            Then::Drop(_) | Then::Close | Then::Keep => {}
        }
        if request.last || matches!(request.response.body, Body::UntilClose(_)) {
            return Some(DONE);
        }
    }
    Some(at_the_end(plan))
}

fn of_cut(request: &Request, index: usize, thousandths: usize) -> Outcome {
    let bytes = request.response.write(index);
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    match bytes.len() * thousandths / 1000 < head {
        true => ("failed", "upstream_closed"),
        false => ("relayed", "upstream_reset"),
    }
}

/// All is answered, and the upstream waits for more.
fn at_the_end(plan: &Plan) -> Outcome {
    if plan.client.ending == Ending::First { DONE } else { IDLE }
}

/// Whether one of its addresses is reached, in whatever order they are tried.
fn reached(settings: &Settings, destination: &Destination) -> Option<Result<(), Outcome>> {
    /// As in `dial`.
    const HEAD_START: u64 = 250;
    /// None takes longer to say that it refuses.
    const LATEST: u64 = 400;
    match destination.dns {
        Dns::Answers(_) => {}
        Dns::Fails(LookupError::Unknown) => return Some(Err(("refused", "name_unknown"))),
        Dns::Fails(_) => return Some(Err(("failed", "dns_timeout"))),
        Dns::Forbidden => return Some(Err(("refused", "destination_forbidden"))),
    }
    let addresses = &destination.addresses;
    let last_start = HEAD_START * u64::try_from(addresses.len() - 1).unwrap();
    let slowest = addresses.iter().filter_map(|reach| match reach {
        Reach::Accepts(after) => Some(*after),
        _ => None,
    });
    if let Some(slowest) = slowest.max() {
        return (last_start + slowest < settings.connect).then_some(Ok(()));
    }
    let has = |is: fn(&Reach) -> bool| addresses.iter().any(is);
    if addresses.iter().all(|reach| *reach == Reach::Silent) {
        return Some(Err(("failed", "connect_timeout")));
    }
    if last_start + LATEST >= settings.connect {
        return None;
    }
    Some(Err(match has(|reach| matches!(reach, Reach::Refuses(_))) {
        true => ("failed", "connect_refused"),
        false => ("failed", "connect_unreachable"),
    }))
}
