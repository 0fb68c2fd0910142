//! Follows the HTTP/1 of one connection: the policy is asked about each request, and where each response ends is known.

use std::cell::Cell;
use std::rc::Rc;

use super::{noted, view};
use crate::limits::{Buffered, EvictionReason};
use crate::proxy::refuse;
use crate::proxy::relay::{FilterStatus, HttpFilter};
use crate::proxy::worker::{Phase, Worker};
use crate::telemetry::record::as_written;
use latticegate_core::client::Client;
use latticegate_core::config;
use latticegate_core::outcome::RefuseReason::{self, BodyMalformed, NameDenied, Overloaded};
use latticegate_core::outcome::Side;
use latticegate_core::protocol::http_head;
use latticegate_core::protocol::http_response::{ResponseProgress, Responses};
use latticegate_core::protocol::http_stream::{HttpStream, RequestProgress};

/// Both sides of one HTTP/1 connection.
#[derive(Debug)]
pub(super) struct Exchange {
    requests: HttpStream,
    responses: Responses,
}

impl Exchange {
    /// Begins with a request whose head of `len` bytes was read ahead and allowed.
    pub(super) fn new(head: http_head::Head, len: usize, public_port: u16) -> Self {
        let mut responses = Responses::default();
        responses.expect((&head).into());
        Self { requests: HttpStream::new(head, len, public_port), responses }
    }
}

/// The filter of one connection, and what it works with.
pub(super) struct Requests<'a> {
    pub(super) exchange: Box<Exchange>,
    pub(super) worker: &'a Worker,
    pub(super) listener: &'a config::Listener,
    pub(super) client: &'a Option<Client>,
    pub(super) rule: &'a mut Option<Rc<str>>,
    pub(super) detail: &'a mut Option<Box<str>>,
    /// What is kept of a head or a trailer section that is not complete.
    pub(super) buffered: Buffered,
    /// Kept current: whether a status sent now would be the answer to what was refused.
    pub(super) may_answer: &'a mut bool,
    pub(super) refused: bool,
    /// The one that an answer of ours would be for.
    pub(super) request: &'a Cell<refuse::Request>,
}

impl HttpFilter for Requests<'_> {
    fn request(&mut self, bytes: &[u8]) -> FilterStatus {
        loop {
            match self.exchange.requests.advance(bytes) {
                RequestProgress::Forward(n) => {
                    // What is behind them is asked about next.
                    let _ = self.buffered.hold(0);
                    return FilterStatus::Pass(n);
                }
                // Kept in a buffer that grows by doubling.
                RequestProgress::NeedMore if self.buffered.hold(bytes.len().saturating_mul(2)).is_ok() => {
                    return FilterStatus::NeedMore;
                }
                RequestProgress::NeedMore => {
                    *self.detail = Some(EvictionReason::Bytes.detail().into());
                    return self.refuse(Overloaded);
                }
                RequestProgress::Request { .. } => {
                    self.request.set(refuse::Request::of(bytes));
                    if !self.is_allowed() {
                        return self.refuse(NameDenied);
                    }
                    let Exchange { requests, responses } = &mut *self.exchange;
                    if let Some(expected) = requests.allow() {
                        responses.expect(expected);
                    }
                }
                RequestProgress::Refuse(reason) => {
                    // What is wrong with a body is the answer to its own request.
                    if reason != BodyMalformed {
                        self.request.set(refuse::Request::of(bytes));
                    }
                    self.note_names(reason, bytes);
                    return self.refuse(reason);
                }
            }
        }
    }

    /// They are passed on whatever they are.
    fn response(&mut self, bytes: &[u8]) -> FilterStatus {
        let Exchange { requests, responses } = &mut *self.exchange;
        responses.follow(bytes);
        if responses.progress() == ResponseProgress::Opaque {
            requests.upgraded();
        }
        self.update();
        FilterStatus::Pass(bytes.len())
    }

    fn unseen(&self, from: Side) -> u64 {
        match from {
            Side::Client => self.exchange.requests.unseen(),
            Side::Upstream => self.exchange.responses.unseen(),
        }
    }

    fn passed(&mut self, from: Side, bytes: u64) {
        match from {
            Side::Client => self.exchange.requests.pass(bytes),
            Side::Upstream => {
                self.exchange.responses.pass(bytes);
                self.update();
            }
        }
    }

    fn is_settled(&self) -> bool {
        match self.exchange.responses.progress() {
            ResponseProgress::Owed { requests, .. } => requests <= self.owed_to_the_refused(),
            // Nothing can be said to the client that it would not take for a part of something else.
            ResponseProgress::Opaque | ResponseProgress::Lost => true,
        }
    }

    fn is_whole(&self) -> bool {
        self.exchange.responses.all_whole()
    }

    fn may_close(&self) -> bool {
        let draining = (Phase::Closing..Phase::Ending).contains(&self.worker.phase());
        draining && !self.refused && self.exchange.requests.between_requests() && self.is_whole()
    }
}

impl Requests<'_> {
    /// The record keeps the rule that let the connection in, unless another one ends it.
    fn is_allowed(&mut self) -> bool {
        let loaded = self.worker.policy();
        let Some(client) = self.client else { return false };
        let decision =
            loaded.policy.route(client, &view(self.listener, self.worker, None), self.exchange.requests.name());
        if !decision.allowed {
            *self.rule = noted(&loaded, decision.rule, self.worker);
        }
        decision.allowed
    }

    /// The record's name is the one that the connection was opened for.
    fn note_names(&mut self, reason: RefuseReason, bytes: &[u8]) {
        let names = http_head::refused_names(reason, bytes);
        let names: Vec<Box<str>> = names.iter().map(|name| as_written(name)).collect();
        if !names.is_empty() {
            *self.detail = Some(format!("a later request names {}", names.join(" and ")).into());
        }
    }

    fn refuse(&mut self, reason: RefuseReason) -> FilterStatus {
        self.refused = true;
        self.update();
        FilterStatus::Refuse(reason)
    }

    /// Responses that the refused request itself would get: none if it was never begun to be forwarded.
    fn owed_to_the_refused(&self) -> usize {
        usize::from(!self.exchange.requests.between_requests())
    }

    fn update(&mut self) {
        if self.refused {
            let owed = self.owed_to_the_refused();
            *self.may_answer =
                self.exchange.responses.progress() == ResponseProgress::Owed { requests: owed, begun: false };
        }
    }
}
