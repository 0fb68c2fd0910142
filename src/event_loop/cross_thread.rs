//! Waiting for another thread: the only futures that are given a waker.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use pin_project_lite::pin_project;

use super::context;
use super::inbox::Inbox;
use super::tasks::TaskId;

pin_project! {
    /// See [`cross_thread()`].
    pub struct CrossThread<F> {
        #[pin]
        future: F,
        waker: Option<Waker>,
    }
}

/// Waits for a future that another thread wakes, such as a channel. It stays with the task that polls it first.
pub fn cross_thread<F: Future>(future: F) -> CrossThread<F> {
    CrossThread { future, waker: None }
}

impl<F: Future> Future for CrossThread<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (task, Some(inner)) = (context::task(), context::current()) else { return this.future.poll(cx) };
        if task == TaskId::NONE {
            return this.future.poll(cx);
        }
        let waker =
            this.waker.get_or_insert_with(|| Arc::new(TaskWaker { inbox: Arc::clone(&inner.inbox), task }).into());
        this.future.poll(&mut Context::from_waker(waker))
    }
}

struct TaskWaker {
    inbox: Arc<Inbox>,
    task: TaskId,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.inbox.wake(self.task);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.inbox.wake(self.task);
    }
}
