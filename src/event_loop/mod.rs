//! The event loop of one worker: epoll outermost, connections as futures that are polled with a waker that does nothing.
//!
//! A future here waits for a socket ([`Source`]), a moment ([`Timer`]), another task ([`Notify`], [`Waiter`]) or another
//! thread ([`cross_thread()`]), and for nothing else: an await of any other kind would never be polled again. In debug
//! builds such an await is a panic. How it works is described in docs/event-loop.md.

mod context;
mod cross_thread;
mod executor;
mod inbox;
mod listener;
mod notify;
mod shared;
#[cfg(test)]
pub(crate) mod simulation;
mod source;
mod sources;
mod sync;
mod tasks;
mod timer;

pub use self::context::{is_running, now, poll_share, yield_now};
pub use self::cross_thread::{CrossThread, cross_thread};
pub use self::executor::{EventLoop, spawn};
pub use self::listener::Listener;
pub use self::notify::{Notified, Notify, Waiter};
pub use self::source::Source;
pub use self::tasks::TaskId;
pub use self::timer::Timer;

#[cfg(test)]
mod tests;
