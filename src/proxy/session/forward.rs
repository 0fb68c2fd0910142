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
use super::preface::{Admitted, Asked};
use super::{Established, Session, check_standing};
use crate::limits::{Buffered, EvictionReason};
use crate::proxy::read_ahead::{Preread, ReadAhead, ReadAheadError};
use crate::proxy::refuse;
use crate::proxy::relay::{End, Relay, Resets};
use crate::proxy::worker::Phase;
use crate::sys::runtime::{Either, Instant, Stream, race, timeout};
use crate::telemetry::record::{ForwardFacts, OpenRequest, Record};
use latticegate_core::hostname::Hostname;
use latticegate_core::outcome::{ByteCounts, Close, Outcome, RefuseReason, Side, Unfinished};
use latticegate_core::policy::ListenerView;
use latticegate_core::protocol::forward_head::{ForwardHead, ForwardParser};
use latticegate_core::protocol::forward_response::ForwardResponses;
use latticegate_core::protocol::forward_stream::ForwardStream;
use latticegate_core::protocol::http_head::MAX_HEAD;

/// A request whose head, of `len` bytes, was read ahead.
pub(super) struct FirstRequest {
    pub(super) head: ForwardHead,
    pub(super) len: usize,
}

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
        let facts = self.record.forward.get_or_insert_with(|| {
            let (method, reported) = (Box::default(), ByteCounts::default());
            Box::new(ForwardFacts { method, port: 0, sni: None, requests: 0, open: None, reported })
        });
        begin(facts, head);
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
                    self.hold(undecided.len())?;
                    ReadAhead::resume(undecided)
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
                Err(Pause::Refused(reason)) => return Err(Outcome::Refused(reason)),
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
    fn hold(&mut self, bytes: usize) -> Result<(), Outcome> {
        let mut buffered = Buffered::none(&self.worker.limits().half_open);
        let held = buffered.hold(bytes);
        self.buffered = Some(buffered);
        held.map_err(|_| {
            self.may_answer = true;
            self.record.detail = Some(EvictionReason::Bytes.detail().into());
            Outcome::Refused(RefuseReason::Overloaded)
        })
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
        ahead: Vec<u8>,
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
            let mut relay = pin!(relay.run(ahead, &mut record.bytes, Some(&mut *filter)));
            loop {
                // Before the list and the phase are looked at, so that nothing is missed.
                let changed = worker.changed.notified();
                check_standing(worker, list, &cut, |policy| {
                    let view = ListenerView::of(listener, worker.clock().now()).to_port(*port);
                    let client = record.client.as_ref();
                    client.is_some_and(|client| policy.route(client, &view, name).allowed)
                });
                if let Either::First(end) = race(&mut relay, pin!(changed)).await {
                    break end;
                }
            }
        };
        let (next, lives) = filter.conclude(end, record.bytes);
        *reused = true;
        if !lives && matches!(next, Next::Onward(_)) {
            *upstream = None;
        }
        next
    }

    /// The head of the next request. Until it is complete this is an idle connection, with the same limit.
    async fn next_request(&mut self, ahead: &mut ReadAhead) -> Result<FirstRequest, Pause> {
        let Self { stream, worker, reporter, buffered, .. } = self;
        let ends = Instant::now() + worker.config().timeouts.idle.get();
        let scratch = worker.resources.scratch();
        let read = {
            // A request that has not begun may as well be sent elsewhere while the process is draining.
            let begun = pin!(ahead.begin(stream, scratch));
            let left = ends.saturating_duration_since(Instant::now());
            match race(pin!(timeout(left, begun)), pin!(worker.reached(Phase::Closing))).await {
                Either::First(Ok(begun)) => begun,
                Either::First(Err(_)) => return Err(Pause::over(Close::Idle)),
                Either::Second(()) => return Err(Pause::over(Close::DrainIdle)),
            }
        };
        read.map_err(Pause::from)?;
        let mut parser = ForwardParser::default();
        let via_name = reporter.listener.forward.as_ref().map_or("", |forward| &forward.via_name);
        let parse = |bytes: &[u8]| parser.parse(bytes, via_name);
        let preread = Preread { parse, bound: MAX_HEAD, too_long: RefuseReason::HeadTooLong };
        let buffered = buffered.get_or_insert_with(|| Buffered::none(&worker.limits().half_open));
        let wait = |ahead: &ReadAhead| buffered.hold(ahead.capacity()).map_err(|_| RefuseReason::Overloaded);
        let read = {
            let head = pin!(ahead.until(stream, scratch, preread, wait));
            let left = ends.saturating_duration_since(Instant::now());
            match race(pin!(timeout(left, head)), pin!(worker.reached(Phase::Ending))).await {
                Either::First(Ok(read)) => read,
                Either::First(Err(_)) => return Err(Pause::over(Close::Idle)),
                Either::Second(()) => return Err(Pause::over(Close::Drained)),
            }
        };
        self.request.set(refuse::Request::of(ahead.pending()));
        match read {
            Ok((head, len)) => Ok(FirstRequest { head, len }),
            Err(error) => {
                if let ReadAheadError::Refuse(reason) = error {
                    self.note_later_names(reason, ahead.pending());
                }
                Err(error.into())
            }
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
        self.record.name = Some(head.name.as_str().into());
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
        let answer = self.resolve(&head.name).await?;
        let upstream = self.dial(&head.name, &answer).await?;
        self.record.times = times;
        *to = Destination { name: head.name.clone(), port: head.port, upstream: Some(upstream), reused: false };
        Ok(())
    }

    /// The record's name is that of the last request whose head could be read.
    fn note_later_names(&mut self, reason: RefuseReason, bytes: &[u8]) {
        self.record.detail = filter::names_in(reason, bytes);
    }
}

/// Begins another request.
fn begin(facts: &mut ForwardFacts, head: &ForwardHead) {
    (facts.method, facts.port) = (head.method.clone(), head.port);
    if !head.is_connect() {
        facts.requests = facts.requests.saturating_add(1);
        facts.open = Some(OpenRequest { began: Instant::now(), status: None });
    }
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
