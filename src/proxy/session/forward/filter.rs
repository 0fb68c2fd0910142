//! Follows the requests in absolute form that go to one upstream, and its responses: every head is replaced by the one that
//! was written from it.

use std::cell::Cell;
use std::rc::Rc;

use super::{ENDED, is_head};
use crate::limits::{Buffered, EvictionReason};
use crate::proxy::refuse;
use crate::proxy::relay::{End, FilterStatus, HttpFilter, Resets};
use crate::proxy::session::noted;
use crate::proxy::worker::{Phase, Worker};
use crate::telemetry::record::{Address, ForwardFacts, RequestFacts};
use crate::telemetry::reporter::Reporter;
use latticegate_core::client::Client;
use latticegate_core::hostname::Hostname;
use latticegate_core::outcome::RefuseReason::{self, BodyCut, BodyMalformed, BodyTimeout, NameDenied, Overloaded};
use latticegate_core::outcome::{ByteCounts, Close, Failure, Outcome, Side, Unfinished};
use latticegate_core::policy::ListenerView;
use latticegate_core::protocol::forward_head::{ForwardExpected, ForwardHead, RefusedRequest};
use latticegate_core::protocol::forward_response::{ClientNow, ForwardResponses, ResponseAction};
use latticegate_core::protocol::forward_stream::{ForwardProgress, ForwardStream};
use latticegate_core::protocol::http_head::BodyFraming;

/// What comes after a relay.
pub(super) enum Next {
    /// The connection is over.
    Over(End),
    /// The open request is answered by us, if nothing of another answer was sent.
    Failed(Outcome),
    /// The client may send another request, of which this has come.
    Onward(Vec<u8>),
}

/// What was sent and is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// A request that is not for this upstream, or that has to wait.
    Request,
    /// A response that cannot be framed.
    Malformed,
    /// Bytes of the upstream although it was asked for nothing.
    Unsolicited,
    /// A response's head for which there is no memory.
    NoRoom,
}

/// The filter of one upstream, and what it works with.
pub(super) struct Forwarding<'a> {
    pub(super) requests: ForwardStream,
    pub(super) responses: ForwardResponses,
    /// The session has allowed the request that comes first.
    pub(super) is_judged: bool,
    pub(super) name: &'a Hostname,
    pub(super) port: u16,
    /// The upstream has answered a request before, so that it may have closed without having seen this one.
    pub(super) reused: bool,
    pub(super) via_name: &'a str,
    pub(super) worker: &'a Worker,
    pub(super) reporter: &'a Reporter,
    pub(super) id: u64,
    pub(super) peer: Address,
    pub(super) upstream: Option<Address>,
    pub(super) client: &'a Option<Client>,
    pub(super) rule: &'a mut Option<Rc<str>>,
    pub(super) detail: &'a mut Option<Box<str>>,
    pub(super) facts: &'a mut ForwardFacts,
    /// The one that an answer of ours would be for.
    pub(super) request: &'a Cell<refuse::Request>,
    /// Kept current: whether a status sent now would be the answer to the open request, or to the next one.
    pub(super) may_answer: &'a mut bool,
    /// What is kept of an incomplete head, chunk line or trailer section of the client and of the upstream.
    pub(super) buffered: [Buffered; 2],
    /// The head of the open request as it came, if it may be sent again.
    pub(super) retry: Option<Box<[u8]>>,
    /// What was refused without the whole head of a request, or because of it.
    pub(super) refused_head: &'a mut Option<RefusedRequest>,
    pub(super) stopped: Option<Stopped>,
    pub(super) is_refused: bool,
    /// The open request is what was refused.
    pub(super) is_open_refused: bool,
    /// What the client had sent when the relay ended.
    pub(super) undecided: Vec<u8>,
}

impl HttpFilter for Forwarding<'_> {
    fn request(&mut self, bytes: &[u8]) -> FilterStatus {
        if self.requests.is_over() {
            // Whatever comes behind the last request is not read.
            return self.stop(Stopped::Request);
        }
        match self.requests.advance(bytes, self.via_name) {
            ForwardProgress::Forward(n) => {
                self.release(Side::Client);
                self.update();
                FilterStatus::Pass(n)
            }
            // There is a deadline for a head that has begun, and the session has it.
            ForwardProgress::NeedMore if self.requests.between_requests() && is_head(bytes) => self.set_aside(bytes),
            ForwardProgress::NeedMore if self.holds(Side::Client, bytes.len()) => FilterStatus::NeedMore,
            ForwardProgress::NeedMore => self.refuse(Overloaded),
            ForwardProgress::Request { len } => {
                let status = self.head(bytes.get(..len).unwrap_or_default());
                if status == FilterStatus::Stop { self.set_aside(bytes) } else { status }
            }
            // What is wrong with a body is the answer to its own request.
            ForwardProgress::Refuse(BodyMalformed) => self.refuse(BodyMalformed),
            ForwardProgress::Refuse(reason) => self.refuse_head(reason, bytes),
        }
    }

    fn response(&mut self, bytes: &[u8]) -> FilterStatus {
        let (ends, is_sending) = (self.is_draining(), !self.requests.between_requests());
        self.responses.note_client(ClientNow { ends, is_sending });
        match self.responses.advance(bytes, self.via_name) {
            ResponseAction::Forward(n) => {
                self.release(Side::Upstream);
                self.update();
                FilterStatus::Pass(n)
            }
            ResponseAction::Replace { len, with, status } => {
                self.release(Side::Upstream);
                if let Some(open) = self.facts.open.as_mut().filter(|_| status >= 200) {
                    open.status = Some(status);
                }
                self.retry = None;
                self.update();
                FilterStatus::Replace { len, with }
            }
            ResponseAction::NeedMore if self.holds(Side::Upstream, bytes.len()) => FilterStatus::NeedMore,
            ResponseAction::NeedMore => self.stop(Stopped::NoRoom),
            ResponseAction::Malformed => self.stop(Stopped::Malformed),
            ResponseAction::Unsolicited => self.stop(Stopped::Unsolicited),
        }
    }

    fn unseen(&self, from: Side) -> u64 {
        match from {
            Side::Client => self.requests.unseen(),
            Side::Upstream => self.responses.unseen(),
        }
    }

    fn passed(&mut self, from: Side, bytes: u64) {
        match from {
            Side::Client => self.requests.pass(bytes),
            Side::Upstream => self.responses.pass(bytes),
        }
        self.update();
    }

    fn delivered(&mut self, bytes: ByteCounts) {
        if self.facts.open.is_some() && !self.is_judged && !self.is_open_refused && self.is_idle() {
            self.report(None, bytes);
        }
    }

    fn is_settled(&self) -> bool {
        // In the middle of a body that was refused, the answer due is the refusal's.
        self.responses.all_whole() || self.is_refused_within()
    }

    fn is_whole(&self) -> bool {
        self.responses.all_whole()
    }

    fn may_close(&self) -> bool {
        let draining = (Phase::Closing..Phase::Ending).contains(&self.worker.phase());
        draining && !self.is_refused && self.is_idle()
    }

    fn outlives_upstream(&self) -> bool {
        true
    }

    fn is_done(&self) -> bool {
        self.is_idle() && (self.responses.client_ends() || self.responses.upstream_ends())
    }

    fn take_back(&mut self, undecided: Vec<u8>) {
        self.undecided = undecided;
    }
}

impl Forwarding<'_> {
    /// The head of a request is complete.
    fn head(&mut self, head: &[u8]) -> FilterStatus {
        self.release(Side::Client);
        if !std::mem::take(&mut self.is_judged) {
            let Some(requested) = self.requests.requested() else { return FilterStatus::NeedMore };
            if !self.is_next(requested) {
                return self.stop(Stopped::Request);
            }
            self.facts.begin(requested);
            self.reused = true;
            self.request.set(refuse::Request::of(head));
            if !self.is_allowed() {
                self.is_open_refused = true;
                return self.refuse(NameDenied);
            }
        }
        let Some(allowed) = self.requests.allow() else { return FilterStatus::NeedMore };
        self.retry = (self.reused && may_be_repeated(&allowed, head)).then(|| head.into());
        let last = allowed.expected.last || self.is_draining();
        self.responses.expect(ForwardExpected { last, ..allowed.expected });
        self.update();
        FilterStatus::Replace { len: head.len(), with: allowed.rewritten }
    }

    /// It is for this upstream, and nothing has to be waited for.
    fn is_next(&self, head: &ForwardHead) -> bool {
        let is_here = head.name == *self.name && head.port == self.port && !head.is_connect();
        // A response that the client has not taken yet is not over.
        let is_free = self.responses.all_whole() && self.facts.open.is_none();
        is_here && is_free && !self.responses.upstream_ends()
    }

    fn is_allowed(&mut self) -> bool {
        let loaded = self.worker.policy();
        let Some(client) = self.client else { return false };
        let view = ListenerView::of(&self.reporter.listener, self.worker.now()).to_port(self.port);
        let decision = loaded.policy.route(client, &view, self.name);
        if let Some(shadow) = &self.worker.shadow {
            shadow.compare(decision, client, &view, self.name);
        }
        *self.rule = noted(&loaded, decision.rule, self.worker);
        decision.allowed
    }

    /// The body of the open request is what was refused.
    fn is_refused_within(&self) -> bool {
        self.is_refused && !self.requests.between_requests()
    }

    /// Between two requests.
    fn is_idle(&self) -> bool {
        self.requests.between_requests() && self.responses.all_whole()
    }

    /// A client that is told so sends its next request elsewhere.
    fn is_draining(&self) -> bool {
        self.worker.phase() >= Phase::Draining
    }

    /// All of it waits, and so does what was read of its head.
    fn set_aside(&mut self, bytes: &[u8]) -> FilterStatus {
        if self.holds(Side::Client, bytes.len()) {
            return self.stop(Stopped::Request);
        }
        self.refuse_head(Overloaded, bytes)
    }

    fn refuse_head(&mut self, reason: RefuseReason, bytes: &[u8]) -> FilterStatus {
        self.request.set(refuse::Request::of(bytes));
        *self.refused_head = Some(RefusedRequest::of(reason, bytes));
        self.refuse(reason)
    }

    fn refuse(&mut self, reason: RefuseReason) -> FilterStatus {
        self.is_refused = true;
        if reason == Overloaded {
            self.note_overload();
        }
        self.update();
        FilterStatus::Refuse(reason)
    }

    fn note_overload(&mut self) {
        *self.detail = Some(EvictionReason::Bytes.detail().into());
    }

    fn stop(&mut self, stopped: Stopped) -> FilterStatus {
        if stopped == Stopped::NoRoom {
            self.note_overload();
        }
        self.stopped = Some(stopped);
        FilterStatus::Stop
    }

    /// Whether there is room for this much of what is incomplete, in a buffer that grows by doubling.
    fn holds(&mut self, from: Side, bytes: usize) -> bool {
        self.buffer(from).hold(bytes.saturating_mul(2)).is_ok()
    }

    fn release(&mut self, from: Side) {
        let _ = self.buffer(from).hold(0);
    }

    fn buffer(&mut self, from: Side) -> &mut Buffered {
        let [up, down] = &mut self.buffered;
        match from {
            Side::Client => up,
            Side::Upstream => down,
        }
    }

    /// The open request, if there is one, is over.
    /// `bytes`: of the whole connection so far.
    fn report(&mut self, cut: Option<Outcome>, bytes: ByteCounts) {
        self.retry = None;
        let before = std::mem::replace(&mut self.facts.reported, bytes);
        let bytes = bytes.since(before);
        let Some(open) = self.facts.open.take() else { return };
        self.reporter.request(&RequestFacts {
            id: self.id,
            peer: self.peer,
            client: self.client.as_ref(),
            rule: self.rule.as_deref(),
            method: &self.facts.method,
            scheme: None,
            host: self.name.as_str(),
            port: self.port,
            upstream: self.upstream,
            status: open.status,
            bytes,
            answered: 0,
            duration: open.began.elapsed(),
            cut,
        });
    }

    pub(super) fn update(&mut self) {
        let owed = self.responses.owed();
        *self.may_answer = match self.requests.between_requests() {
            true => owed == 0 || (owed == 1 && !self.is_refused && !self.responses.has_begun()),
            false => owed == 1 && !self.responses.has_begun(),
        };
    }

    /// What comes after a relay that has ended so, and whether the upstream may get another request. `bytes`: of the
    /// whole connection.
    pub(super) fn conclude(mut self: Box<Self>, end: End, bytes: ByteCounts) -> (Next, bool) {
        if !matches!(end.close, Close::Done | Close::UpstreamReset) {
            return (self.conclude_ended(end), false);
        }
        let failed = match self.stopped {
            Some(Stopped::Malformed) => Some(Outcome::Failed(Failure::ResponseMalformed)),
            Some(Stopped::NoRoom) => Some(Outcome::Refused(Overloaded)),
            _ => None,
        };
        if let Some(failed) = failed {
            *self.may_answer = !self.responses.has_begun();
            return (Next::Failed(failed), false);
        }
        if self.is_judged {
            return (self.conclude_unsent(bytes), false);
        }
        let lives = end.close == Close::Done
            && end.first != Some(Side::Upstream)
            && self.stopped != Some(Stopped::Unsolicited)
            && !self.responses.upstream_ends();
        // Not whole, it can only have ended with the upstream.
        let whole = match end.close {
            Close::Done => self.responses.all_whole() || self.responses.upstream_closed(),
            _ => self.responses.all_whole(),
        };
        // What is wrong with a body is the answer to its own request.
        if !whole && !self.is_refused_within() {
            return (self.conclude_cut(end, bytes), false);
        }
        if whole && !self.is_open_refused {
            self.report(None, bytes);
        }
        self.update();
        let is_last = self.responses.client_ends() || !end.client_sends || !self.requests.between_requests();
        let next = match end.refused {
            Some(_) => Next::Over(end),
            // The client has its last response, and may be in the middle of a request that nobody reads any more.
            None if is_last => Next::Over(End { close: Close::Done, resets: ENDED.resets, ..end }),
            None => Next::Onward(std::mem::take(&mut self.undecided)),
        };
        (next, lives)
    }

    /// It was ended by us, or by the client's reset.
    fn conclude_ended(&mut self, mut end: End) -> Next {
        if self.facts.open.is_some() && !self.responses.all_whole() && self.requests.between_requests() {
            // What was refused behind the open request is not what has ended it.
            end.refused = end.refused.filter(|_| self.is_open_refused);
        }
        if self.facts.open.is_none() || self.responses.has_begun() || self.responses.all_whole() {
            return Next::Over(end);
        }
        let outcome = match end.close {
            Close::Idle if self.requests.between_requests() => Outcome::Failed(Failure::ResponseTimeout),
            Close::Idle => Outcome::Refused(BodyTimeout),
            Close::Forbidden => Outcome::Refused(NameDenied),
            Close::Drained => Outcome::Unfinished(Unfinished::Stopped),
            Close::Done | Close::ClientReset | Close::UpstreamReset | Close::DrainIdle => return Next::Over(end),
        };
        *self.may_answer = true;
        Next::Failed(outcome)
    }

    /// The upstream has ended, or spoken, before the first request was passed on.
    fn conclude_unsent(&mut self, bytes: ByteCounts) -> Next {
        if self.reused {
            return self.again(Vec::new(), bytes);
        }
        *self.may_answer = true;
        Next::Failed(Outcome::Failed(match self.stopped {
            Some(Stopped::Unsolicited) => Failure::ResponseMalformed,
            _ => Failure::UpstreamClosed,
        }))
    }

    /// The open request has another attempt, over a new connection. `head`: what was passed on of it.
    fn again(&mut self, mut head: Vec<u8>, bytes: ByteCounts) -> Next {
        self.facts.open = None;
        self.facts.requests = self.facts.requests.saturating_sub(1);
        self.report(None, bytes);
        head.append(&mut self.undecided);
        Next::Onward(head)
    }

    /// The upstream has ended in the middle of a response, or before it.
    fn conclude_cut(&mut self, end: End, bytes: ByteCounts) -> Next {
        let closed = Outcome::Failed(Failure::UpstreamClosed);
        if self.responses.has_begun() {
            self.report(Some(closed), bytes);
            let resets = Resets { client: true, upstream: false };
            let first = end.first.or(Some(Side::Upstream));
            return Next::Over(End { close: Close::UpstreamReset, first, refused: None, resets, ..end });
        }
        if let Some(head) = self.retry.take().filter(|_| end.client_sends) {
            // It has closed for want of requests, while this one was on its way: that is nobody's fault.
            return self.again(head.into(), bytes);
        }
        *self.may_answer = true;
        let cut = !end.client_sends && !self.requests.between_requests();
        Next::Failed(if cut { Outcome::Refused(BodyCut) } else { closed })
    }
}

/// Twice is the same as once (RFC 9110 §9.2.2), and all of it is at hand: bodies are not kept, and neither is a head that is
/// longer than usual. Of any other request nobody knows what it has done (RFC 9112 §9.3.1).
fn may_be_repeated(request: &ForwardHead, head: &[u8]) -> bool {
    const LONG: usize = 4096;
    let is_idempotent = matches!(&*request.method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE");
    is_idempotent && matches!(request.body, BodyFraming::None | BodyFraming::Length(0)) && head.len() <= LONG
}
