//! The life of one connection, from accept to close.

mod requests;

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use self::requests::{Exchange, Requests};
use crate::advice::advice;
use crate::client::Client;
use crate::config::{self, OnReload, PolicyRefusal, Protocol, ProxyProtocol};
use crate::dial::{DialError, Unreached, dial};
use crate::hostname::Hostname;
use crate::limits::{Buffered, ClientKey, Held, Waiting, Why};
use crate::outcome::{Close, Failure, Outcome, Probe, RefuseReason, Unfinished};
use crate::peek::{ReadAhead, Stop};
use crate::policy::{Admission, ListenerView, RuleId};
use crate::proxy_header::{self, Header};
use crate::record::{Record, Teller};
use crate::relay::{End, HttpFilter, Relay, Resets, delivered};
use crate::reload::Loaded;
use crate::resolve::{Answer, LookupError};
use crate::server::{Phase, Worker};
use crate::{host, refuse, sni};

/// Serves one accepted connection; it ends in exactly one record.
pub(crate) async fn serve(stream: TcpStream, record: Record, teller: Rc<Teller>, worker: Rc<Worker>) {
    let mut farewell = Farewell {
        stream,
        teller: &teller,
        worker: &worker,
        id: record.id,
        due: Cell::new(true),
        request: Cell::default(),
    };
    let mut session = Session {
        stream: &mut farewell.stream,
        farewell_due: &farewell.due,
        request: &farewell.request,
        listener: &teller.listener,
        worker: &worker,
        record,
        held: Held::default(),
        buffered: None,
        spoken: Some(teller.listener.protocol),
        may_answer: true,
    };
    match session.pass().await {
        Ok(End { refused: Some(reason), .. }) => session.turn_away(Outcome::Refused(reason)).await,
        Ok(end) => session.close(end).await,
        Err(outcome) => session.turn_away(outcome).await,
    }
}

/// What the client hears if the process stops before its upstream is reached: the session is dropped then.
struct Farewell<'a> {
    stream: TcpStream,
    teller: &'a Teller,
    worker: &'a Worker,
    id: u64,
    due: Cell<bool>,
    request: Cell<refuse::Request>,
}

impl Drop for Farewell<'_> {
    fn drop(&mut self) {
        if !self.due.get() || !self.teller.stopping.get() {
            return;
        }
        let stopped = Outcome::Unfinished(Unfinished::Stopped);
        let (protocol, now) = (self.teller.listener.protocol, self.worker.wall().now());
        if let Some(answer) = refuse::answer(stopped, protocol, self.id, self.request.get(), now) {
            refuse::send(&self.stream, &answer);
        }
    }
}

/// What a side that is cut has not acknowledged has this long to arrive before the reset.
const LAST_DELIVERY: Duration = Duration::from_secs(1);

/// Before this, counted from its first byte, a hello may come as slowly as it likes: lost packets are sent again after
/// a second or three.
const GRACE: Duration = Duration::from_secs(3);

/// What else is overloaded before there is an upstream.
const TABLE_FULL: &str = "too many clients or names at once to count for limits.per_client or per_name";

struct Session<'a> {
    stream: &'a mut TcpStream,
    farewell_due: &'a Cell<bool>,
    /// What is known of the request that an answer of ours would be for.
    request: &'a Cell<refuse::Request>,
    listener: &'a config::Listener,
    worker: &'a Worker,
    record: Record,
    held: Held,
    /// What was read ahead, as long as it waits for an upstream.
    buffered: Option<Buffered>,
    /// What a refused client is answered in, if it would understand any answer of ours.
    spoken: Option<Protocol>,
    /// A status sent now would be the answer to what was refused.
    may_answer: bool,
}

impl Session<'_> {
    /// The whole way of a connection that is let through.
    async fn pass(&mut self) -> Result<End, Outcome> {
        let mut ahead = ReadAhead::default();
        // Boxed, so that a connection that is relayed for minutes does not carry the state of its first milliseconds.
        let arrived = Box::pin(self.arrive(&mut ahead)).await;
        let (name, requests, list, upstream) =
            arrived.inspect_err(|_| self.request.set(refuse::Request::of(ahead.pending())))?;
        self.buffered = None;
        let end = self.relay(&upstream, ahead.into_pending(), &name, requests, list).await;
        if end.resets != Resets::default() && !(end.refused.is_some() && self.may_answer) {
            Box::pin(self.reset(end, upstream)).await;
        }
        Ok(end)
    }

    /// A reset for whom a FIN would tell a lie, behind what can be delivered in time.
    async fn reset(&self, End { close, resets, .. }: End, upstream: TcpStream) {
        let (client, worker) = (&*self.stream, self.worker);
        for stream in [resets.client.then_some(client), resets.upstream.then_some(&upstream)].into_iter().flatten() {
            // From here on dropping the stream sends a reset. An error says that there is no connection any more.
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
        let idle = worker.config().timeouts.idle;
        let delivered = async {
            tokio::join!(
                async {
                    if resets.client {
                        delivered(client, idle).await
                    }
                },
                async {
                    if resets.upstream {
                        delivered(&upstream, idle).await
                    }
                },
            )
        };
        let patience = async {
            if matches!(close, Close::ClientReset | Close::UpstreamReset) {
                // Somebody else has ended it: the rest is delivered at the pace of its reader.
                worker.reached(Phase::Ending).await;
            }
            tokio::select! {
                () = sleep(LAST_DELIVERY) => {}
                () = worker.reached(Phase::Cut) => {}
            }
        };
        tokio::select! {
            biased;
            _ = delivered => {}
            () = patience => {}
        }
    }

    /// All that comes before the relay.
    async fn arrive(
        &mut self,
        ahead: &mut ReadAhead,
    ) -> Result<(Hostname, Option<Box<Exchange>>, u64, TcpStream), Outcome> {
        let (name, requests, list) = self.introduce(ahead).await?;
        let answer = self.resolve(&name).await?;
        let upstream = self.dial(&name, &answer).await?;
        Ok((name, requests, list, upstream))
    }

    /// Until both sides have ended, or a new access list or the end of the process ends it.
    async fn relay(
        &mut self,
        upstream: &TcpStream,
        ahead: Vec<u8>,
        name: &Hostname,
        exchange: Option<Box<Exchange>>,
        mut list: u64,
    ) -> End {
        let Self { stream, listener, worker, record, may_answer, request, .. } = self;
        let mut requests = exchange.map(|exchange| Requests {
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
        let idle = worker.config().timeouts.idle;
        let relay = Relay { client: stream, upstream, idle, tools: &worker.tools, cut: &cut };
        let mut relay = pin!(relay.run(ahead, &mut record.tally, filter));
        loop {
            // Before the list and the phase are looked at, so that nothing is missed.
            let changed = worker.changed.notified();
            let loaded = worker.policy();
            if loaded.number != list {
                list = loaded.number;
                let allowed = |client| loaded.policy.route(client, &view(listener, worker), name).allowed;
                if !record.client.as_ref().is_some_and(allowed) {
                    loaded.note_forbidden();
                    if worker.config().on_reload == OnReload::Close {
                        cut.set(Some(Close::Forbidden));
                    }
                }
            }
            drop(loaded);
            if worker.phase() >= Phase::Ending {
                cut.set(Some(Close::Drained));
            }
            tokio::select! {
                biased;
                end = &mut relay => return end,
                () = changed => {}
            }
        }
    }

    /// Who it is and where it wants to go, both allowed; all of it under one deadline.
    async fn introduce(&mut self, ahead: &mut ReadAhead) -> Result<(Hostname, Option<Box<Exchange>>, u64), Outcome> {
        let deadline = self.worker.config().timeouts.handshake;
        let waiting = self.worker.half_open.wait();
        let mut local = false;
        let preface = async {
            let client = self.identify(ahead, &waiting, &mut local).await?;
            let loaded = self.admit(client)?;
            let (name, requests) =
                self.read_name(ahead, &waiting).await.inspect_err(|outcome| self.note_names(*outcome, ahead))?;
            self.route(&loaded, &name)?;
            Ok((name, requests, loaded.number))
        };
        let preface = async {
            tokio::select! {
                biased;
                result = preface => result,
                () = waiting.evicted() => Err(Outcome::Refused(RefuseReason::Overloaded)),
            }
        };
        let result = match timeout(deadline, preface).await {
            Ok(result) => result,
            Err(_) if !ahead.has_begun() => Err(Outcome::Probe(Probe::Empty)),
            Err(_) if local && ahead.pending().is_empty() => Err(Outcome::Probe(Probe::Local)),
            Err(_) => Err(Outcome::Refused(RefuseReason::HandshakeTimeout)),
        };
        let result = result.and_then(|named| {
            let settled = waiting.settle(ahead.capacity());
            self.buffered = settled.map_err(|_| Outcome::Refused(RefuseReason::Overloaded))?;
            Ok(named)
        });
        if let Err(Outcome::Refused(RefuseReason::Overloaded)) = result {
            self.record.detail = Some(waiting.why().map_or(TABLE_FULL, Why::detail).into());
        }
        result
    }

    /// The client's address: from the PROXY header of a trusted peer, or the peer's own. So it is, too, where the peer
    /// says LOCAL and then asks for something, as HAProxy's checks do (§2.2 of the specification); most checks ask for
    /// nothing. `local` tells that it did say so.
    async fn identify(
        &mut self,
        ahead: &mut ReadAhead,
        waiting: &Waiting,
        local: &mut bool,
    ) -> Result<Client, Outcome> {
        let peer = self.record.peer;
        if self.listener.proxy_protocol == ProxyProtocol::Off {
            return Ok(Client { peer, addr: peer, endpoint: None });
        }
        if !self.worker.config().trusted.contains(peer.ip()) {
            return Err(Outcome::Refused(RefuseReason::UntrustedPeer));
        }
        let (bound, too_long) = (proxy_header::MAX_HEADER, RefuseReason::ProxyMalformed);
        let worker = self.worker;
        let wait = |ahead: &ReadAhead| pace(worker, waiting, ahead);
        let scratch = worker.tools.scratch();
        let header = ahead.until(self.stream, scratch, bound, too_long, proxy_header::parse, wait).await;
        let (header, len) = header.map_err(|stop| {
            if stop == Stop::Refuse(RefuseReason::ProxyMissing) {
                self.spoken = refuse::spoken(ahead.pending());
            }
            ended(stop, ahead)
        })?;
        ahead.consume(len);
        self.record.times.header = Some(self.record.times.elapsed());
        match header {
            Header::Local => {
                *local = true;
                ahead.begin(self.stream, scratch).await.map_err(|_| Outcome::Probe(Probe::Local))?;
                Ok(Client { peer, addr: peer, endpoint: None })
            }
            Header::Proxy { source, endpoint, .. } => Ok(Client { peer, addr: source, endpoint }),
        }
    }

    /// A client that no rule can let in goes no further.
    fn admit(&mut self, client: Client) -> Result<Arc<Loaded>, Outcome> {
        let loaded = self.worker.policy();
        let admission = loaded.policy.admit(&client, &view(self.listener, self.worker));
        self.record.client = Some(client);
        match admission {
            Admission::Possible => {}
            Admission::Denied(rule) => {
                if let (Some(shadow), Some(client)) = (&self.worker.shadow, &self.record.client) {
                    shadow.compare_admission(client, &view(self.listener, self.worker));
                }
                self.note_rule(&loaded, rule);
                return Err(Outcome::Refused(RefuseReason::ClientDenied));
            }
        }
        if let Some(client) = &self.record.client {
            self.worker.limits().enter_client(client, &mut self.held).map_err(Outcome::Refused)?;
        }
        Ok(loaded)
    }

    /// The name asked for; on an HTTP listener also what goes on judging the requests that follow.
    async fn read_name(
        &mut self,
        ahead: &mut ReadAhead,
        waiting: &Waiting,
    ) -> Result<(Hostname, Option<Box<Exchange>>), Outcome> {
        let (record, worker) = (&self.record, self.worker);
        let scratch = worker.tools.scratch();
        let mut late = None;
        let wait = |ahead: &ReadAhead| {
            if let (None, Some(client)) = (&late, &record.client) {
                late = Some(worker.limits().wait_for_hello(client)?);
            }
            pace(worker, waiting, ahead)
        };
        let (name, requests) = match self.listener.protocol {
            Protocol::Tls => {
                let too_long = RefuseReason::HelloTooLong;
                let mut parser = sni::Parser::default();
                let parse = |bytes: &[u8]| parser.parse(bytes);
                let hello = ahead.until(self.stream, scratch, sni::MAX_BYTES, too_long, parse, wait).await;
                let (hello, _) = hello.map_err(|stop| ended(stop, ahead))?;
                self.record.hello = Some((&hello).into());
                (hello.name, None)
            }
            Protocol::Http => {
                let (port, too_long) = (self.listener.public_port, RefuseReason::HeadTooLong);
                let mut parser = host::Parser::default();
                let parse = |bytes: &[u8]| parser.parse(bytes, port);
                let head = ahead.until(self.stream, scratch, host::MAX_HEAD, too_long, parse, wait).await;
                let (head, len) = head.map_err(|stop| ended(stop, ahead))?;
                self.request.set(refuse::Request::of(ahead.pending()));
                (head.name.clone(), Some(Box::new(Exchange::new(head, len, port))))
            }
        };
        self.record.times.hello = Some(self.record.times.elapsed());
        self.record.name = Some(name.as_str().into());
        Ok((name, requests))
    }

    /// What an operator has to know of a name that was refused is what the client wrote.
    fn note_names(&mut self, outcome: Outcome, ahead: &ReadAhead) {
        let Outcome::Refused(reason) = outcome else { return };
        self.record.refused_names(&match self.listener.protocol {
            Protocol::Tls => sni::refused_names(reason, ahead.pending()),
            Protocol::Http => host::refused_names(reason, ahead.pending()),
        });
    }

    fn route(&mut self, loaded: &Loaded, name: &Hostname) -> Result<(), Outcome> {
        let Some(client) = &self.record.client else { return Ok(()) };
        let decision = loaded.policy.route(client, &view(self.listener, self.worker), name);
        if let Some(shadow) = &self.worker.shadow {
            shadow.compare(decision, client, &view(self.listener, self.worker), name);
        }
        self.note_rule(loaded, decision.rule);
        if !decision.allowed {
            return Err(Outcome::Refused(RefuseReason::NameDenied));
        }
        self.worker.limits().enter_name(name, &mut self.held).map_err(Outcome::Refused)
    }

    async fn resolve(&mut self, name: &Hostname) -> Result<Arc<Answer>, Outcome> {
        let name = self.worker.config().upstream.names.get(name).unwrap_or(name);
        let client = self.record.client.as_ref().map(ClientKey::from);
        let gone = gone(self.stream, self.listener.protocol);
        let result = self.worker.resolver.resolve_unless(name, client, gone).await;
        let result = result.ok_or(Outcome::Unfinished(Unfinished::ClientLeft))?;
        self.record.times.dns = Some(self.record.times.elapsed());
        let answer = result.map_err(|error| match error {
            LookupError::Unknown => Outcome::Refused(RefuseReason::NameUnknown),
            LookupError::Limited => Outcome::Refused(RefuseReason::LookupRate),
            LookupError::Shortage => {
                self.worker.make_room();
                self.record.detail = Some("no fd or memory for a question to dns.server".into());
                Outcome::Refused(RefuseReason::Overloaded)
            }
            LookupError::Timeout => Outcome::Failed(Failure::DnsTimeout),
            LookupError::Failed => Outcome::Failed(Failure::DnsFailed),
        })?;
        self.record.stale = answer.stale;
        Ok(answer)
    }

    async fn dial(&mut self, name: &Hostname, answer: &Answer) -> Result<TcpStream, Outcome> {
        let (worker, port) = (self.worker, self.listener.upstream_port);
        let deadline = worker.config().timeouts.connect;
        match dial(&answer.addresses, port, worker.reach(), &worker.failing, deadline).await {
            Ok((stream, address)) => {
                self.farewell_due.set(false);
                self.record.upstream = Some(address);
                self.record.times.connect = Some(self.record.times.elapsed());
                Ok(stream)
            }
            Err(Unreached { error, tries }) => {
                self.record.upstream = error.address();
                self.record.detail = match (error.address(), error.outcome()) {
                    _ if matches!(error, DialError::Shortage(_)) => {
                        worker.make_room();
                        Some("no fd or memory for the upstream's socket".into())
                    }
                    (Some(address), Outcome::Refused(reason)) => {
                        Some(advice(worker.reach(), self.listener, name, address, reason))
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

    /// Closes what was relayed.
    async fn close(mut self, end: End) {
        self.record.closed_by = end.first;
        self.record.close(Outcome::Relayed(end.close));
        if end.client_sends {
            // The upstream is gone: the client shall read its last answer all the same.
            Box::pin(self.worker.lingering.linger(self.stream, self.worker.tools.scratch())).await;
        }
    }

    /// Gives the client the reason, ends the record, and closes so that the client can read the answer.
    async fn turn_away(self, outcome: Outcome) {
        use RefuseReason::{ClientDenied, NameDenied};
        self.farewell_due.set(false);
        let reason = if let Outcome::Refused(reason) = outcome { Some(reason) } else { None };
        let denied = matches!(reason, Some(ClientDenied | NameDenied));
        let silent = denied && self.worker.config().policy_refusal == PolicyRefusal::Silent;
        let scratch = self.worker.tools.scratch();
        let unread = self.spoken == Some(Protocol::Http) && self.request.get() == refuse::Request::default();
        if unread && reason == Some(ClientDenied) {
            // The request may have come, but there was no need to read it.
            self.request.set(refuse::Request::waiting(self.stream, &mut scratch.borrow_mut()));
        }
        let (id, request, now) = (self.record.id, self.request.get(), self.worker.wall().now());
        let answer = self.spoken.and_then(|spoken| refuse::answer(outcome, spoken, id, request, now));
        let answer = answer.filter(|_| !silent && self.may_answer);
        if answer.is_none() && (reason.is_none() || !self.may_answer) {
            return self.record.close(outcome);
        }
        let scratch = self.worker.tools.scratch();
        if answer.is_none() {
            refuse::discard(self.stream, scratch);
        }
        refuse::send(self.stream, answer.as_deref().unwrap_or_default());
        self.record.close(outcome);
        if answer.is_some() {
            Box::pin(self.worker.lingering.linger(self.stream, scratch)).await;
        }
    }

    fn note_rule(&mut self, loaded: &Loaded, rule: Option<RuleId>) {
        self.record.rule = noted(loaded, rule, self.worker);
    }
}

/// What the record says of a rule that has decided.
fn noted(loaded: &Loaded, rule: Option<RuleId>, worker: &Worker) -> Option<Arc<str>> {
    loaded.note(rule, worker.wall().now());
    rule.map(|rule| loaded.policy.named_label(rule).to_string().into())
}

/// Whether a client whose header or hello is not complete may take more time, and memory for what has come of it.
fn pace(worker: &Worker, waiting: &Waiting, ahead: &ReadAhead) -> Result<(), RefuseReason> {
    let late = ahead.age().saturating_sub(GRACE).as_secs();
    let owed = late.saturating_mul(u64::from(worker.config().limits.handshake_rate));
    if u64::try_from(ahead.pending().len()).is_ok_and(|len| len < owed) {
        return Err(RefuseReason::HandshakeSlow);
    }
    waiting.hold(ahead.capacity()).map_err(|_| RefuseReason::Overloaded)
}

fn view<'a>(listener: &'a config::Listener, worker: &Worker) -> ListenerView<'a> {
    ListenerView { name: &listener.name, public_port: listener.public_port, now: worker.wall().now() }
}

/// Until the client has left: with a reset, or, where TLS is spoken, with a FIN, after which no handshake can be ended. A
/// client of HTTP may send FIN behind its request and still wait for the answer.
async fn gone(stream: &TcpStream, protocol: Protocol) {
    let interest = match protocol {
        // This is FIN, and not the bytes before it.
        Protocol::Tls => Interest::PRIORITY | Interest::ERROR,
        Protocol::Http => Interest::ERROR,
    };
    // It fails only where the runtime ends.
    let _ = stream.ready(interest).await;
}

/// Why reading ahead ended, as an outcome: who closes without a byte was a probe.
fn ended(stop: Stop, ahead: &ReadAhead) -> Outcome {
    match stop {
        Stop::Refuse(reason) => Outcome::Refused(reason),
        Stop::Left if !ahead.has_begun() => Outcome::Probe(Probe::Empty),
        Stop::Left => Outcome::Unfinished(Unfinished::ClientLeft),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory per connection is a reviewed number: whoever raises it says why.
    #[test]
    fn the_future_of_a_session_is_small() {
        fn size<F: Future>(_: impl Fn(TcpStream, Record, Rc<Teller>, Rc<Worker>) -> F) -> usize {
            size_of::<F>()
        }
        let bytes = size(serve);
        // 2304 on x86-64 with tokio 1.54, of which 300 are for judging HTTP requests and 16 for what a buffer that waits
        // for its upstream is counted by; a little room for other versions.
        assert!(bytes <= 2400, "{bytes} bytes");
    }
}
