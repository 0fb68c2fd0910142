//! What one worker remembers of connections that have ended, for the operator's page: the last refusals and failures, and
//! [who is busiest](super::busiest). Each worker has its own, and replies with a copy to an [inquiry](super::inquiry).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use crate::telemetry::busiest::BusiestCounter;
use crate::telemetry::record::Record;
use latticegate_core::outcome::Outcome;

/// Kept by each worker, and shown in total.
pub const KEPT: usize = 50;

#[derive(Debug, Clone)]
pub struct Refusal {
    pub at: SystemTime,
    pub listener: Box<str>,
    /// The client, or the peer where no header named one.
    pub client: std::net::IpAddr,
    pub name: Option<Arc<str>>,
    pub outcome: Outcome,
    pub rule: Option<Box<str>>,
    pub detail: Option<Box<str>>,
}

#[derive(Debug, Default)]
pub struct Recent {
    refusals: RefCell<VecDeque<Refusal>>,
    pub(crate) busiest: BusiestCounter,
}

impl Recent {
    pub(crate) fn add(&self, listener: &str, record: &Record, outcome: Outcome, at: SystemTime) {
        self.busiest.count(record, outcome);
        if !matches!(outcome, Outcome::Refused(_) | Outcome::Failed(_)) {
            return;
        }
        let mut kept = self.refusals.borrow_mut();
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(Refusal {
            at,
            listener: listener.into(),
            client: record.client.as_ref().map_or(record.peer.get().ip(), |client| client.ip.get()),
            name: record.name.clone(),
            outcome,
            rule: record.rule.as_deref().map(Into::into),
            detail: record.detail.clone(),
        });
    }

    pub(crate) fn refusals(&self) -> Vec<Refusal> {
        self.refusals.borrow().iter().cloned().collect()
    }
}
