//! Tasks of one thread.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::task::JoinHandle;
use tokio::task::coop::consume_budget;

use crate::event_loop::{self, EventLoop};

/// Says on which runtime the workers run: `own`, or tokio.
const SWITCH: &str = "GATE_EVENT_LOOP";

/// Runs the tasks of the thread that made it.
pub struct Runtime(Kind);

enum Kind {
    Tokio(LocalRuntime),
    Own(EventLoop),
}

impl Runtime {
    pub fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
        Ok(Self(Kind::Tokio(runtime)))
    }

    /// For what waits for nothing but what this module offers.
    pub fn of_worker() -> io::Result<Self> {
        if std::env::var_os(SWITCH).is_some_and(|kind| kind == "own") {
            return EventLoop::new().map(|event_loop| Self(Kind::Own(event_loop)));
        }
        Self::new()
    }

    /// Until `work` is done. Tasks that are still running then are dropped with the runtime.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        match &self.0 {
            Kind::Tokio(runtime) => runtime.block_on(work),
            Kind::Own(event_loop) => event_loop.block_on(work),
        }
    }
}

/// A task that has been started. Dropping this does not end it.
pub struct Task(Handle);

enum Handle {
    Tokio(JoinHandle<()>),
    Own(event_loop::TaskId),
}

/// Starts a task on this thread.
pub fn spawn(work: impl Future<Output = ()> + 'static) -> Task {
    if event_loop::is_running() {
        return Task(Handle::Own(event_loop::spawn(work)));
    }
    Task(Handle::Tokio(tokio::task::spawn_local(work)))
}

/// Resolves when the task has ended, also by a panic.
impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Handle::Tokio(handle) => Pin::new(handle).poll(cx).map(|_| ()),
            Handle::Own(task) => task.poll_ended(),
        }
    }
}

/// Lets other tasks have a turn, if this one has had its share.
pub async fn yield_if_busy() {
    if event_loop::is_running() {
        return poll_fn(|_| event_loop::poll_share()).await;
    }
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
