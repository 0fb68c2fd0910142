//! Whether both sides have got what the other one sent, and whether the counts in the record are those.

use super::check::Case;
use super::clients::{self, ESTABLISHED};
use super::expected::expected;
use super::http::{Fault, Request, Then};
use super::peers::Seen;
use super::plan::{Ending, Kind, Relay, name};
use super::upstreams::request_index;
use latticegate_core::config::Protocol;

/// An alert of TLS, in its record.
const ALERT: usize = 7;

pub(super) fn check(case: &Case<'_>, (outcome, reason): (&str, &str)) {
    let is_relayed = outcome == "relayed";
    match &case.plan.kind {
        Kind::Incomplete(_) => case.assert(case.upstreams.is_empty(), || "it was connected".into()),
        Kind::Relay(relay) => check_relay(case, relay, is_relayed, reason),
        Kind::Requests(requests) => check_requests(case, requests),
    }
}

fn check_relay(case: &Case<'_>, relay: &Relay, is_relayed: bool, reason: &str) {
    let up = clients::relayed(case.connection, case.plan, relay);
    let received = &case.client.received[..];
    // The answer to CONNECT is not what is relayed.
    let down = match case.plan.protocol {
        Protocol::Forward => received.strip_prefix(ESTABLISHED.as_bytes()).unwrap_or_default(),
        _ => received,
    };
    case.assert(case.upstreams.len() <= 1, || "it was connected twice".into());
    let to_upstream = case.upstreams.first().map_or(&[][..], |(_, seen)| &seen.received[..]);
    // Nothing is ever changed, made up or out of order.
    case.assert(up.starts_with(to_upstream), || "what its upstream received was not sent".into());
    if !is_relayed {
        // No more than an alert or a response of ours.
        case.assert(to_upstream.is_empty() && down.len() <= 1000, || "it was relayed".into());
        let reads_on = case.plan.client.reads_on();
        case.assert(down.is_empty() || down.len() >= ALERT || !reads_on, || "half of an answer".into());
        case.assert(case.number("bytes_down") == 0 && case.number("bytes_up") == 0, || "something is counted".into());
        return;
    }
    case.assert(relay.answers.starts_with(down), || "what it received was not sent".into());
    check_counts(case, to_upstream.len(), down.len());
    let is_whole = expected(&case.run.scenario, case.connection).is_some() && matches!(reason, "done" | "idle");
    if is_whole {
        case.assert(to_upstream.len() == up.len() && down.len() == relay.answers.len(), || {
            "something is missing".into()
        });
    }
    check_tails(case, relay, down.len(), to_upstream.len(), reason);
    let ends = case.upstreams.first().map(|(_, upstream)| (&*case.client, &**upstream));
    if let (Some((client, upstream)), "done") = (ends, reason) {
        check_fins(case, client, upstream);
    }
}

/// What a side had sent before it closed is delivered, whatever it has left unread.
fn check_tails(case: &Case<'_>, relay: &Relay, down: usize, up: usize, reason: &str) {
    let Some((_, upstream)) = case.upstreams.first() else { return };
    if case.plan.client.reads_on() && matches!(reason, "done" | "upstream_reset") {
        let due = upstream.sent.min(relay.answers.len());
        case.assert(down == due, || format!("of {due} bytes {down} were delivered to the client"));
    }
    if case.plan.protocol == Protocol::Tls && case.plan.server.reads_on() && reason == "client_reset" {
        let due = case.client.sent;
        case.assert(up == due, || format!("of {due} bytes {up} were delivered to the upstream"));
    }
}

/// Where both have ended in good order, each has heard it.
fn check_fins(case: &Case<'_>, client: &Seen, upstream: &Seen) {
    let hears = |behaviour: &super::plan::Behaviour| behaviour.reads_on() && behaviour.ending == Ending::First;
    let both = hears(&case.plan.client) && hears(&case.plan.server);
    case.assert(!both || (client.fin && upstream.fin), || "a FIN was lost".into());
}

/// What a side that reads on has received is what was written to it.
fn check_counts(case: &Case<'_>, up: usize, down: usize) {
    let (bytes_up, bytes_down) = (case.number("bytes_up"), case.number("bytes_down"));
    let is_exact = |reads_on: bool, counted: usize, received: usize| {
        if reads_on { counted == received } else { counted >= received }
    };
    case.assert(is_exact(case.plan.server.reads_on(), bytes_up, up), || format!("{up} bytes up"));
    case.assert(is_exact(case.plan.client.reads_on(), bytes_down, down), || format!("{down} bytes down"));
}

fn check_requests(case: &Case<'_>, requests: &[Request]) {
    for (destination, upstream) in &case.upstreams {
        check_upstream(case, requests, *destination, upstream);
    }
    for (index, request) in requests.iter().enumerate() {
        let arrived = case.upstreams.iter().flat_map(|(_, seen)| &seen.messages.whole);
        let times = arrived.filter(|message| request_index(&message.head) == Some(index)).count();
        // Again only where once more is the same as once.
        let most = if request.method == "POST" { 1 } else { 2 };
        case.assert(times <= most, || format!("request {index} was passed on {times} times"));
    }
    let ours = check_responses(case, requests);
    let up = case.upstreams.iter().map(|(_, seen)| seen.received.len()).sum();
    // One that has left in the middle may have got a part of our answer.
    let down = if case.plan.client.reads_on() { case.client.received.len() - ours } else { 0 };
    check_counts(case, up, down);
    if case.plan.protocol == Protocol::Http {
        let sent: Vec<u8> = requests
            .iter()
            .enumerate()
            .flat_map(|(index, request)| request.write(case.connection, index, case.plan.protocol))
            .collect();
        let received = case.upstreams.first().map_or(&[][..], |(_, seen)| &seen.received[..]);
        case.assert(sent.starts_with(received), || "what its upstream received was not sent".into());
    }
}

/// Only requests that are for it, and each as it was sent.
fn check_upstream(case: &Case<'_>, requests: &[Request], destination: usize, upstream: &Seen) {
    for message in &upstream.messages.whole {
        let Some((index, request)) = request_index(&message.head).and_then(|index| Some((index, requests.get(index)?)))
        else {
            return case.assert(false, || format!("its upstream was asked for {}", message.first_line()));
        };
        let is_for_it = request.destination == destination
            && message.field("host") == Some(&*name(case.connection, destination))
            && request.fault.is_none();
        case.assert(is_for_it, || format!("request {index} was not for {destination}"));
        case.assert(message.content == request.body.content(), || format!("request {index} was changed"));
    }
    let rest = String::from_utf8_lossy(upstream.messages.rest(&upstream.received)).into_owned();
    if let Some(request) = request_index(&rest).and_then(|index| requests.get(index)) {
        case.assert(request.fault != Some(Fault::Denied), || "a denied request was passed on".into());
    }
}

/// Each in its order, and as it was sent; then at most one of ours. Returns the bytes of that one.
fn check_responses(case: &Case<'_>, requests: &[Request]) -> usize {
    let is_cut =
        case.closed.is_some_and(|closed| closed.reset) || case.client.closed <= case.closed.map(|closed| closed.at);
    let mut ours = 0;
    for (index, message) in case.client.messages.whole.iter().enumerate() {
        case.assert(ours == 0, || format!("after our answer came {}", message.first_line()));
        let Some(response) = message.field("x-response") else {
            ours = message.len;
            continue;
        };
        case.assert(response == index.to_string(), || format!("response {response} came where {index} was due"));
        let (got, due) = (&message.content, requests[index].response.body.content());
        let is_whole = *got == due;
        // One until the connection closes looks whole wherever that is.
        case.assert(is_whole || (is_cut && due.starts_with(got)), || format!("response {index} was changed"));
        let may_be_whole = !matches!(requests[index].response.then, Then::Cut(_) | Then::Never);
        case.assert(may_be_whole, || format!("response {index} was never whole"));
    }
    let rest = case.client.messages.rest(&case.client.received);
    // What is cut must not look whole, if we do not know that the client knows better.
    let knows = case.plan.protocol == Protocol::Http || case.plan.client.is_abrupt() || case.plan.client.reads == 0;
    let was_reset = case.closed.is_none_or(|closed| closed.reset);
    case.assert(rest.is_empty() || knows || was_reset, || "half of a response, and then FIN".into());
    ours
}
