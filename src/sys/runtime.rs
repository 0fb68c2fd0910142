//! What a connection waits for: sockets, deadlines and signals between the tasks of its worker.
//!
//! The data path reaches the network and the monotonic clock through this module only; clippy and `tests/house.rs` hold
//! it to that. Beneath is tokio, on the control thread and in most tests, or the workers' [own loop](crate::event_loop):
//! whichever the thread runs. Channels between threads are tokio's everywhere, and awaited by [`cross_thread()`].

mod listener;
mod notify;
mod stream;
mod task;
mod time;

pub use crate::event_loop::{Notified, Notify, Waiter, cross_thread, yield_now};

pub use self::listener::ListeningSocket;
pub use self::notify::{Alive, AllEnded, Publisher, SharedNotify, Watched, alive, watched};
pub use self::stream::Stream;
pub use self::task::{Either, Runtime, Task, race, spawn, yield_if_busy};
pub use self::time::{Instant, TimedOut, Timer, sleep, sleep_until, timeout};
