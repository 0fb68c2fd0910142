//! The monotonic clock, which cannot be set, and waiting for it. In tests it can be paused and moved.

use std::future::Future;
use std::ops::{Add, Sub};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::task::coop::unconstrained;

use crate::event_loop;

/// A moment of the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(tokio::time::Instant);

impl Instant {
    pub fn now() -> Self {
        if event_loop::is_running() {
            return Self(event_loop::now().into());
        }
        Self(tokio::time::Instant::now())
    }

    /// Time since then; zero for a moment that is still to come.
    pub fn elapsed(self) -> Duration {
        Self::now().saturating_duration_since(self)
    }

    /// Time from `earlier` until this moment; zero if it is the earlier one.
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }

    pub fn checked_sub(self, duration: Duration) -> Option<Self> {
        self.0.checked_sub(duration).map(Self)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0 + duration)
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.0 - earlier.0
    }
}

pin_project! {
    /// Resolves at a moment that can be moved while it is waited for.
    pub struct Timer {
        #[pin]
        of: RuntimeTimer,
    }
}

pin_project! {
    #[project = RuntimeTimerProjection]
    enum RuntimeTimer {
        Tokio {
            #[pin]
            sleep: tokio::time::Sleep,
        },
        Own {
            timer: event_loop::Timer,
        },
    }
}

impl Timer {
    /// Another moment, also after it has resolved.
    pub fn reset(self: Pin<&mut Self>, at: Instant) {
        match self.project().of.project() {
            RuntimeTimerProjection::Tokio { sleep } => sleep.reset(at.0),
            RuntimeTimerProjection::Own { timer } => timer.reset(at.0.into_std()),
        }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.project().of.project() {
            RuntimeTimerProjection::Tokio { sleep } => sleep.poll(cx),
            RuntimeTimerProjection::Own { timer } => Pin::new(timer).poll(cx),
        }
    }
}

pub fn sleep(duration: Duration) -> Timer {
    if event_loop::is_running() {
        return sleep_until(Instant::now() + duration);
    }
    Timer { of: RuntimeTimer::Tokio { sleep: tokio::time::sleep(duration) } }
}

pub fn sleep_until(at: Instant) -> Timer {
    let of = if event_loop::is_running() {
        RuntimeTimer::Own { timer: event_loop::Timer::at(at.0.into_std()) }
    } else {
        RuntimeTimer::Tokio { sleep: tokio::time::sleep_until(at.0) }
    };
    Timer { of }
}

/// The deadline has passed before the work was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOut;

pin_project! {
    /// Some work, and its deadline: there is a timer only once the work has to wait.
    pub struct Timeout<W> {
        #[pin]
        work: W,
        deadline: Duration,
        #[pin]
        timer: Option<Timer>,
    }
}

/// Does the work, but gives it up at the deadline, which is so long after it began.
pub fn timeout<W: Future>(deadline: Duration, work: W) -> Timeout<W> {
    Timeout { work, deadline, timer: None }
}

impl<W: Future> Future for Timeout<W> {
    type Output = Result<W::Output, TimedOut>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(done) = this.work.poll(cx) {
            return Poll::Ready(Ok(done));
        }
        if this.timer.is_none() {
            this.timer.set(Some(sleep(*this.deadline)));
        }
        match this.timer.as_pin_mut() {
            // Also where the work has used up this task's share of time.
            Some(timer) => pin!(unconstrained(timer)).poll(cx).map(|()| Err(TimedOut)),
            None => Poll::Pending,
        }
    }
}
