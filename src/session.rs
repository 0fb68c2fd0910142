//! The life of one connection, from accept to close.

mod requests;

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::timeout;

use self::requests::Requests;
use crate::advice::advice;
use crate::client::Client;
use crate::config::{self, OnReload, PolicyRefusal, Protocol, ProxyProtocol};
use crate::dial::{DialError, Unreached, dial};
use crate::hostname::Hostname;
use crate::http_stream::HttpStream;
use crate::limits::{ClientKey, Held};
use crate::outcome::{Close, Failure, Outcome, Probe, RefuseReason, Unfinished};
use crate::peek::{ReadAhead, Stop};
use crate::policy::{Admission, ListenerView, RuleId};
use crate::proxy_header::{self, Header};
use crate::record::{Record, Teller};
use crate::relay::{End, Judge, relay, reset};
use crate::reload::Loaded;
use crate::resolve::{Answer, LookupError};
use crate::server::Worker;
use crate::{host, refuse, sni};

/// Serves one accepted connection; it ends in exactly one record.
pub(crate) async fn serve(stream: TcpStream, record: Record, teller: Rc<Teller>, worker: Rc<Worker>) {
    let mut farewell = Farewell { stream, teller: &teller, id: record.id, due: Cell::new(true) };
    let mut session = Session {
        stream: &mut farewell.stream,
        farewell_due: &farewell.due,
        listener: &teller.listener,
        worker: &worker,
        record,
        held: Held::default(),
        spoken: Some(teller.listener.protocol),
        may_answer: true,
    };
    match session.pass().await {
        Ok(End { refused: Some(reason), .. }) => session.turn_away(Outcome::Refused(reason)).await,
        Ok(end) => {
            session.record.closed_by = end.first;
            session.record.close(Outcome::Relayed(end.close));
        }
        Err(outcome) => session.turn_away(outcome).await,
    }
}

/// What the client hears if the process stops before its upstream is reached: the session is dropped then.
struct Farewell<'a> {
    stream: TcpStream,
    teller: &'a Teller,
    id: u64,
    due: Cell<bool>,
}

impl Drop for Farewell<'_> {
    fn drop(&mut self) {
        if !self.due.get() || !self.teller.stopping.get() {
            return;
        }
        let stopped = Outcome::Unfinished(Unfinished::Stopped);
        if let Some(answer) = refuse::answer(stopped, self.teller.listener.protocol, self.id) {
            refuse::send(&self.stream, &answer);
        }
    }
}

/// Before this, a hello may come as slowly as it likes: lost packets are sent again after a second or three.
const GRACE: Duration = Duration::from_secs(3);

struct Session<'a> {
    stream: &'a mut TcpStream,
    farewell_due: &'a Cell<bool>,
    listener: &'a config::Listener,
    worker: &'a Worker,
    record: Record,
    held: Held,
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
        let (name, requests, list, mut upstream) = Box::pin(self.arrive(&mut ahead)).await?;
        let end = self.relay(&mut upstream, ahead.into_pending(), &name, requests, list).await;
        match end.close {
            Close::ClientReset => Box::pin(reset(&upstream)).await,
            Close::UpstreamReset => Box::pin(reset(self.stream)).await,
            _ => {}
        }
        Ok(end)
    }

    /// All that comes before the relay.
    async fn arrive(
        &mut self,
        ahead: &mut ReadAhead,
    ) -> Result<(Hostname, Option<Box<HttpStream>>, u64, TcpStream), Outcome> {
        let (name, requests, list) = self.introduce(ahead).await?;
        let answer = self.resolve(&name).await?;
        let upstream = self.dial(&name, &answer).await?;
        Ok((name, requests, list, upstream))
    }

    /// Until both sides have ended, or a new access list ends it.
    async fn relay(
        &mut self,
        upstream: &mut TcpStream,
        ahead: Vec<u8>,
        name: &Hostname,
        requests: Option<Box<HttpStream>>,
        mut list: u64,
    ) -> End {
        let Self { stream, listener, worker, record, may_answer, .. } = self;
        let idle = worker.config().timeouts.idle;
        let mut requests = requests.map(|stream| Requests {
            stream,
            worker,
            listener,
            client: &record.client,
            rule: &mut record.rule,
            detail: &mut record.detail,
            refused: None,
            may_answer,
        });
        let judge = requests.as_mut().map(|requests| -> &mut dyn Judge { requests });
        let mut relay = pin!(relay(stream, upstream, ahead, idle, &worker.tools, &mut record.tally, judge));
        loop {
            // Before the list is looked at, so that none is missed.
            let reloaded = worker.reloaded.notified();
            let loaded = worker.policy();
            if loaded.number != list {
                list = loaded.number;
                let allowed = |client| loaded.policy.route(client, &view(listener, worker), name).allowed;
                if !record.client.as_ref().is_some_and(allowed) {
                    loaded.note_forbidden();
                    if worker.config().on_reload == OnReload::Close {
                        return End { close: Close::Forbidden, first: None, refused: None };
                    }
                }
            }
            drop(loaded);
            tokio::select! {
                biased;
                end = &mut relay => return end,
                () = reloaded => {}
            }
        }
    }

    /// Who it is and where it wants to go, both allowed; all of it under one deadline.
    async fn introduce(&mut self, ahead: &mut ReadAhead) -> Result<(Hostname, Option<Box<HttpStream>>, u64), Outcome> {
        let deadline = self.worker.config().timeouts.handshake;
        let waiting = self.worker.half_open.wait();
        let preface = async {
            let client = self.identify(ahead).await?;
            let loaded = self.admit(client)?;
            let (name, requests) =
                self.read_name(ahead).await.inspect_err(|outcome| self.note_names(*outcome, ahead))?;
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
        match timeout(deadline, preface).await {
            Ok(result) => {
                // Nothing else is overloaded before there is an upstream.
                if let Err(Outcome::Refused(RefuseReason::Overloaded)) = result {
                    self.record.detail = Some("limits.half_open, or open files or memory".into());
                }
                result
            }
            Err(_) if ahead.is_empty() => Err(Outcome::Probe(Probe::Empty)),
            Err(_) => Err(Outcome::Refused(RefuseReason::HandshakeTimeout)),
        }
    }

    /// The client's address: from the PROXY header of a trusted peer, or the peer's own.
    async fn identify(&mut self, ahead: &mut ReadAhead) -> Result<Client, Outcome> {
        let peer = self.record.peer;
        if self.listener.proxy_protocol == ProxyProtocol::Off {
            return Ok(Client { peer, addr: peer, endpoint: None });
        }
        if !self.worker.config().trusted.contains(peer.ip()) {
            return Err(Outcome::Refused(RefuseReason::UntrustedPeer));
        }
        let (bound, too_long) = (proxy_header::MAX_HEADER, RefuseReason::ProxyTooLong);
        let (record, worker) = (&self.record, self.worker);
        let wait = |ahead: &ReadAhead| pace(record, worker, ahead);
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
            Header::Local => Err(Outcome::Probe(Probe::Local)),
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
    async fn read_name(&mut self, ahead: &mut ReadAhead) -> Result<(Hostname, Option<Box<HttpStream>>), Outcome> {
        let (record, worker) = (&self.record, self.worker);
        let scratch = worker.tools.scratch();
        let mut late = None;
        let wait = |ahead: &ReadAhead| {
            if let (None, Some(client)) = (&late, &record.client) {
                late = Some(worker.limits().wait_for_hello(client)?);
            }
            pace(record, worker, ahead)
        };
        let (name, requests) = match self.listener.protocol {
            Protocol::Tls => {
                let too_long = RefuseReason::HelloTooLong;
                let hello = ahead.until(self.stream, scratch, sni::MAX_BYTES, too_long, sni::parse, wait).await;
                let (hello, _) = hello.map_err(|stop| ended(stop, ahead))?;
                self.record.hello = Some((&hello).into());
                (hello.name, None)
            }
            Protocol::Http => {
                let (port, too_long) = (self.listener.public_port, RefuseReason::HeadTooLong);
                let parse = |bytes: &[u8]| host::parse(bytes, port);
                let head = ahead.until(self.stream, scratch, host::MAX_HEAD, too_long, parse, wait).await;
                let (head, len) = head.map_err(|stop| ended(stop, ahead))?;
                (head.name.clone(), Some(Box::new(HttpStream::new(head, len, port))))
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

    /// Tells the client why, tells the record, and closes so that the client can read the answer.
    async fn turn_away(self, outcome: Outcome) {
        use RefuseReason::{ClientDenied, NameDenied, UntrustedPeer};
        self.farewell_due.set(false);
        let reason = if let Outcome::Refused(reason) = outcome { Some(reason) } else { None };
        let denied = matches!(reason, Some(ClientDenied | NameDenied));
        let silent = denied && self.worker.config().policy_refusal == PolicyRefusal::Silent;
        let answer = self.spoken.and_then(|spoken| refuse::answer(outcome, spoken, self.record.id));
        let answer = answer.filter(|_| !silent && self.may_answer);
        if answer.is_none() && (reason.is_none() || !self.may_answer) {
            return self.record.close(outcome);
        }
        // Whoever has no business here gets no more of our time than the answer.
        let brief = silent || matches!(reason, Some(ClientDenied | UntrustedPeer));
        let scratch = self.worker.tools.scratch();
        if brief {
            refuse::discard(self.stream, scratch);
        }
        refuse::send(self.stream, answer.as_deref().unwrap_or_default());
        self.record.close(outcome);
        if !brief {
            refuse::linger(self.stream, scratch).await;
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

/// Whether a client whose header and hello are not complete may take more time.
fn pace(record: &Record, worker: &Worker, ahead: &ReadAhead) -> Result<(), RefuseReason> {
    let late = record.times.elapsed().saturating_sub(GRACE).as_secs();
    let owed = late.saturating_mul(u64::from(worker.config().limits.handshake_rate));
    if u64::try_from(ahead.len()).is_ok_and(|len| len < owed) {
        return Err(RefuseReason::HandshakeSlow);
    }
    Ok(())
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
        Stop::Left if ahead.is_empty() => Outcome::Probe(Probe::Empty),
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
        // 2256 on x86-64 with tokio 1.54, of which 300 are for judging HTTP requests; a little room for other versions.
        assert!(bytes <= 2400, "{bytes} bytes");
    }
}
