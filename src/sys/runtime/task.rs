//! Tasks of one thread.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::task::JoinHandle;
use tokio::task::coop::consume_budget;

/// Runs the tasks of the thread that made it.
pub struct Runtime(LocalRuntime);

impl Runtime {
    pub fn new() -> io::Result<Self> {
        Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).map(Self)
    }

    /// Until `work` is done. Tasks that are still running then are dropped with the runtime.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.0.block_on(work)
    }
}

/// A task that has been started. Dropping this does not end it.
pub struct Task(JoinHandle<()>);

/// Starts a task on this thread.
pub fn spawn(work: impl Future<Output = ()> + 'static) -> Task {
    Task(tokio::task::spawn_local(work))
}

/// Resolves when the task has ended, also by a panic.
impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(|_| ())
    }
}

/// Lets other tasks have a turn, if this one has had its share.
pub async fn yield_if_busy() {
    consume_budget().await;
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
