//! The life of one connection, from accept to close.

mod ending;
mod preface;
mod requests;

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use self::preface::Admitted;
use self::requests::Requests;
use crate::dns::{LookupError, ResolvedAddresses};
use crate::limits::{Buffered, HeldPermits};
use crate::proxy::dial::{DialError, Unreached, dial};
use crate::proxy::read_ahead::ReadAhead;
use crate::proxy::refuse;
use crate::proxy::relay::{End, HttpFilter, Relay, Resets};
use crate::proxy::worker::{Phase, Worker};
use crate::reload::Loaded;
use crate::sys::runtime::{Either, Stream, race};
use crate::telemetry::record::Record;
use crate::telemetry::reporter::{OpenRecord, Reporter};
use latticegate_core::advice::advice;
use latticegate_core::client::ClientKey;
use latticegate_core::config::{self, OnReload, Protocol};
use latticegate_core::hostname::Hostname;
use latticegate_core::outcome::{Close, Failure, Outcome, RefuseReason, Unfinished};
use latticegate_core::policy::{ListenerView, RuleId};

/// Serves one accepted connection; it ends in exactly one record.
pub(crate) async fn serve(stream: Stream, record: OpenRecord, reporter: Rc<Reporter>, worker: Rc<Worker>) {
    let mut notice = ShutdownNotice {
        stream,
        reporter: &reporter,
        worker: &worker,
        // Not through Deref: a local that is borrowed keeps its place in the future, although it moves on.
        id: record.data.id,
        due: Cell::new(true),
        request: Cell::default(),
    };
    let mut session = Session {
        stream: &mut notice.stream,
        notice_due: &notice.due,
        request: &notice.request,
        listener: &reporter.listener,
        worker: &worker,
        record,
        held: HeldPermits::default(),
        buffered: None,
        spoken: Some(reporter.listener.protocol),
        may_answer: true,
    };
    match session.run().await {
        Ok(End { refused: Some(reason), .. }) => session.turn_away(Outcome::Refused(reason)).await,
        Ok(end) => session.close(end).await,
        Err(outcome) => session.turn_away(outcome).await,
    }
}

/// The answer sent if the process stops before its upstream is reached: the session is dropped then.
struct ShutdownNotice<'a> {
    stream: Stream,
    reporter: &'a Reporter,
    worker: &'a Worker,
    id: u64,
    due: Cell<bool>,
    request: Cell<refuse::Request>,
}

impl Drop for ShutdownNotice<'_> {
    fn drop(&mut self) {
        if !self.due.get() || !self.reporter.stopping.get() {
            return;
        }
        let stopped = Outcome::Unfinished(Unfinished::Stopped);
        let (protocol, now) = (self.reporter.listener.protocol, self.worker.clock().now());
        if let Some(answer) = refuse::answer(stopped, protocol, self.id, self.request.get(), now) {
            refuse::send(&self.stream, &answer);
        }
    }
}

struct Session<'a> {
    stream: &'a mut Stream,
    notice_due: &'a Cell<bool>,
    /// What is known of the request that an answer of ours would be for.
    request: &'a Cell<refuse::Request>,
    listener: &'a config::Listener,
    worker: &'a Worker,
    record: OpenRecord,
    held: HeldPermits,
    /// What was read ahead, as long as it waits for an upstream.
    buffered: Option<Buffered>,
    /// What a refused client is answered in, if it would understand any answer of ours.
    spoken: Option<Protocol>,
    /// A status sent now would be the answer to what was refused.
    may_answer: bool,
}

impl Session<'_> {
    /// The whole way of a connection that is let through.
    async fn run(&mut self) -> Result<End, Outcome> {
        let mut ahead = ReadAhead::default();
        // Boxed, so that a connection that is relayed for minutes does not carry the state of its first milliseconds.
        let established = Box::pin(self.establish(&mut ahead)).await;
        let (admitted, upstream) =
            established.inspect_err(|_| self.request.set(refuse::Request::of(ahead.pending())))?;
        self.buffered = None;
        let end = self.relay(&upstream, ahead.into_pending(), admitted).await;
        if end.resets != Resets::default() && !(end.refused.is_some() && self.may_answer) {
            Box::pin(self.reset(end, upstream)).await;
        }
        Ok(end)
    }

    /// All that comes before the relay.
    async fn establish(&mut self, ahead: &mut ReadAhead) -> Result<(Admitted, Stream), Outcome> {
        let admitted = self.read_preface(ahead).await?;
        let answer = self.resolve(&admitted.name).await?;
        let upstream = self.dial(&admitted.name, &answer).await?;
        Ok((admitted, upstream))
    }

    /// Until both sides have ended, or a new access list or the end of the process ends it.
    async fn relay(&mut self, upstream: &Stream, ahead: Vec<u8>, admitted: Admitted) -> End {
        let Admitted { name, requests, mut list } = admitted;
        let Self { stream, listener, worker, record, may_answer, request, .. } = self;
        let record: &mut Record = record;
        let mut requests = requests.map(|exchange| Requests {
            exchange,
            worker,
            listener,
            client: &record.client,
            rule: &mut record.rule,
            detail: &mut record.detail,
            buffered: Buffered::none(&worker.limits().half_open),
            refused: false,
            may_answer,
            request,
        });
        let filter = requests.as_mut().map(|requests| -> &mut dyn HttpFilter { requests });
        let _relaying = worker.relaying();
        let cut = Cell::new(None);
        let idle = worker.config().timeouts.idle.get();
        let relay = Relay { client: stream, upstream, idle, resources: &worker.resources, cut: &cut };
        let mut relay = pin!(relay.run(ahead, &mut record.bytes, filter));
        loop {
            // Before the list and the phase are looked at, so that nothing is missed.
            let changed = worker.changed.notified();
            let loaded = worker.policy();
            if loaded.number != list {
                list = loaded.number;
                let allowed = |client| loaded.policy.route(client, &view(listener, worker), &name).allowed;
                if !record.client.as_ref().is_some_and(allowed) {
                    loaded.count_forbidden();
                    if worker.config().on_reload == OnReload::Close {
                        cut.set(Some(Close::Forbidden));
                    }
                }
            }
            drop(loaded);
            if worker.phase() >= Phase::Ending {
                cut.set(Some(Close::Drained));
            }
            if let Either::First(end) = race(&mut relay, pin!(changed)).await {
                return end;
            }
        }
    }

    async fn resolve(&mut self, name: &Hostname) -> Result<Arc<ResolvedAddresses>, Outcome> {
        let name = self.worker.config().upstream.name_to_resolve(name);
        let client = self.record.client.as_ref().map(ClientKey::from);
        let gone = gone(self.stream, self.listener.protocol);
        let result = self.worker.resolver.resolve_unless(name, client, gone).await;
        let result = result.ok_or(Outcome::Unfinished(Unfinished::ClientLeft))?;
        self.record.times.dns = Some(self.record.times.now());
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
        let (worker, port) = (self.worker, self.listener.upstream_port);
        let deadline = worker.config().timeouts.connect.get();
        match dial(&resolved.addresses, port, worker.destinations(), &worker.failing, deadline).await {
            Ok((stream, address)) => {
                self.notice_due.set(false);
                self.record.upstream = Some(address.into());
                self.record.times.connect = Some(self.record.times.now());
                Ok(stream)
            }
            Err(Unreached { error, tries }) => {
                self.record.upstream = error.address().map(Into::into);
                self.record.detail = match (error.address(), error.outcome()) {
                    _ if matches!(error, DialError::Shortage(_)) => {
                        worker.make_room();
                        Some("no fd or memory for the upstream's socket".into())
                    }
                    (Some(address), Outcome::Refused(reason)) => {
                        Some(advice(worker.destinations(), self.listener, name, address, reason))
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
        self.record.rule = noted(loaded, rule, self.worker);
    }
}

/// What the record says of a rule that has decided.
fn noted(loaded: &Loaded, rule: Option<RuleId>, worker: &Worker) -> Option<Rc<str>> {
    loaded.count_hit(rule, worker.clock().now());
    rule.map(|rule| worker.rule_labels.of(loaded, rule))
}

fn view<'a>(listener: &'a config::Listener, worker: &Worker) -> ListenerView<'a> {
    ListenerView { name: &listener.name, public_port: listener.public_port, now: worker.clock().now() }
}

/// Until the client has left: with a reset, or, where TLS is spoken, with a FIN, after which no handshake can be ended. A
/// client of HTTP may send FIN behind its request and still wait for the answer.
async fn gone(stream: &Stream, protocol: Protocol) {
    match protocol {
        Protocol::Tls => stream.broken_or_finished().await,
        Protocol::Http => stream.broken().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory per connection is a reviewed number: a change that raises it says why.
    #[test]
    fn the_future_of_a_session_is_small() {
        fn size<F: Future>(_: impl Fn(Stream, OpenRecord, Rc<Reporter>, Rc<Worker>) -> F) -> usize {
            size_of::<F>()
        }
        let bytes = size(serve);
        // 1696 on x86-64 with tokio 1.54, of which 300 are for judging HTTP requests; a little room for other versions.
        assert!(bytes <= 1780, "{bytes} bytes");
    }
}
