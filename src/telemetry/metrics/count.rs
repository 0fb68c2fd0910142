//! Numbers that this process reads as well as exports: the operator's page and CloudWatch need them, and a handle of
//! the metrics crate cannot be read. A connection updates one atomic; the recorder is updated before each scrape.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Gauge};

/// A counter.
#[derive(Clone)]
pub struct Count(Arc<(AtomicU64, Counter)>);

impl Count {
    pub(super) fn new(exported: Counter) -> Self {
        Self(Arc::new((AtomicU64::new(0), exported)))
    }

    pub fn increment(&self, by: u64) {
        self.0.0.fetch_add(by, Ordering::Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }

    /// Before each scrape.
    pub(super) fn export(&self) {
        self.0.1.absolute(self.value());
    }
}

/// A gauge that is incremented and decremented.
#[derive(Clone)]
pub(super) struct Level(Arc<(AtomicU64, Gauge)>);

impl Level {
    pub(super) fn new(exported: Gauge) -> Self {
        Self(Arc::new((AtomicU64::new(0), exported)))
    }

    pub(super) fn increment(&self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn decrement(&self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn value(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }

    /// Before each scrape.
    pub(super) fn export(&self) {
        self.0.1.set(as_f64(self.value()));
    }
}

/// Numbers here stay far below 2^32.
pub(super) fn as_f64(number: u64) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}
