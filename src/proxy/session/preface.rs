//! What comes before there is an upstream to ask for: PROXY header and access list, hello or request head, the name.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::requests::Exchange;
use super::{Session, view};
use crate::limits::{EvictionReason, HalfOpenConnection, Permit};
use crate::proxy::read_ahead::{Preread, ReadAhead, ReadAheadError};
use crate::proxy::refuse;
use crate::proxy::unread::{ReceivedBytes, note_name, with_waiting};
use crate::proxy::worker::Worker;
use crate::reload::Loaded;
use crate::runtime::{Either, race, timeout};
use latticegate_core::client::{Client, ClientKey};
use latticegate_core::config::{Protocol, ProxyProtocol};
use latticegate_core::hostname::Hostname;
use latticegate_core::outcome::{Outcome, Probe, RefuseReason, Unfinished};
use latticegate_core::policy::Admission;
use latticegate_core::protocol::client_hello::{self, Hello};
use latticegate_core::protocol::forward_head::{ForwardHead, ForwardParser};
use latticegate_core::protocol::http_head;
use latticegate_core::protocol::proxy_header::{self, Header};

/// Before this, counted from its first byte, a hello may come as slowly as it likes: lost packets are sent again after
/// a second or three.
const GRACE: Duration = Duration::from_secs(3);

/// What else is overloaded before there is an upstream.
const TABLE_FULL: &str = "too many clients or names at once to count for limits.per_client or per_name";

/// A connection whose client and name are allowed.
pub(super) struct Admitted {
    pub(super) name: Hostname,
    pub(super) asked: Asked,
    /// The number of the list that has let it in.
    pub(super) list: u64,
}

/// What a client asks for beside a name.
pub(super) enum Asked {
    /// That bytes are relayed.
    Relay,
    /// On an HTTP listener: a request, and what goes on judging those that follow.
    Requests(Box<Exchange>),
    /// On a `forward` listener: a tunnel, or a request.
    Forward(Box<FirstRequest>),
}

/// A request whose head, of `len` bytes, was read ahead.
pub(super) struct FirstRequest {
    pub(super) head: ForwardHead,
    pub(super) len: usize,
}

impl Asked {
    pub(super) fn take_requests(&mut self) -> Option<Box<Exchange>> {
        match std::mem::replace(self, Self::Relay) {
            Self::Requests(exchange) => Some(exchange),
            other => {
                *self = other;
                None
            }
        }
    }

    pub(super) fn take_forward(&mut self) -> Option<Box<FirstRequest>> {
        match std::mem::replace(self, Self::Relay) {
            Self::Forward(first) => Some(first),
            other => {
                *self = other;
                None
            }
        }
    }
}

impl Session {
    /// Reads and authorises client and destination, under one deadline.
    pub(super) async fn read_preface(&mut self, ahead: &mut ReadAhead) -> Result<Admitted, Outcome> {
        let deadline = self.worker.config().timeouts.handshake.get();
        let waiting = self.worker.half_open.connection();
        let mut local = false;
        let first = {
            // Pinned here and borrowed below, or each layer would hold the ones beneath it twice.
            let preface = pin!(async {
                let client = self.identify(ahead, &waiting, &mut local).await?;
                let loaded = self.admit(client)?;
                let (name, asked) =
                    self.read_name(ahead, &waiting).await.inspect_err(|outcome| self.note_names(*outcome, ahead))?;
                self.route(&loaded, &name)?;
                self.enter_name(&name)?;
                Ok(Admitted { name, asked, list: loaded.number })
            });
            timeout(deadline, race(preface, pin!(waiting.evicted()))).await
        };
        let result = match first {
            Ok(Either::First(result)) => result,
            Ok(Either::Second(())) => Err(Outcome::Refused(RefuseReason::Overloaded)),
            Err(_) if !ahead.has_begun() => Err(Outcome::Probe(Probe::Empty)),
            Err(_) if local && ahead.pending().is_empty() => Err(Outcome::Probe(Probe::Local)),
            Err(_) => Err(Outcome::Refused(RefuseReason::HandshakeTimeout)),
        };
        let result = result.and_then(|named| {
            let settled = waiting.settle(ahead.capacity());
            self.buffered = settled.map_err(|_| Outcome::Refused(RefuseReason::Overloaded))?;
            Ok(named)
        });
        if let Err(outcome) = result {
            self.note_first_bytes(outcome, ahead);
            if outcome == Outcome::Refused(RefuseReason::Overloaded) {
                self.note_overload(&waiting);
            }
        }
        result
    }

    /// What has come of a client that is refused, or has left, before its hello or head was read.
    fn note_first_bytes(&mut self, outcome: Outcome, ahead: &ReadAhead) {
        let Self { record, stream, worker, reporter, spoken, request, .. } = self;
        let listener = &reporter.listener;
        let consumed = record.times.header.map(|_| ahead.consumed());
        let mut bytes = ReceivedBytes::of(consumed, ahead.pending());
        let mut buffer = worker.resources.scratch().borrow();
        let is_early = matches!(outcome, Outcome::Refused(reason) if reason.precedes_hello());
        if is_early && !bytes.is_enough(listener.protocol) {
            bytes = ReceivedBytes::of(consumed, with_waiting(stream, ahead.pending(), &mut buffer));
            request.set(bytes.request());
        }
        note_name(record, *spoken, outcome, bytes);
        if let (Some(kept), Outcome::Refused(reason)) = (worker.refused_bytes(), outcome) {
            kept.add(&listener.name, record, reason, worker.now(), [bytes.header, bytes.rest]);
        }
    }

    pub(super) fn note_overload(&mut self, waiting: &HalfOpenConnection) {
        self.record.detail = Some(waiting.eviction_reason().map_or(TABLE_FULL, EvictionReason::detail).into());
    }

    /// The client's address: from the PROXY header of a trusted peer, or the peer's own. So it is, too, where the peer
    /// says LOCAL and then asks for something, as HAProxy's checks do (§2.2 of the specification); most checks ask for
    /// nothing. `local` is set if it did say so.
    async fn identify(
        &mut self,
        ahead: &mut ReadAhead,
        waiting: &HalfOpenConnection,
        local: &mut bool,
    ) -> Result<Client, Outcome> {
        let peer = self.record.peer.get();
        if self.reporter.listener.proxy_protocol == ProxyProtocol::Off {
            return Ok(Client::new(peer, None));
        }
        if !self.worker.config().trusts(peer.ip()) {
            return Err(Outcome::Refused(RefuseReason::UntrustedPeer));
        }
        let preread = Preread {
            parse: proxy_header::parse,
            bound: proxy_header::MAX_HEADER,
            too_long: RefuseReason::ProxyMalformed,
        };
        let worker = &self.worker;
        let wait = |ahead: &ReadAhead| check_min_rate(worker, waiting, ahead);
        let scratch = worker.resources.scratch();
        let header = ahead.until(&self.stream, scratch, preread, wait).await;
        let (header, len) = header.map_err(|error| {
            if error == ReadAheadError::Refuse(RefuseReason::ProxyMissing) {
                self.spoken = refuse::spoken(ahead.pending());
            }
            ended(error, ahead)
        })?;
        ahead.consume(len);
        self.record.times.header = Some(self.record.times.now());
        match header {
            Header::Local => {
                *local = true;
                ahead.begin(&self.stream, scratch).await.map_err(|_| Outcome::Probe(Probe::Local))?;
                Ok(Client::new(peer, None))
            }
            Header::Proxy(client) => Ok(client),
        }
    }

    /// A client that no rule can let in goes no further.
    fn admit(&mut self, client: Client) -> Result<Arc<Loaded>, Outcome> {
        let loaded = self.worker.policy();
        let admission = loaded.policy.admit(&client, &view(&self.reporter.listener, &self.worker, None));
        self.record.client = Some(client);
        match admission {
            Admission::Possible => {}
            Admission::Denied(rule) => {
                if let (Some(shadow), Some(client)) = (&self.worker.shadow, &self.record.client) {
                    shadow.compare_admission(client, &view(&self.reporter.listener, &self.worker, None));
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

    /// The name asked for, and what else.
    async fn read_name(
        &mut self,
        ahead: &mut ReadAhead,
        waiting: &HalfOpenConnection,
    ) -> Result<(Hostname, Asked), Outcome> {
        if self.reporter.listener.protocol == Protocol::Tls {
            let hello = self.read_hello(ahead, waiting, None).await?;
            self.note_hello_complete();
            self.record.name = Some(hello.name.to_text());
            return Ok((hello.name, Asked::Relay));
        }
        let (record, worker) = (&self.record, &self.worker);
        let scratch = worker.resources.scratch();
        let mut late = None;
        let wait = |ahead: &ReadAhead| wait_for_more(worker, record.client.as_ref(), &mut late, waiting, ahead);
        let too_long = RefuseReason::HeadTooLong;
        let (name, asked) = match &self.reporter.listener.forward {
            None => {
                let (port, mut parser) = (self.reporter.listener.public_port, http_head::HeadParser::default());
                let parse = |bytes: &[u8]| parser.parse(bytes, port);
                let preread = Preread { parse, bound: http_head::MAX_HEAD, too_long };
                let head = ahead.until(&self.stream, scratch, preread, wait).await;
                let (head, len) = head.map_err(|error| ended(error, ahead))?;
                (head.name.clone(), Asked::Requests(Box::new(Exchange::new(head, len, port))))
            }
            Some(forward) => {
                let mut parser = ForwardParser::default();
                let parse = |bytes: &[u8]| parser.parse(bytes, &forward.via_name);
                let preread = Preread { parse, bound: http_head::MAX_HEAD, too_long };
                let head = ahead.until(&self.stream, scratch, preread, wait).await;
                let (head, len) = head.map_err(|error| ended(error, ahead))?;
                (head.name.clone(), Asked::Forward(Box::new(FirstRequest { head, len })))
            }
        };
        self.request.set(refuse::Request::of(ahead.pending()));
        self.note_hello_complete();
        self.record.name = Some(name.to_text());
        if let Asked::Forward(first) = &asked {
            self.note_request(&first.head);
        }
        Ok((name, asked))
    }

    /// The ClientHello, at the beginning of the connection or of a tunnel. `late`: the client's place among those that are
    /// waited for, if it has one.
    pub(super) async fn read_hello(
        &mut self,
        ahead: &mut ReadAhead,
        waiting: &HalfOpenConnection,
        mut late: Option<Permit<ClientKey>>,
    ) -> Result<Hello, Outcome> {
        let (record, worker) = (&self.record, &self.worker);
        let wait = |ahead: &ReadAhead| wait_for_more(worker, record.client.as_ref(), &mut late, waiting, ahead);
        let mut parser = client_hello::HelloParser::default();
        let preread = Preread {
            parse: |bytes: &[u8]| parser.parse(bytes),
            bound: client_hello::MAX_BYTES,
            too_long: RefuseReason::HelloTooLong,
        };
        let hello = ahead.until(&self.stream, worker.resources.scratch(), preread, wait).await;
        let (hello, _) = hello.map_err(|error| ended(error, ahead))?;
        self.record.hello = Some((&hello).into());
        self.reporter.metrics.client_hello(hello.size);
        Ok(hello)
    }

    fn note_hello_complete(&mut self) {
        let now = self.record.times.now();
        self.record.times.hello = Some(now);
        self.reporter.metrics.hello_complete(now.into());
    }

    /// What an operator has to know of a name that was refused is what the client wrote.
    fn note_names(&mut self, outcome: Outcome, ahead: &ReadAhead) {
        let Outcome::Refused(reason) = outcome else { return };
        self.record.set_refused_names(&match self.reporter.listener.protocol {
            Protocol::Tls => client_hello::refused_names(reason, ahead.pending()),
            Protocol::Http => http_head::refused_names(reason, ahead.pending()),
            // It may be refused before its head is read: see `note_first_bytes`.
            Protocol::Forward => return,
        });
    }

    /// Asks the listener about the port, and the list about client and name.
    pub(super) fn route(&mut self, loaded: &Loaded, name: &Hostname) -> Result<(), Outcome> {
        let Some(client) = &self.record.client else { return Ok(()) };
        let forward = self.record.forward.as_deref();
        if let (Some(facts), Some(listener)) = (forward, &self.reporter.listener.forward) {
            let ports = if facts.is_connect() { &listener.connect_ports } else { &listener.http_ports };
            if !ports.contains(&facts.port) {
                return Err(Outcome::Refused(RefuseReason::PortDenied));
            }
        }
        let view = view(&self.reporter.listener, &self.worker, forward);
        let decision = loaded.policy.route(client, &view, name);
        if let Some(shadow) = &self.worker.shadow {
            shadow.compare(decision, client, &view, name);
        }
        self.note_rule(loaded, decision.rule);
        if !decision.allowed {
            return Err(Outcome::Refused(RefuseReason::NameDenied));
        }
        self.record.active = Some(self.worker.metrics().names.enter(&loaded.names, decision.name, name));
        Ok(())
    }

    /// Counts a connection to this name.
    pub(super) fn enter_name(&mut self, name: &Hostname) -> Result<(), Outcome> {
        if self.record.client.is_none() {
            return Ok(());
        }
        self.worker.limits().enter_name(name, &mut self.held).map_err(Outcome::Refused)
    }
}

/// Whether a client may be waited for whose hello or head is not complete: from then on it is one of so many.
pub(super) fn wait_for_more(
    worker: &Worker,
    client: Option<&Client>,
    late: &mut Option<Permit<ClientKey>>,
    waiting: &HalfOpenConnection,
    ahead: &ReadAhead,
) -> Result<(), RefuseReason> {
    if let (None, Some(client)) = (&late, client) {
        *late = Some(worker.limits().enter_half_open(client)?);
    }
    check_min_rate(worker, waiting, ahead)
}

/// Whether a client whose header or hello is not complete may take more time, and memory for what has come of it.
fn check_min_rate(worker: &Worker, waiting: &HalfOpenConnection, ahead: &ReadAhead) -> Result<(), RefuseReason> {
    let late = ahead.age().saturating_sub(GRACE).as_secs();
    let owed = late.saturating_mul(u64::from(worker.config().limits.handshake_rate));
    if u64::try_from(ahead.pending().len()).is_ok_and(|len| len < owed) {
        return Err(RefuseReason::HandshakeSlow);
    }
    waiting.hold(ahead.capacity()).map_err(|_| RefuseReason::Overloaded)
}

/// Why reading ahead ended, as an outcome: closing without a byte is a probe.
pub(super) fn ended(error: ReadAheadError, ahead: &ReadAhead) -> Outcome {
    match error {
        ReadAheadError::Refuse(reason) => Outcome::Refused(reason),
        ReadAheadError::Left if !ahead.has_begun() => Outcome::Probe(Probe::Empty),
        ReadAheadError::Left => Outcome::Unfinished(Unfinished::ClientLeft),
    }
}
