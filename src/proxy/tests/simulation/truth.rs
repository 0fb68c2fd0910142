//! Whether a record's reason is what has happened, and whether it happened in time.

use super::check::Case;
use super::http::{Body, Fault, Request};
use super::plan::{Dns, Kind, Plan, Reach, TunnelHello, name};
use super::scenario::Limit;
use crate::dns::LookupError;
use latticegate_core::config::Protocol;

/// Deadlines are kept within this, in milliseconds.
const LATE: u64 = 50;
/// As in `session/ending.rs`: what a side that is cut may still take.
const LAST_DELIVERY: u64 = 1000;
/// As in `linger.rs`.
const SILENCE: u64 = 2000;
/// As in `listener.rs`: how long connections wait in the queue.
const QUEUE_PATIENCE: u64 = 1000;

pub(super) fn check(case: &Case<'_>, (outcome, reason): (&str, &str)) {
    case.assert(is_true(case, outcome, reason), || format!("{outcome}, {reason} is not true"));
    check_deadlines(case, outcome);
    check_accepted(case);
    check_reload(case, outcome, reason);
    check_drain_idle(case);
}

fn is_true(case: &Case<'_>, outcome: &str, reason: &str) -> bool {
    let settings = &case.run.scenario.settings;
    // A probe has no record, and nothing that it could say.
    let Some(end) = case.end() else {
        return case.client.sent == 0 && case.upstreams.is_empty();
    };
    let latest = end + case.slack();
    let by_then = |moment: Option<u64>| moment.is_some_and(|moment| moment <= latest);
    let client_ended = by_then(case.client.ended());
    let upstream_ended = case.upstreams.iter().any(|(_, seen)| by_then(seen.ended()));
    let upstream_closed = case.upstreams.iter().any(|(_, seen)| by_then(seen.closed));
    let is_forward = case.plan.protocol == Protocol::Forward && requests(case).next().is_some();
    let forbidden = settings.reload.filter(|reload| reload.forbids == case.connection && reload.at <= latest);
    let drain = case.run.drain.get();
    let destination = |is: fn(&Dns, &[Reach]) -> bool| {
        case.plan.destinations.iter().any(|destination| is(&destination.dns, &destination.addresses))
    };
    let reaches = |is: fn(&Reach) -> bool| case.plan.destinations.iter().any(|to| to.addresses.iter().any(is));
    match (outcome, reason) {
        ("relayed", "done") if is_forward => {
            client_ended || upstream_ended || requests(case).any(|request| request.last) || drain_before(case, latest)
        }
        // One that has closed takes no more of what the other one sends.
        ("relayed", "done") => (client_ended && upstream_ended) || upstream_closed || by_then(case.client.closed),
        ("relayed", "idle") => is_quiet(case, end),
        ("relayed", "client_reset") => by_then(case.client.closed),
        ("relayed", "upstream_reset") => upstream_closed || (is_forward && upstream_ended),
        ("relayed", "forbidden") => {
            forbidden.is_some_and(|reload| end <= reload.at + LAST_DELIVERY + LATE) && names_first(case)
        }
        ("relayed", "drained") => drain.is_some_and(|drain| {
            // Only what is not relayed yet has to be cut.
            let is_opening = is_forward || hello(case) == Some(TunnelHello::Missing);
            drain.ending() <= latest && (is_opening || end <= drain.ending() + LAST_DELIVERY + LATE)
        }),
        ("relayed", "drain_idle") => drain.is_some_and(|drain| drain.closing() <= latest),
        ("refused", "name_denied") => has_fault(case, Fault::Denied) || (forbidden.is_some() && names_first(case)),
        ("refused", "host_changed") => has_fault(case, Fault::Denied) && case.plan.protocol == Protocol::Http,
        ("refused", "body_malformed") => has_fault(case, Fault::BadChunk),
        ("refused", "body_cut") => is_forward && client_ended,
        ("refused", "body_timeout") => is_forward && is_quiet(case, end),
        ("refused", "tunnel_sni_denied") => hello(case) == Some(TunnelHello::Denied),
        ("refused", "handshake_timeout") => {
            let begun = match hello(case) {
                Some(TunnelHello::Missing) => {
                    case.ms("hello_ms").unwrap_or(0)
                        + case.ms("dns_ms").unwrap_or(0)
                        + case.ms("connect_ms").unwrap_or(0)
                }
                _ => 0,
            };
            let is_incomplete =
                matches!(case.plan.kind, Kind::Incomplete(_)) || hello(case) == Some(TunnelHello::Missing);
            is_incomplete && is_at(end, case.accepted + begun + settings.handshake)
        }
        ("refused", "handshake_slow") => {
            let trickles = matches!(&case.plan.kind, Kind::Incomplete(incomplete) if incomplete.trickle.is_some());
            trickles && end >= case.accepted + 4000
        }
        ("refused", "overloaded") => is_overloaded(case, latest),
        ("refused", "client_half_open") => matches!(settings.limit, Some(Limit::HalfOpenPerClient(_))),
        ("refused", "client_connections") => {
            matches!(settings.limit, Some(Limit::PerClient(most)) if others_open(case, end, |plan| plan.ip == case.plan.ip) >= most)
        }
        ("refused", "name_unknown") => destination(|dns, _| matches!(dns, Dns::Fails(LookupError::Unknown))),
        ("refused", "destination_forbidden") => destination(|dns, _| matches!(dns, Dns::Forbidden)),
        ("failed", "dns_timeout") => destination(|dns, _| matches!(dns, Dns::Fails(LookupError::Timeout))),
        ("failed", "connect_refused") => reaches(|reach| matches!(reach, Reach::Refuses(_))),
        ("failed", "connect_unreachable") => reaches(|reach| matches!(reach, Reach::Unreachable(_))),
        ("failed", "connect_timeout") => {
            let begun = case.ms("hello_ms").zip(case.ms("dns_ms")).map(|(hello, dns)| case.accepted + hello + dns);
            // The times are those of the first request.
            is_forward || begun.is_some_and(|begun| is_at(end, begun + settings.connect))
        }
        ("failed", "upstream_closed") => is_forward && upstream_ended,
        ("failed", "response_timeout") => is_forward && is_quiet(case, end),
        ("unfinished", "client_left") => client_ended,
        ("unfinished", "stopped") => drain.is_some_and(|drain| drain.ending() <= latest),
        ("probe", _) => true,
        _ => false,
    }
}

fn is_overloaded(case: &Case<'_>, latest: u64) -> bool {
    let settings = &case.run.scenario.settings;
    let detail = case.record.and_then(|record| record["detail"].as_str()).unwrap_or_default();
    let is_short = settings.shortage.is_some_and(|shortage| {
        latest >= shortage.at && case.accepted <= shortage.at + shortage.lasts + QUEUE_PATIENCE
    });
    match detail {
        "limits.connections" => {
            matches!(settings.limit, Some(Limit::Open(most)) if others_open(case, latest, |_| true) >= most)
        }
        "limits.half_open, or open files or memory" => {
            is_short || matches!(settings.limit, Some(Limit::HalfOpen(_) | Limit::Open(_)))
        }
        "open files or memory" | "no fd or memory for the upstream's socket" => is_short,
        _ => false,
    }
}

fn requests<'a>(case: &'a Case<'_>) -> impl Iterator<Item = &'a Request> {
    let requests = match &case.plan.kind {
        Kind::Requests(requests) => requests.as_slice(),
        _ => &[],
    };
    requests.iter()
}

fn has_fault(case: &Case<'_>, fault: Fault) -> bool {
    requests(case).any(|request| request.fault == Some(fault))
}

fn hello(case: &Case<'_>) -> Option<TunnelHello> {
    match &case.plan.kind {
        Kind::Relay(relay) if case.plan.protocol == Protocol::Forward => Some(relay.hello),
        _ => None,
    }
}

/// The record is about the name that a new list forbids.
fn names_first(case: &Case<'_>) -> bool {
    case.record.is_some_and(|record| record["name"] == *name(case.connection, 0))
}

fn drain_before(case: &Case<'_>, end: u64) -> bool {
    case.run.drain.get().is_some_and(|drain| drain.at <= end)
}

/// So many milliseconds may pass between the reading of two clocks that are rounded.
fn is_at(moment: u64, deadline: u64) -> bool {
    (deadline.saturating_sub(3)..=deadline + LATE).contains(&moment)
}

/// Nothing has moved for as long as a connection may be idle, and not for longer.
fn is_quiet(case: &Case<'_>, end: u64) -> bool {
    let idle = case.run.scenario.settings.idle;
    let moved = sides(case).filter(|(is_prompt, _)| *is_prompt).flat_map(|(_, seen)| &seen.received_at);
    // An answer of ours comes with the end.
    let moved = moved.copied().filter(|moved| moved + 3 < end).max().unwrap_or(0);
    end + case.slack() + 3 >= moved + idle && end <= last_activity(case) + idle + LATE
}

/// All of its peers, and whether each reads what comes as it comes.
fn sides<'a>(case: &'a Case<'_>) -> impl Iterator<Item = (bool, &'a super::peers::Seen)> {
    let is_prompt = |behaviour: &super::plan::Behaviour| behaviour.read_pause == 0 && behaviour.reads > 0;
    let client = (is_prompt(&case.plan.client), &*case.client);
    let server = is_prompt(&case.plan.server);
    std::iter::once(client).chain(case.upstreams.iter().map(move |(_, seen)| (server, &**seen)))
}

/// After which the gate had nothing to move.
fn last_activity(case: &Case<'_>) -> u64 {
    let end = case.end().map_or(u64::MAX, |end| end + case.slack());
    // What comes after the end, such as a next request behind our answer, is no reason to have waited.
    let moments = sides(case).flat_map(|(_, seen)| {
        let bytes = seen.sent_at.iter().chain(&seen.received_at).copied();
        bytes.chain(seen.finished).chain(seen.closed)
    });
    let begun = ["hello_ms", "dns_ms", "connect_ms"].into_iter().filter_map(|key| case.ms(key)).sum::<u64>();
    moments.filter(|moment| *moment <= end).max().unwrap_or(0).max(case.accepted + begun)
}

/// Other connections that are open at that moment, or were until shortly before.
fn others_open(case: &Case<'_>, moment: u64, which: impl Fn(&Plan) -> bool) -> usize {
    let others = case.run.scenario.plans.iter().enumerate();
    let others = others.filter(|(other, plan)| *other != case.connection && which(plan));
    others
        .filter(|(other, _)| {
            let port = super::clients::port(*other);
            let accepted = case.run.network.accepted().get(&port).copied();
            let closed = case.run.network.closed_for_client(port).map(|closed| closed.at);
            accepted.is_some_and(|accepted| accepted <= moment)
                && closed.is_none_or(|closed| closed + case.slack() >= moment)
        })
        .count()
}

/// At once, or where there is no room, as soon as it has waited long enough.
fn check_accepted(case: &Case<'_>) {
    let connected = case.run.connected.borrow()[&case.connection];
    let patience = if case.slack() > 0 { 2 * QUEUE_PATIENCE + case.slack() } else { 1 };
    case.assert(case.accepted <= connected + patience, || format!("it had waited since {connected}"));
}

/// What a new list forbids is not relayed any more.
fn check_reload(case: &Case<'_>, outcome: &str, reason: &str) {
    let reload = case.run.scenario.settings.reload.filter(|reload| reload.forbids == case.connection);
    let (Some(reload), Some(end), "relayed") = (reload, case.end(), outcome) else { return };
    // Of several requests each is judged by itself.
    let is_one = case.plan.protocol != Protocol::Forward || requests(case).next().is_none();
    let went_on = end > reload.at + LAST_DELIVERY + LATE;
    case.assert(!(is_one && went_on) || reason == "forbidden", || "the new list was not heeded".into());
}

/// A connection whose requests are all answered ends as soon as no more are accepted.
fn check_drain_idle(case: &Case<'_>) {
    let (Some(drain), Some(end)) = (case.run.drain.get(), case.end()) else { return };
    let answered = case.client.messages.whole.iter().filter(|message| message.field("x-response").is_some()).count();
    // A response that ends with its connection is known to be whole by nothing else.
    let ends_itself = requests(case).any(|request| matches!(request.response.body, Body::UntilClose(_)));
    let is_idle = answered > 0 && answered == requests(case).count() && !ends_itself;
    let is_prompt = case.plan.client.reads_on() && case.plan.client.read_pause == 0 && case.plan.server.reads_on();
    let closing = drain.closing().max(case.client.last_received());
    case.assert(!(is_idle && is_prompt) || end <= closing + LATE, || format!("idle, it outlived {closing}"));
}

fn check_deadlines(case: &Case<'_>, outcome: &str) {
    let settings = &case.run.scenario.settings;
    let Some(end) = case.end() else { return };
    if outcome == "relayed" {
        case.assert(end <= last_activity(case) + settings.idle + LAST_DELIVERY + LATE, || {
            "it was idle for longer".into()
        });
    } else if case.upstreams.is_empty() {
        // DNS answers in time, and later requests begin when they like.
        let longest = settings.handshake + 300 + settings.connect + LATE;
        let begun = last_activity(case).max(case.accepted);
        case.assert(end <= begun + longest, || "its deadlines were missed".into());
    }
    // A refused client has time to read the answer.
    let Some(closed) = case.closed else {
        let is_cut = case.run.drain.get().is_some_and(|drain| drain.ending() <= end);
        return case.assert(is_cut, || "its socket was not closed".into());
    };
    let last = [case.client.last_sent(), case.client.last_received(), case.client.closed.unwrap_or(0)];
    let last = last.into_iter().filter(|moment| *moment <= closed.at).max().unwrap_or(0).max(end + case.slack());
    case.assert(closed.at <= last + LAST_DELIVERY + SILENCE + LATE, || "its socket was open for too long".into());
}
