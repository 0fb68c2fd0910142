//! Signals between threads. The channels are tokio's, which need no runtime; on a worker they are awaited by
//! [`cross_thread()`], and elsewhere as they are.

use std::convert::Infallible;

use tokio::sync::{mpsc, watch};

use crate::event_loop::cross_thread;

/// Wakes a task of another thread that waits for it.
#[derive(Debug, Default)]
pub struct SharedNotify(tokio::sync::Notify);

impl SharedNotify {
    pub const fn new() -> Self {
        Self(tokio::sync::Notify::const_new())
    }

    /// Wakes one task that waits, or else the next one that will.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    pub fn notified(&self) -> impl Future<Output = ()> + '_ {
        cross_thread(self.0.notified())
    }
}

/// A value that one publishes and others watch.
#[derive(Debug)]
pub struct Publisher<T>(watch::Sender<T>);

/// One who watches.
#[derive(Debug, Clone)]
pub struct Watched<T>(watch::Receiver<T>);

pub fn watched<T: Copy>(value: T) -> (Publisher<T>, Watched<T>) {
    let (publisher, watched) = watch::channel(value);
    (Publisher(publisher), Watched(watched))
}

impl<T: Copy> Publisher<T> {
    pub fn publish(&self, value: T) {
        self.0.send_replace(value);
    }

    pub fn value(&self) -> T {
        *self.0.borrow()
    }

    pub fn watch(&self) -> Watched<T> {
        Watched(self.0.subscribe())
    }
}

impl<T: Copy> Watched<T> {
    /// The value, which counts as seen.
    pub fn value(&mut self) -> T {
        *self.0.borrow_and_update()
    }

    /// Resolves when there is a value that was not seen; false: the publisher is gone.
    pub async fn changed(&mut self) -> bool {
        cross_thread(self.0.changed()).await.is_ok()
    }

    /// Resolves when the value is so, or the publisher is gone.
    pub async fn until(&mut self, is_so: impl Fn(T) -> bool) {
        let _ = cross_thread(self.0.wait_for(|value| is_so(*value))).await;
    }
}

/// Held by each that counts as alive; may be dropped on any thread.
#[derive(Debug, Clone)]
pub struct Alive(#[expect(dead_code, reason = "it is there to be dropped")] mpsc::Sender<Infallible>);

/// Resolves when none is alive any more.
#[derive(Debug)]
pub struct AllEnded(mpsc::Receiver<Infallible>);

pub fn alive() -> (Alive, AllEnded) {
    let (sender, receiver) = mpsc::channel(1);
    (Alive(sender), AllEnded(receiver))
}

impl AllEnded {
    pub async fn wait(&mut self) {
        self.0.recv().await;
    }
}
