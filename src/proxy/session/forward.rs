//! Requests in absolute form on a `forward` listener: each is judged, and goes to the host that it names.
//!
//! They are passed on one by one: the next is sent once the response to the one before is whole, over the same connection if it
//! names the same host and port, and otherwise over a new one. So a connection with an upstream never has more than one
//! request on it, and is never shared between clients.

mod filter;

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;

use self::filter::{Forwarding, Next};
use super::preface::{Admitted, Asked, FirstRequest, wait_for_more};
use super::{Established, Session, check_standing};
use crate::limits::{Buffered, EvictionReason, HalfOpenConnection};
use crate::proxy::read_ahead::{Preread, ReadAhead, ReadAheadError};
use crate::proxy::refuse;
use crate::proxy::relay::{End, Relay, Resets};
use crate::proxy::worker::Phase;
use crate::runtime::{Either, Stream, race, timeout};
use crate::telemetry::live::Candidate;
use crate::telemetry::record::{Address, Record};
use latticegate_core::hostname::Hostname;
use latticegate_core::outcome::{Close, Outcome, RefuseReason, Side, Unfinished};
use latticegate_core::policy::ListenerView;
use latticegate_core::protocol::forward_head::{ForwardHead, ForwardParser, RefusedRequest};
use latticegate_core::protocol::forward_response::ForwardResponses;
use latticegate_core::protocol::forward_stream::ForwardStream;
use latticegate_core::protocol::http_head::{EMPTY_LINE, MAX_HEAD};

/// Where a request goes.
struct Destination {
    name: Hostname,
    port: u16,
    /// None: it has ended, or is to be dialled.
    upstream: Option<Stream>,
    /// It has answered a request before.
    reused: bool,
}

impl Session {
    /// Notes in the record what is asked for.
    pub(super) fn note_request(&mut self, head: &ForwardHead) {
        self.record.forward.get_or_insert_default().begin(head);
    }

    /// Serves requests until one of the sides ends the connection; the first one is allowed and its upstream connected.
    pub(super) async fn serve_requests(
        &mut self,
        first: FirstRequest,
        established: Established,
    ) -> Result<End, Outcome> {
        let Established { admitted, upstream, mut ahead } = established;
        let mut list = admitted.list;
        let mut to =
            Destination { name: admitted.name, port: first.head.port, upstream: Some(upstream), reused: false };
        let mut request = first;
        let worker = Rc::clone(&self.worker);
        let _relaying = worker.relaying();
        loop {
            let mut ahead_of_next = match self.relay_request(request, ahead, &mut to, &mut list).await {
                Next::Onward(undecided) => {
                    self.may_answer = true;
                    let ahead = ReadAhead::resume(undecided);
                    if let Err(reason) = self.hold(ahead.pending().len()) {
                        return Err(self.refuse_later(reason, &ahead));
                    }
                    ahead
                }
                Next::Over(end) => {
                    self.reset_as(end, to.upstream.take()).await;
                    return Ok(end);
                }
                Next::Failed(outcome) => {
                    if !self.may_answer {
                        let resets = Resets { client: true, upstream: false };
                        self.reset_as(End { close: Close::UpstreamReset, resets, ..ENDED }, to.upstream.take()).await;
                    }
                    return Err(outcome);
                }
            };
            request = match Box::pin(self.next_request(&mut ahead_of_next)).await {
                Ok(request) => request,
                Err(Pause::Over(end)) => return Ok(end),
                Err(Pause::Refused(reason)) => return Err(self.refuse_later(reason, &ahead_of_next)),
            };
            match Box::pin(self.reach(&request.head, &mut to, &mut list)).await {
                // Nothing was owed to it by then.
                Err(Outcome::Unfinished(Unfinished::ClientLeft)) => {
                    return Ok(End { close: Close::ClientReset, first: Some(Side::Client), ..ENDED });
                }
                reached => reached?,
            }
            if request.head.is_connect() {
                ahead_of_next.consume(request.len);
                return Box::pin(self.serve_tunnel(to, ahead_of_next, list)).await;
            }
            ahead = ahead_of_next.into_pending();
            // From here on the filter counts what waits.
            self.buffered = None;
        }
    }

    /// Counts what has come of later requests, as long as no filter does.
    fn hold(&mut self, bytes: usize) -> Result<(), RefuseReason> {
        let mut buffered = Buffered::none(&self.worker.limits().half_open);
        let held = buffered.hold(bytes);
        self.buffered = Some(Box::new(buffered));
        held.map_err(|_| {
            self.record.detail = Some(EvictionReason::Bytes.detail().into());
            RefuseReason::Overloaded
        })
    }

    /// The record is about the request that ends the connection, and not about an innocent one before it.
    fn refuse_later(&mut self, reason: RefuseReason, ahead: &ReadAhead) -> Outcome {
        note_later(&mut self.record, RefusedRequest::of(reason, ahead.pending()));
        Outcome::Refused(reason)
    }

    /// After requests in absolute form, a tunnel.
    async fn serve_tunnel(&mut self, to: Destination, mut ahead: ReadAhead, list: u64) -> Result<End, Outcome> {
        let Destination { name, upstream: Some(upstream), .. } = to else { return Ok(ENDED) };
        self.open_tunnel(&name, &mut ahead).await?;
        self.buffered = None;
        let admitted = Admitted { name, asked: Asked::Relay, list };
        let mut established = Established { admitted, upstream, ahead: ahead.into_pending() };
        let end = self.relay(&mut established).await;
        self.reset_as(end, Some(established.upstream)).await;
        Ok(end)
    }

    async fn reset_as(&self, end: End, upstream: Option<Stream>) {
        if let Some(upstream) = upstream
            && end.resets != Resets::default()
            && !(end.refused.is_some() && self.may_answer)
        {
            self.reset(end, upstream).await;
        }
    }

    /// Has a request that was allowed answered by its upstream, and those that follow it on the same connection.
    async fn relay_request(
        &mut self,
        request: FirstRequest,
        ahead: Box<[u8]>,
        to: &mut Destination,
        list: &mut u64,
    ) -> Next {
        let Self { stream, reporter, worker, record, may_answer, request: refusable, .. } = self;
        let listener = &reporter.listener;
        let record: &mut Record = record;
        let Destination { name, port, upstream, reused } = to;
        let (Some(connected), Some(facts), Some(forward)) = (&*upstream, &mut record.forward, &listener.forward) else {
            return Next::Over(ENDED);
        };
        let mut refused_head = None;
        let none = || Buffered::none(&worker.limits().half_open);
        let mut filter = Box::new(Forwarding {
            requests: ForwardStream::new(request.head, request.len),
            responses: ForwardResponses::default(),
            is_judged: true,
            name,
            port: *port,
            reused: *reused,
            via_name: &forward.via_name,
            worker,
            reporter,
            id: record.id,
            peer: record.peer,
            upstream: record.upstream,
            client: &record.client,
            rule: &mut record.rule,
            detail: &mut record.detail,
            facts,
            request: refusable,
            may_answer,
            buffered: [none(), none()],
            retry: None,
            refused_head: &mut refused_head,
            stopped: None,
            is_refused: false,
            is_open_refused: false,
            undecided: Vec::new(),
        });
        filter.update();
        let end = {
            let cut = Cell::new(None);
            let idle = worker.config().timeouts.idle.get();
            let relay = Relay { client: stream, upstream: connected, idle, resources: &worker.resources, cut: &cut };
            let bytes = Cell::from_mut(&mut record.bytes);
            let mut relay = pin!(relay.run(ahead, bytes, Some(&mut *filter)));
            loop {
                // Before the list and the phase are looked at, so that nothing is missed.
                let changed = worker.changed(record.id);
                {
                    // In a block, so that none of it is kept while the relay waits.
                    let client = record.client.as_ref();
                    check_standing(worker, list, &cut, |policy| {
                        let view = ListenerView::of(listener, worker.now()).to_port(*port);
                        client.is_some_and(|client| policy.route(client, &view, name).allowed)
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
                    break end;
                }
            }
        };
        let (next, lives) = filter.conclude(end, record.bytes);
        if let (Some(refused), Next::Over(End { refused: Some(_), .. })) = (refused_head, &next) {
            note_later(record, refused);
        }
        *reused = true;
        if !lives && matches!(next, Next::Onward(_)) {
            *upstream = None;
        }
        next
    }

    /// The head of the next request.
    async fn next_request(&mut self, ahead: &mut ReadAhead) -> Result<FirstRequest, Pause> {
        self.await_request(ahead).await?;
        let waiting = self.worker.half_open.connection();
        let read = self.read_later_head(ahead, &waiting).await;
        self.request.set(refuse::Request::of(ahead.pending()));
        let read = read.and_then(|(head, len)| {
            let settled = waiting.settle(ahead.capacity());
            self.buffered = settled.map_err(|_| Pause::Refused(RefuseReason::Overloaded))?;
            Ok(FirstRequest { head, len })
        });
        if matches!(read, Err(Pause::Refused(RefuseReason::Overloaded))) {
            self.note_overload(&waiting);
        }
        read
    }

    /// Until the next request begins, this is an idle connection. A request that has not begun may as well be sent elsewhere while
    /// the process is draining.
    async fn await_request(&self, ahead: &mut ReadAhead) -> Result<(), Pause> {
        let worker = &self.worker;
        let begun = pin!(ahead.begin_with(&self.stream, worker.resources.scratch(), is_head));
        let idle = worker.config().timeouts.idle.get();
        match race(pin!(timeout(idle, begun)), pin!(self.between_requests())).await {
            Either::First(Ok(begun)) => Ok(begun?),
            Either::First(Err(_)) => Err(Pause::over(Close::Idle)),
            Either::Second(()) => Err(Pause::over(Close::DrainIdle)),
        }
    }

    /// Until no more connections are taken. Meanwhile it is one of those that are open.
    async fn between_requests(&self) {
        let (worker, record) = (&self.worker, &self.record);
        loop {
            let changed = worker.changed(record.id);
            if worker.phase() >= Phase::Closing {
                return;
            }
            worker.list_live(record.id, |census| {
                let Some(client) = &record.client else { return };
                census.add(Candidate {
                    id: record.id,
                    listener: &self.reporter.listener.name,
                    client,
                    name: record.name.as_deref().unwrap_or_default(),
                    upstream: None,
                    accepted: record.times.accepted,
                    bytes: record.bytes,
                });
            });
            changed.await;
        }
    }

    /// Once begun, it is under the same bounds as a first one.
    async fn read_later_head(
        &mut self,
        ahead: &mut ReadAhead,
        waiting: &HalfOpenConnection,
    ) -> Result<(ForwardHead, usize), Pause> {
        // Counted by `waiting` from here on.
        self.buffered = None;
        let Self { stream, worker, reporter, record, .. } = self;
        let mut parser = ForwardParser::default();
        let via_name = reporter.listener.forward.as_ref().map_or("", |forward| &forward.via_name);
        let parse = |bytes: &[u8]| parser.parse(bytes, via_name);
        let preread = Preread { parse, bound: MAX_HEAD, too_long: RefuseReason::HeadTooLong };
        let mut late = None;
        let wait = |ahead: &ReadAhead| wait_for_more(worker, record.client.as_ref(), &mut late, waiting, ahead);
        let (head, evicted) =
            (pin!(ahead.until(stream, worker.resources.scratch(), preread, wait)), pin!(waiting.evicted()));
        let head = pin!(timeout(worker.config().timeouts.handshake.get(), race(head, evicted)));
        match race(head, pin!(worker.reached(Phase::Ending))).await {
            Either::First(Ok(Either::First(read))) => Ok(read?),
            Either::First(Ok(Either::Second(()))) => Err(Pause::Refused(RefuseReason::Overloaded)),
            Either::First(Err(_)) => Err(Pause::Refused(RefuseReason::HandshakeTimeout)),
            Either::Second(()) => Err(Pause::over(Close::Drained)),
        }
    }

    /// Asks whether a later request is allowed, and connects with its upstream, if that is another one.
    async fn reach(&mut self, head: &ForwardHead, to: &mut Destination, list: &mut u64) -> Result<(), Outcome> {
        let stays = head.name == to.name && head.port == to.port && !head.is_connect();
        if !stays {
            // What the client is done with is not kept open while another is looked for.
            to.upstream = None;
        }
        self.note_request(head);
        self.record.name = Some(head.name.to_text());
        if to.upstream.is_none() {
            self.record.upstream = None;
        }
        self.may_answer = true;
        let loaded = self.worker.policy();
        *list = loaded.number;
        self.route(&loaded, &head.name)?;
        drop(loaded);
        if to.upstream.is_some() {
            return Ok(());
        }
        self.enter_name(&head.name)?;
        self.notice_due = true;
        // The record keeps the times of the first request: those of others are in their own lines.
        let times = self.record.times;
        let answer = self.resolve(&head.name, times.now()).await?;
        let upstream = self.dial(&head.name, &answer).await?;
        self.record.times = times;
        *to = Destination { name: head.name.clone(), port: head.port, upstream: Some(upstream), reused: false };
        Ok(())
    }
}

/// Of a later request that was refused without its whole head, or because of it.
fn note_later(record: &mut Record, refused: RefusedRequest) {
    (record.rule, record.upstream) = (None, None);
    record.begin_refused(refused);
}

/// Whether a request has begun. The empty line that old clients send behind a body is the beginning of none.
fn is_head(bytes: &[u8]) -> bool {
    !EMPTY_LINE.starts_with(bytes)
}

/// In good order, with a client that may still be sending.
const ENDED: End = End {
    close: Close::Done,
    first: None,
    refused: None,
    resets: Resets { client: false, upstream: false },
    client_sends: true,
};

/// Why there is no further request.
enum Pause {
    Over(End),
    Refused(RefuseReason),
}

impl Pause {
    fn over(close: Close) -> Self {
        Self::Over(End { close, ..ENDED })
    }
}

impl From<ReadAheadError> for Pause {
    fn from(error: ReadAheadError) -> Self {
        match error {
            ReadAheadError::Refuse(reason) => Self::Refused(reason),
            ReadAheadError::Left => Self::Over(End { first: Some(Side::Client), client_sends: false, ..ENDED }),
        }
    }
}
