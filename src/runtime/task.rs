//! Tasks of one thread, and waiting for one of two things.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::event_loop::{TaskId, context};

/// A task that has been started. Dropping this does not end it.
pub struct Task(TaskId);

/// Starts a task on this thread's loop; it is polled in this turn. Without a loop it is dropped.
pub fn spawn(work: impl Future<Output = ()> + 'static) -> Task {
    Task(context::spawn(Box::pin(work)))
}

/// Resolves when the task has ended, also by a panic.
impl Future for Task {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if context::join(self.0) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Has the current task polled again in the next turn.
pub fn yield_now(cx: &Context<'_>) {
    if !context::yield_now() {
        cx.waker().wake_by_ref();
    }
}

/// Lets other tasks have a turn, if this one has had its share.
pub async fn yield_if_busy() {
    poll_fn(|_| context::poll_share()).await;
}

/// Which of two was done first, and with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Either<A, B> {
    First(A),
    Second(B),
}

/// Resolves with whichever is done first; with the first, if both are. What is passed as a pinned reference is not
/// dropped by this.
pub fn race<A: Future + Unpin, B: Future + Unpin>(
    mut first: A,
    mut second: B,
) -> impl Future<Output = Either<A::Output, B::Output>> {
    poll_fn(move |cx| {
        if let Poll::Ready(done) = Pin::new(&mut first).poll(cx) {
            return Poll::Ready(Either::First(done));
        }
        Pin::new(&mut second).poll(cx).map(Either::Second)
    })
}
