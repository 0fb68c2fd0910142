//! The connections of one listener.

use std::sync::Arc;

use super::count::{Count, Level};
use super::durations::Durations;
use crate::telemetry::record::Record;
use latticegate_core::outcome::Outcome;

/// What one listener counts.
#[derive(Clone)]
pub struct ListenerMetrics {
    pub(super) active: Level,
    /// By [`Outcome::index`].
    pub(super) closed: Arc<[Count]>,
    pub(super) bytes_up: Count,
    pub(super) bytes_down: Count,
    pub(super) handshake: Durations,
    pub(super) connect: Durations,
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

impl ListenerMetrics {
    pub(crate) fn opened(&self) {
        self.active.increment();
    }

    pub fn active(&self) -> u64 {
        self.active.value()
    }

    pub(crate) fn closed(&self, outcome: Outcome, record: &Record) {
        self.active.decrement();
        if let Some(counter) = self.closed.get(outcome.index()) {
            counter.increment(1);
        }
        let (bytes, times) = (&record.bytes, &record.times);
        if bytes.up > 0 {
            self.bytes_up.increment(bytes.up);
        }
        if bytes.down > 0 {
            self.bytes_down.increment(bytes.down);
        }
        if let Some(hello) = times.hello {
            self.handshake.record(hello.into());
        }
        if let (Some(dns), Some(connect)) = (times.dns, times.connect) {
            self.connect.record(connect.after(dns));
        }
    }

    pub(crate) fn request(&self, status: Option<u16>) {
        let class = StatusClass::of(status);
        let index = StatusClass::ALL.iter().position(|(one, _)| *one == class);
        if let Some(counter) = self.requests.as_ref().zip(index).and_then(|(requests, index)| requests.get(index)) {
            counter.increment(1);
        }
    }

    /// Absolute-form requests so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests.iter().flat_map(|requests| requests.iter()).map(Count::value).sum()
    }

    /// Connections closed, by outcome.
    pub fn endings(&self) -> impl Iterator<Item = (Outcome, u64)> {
        Outcome::all().zip(self.closed.iter().map(Count::value))
    }

    /// Before each scrape.
    pub(super) fn export(&self) {
        self.active.export();
        self.closed.iter().for_each(Count::export);
        self.requests.iter().flat_map(|requests| requests.iter()).for_each(Count::export);
    }
}
