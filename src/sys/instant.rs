//! The monotonic clock, which cannot be set; and the wall clock, which on a worker is read no more often.

use std::cell::Cell;
use std::ops::{Add, Sub};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

use super::clock::Clock;

/// A moment of the monotonic clock, in nanoseconds: half as large as the standard library's, and compared in one instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(u64);

/// One moment by both clocks, this one and the standard library's, which is tokio's.
static BOTH: LazyLock<(std::time::Instant, Instant)> =
    LazyLock::new(|| (std::time::Instant::now(), Instant::of_kernel()));

thread_local! {
    /// When the turn of this thread's loop began; none outside of a loop.
    static TURN: Cell<Option<Instant>> = const { Cell::new(None) };
    /// What the wall clock showed when it was first asked in this turn.
    static WALL: Cell<Option<SystemTime>> = const { Cell::new(None) };
}

/// On a worker, that a turn begins, or that there is none any more.
pub(crate) fn set_turn(at: Option<Instant>) {
    TURN.set(at);
    WALL.set(None);
}

/// What `clock` shows. On a worker it is read once in each turn: a connection needs it four times, for its line, for `until:`
/// of rules and for when they last decided.
pub fn wall_time(clock: &Clock) -> SystemTime {
    if TURN.get().is_none() {
        return clock.now();
    }
    let shown = WALL.get().unwrap_or_else(|| clock.now());
    WALL.set(Some(shown));
    shown
}

impl Instant {
    /// On a worker, the time at which this turn began.
    pub fn now() -> Self {
        TURN.get().unwrap_or_else(Self::read)
    }

    /// Reads the clock.
    #[cfg(not(test))]
    pub(crate) fn read() -> Self {
        Self::of_kernel()
    }

    /// Reads the clock, which tests of tokio's can pause and move.
    #[cfg(test)]
    pub(crate) fn read() -> Self {
        let (theirs, ours) = *BOTH;
        let now = tokio::time::Instant::now().into_std();
        let ago = theirs.saturating_duration_since(now);
        let since = now.saturating_duration_since(theirs);
        Self((ours + since).0.saturating_sub(nanoseconds(ago)))
    }

    /// Straight into nanoseconds: each turn reads it twice, and the standard library's moments take longer to subtract than to
    /// read. It fails only where there is no such clock.
    fn of_kernel() -> Self {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap_or(TimeSpec::new(0, 0));
        let (seconds, rest) = (u64::try_from(now.tv_sec()).unwrap_or(0), u64::try_from(now.tv_nsec()).unwrap_or(0));
        Self(seconds.saturating_mul(1_000_000_000).saturating_add(rest))
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
    pub(crate) const fn tick(self) -> u64 {
        self.0.div_ceil(TICK)
    }

    /// The last whole millisecond that is not after it.
    pub(crate) const fn last_tick(self) -> u64 {
        self.0 / TICK
    }

    pub(crate) const fn of_tick(tick: u64) -> Self {
        Self(tick.saturating_mul(TICK))
    }
}

const TICK: u64 = 1_000_000;

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl From<Instant> for tokio::time::Instant {
    fn from(at: Instant) -> Self {
        let (theirs, ours) = *BOTH;
        (theirs + at.saturating_duration_since(ours) - ours.saturating_duration_since(at)).into()
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
