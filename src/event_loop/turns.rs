//! How long turns take: for so long everyone else on the worker waits.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::instant::Instant;

/// A turn is remembered for at least so long, and at most twice as long, while the worker has anything to do.
const REMEMBERED: Duration = Duration::from_secs(60);

/// The longest turn of late, for other threads to read.
#[derive(Debug, Clone, Default)]
pub struct LongestTurn(Arc<AtomicU64>);

impl LongestTurn {
    pub fn get(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

#[derive(Debug)]
pub(super) struct Turns {
    pub(super) longest: LongestTurn,
    since: Cell<Instant>,
    /// Since then, and in the minute before.
    now: Cell<Duration>,
    before: Cell<Duration>,
}

impl Turns {
    pub(super) fn new() -> Self {
        let (now, before) = (Cell::default(), Cell::default());
        Self { longest: LongestTurn::default(), since: Cell::new(Instant::read()), now, before }
    }

    /// A turn has ended.
    pub(super) fn note(&self, end: Instant, took: Duration) {
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
    fn a_long_turn_is_shown_for_a_minute_or_two() {
        let turns = Turns::new();
        let longest = turns.longest.clone();
        let begin = Instant::read();
        let at = |seconds, milliseconds| {
            turns.note(begin + Duration::from_secs(seconds), Duration::from_millis(milliseconds));
            longest.get().as_millis()
        };
        assert_eq!([at(1, 5), at(2, 40), at(3, 1), at(59, 10)], [5, 40, 40, 40]);
        assert_eq!([at(61, 1), at(110, 2)], [40, 40], "the minute before counts");
        assert_eq!([at(122, 3), at(123, 4)], [3, 4]);
        assert_eq!(at(1000, 1), 1, "after a silence");
    }
}
