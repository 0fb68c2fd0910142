//! Counters that all workers share: a connection changes each of them a few times in its life. What changes with every
//! read is counted by each worker for itself: see `metrics/worker.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only rises.
#[derive(Debug, Clone, Default)]
pub struct Count(Arc<AtomicU64>);

impl Count {
    pub fn increment(&self, by: u64) {
        // Whoever has read this one sees what was counted before it.
        self.0.fetch_add(by, Ordering::Release);
    }

    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}
