//! Judges each request of an HTTP connection: the bytes are followed by [`HttpStream`], the policy is asked again.

use std::sync::Arc;

use super::{noted, view};
use crate::client::Client;
use crate::config;
use crate::host;
use crate::http_stream::{HttpStream, Progress};
use crate::limits::{Buffered, Why};
use crate::outcome::RefuseReason::{self, HostChanged, NameDenied, Overloaded};
use crate::record::as_written;
use crate::relay::{Judge, Ruling};
use crate::server::Worker;

/// What the judge of one connection works with.
pub(super) struct Requests<'a> {
    pub(super) stream: Box<HttpStream>,
    pub(super) worker: &'a Worker,
    pub(super) listener: &'a config::Listener,
    pub(super) client: &'a Option<Client>,
    pub(super) rule: &'a mut Option<Arc<str>>,
    pub(super) detail: &'a mut Option<Box<str>>,
    /// What is kept of a head or a trailer section that is not complete.
    pub(super) buffered: Buffered,
    pub(super) refused: Option<RefuseReason>,
    /// Kept current from the refusal on, as the upstream may still be answering earlier requests.
    pub(super) may_answer: &'a mut bool,
}

impl Judge for Requests<'_> {
    fn judge(&mut self, bytes: &[u8]) -> Ruling {
        loop {
            match self.stream.advance(bytes) {
                Progress::Forward(n) => {
                    // What is behind them is asked about next.
                    let _ = self.buffered.hold(0);
                    return Ruling::Pass(n);
                }
                // Kept in a buffer that grows by doubling.
                Progress::NeedMore if self.buffered.hold(bytes.len().saturating_mul(2)).is_ok() => {
                    return Ruling::NeedMore;
                }
                Progress::NeedMore => {
                    *self.detail = Some(Why::Bytes.detail().into());
                    return self.refuse(Overloaded);
                }
                Progress::Request { .. } if self.is_allowed() => self.stream.allow(),
                Progress::Request { .. } => return self.refuse(NameDenied),
                Progress::Refuse(reason) => {
                    self.note_names(reason, bytes);
                    return self.refuse(reason);
                }
            }
        }
    }

    fn unseen(&self) -> u64 {
        self.stream.unseen()
    }

    fn passed(&mut self, bytes: u64) {
        self.stream.pass(bytes);
    }

    /// Who breaks the rules of HTTP is not waited for.
    fn awaits_answer(&self) -> bool {
        matches!(self.refused, Some(HostChanged | NameDenied)) && self.stream.awaits_answer()
    }

    fn upstream_spoke(&mut self) {
        self.stream.upstream_spoke();
        if self.refused.is_some() {
            *self.may_answer = self.stream.may_answer();
        }
    }
}

impl Requests<'_> {
    /// The record keeps the rule that let the connection in, unless another one ends it.
    fn is_allowed(&mut self) -> bool {
        let loaded = self.worker.policy();
        let Some(client) = self.client else { return false };
        let decision = loaded.policy.route(client, &view(self.listener, self.worker), self.stream.name());
        if !decision.allowed {
            *self.rule = noted(&loaded, decision.rule, self.worker);
        }
        decision.allowed
    }

    /// The record's name is the one that the connection was opened for.
    fn note_names(&mut self, reason: RefuseReason, bytes: &[u8]) {
        let names = host::refused_names(reason, bytes);
        let names: Vec<Box<str>> = names.iter().map(|name| as_written(name)).collect();
        if !names.is_empty() {
            *self.detail = Some(format!("a later request names {}", names.join(" and ")).into());
        }
    }

    fn refuse(&mut self, reason: RefuseReason) -> Ruling {
        self.refused = Some(reason);
        *self.may_answer = self.stream.may_answer();
        Ruling::Refuse(reason)
    }
}
