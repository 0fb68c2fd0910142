//! The connections of one listener.

use std::sync::Arc;
use std::time::Duration;

use super::dns::DnsMetrics;
use super::exposition::Family;
use super::histogram::{Durations, Sizes};
use crate::telemetry::count::Count;
use latticegate_core::config;
use latticegate_core::outcome::Outcome;

/// What one listener counts, and what all listeners together do.
#[derive(Clone)]
pub struct ListenerMetrics {
    /// Accepted.
    pub(super) opened: Count,
    /// By [`Outcome::index`].
    closed: Arc<[Count]>,
    /// Those that can occur, by [`Outcome::index`].
    possible: Arc<[bool]>,
    handshake: Durations,
    hello: Sizes,
    dns: DnsMetrics,
    connect: Durations,
    /// Absolute-form requests by [`StatusClass`], of a `forward` listener.
    pub(super) requests: Option<Arc<[Count]>>,
}

/// What a request's client was answered, for a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StatusClass {
    Success,
    Redirection,
    ClientError,
    ServerError,
    /// There was no answer.
    None,
}

impl StatusClass {
    pub(super) const ALL: [(Self, &str); 5] = [
        (Self::Success, "2xx"),
        (Self::Redirection, "3xx"),
        (Self::ClientError, "4xx"),
        (Self::ServerError, "5xx"),
        (Self::None, "none"),
    ];

    fn of(status: Option<u16>) -> Self {
        match status {
            Some(200..=299) => Self::Success,
            Some(300..=399) => Self::Redirection,
            Some(400..=499) => Self::ClientError,
            Some(_) => Self::ServerError,
            None => Self::None,
        }
    }
}

/// The histograms that all listeners share.
#[derive(Clone, Default)]
pub(super) struct Steps {
    pub(super) handshake: Durations,
    pub(super) hello: Sizes,
    pub(super) connect: Durations,
}

impl ListenerMetrics {
    pub(super) fn new(listener: &config::Listener, steps: &Steps, dns: &DnsMetrics) -> Self {
        let is_forward = listener.protocol == config::Protocol::Forward;
        let Steps { handshake, hello, connect } = steps.clone();
        Self {
            opened: Count::default(),
            closed: Outcome::all().map(|_| Count::default()).collect(),
            possible: Outcome::all().map(|outcome| listener.can_end_in(outcome)).collect(),
            handshake,
            hello,
            dns: dns.clone(),
            connect,
            requests: is_forward.then(|| StatusClass::ALL.map(|_| Count::default()).into()),
        }
    }

    pub(crate) fn opened(&self) {
        self.opened.increment(1);
    }

    /// The hello or request head was complete so long after accept.
    pub(crate) fn hello_complete(&self, after: Duration) {
        self.handshake.record(after);
    }

    /// A ClientHello was read.
    pub(crate) fn client_hello(&self, bytes: u16) {
        self.hello.record(bytes.into());
    }

    /// A connection has waited so long for the addresses of its name, with whatever result.
    pub(crate) fn resolved(&self, took: Duration) {
        self.dns.resolved.record(took);
    }

    /// An upstream was reached, so long after the first connect.
    pub(crate) fn connected(&self, took: Duration) {
        self.connect.record(took);
    }

    pub(crate) fn closed(&self, outcome: Outcome) {
        if let Some(counter) = self.closed.get(outcome.index()) {
            counter.increment(1);
        }
    }

    pub(crate) fn request(&self, status: Option<u16>) {
        let class = StatusClass::of(status);
        let index = StatusClass::ALL.iter().position(|(one, _)| *one == class);
        if let Some(counter) = self.requests.as_ref().zip(index).and_then(|(requests, index)| requests.get(index)) {
            counter.increment(1);
        }
    }

    /// Connections open now.
    pub fn active(&self) -> u64 {
        // First those that are closed: each of them was counted as opened before.
        let closed = self.closed.iter().map(Count::value).sum();
        self.opened.value().saturating_sub(closed)
    }

    /// Absolute-form requests so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests.iter().flat_map(|requests| requests.iter()).map(Count::value).sum()
    }

    /// Connections closed, by outcome.
    pub fn endings(&self) -> impl Iterator<Item = (Outcome, u64)> {
        Outcome::all().zip(self.closed.iter().map(Count::value))
    }

    /// Of endings that cannot occur here there is no series.
    pub(super) fn export_endings(&self, name: &str, family: &mut Family<'_>) {
        for ((outcome, count), possible) in self.endings().zip(&*self.possible) {
            if *possible || count > 0 {
                let labels = [("listener", name), ("outcome", outcome.word()), ("reason", outcome.reason())];
                family.sample(&labels, count);
            }
        }
    }

    pub(super) fn export_requests(&self, name: &str, family: &mut Family<'_>) {
        let requests = self.requests.iter().flat_map(|requests| requests.iter());
        for ((_, status), count) in StatusClass::ALL.iter().zip(requests) {
            family.sample(&[("listener", name), ("status", status)], count.value());
        }
    }
}
