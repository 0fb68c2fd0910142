//! The event loop of one worker: epoll outermost, connections as futures that are polled with a waker that does nothing.
//!
//! A future here waits for a socket ([`Stream`], [`ListeningSocket`]), a moment ([`Timer`]), another task ([`Notify`],
//! [`Waiter`], [`Task`]) or another thread ([`cross_thread()`]), and for nothing else: an await of any other kind would never be
//! polled again. In debug builds such an await is a panic. How it works is described in docs/event-loop.md.
//!
//! The data path reaches the network, the monotonic clock and other tasks through this module only; clippy and
//! `tests/house.rs` hold it to that. On the control thread there is no such loop: [`Instant`] and what is between threads
//! work there as well.

mod between_threads;
mod context;
mod cross_thread;
mod executor;
mod inbox;
mod instant;
mod listener;
mod notify;
mod shared;
#[cfg(test)]
pub(crate) mod simulation;
mod source;
mod sources;
mod sync;
mod stream;
mod task;
mod tasks;
#[cfg(test)]
pub(crate) mod testing;
mod time;
mod turns;

pub use self::between_threads::{Alive, AllEnded, Publisher, SharedNotify, Watched, alive, watched};
pub use self::context::{longest_turn, yield_now};
pub use self::cross_thread::{CrossThread, cross_thread};
pub use self::executor::EventLoop;
pub use self::instant::{Instant, wall_time};
pub use self::listener::ListeningSocket;
pub use self::notify::{Notified, Notify, Waiter};
pub use self::stream::Stream;
pub use self::task::{Either, Task, race, spawn, yield_if_busy};
pub use self::time::{TimedOut, Timer, sleep, sleep_until, timeout};
pub use self::turns::LongestTurn;

#[cfg(test)]
mod tests;
