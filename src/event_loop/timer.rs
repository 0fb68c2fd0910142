//! Waiting for a moment. A timer is no more than that moment: whoever polls it has its task polled again by then.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use super::context;

/// Resolves at its moment, at once if it is past.
#[derive(Debug, Clone, Copy)]
pub struct Timer(Instant);

impl Timer {
    pub fn at(at: Instant) -> Self {
        Self(at)
    }

    /// Another moment, also after it has resolved.
    pub fn reset(&mut self, at: Instant) {
        self.0 = at;
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.0 <= context::now() {
            return Poll::Ready(());
        }
        context::need_by(self.0);
        Poll::Pending
    }
}
