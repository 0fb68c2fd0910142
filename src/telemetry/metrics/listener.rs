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

    /// Connections closed, by outcome.
    pub(super) fn endings(&self) -> impl Iterator<Item = (Outcome, u64)> {
        Outcome::all().zip(self.closed.iter().map(Count::value))
    }

    /// Before each scrape.
    pub(super) fn export(&self) {
        self.active.export();
        self.closed.iter().for_each(Count::export);
    }
}
