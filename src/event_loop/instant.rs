//! The monotonic clock, which cannot be set.

use std::cell::Cell;
use std::ops::{Add, Sub};
use std::sync::LazyLock;
use std::time::Duration;

/// A moment of the monotonic clock, in nanoseconds: half as large as the standard library's, and compared in one instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(u64);

/// When the clock was first read, and what it shows then: what is a little earlier has a number as well.
static FIRST: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
const AT_FIRST: Duration = Duration::from_hours(24 * 365);

thread_local! {
    /// When the turn of this thread's loop began; none outside of a loop.
    static TURN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// On a worker, that a turn begins, or that there is none any more.
pub(super) fn set_turn(at: Option<Instant>) {
    TURN.set(at);
}

impl Instant {
    /// On a worker, the time at which this turn began.
    pub fn now() -> Self {
        TURN.get().unwrap_or_else(Self::read)
    }

    /// Reads the clock, which tests of tokio's can pause and move.
    pub(super) fn read() -> Self {
        #[cfg(test)]
        let now = tokio::time::Instant::now().into_std();
        #[cfg(not(test))]
        let now = std::time::Instant::now();
        let first = *FIRST;
        // A clock that a test has paused may stand before it.
        let (since, until) = (now.saturating_duration_since(first), first.saturating_duration_since(now));
        Self(nanoseconds(AT_FIRST + since).saturating_sub(nanoseconds(until)))
    }

    /// Time since then; zero for a moment that is still to come.
    pub fn elapsed(self) -> Duration {
        Self::now().saturating_duration_since(self)
    }

    /// Time from `earlier` until this moment; zero if it is the earlier one.
    pub const fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    pub fn checked_sub(self, duration: Duration) -> Option<Self> {
        self.0.checked_sub(nanoseconds(duration)).map(Self)
    }

    /// The first whole millisecond that is not before it.
    pub(super) const fn tick(self) -> u64 {
        self.0.div_ceil(TICK)
    }

    /// The last whole millisecond that is not after it.
    pub(super) const fn last_tick(self) -> u64 {
        self.0 / TICK
    }

    pub(super) const fn of_tick(tick: u64) -> Self {
        Self(tick.saturating_mul(TICK))
    }
}

const TICK: u64 = 1_000_000;

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl From<Instant> for tokio::time::Instant {
    fn from(at: Instant) -> Self {
        (*FIRST + Duration::from_nanos(at.0) - AT_FIRST).into()
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanoseconds(duration)))
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }
}
