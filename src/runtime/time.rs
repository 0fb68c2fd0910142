//! Waiting for a moment of the monotonic clock.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use crate::event_loop::context;
use crate::sys::instant::Instant;

/// Resolves at a moment that can be moved while it is waited for, at once if it is past. It is no more than that moment:
/// whoever polls it has its task polled again by then.
#[derive(Debug, Clone, Copy)]
pub struct Timer(Instant);

impl Timer {
    /// Another moment, also after it has resolved.
    pub fn reset(self: Pin<&mut Self>, at: Instant) {
        self.get_mut().0 = at;
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.0 <= Instant::now() {
            return Poll::Ready(());
        }
        context::need_by(self.0);
        Poll::Pending
    }
}

pub fn sleep(duration: Duration) -> Timer {
    sleep_until(Instant::now() + duration)
}

pub fn sleep_until(at: Instant) -> Timer {
    Timer(at)
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
            Some(timer) => timer.poll(cx).map(|()| Err(TimedOut)),
            None => Poll::Pending,
        }
    }
}
