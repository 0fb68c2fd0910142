//! The longest of the times that something took of late, measured by one thread and read by others.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::instant::Instant;

/// A time is remembered for at least so long, and at most twice as long, while there are others.
const REMEMBERED: Duration = Duration::from_secs(60);

/// For other threads to read.
#[derive(Debug, Clone, Default)]
pub struct RecentLongest(Arc<AtomicU64>);

impl RecentLongest {
    pub fn get(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

#[derive(Debug)]
pub(crate) struct Measure {
    pub(crate) longest: RecentLongest,
    since: Cell<Instant>,
    /// Since then, and in the minute before.
    now: Cell<Duration>,
    before: Cell<Duration>,
}

impl Measure {
    pub(crate) fn new() -> Self {
        let (now, before) = (Cell::default(), Cell::default());
        Self { longest: RecentLongest::default(), since: Cell::new(Instant::read()), now, before }
    }

    /// It took so long, and ended then.
    pub(crate) fn note(&self, end: Instant, took: Duration) {
        let age = end.saturating_duration_since(self.since.get());
        if took <= self.now.get() && age < REMEMBERED {
            return;
        }
        if age >= REMEMBERED {
            let last = self.now.take();
            self.before.set(if age < 2 * REMEMBERED { last } else { Duration::ZERO });
            self.since.set(end);
        }
        self.now.set(self.now.get().max(took));
        let longest = self.now.get().max(self.before.get());
        self.longest.0.store(u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_time_is_shown_for_a_minute_or_two() {
        let measure = Measure::new();
        let longest = measure.longest.clone();
        let begin = Instant::read();
        let at = |seconds, milliseconds| {
            measure.note(begin + Duration::from_secs(seconds), Duration::from_millis(milliseconds));
            longest.get().as_millis()
        };
        assert_eq!([at(1, 5), at(2, 40), at(3, 1), at(59, 10)], [5, 40, 40, 40]);
        assert_eq!([at(61, 1), at(110, 2)], [40, 40], "the minute before counts");
        assert_eq!([at(122, 3), at(123, 4)], [3, 4]);
        assert_eq!(at(1000, 1), 1, "after a silence");
    }
}
