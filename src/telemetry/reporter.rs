//! Each connection is reported once: when it is closed, or when it is dropped without an outcome. So is each
//! absolute-form request on a `forward` listener, when it is over.
//!
//! Connections are reported only here, so the access log, the metrics and the operator's page have the same values.

use std::cell::Cell;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use crate::telemetry::access_log::AccessLogger;
use crate::telemetry::metrics::{ActiveName, ListenerMetrics};
use crate::telemetry::recent::Recent;
use crate::telemetry::record::{Record, RequestFacts};
use latticegate_core::config;
use latticegate_core::outcome::{Close, Outcome, RefuseReason, Unfinished};

/// Where the records of one listener on one worker go.
pub struct Reporter {
    pub listener: config::Listener,
    pub log: Rc<AccessLogger>,
    pub metrics: ListenerMetrics,
    pub recent: Rc<Recent>,
    /// Set when the worker stops: connections still open then were not lost but cut.
    pub stopping: Rc<Cell<bool>>,
}

impl Reporter {
    /// Counts a connection as open until its record is closed.
    pub fn open(self: &Rc<Self>, id: u64, peer: SocketAddr) -> OpenRecord {
        self.metrics.opened();
        OpenRecord { data: Record::new(id, peer), active: None, reporter: Some(Rc::clone(self)) }
    }

    /// Reports an absolute-form request that is over.
    pub fn request(&self, facts: &RequestFacts<'_>) {
        self.metrics.request(facts.status);
        self.log.write_request(&self.listener, facts, self.log.now());
    }

    fn report(&self, record: &mut Record, outcome: Outcome) {
        use RefuseReason::{ClientDenied, NameDenied, TunnelSniDenied};
        let denied = matches!(outcome, Outcome::Refused(ClientDenied | NameDenied | TunnelSniDenied));
        if denied && record.rule.is_none() && record.detail.is_none() {
            record.detail = Some("no rule matches; the end of the list denies".into());
        }
        if let Some(facts) = record.open_request(Some(outcome)) {
            self.request(&facts);
        }
        self.metrics.closed(outcome);
        // A probe says nothing that a count does not.
        if !matches!(outcome, Outcome::Probe(_)) {
            let now = self.log.now();
            self.recent.add(&self.listener.name, record, outcome, now);
            self.log.write(&self.listener, record, outcome, now);
        }
    }
}

/// The record of a connection that has not ended yet.
pub struct OpenRecord {
    /// What the record says so far.
    pub data: Record,
    /// Counts it as open for its name, from when that is allowed until it is reported.
    pub active: Option<ActiveName>,
    /// Until it is reported.
    reporter: Option<Rc<Reporter>>,
}

impl OpenRecord {
    /// Reports it, if it was not reported before.
    pub fn close(&mut self, outcome: Outcome) {
        if let Some(reporter) = self.reporter.take() {
            self.active = None;
            reporter.report(&mut self.data, outcome);
        }
    }
}

impl Drop for OpenRecord {
    fn drop(&mut self) {
        let Some(reporter) = &self.reporter else { return };
        let outcome = match (reporter.stopping.get(), self.times.connect) {
            (true, Some(_)) => Outcome::Relayed(Close::Drained),
            (true, None) => Outcome::Unfinished(Unfinished::Stopped),
            (false, _) => Outcome::Unfinished(Unfinished::Lost),
        };
        self.close(outcome);
    }
}

impl Deref for OpenRecord {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.data
    }
}

impl DerefMut for OpenRecord {
    fn deref_mut(&mut self) -> &mut Record {
        &mut self.data
    }
}
