//! The wall clock: for dates that people read and for the `until:` of rules, and for nothing else.
//!
//! It jumps when the machine's clock is set. Deadlines, idle limits, ages, TTLs and rates use the monotonic clock
//! (`runtime::Instant`), which does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

/// All copies show the same time.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// Seconds that a test has moved it.
    moved: Arc<AtomicI64>,
}

impl Clock {
    pub fn now(&self) -> SystemTime {
        let moved = self.moved.load(Ordering::Relaxed);
        let distance = Duration::from_secs(moved.unsigned_abs());
        let now = SystemTime::now();
        let there = if moved < 0 { now.checked_sub(distance) } else { now.checked_add(distance) };
        there.unwrap_or(now)
    }

    /// As if the machine's clock had been set, that many seconds from where it is.
    pub fn jump(&self, seconds: i64) {
        self.moved.fetch_add(seconds, Ordering::Relaxed);
    }
}
