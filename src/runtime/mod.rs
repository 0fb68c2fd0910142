//! What the tasks of a worker wait for: sockets ([`Stream`], [`ListeningSocket`]), moments ([`Timer`]), another task ([`Notify`],
//! [`Waiter`], [`Task`]) or another thread ([`cross_thread()`]), and nothing else.
//!
//! The data path reaches the network, the monotonic clock and other tasks through this module only; clippy and
//! `tests/house.rs` hold it to that. Beneath it is the [event loop](crate::event_loop). On the control thread there is none:
//! [`Instant`] and what is between threads work there as well.

mod between_threads;
mod listener;
mod notify;
mod stream;
mod task;
#[cfg(test)]
pub(crate) mod testing;
mod time;

pub use self::between_threads::{Alive, AllEnded, Publisher, SharedNotify, Watched, alive, watched};
pub use self::listener::ListeningSocket;
pub use self::notify::{Notified, Notify, Waiter};
pub use self::stream::Stream;
pub use self::task::{Either, Task, race, spawn, yield_if_busy, yield_now};
pub use self::time::{TimedOut, Timer, sleep, sleep_until, timeout};
pub(crate) use crate::event_loop::context::longest_turn;
pub use crate::event_loop::{CrossThread, EventLoop, cross_thread};
pub use crate::sys::instant::{Instant, wall_time};

#[cfg(test)]
mod tests;
