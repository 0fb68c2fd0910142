//! The smallest channel between two threads: a count, and the waker of whoever waits for it to grow.

use std::future::poll_fn;
use std::task::{Poll, Waker};

use loom::sync::Mutex;

#[derive(Default)]
struct State {
    sent: usize,
    waker: Option<Waker>,
}

pub(crate) struct Channel(Mutex<State>);

impl Channel {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State::default()))
    }

    pub(crate) fn send(&self) {
        let waker = {
            let mut state = self.0.lock().unwrap();
            state.sent += 1;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Until so many were sent.
    pub(crate) async fn received(&self, count: usize) {
        poll_fn(|cx| {
            let mut state = self.0.lock().unwrap();
            if state.sent >= count {
                return Poll::Ready(());
            }
            state.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
