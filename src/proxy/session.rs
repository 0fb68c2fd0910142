//! The life of one connection, from accept to close.

mod ending;
mod forward;
mod preface;
mod requests;
mod tunnel;

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use self::preface::{Admitted, Asked};
use self::requests::Requests;
use crate::dns::{LookupError, ResolvedAddresses};
use crate::limits::{Buffered, HeldPermits};
use crate::proxy::dial::{DialError, Reached, Unreached};
use crate::proxy::read_ahead::ReadAhead;
use crate::proxy::refuse::{self, Spoken};
use crate::proxy::relay::{End, HttpFilter, Relay, Resets};
use crate::proxy::worker::{OpenConnection, Phase, Worker};
use crate::reload::Loaded;
use crate::runtime::{Either, Stream, race};
use crate::telemetry::live::Candidate;
use crate::telemetry::record::{Address, ForwardFacts, Record, SinceAccept};
use crate::telemetry::reporter::{OpenRecord, Reporter};
use latticegate_core::advice::advice;
use latticegate_core::client::{Client, ClientKey};
use latticegate_core::config::{self, OnReload, Protocol};
use latticegate_core::hostname::Hostname;
use latticegate_core::outcome::{Close, Failure, Outcome, RefuseReason, Unfinished};
use latticegate_core::policy::{ListenerView, Policy, RuleId};
use latticegate_core::protocol::client_hello;

/// Serves one accepted connection; it ends in exactly one record.
pub(crate) fn serve(
    stream: Stream,
    record: OpenRecord,
    reporter: Rc<Reporter>,
    worker: OpenConnection,
) -> impl Future<Output = ()> {
    // Made here and not inside: an async block stores once what it captures, and twice what it moves.
    let mut session = Session {
        spoken: Some(reporter.listener.protocol),
        record,
        stream,
        reporter,
        worker,
        notice_due: true,
        request: Cell::default(),
        held: HeldPermits::default(),
        buffered: None,
        may_answer: true,
        awaits_answer: false,
    };
    async move {
        match session.run().await {
            Ok(End { refused: Some(reason), .. }) => session.turn_away(Outcome::Refused(reason)).await,
            Ok(end) => session.close(end).await,
            Err(outcome) => session.turn_away(outcome).await,
        }
    }
}

struct Session {
    /// Before the stream: what is dropped is reported first, then closed.
    record: OpenRecord,
    stream: Stream,
    reporter: Rc<Reporter>,
    /// Counted as open until its socket has been dropped.
    worker: OpenConnection,
    /// Its client is owed an answer should the process stop now.
    notice_due: bool,
    /// What is known of the request that an answer of ours would be for.
    request: Cell<refuse::Request>,
    held: HeldPermits,
    /// What was read ahead, as long as it waits for an upstream.
    buffered: Option<Box<Buffered>>,
    /// What a refused client is answered in, if it would understand any answer of ours.
    spoken: Option<Protocol>,
    /// A status sent now would be the answer to what was refused.
    may_answer: bool,
    /// The client has sent its whole ClientHello, and nothing will follow before it is answered.
    awaits_answer: bool,
}

/// The answer sent if the process stops before its upstream is reached: the session is dropped then.
impl Drop for Session {
    fn drop(&mut self) {
        if !self.notice_due || !self.reporter.stopping.get() {
            return;
        }
        let stopped = Outcome::Unfinished(Unfinished::Stopped);
        let now = self.worker.now();
        let spoken = self.spoken.map(|protocol| Spoken::of(protocol, &self.reporter.listener));
        let answer = spoken.and_then(|spoken| refuse::answer(stopped, spoken, self.record.id, self.request.get(), now));
        if let Some(answer) = answer {
            let sent = refuse::send(&self.stream, &answer);
            self.record.count_answer(sent, refuse::status(&answer));
        }
    }
}

/// A client that was let in, and its upstream.
struct Established {
    admitted: Admitted,
    upstream: Stream,
    /// What was read ahead.
    ahead: Box<[u8]>,
}

impl Session {
    /// The whole way of a connection that is let through.
    async fn run(&mut self) -> Result<End, Outcome> {
        // Boxed, so that a connection that is relayed for minutes does not carry the state of its first milliseconds.
        let mut established = Box::pin(self.establish()).await?;
        self.buffered = None;
        if let Some(first) = established.admitted.asked.take_forward() {
            return Box::pin(self.serve_requests(*first, established)).await;
        }
        let end = self.relay(&mut established).await;
        if end.resets != Resets::default() && !(end.refused.is_some() && self.may_answer) {
            Box::pin(self.reset(end, established.upstream)).await;
        }
        Ok(end)
    }

    /// All that comes before the relay.
    async fn establish(&mut self) -> Result<Established, Outcome> {
        let mut ahead = ReadAhead::default();
        let (admitted, upstream) = {
            let connect = pin!(async {
                let mut admitted = self.read_preface(&mut ahead).await?;
                let since = self.record.times.hello.unwrap_or_default();
                let answer = self.resolve(&admitted.name, since).await?;
                let upstream = self.dial(&admitted.name, &answer).await?;
                if let Asked::Forward(first) = &admitted.asked
                    && first.head.is_connect()
                {
                    ahead.consume(first.len);
                    admitted.asked = Asked::Relay;
                    Box::pin(self.open_tunnel(&admitted.name, &mut ahead)).await?;
                }
                Ok((admitted, upstream))
            });
            connect.await
        }
        .inspect_err(|_| {
            let is_tls = self.reporter.listener.protocol == Protocol::Tls;
            self.awaits_answer = is_tls && client_hello::awaits_answer(ahead.pending());
            // What was looked at in the socket says more.
            if self.request.get() == refuse::Request::default() {
                self.request.set(refuse::Request::of(ahead.pending()));
            }
        })?;
        Ok(Established { admitted, upstream, ahead: ahead.into_pending() })
    }

    /// Until both sides have ended, or a new access list or the end of the process ends it.
    async fn relay(&mut self, Established { admitted, upstream, ahead }: &mut Established) -> End {
        let Admitted { name, asked, list } = admitted;
        let Self { stream, reporter, worker, record, may_answer, request, .. } = self;
        let record: &mut Record = record;
        // In a box, as most connections have none.
        let mut requests = asked.take_requests().map(|exchange| {
            Box::new(Requests {
                exchange,
                worker,
                listener: &reporter.listener,
                client: &record.client,
                rule: &mut record.rule,
                detail: &mut record.detail,
                buffered: Buffered::none(&worker.limits().half_open),
                refused: false,
                may_answer,
                request,
            })
        });
        let bytes = Cell::from_mut(&mut record.bytes);
        let filter = requests.as_deref_mut().map(|requests| -> &mut dyn HttpFilter { requests });
        let _relaying = worker.relaying();
        let cut = Cell::new(None);
        let idle = worker.config().timeouts.idle.get();
        let relay = Relay { client: stream, upstream, idle, resources: &worker.resources, cut: &cut };
        let mut relay = pin!(relay.run(std::mem::take(ahead), bytes, filter));
        loop {
            // Before the list and the phase are looked at, so that nothing is missed.
            let changed = worker.changed(record.id);
            {
                // In a block, so that none of it is kept while the relay waits.
                let (listener, client) = (&reporter.listener, record.client.as_ref());
                let forward = record.forward.as_deref();
                check_standing(worker, list, &cut, |policy| {
                    client.is_some_and(|client| {
                        stays_allowed(policy, client, &view(listener, worker, forward), name, forward)
                    })
                });
                worker.list_live(record.id, |census| {
                    let Some(client) = client else { return };
                    census.add(Candidate {
                        id: record.id,
                        listener: &listener.name,
                        client,
                        name: name.as_str(),
                        upstream: record.upstream.map(Address::get),
                        accepted: record.times.accepted,
                        bytes: bytes.get(),
                    });
                });
            }
            if let Either::First(end) = race(&mut relay, pin!(changed)).await {
                return end;
            }
        }
    }

    /// `since`: when its name was known.
    async fn resolve(&mut self, name: &Hostname, since: SinceAccept) -> Result<Arc<ResolvedAddresses>, Outcome> {
        let name = self.worker.config().upstream.name_to_resolve(name);
        let client = self.record.client.as_ref().map(ClientKey::from);
        let gone = gone(&self.stream, self.reporter.listener.protocol);
        let result = self.worker.resolver.resolve_unless(name, client, gone).await;
        let result = result.ok_or(Outcome::Unfinished(Unfinished::ClientLeft))?;
        let now = self.record.times.now();
        self.record.times.dns = Some(now);
        self.reporter.metrics.resolved(now.after(since));
        let answer = result.map_err(|error| match error {
            LookupError::Unknown => Outcome::Refused(RefuseReason::NameUnknown),
            LookupError::Limited => Outcome::Refused(RefuseReason::LookupRate),
            LookupError::Shortage => {
                self.worker.make_room();
                self.record.detail = Some("no fd or memory for a query to dns.server".into());
                Outcome::Refused(RefuseReason::Overloaded)
            }
            LookupError::Timeout => Outcome::Failed(Failure::DnsTimeout),
            LookupError::Failed => Outcome::Failed(Failure::DnsFailed),
        })?;
        self.record.stale = answer.stale;
        Ok(answer)
    }

    async fn dial(&mut self, name: &Hostname, resolved: &ResolvedAddresses) -> Result<Stream, Outcome> {
        let (worker, listener) = (&self.worker, &self.reporter.listener);
        let port = self.record.forward.as_ref().map_or(listener.upstream_port, |forward| forward.port);
        let deadline = worker.config().timeouts.connect.get();
        let destinations = worker.destinations().within(&listener.networks);
        match worker.dialer.dial(&resolved.addresses, port, destinations, deadline).await {
            Ok(Reached { stream, address, took }) => {
                self.notice_due = false;
                self.record.upstream = Some(address.into());
                let now = self.record.times.now();
                self.record.times.connect = Some(now);
                let all = now.after(self.record.times.dns.unwrap_or_default());
                self.reporter.metrics.connected(all);
                worker.upstreams.connected(address, took.unwrap_or(all));
                Ok(stream)
            }
            Err(Unreached { error, tries }) => {
                self.record.upstream = error.address().map(Into::into);
                self.record.detail = match (error.address(), error.outcome()) {
                    _ if matches!(error, DialError::Shortage(_)) => {
                        Some("no fd or memory for the upstream's socket".into())
                    }
                    (Some(address), Outcome::Refused(reason)) => {
                        Some(advice(destinations, listener, name, address, reason))
                    }
                    _ if tries.len() > 1 => {
                        let tries = tries.iter().map(|(ip, failure)| format!("{ip} {}", failure.word()));
                        Some(tries.collect::<Vec<_>>().join(", ").into())
                    }
                    _ => None,
                };
                Err(error.outcome())
            }
        }
    }

    fn note_rule(&mut self, loaded: &Loaded, rule: Option<RuleId>) {
        self.record.rule = noted(loaded, rule, &self.worker);
    }
}

/// What the record says of a rule that has decided.
fn noted(loaded: &Loaded, rule: Option<RuleId>, worker: &Worker) -> Option<Rc<str>> {
    loaded.count_hit(rule, worker.now());
    rule.map(|rule| worker.rule_labels.of(loaded, rule))
}

/// What the list is asked about. `forward`: what is known of the request, on a `forward` listener.
fn view<'a>(listener: &'a config::Listener, worker: &Worker, forward: Option<&ForwardFacts>) -> ListenerView<'a> {
    let view = ListenerView::of(listener, worker.now());
    match forward {
        None => view,
        Some(forward) => view.to_port(forward.port),
    }
}

/// Has the relay end if the list has changed and forbids what is relayed, or if the process is ending.
fn check_standing(
    worker: &Worker,
    list: &mut u64,
    cut: &Cell<Option<Close>>,
    is_allowed: impl FnOnce(&Policy) -> bool,
) {
    let loaded = worker.policy();
    if loaded.number != *list {
        *list = loaded.number;
        if !is_allowed(&loaded.policy) {
            loaded.count_forbidden();
            if worker.config().on_reload == OnReload::Close {
                cut.set(Some(Close::Forbidden));
            }
        }
    }
    if worker.phase() >= Phase::Ending {
        cut.set(Some(Close::Drained));
    }
}

/// Whether the list allows what is relayed; in a tunnel that is also the name in its ClientHello.
fn stays_allowed(
    policy: &Policy,
    client: &Client,
    view: &ListenerView<'_>,
    name: &Hostname,
    forward: Option<&ForwardFacts>,
) -> bool {
    let allows = |name: &Hostname| policy.route(client, view, name).allowed;
    let sni = forward.and_then(|forward| forward.sni.as_deref()).map(|sni| Hostname::parse(sni.as_bytes()));
    allows(name) && sni.is_none_or(|sni| sni.is_ok_and(|sni| sni == *name || allows(&sni)))
}

/// Until the client has left: with a reset, or, where TLS is spoken, with a FIN, after which no handshake can be ended. A
/// client of HTTP may send FIN behind its request and still wait for the answer.
async fn gone(stream: &Stream, protocol: Protocol) {
    match protocol {
        Protocol::Tls => stream.broken_or_finished().await,
        Protocol::Http | Protocol::Forward => stream.broken().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory per connection is a reviewed number: a change that raises it says why.
    #[test]
    fn the_future_of_a_session_is_small() {
        fn size<F: Future>(_: impl Fn(Stream, OpenRecord, Rc<Reporter>, OpenConnection) -> F) -> usize {
            size_of::<F>()
        }
        let bytes = size(serve);
        // 808 on x86-64: with glibc's 8 bytes one more would take the next larger piece.
        assert!(bytes <= 808, "{bytes} bytes");
    }
}
