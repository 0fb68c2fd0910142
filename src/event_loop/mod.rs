//! The event loop of one worker: epoll outermost, connections as futures that are polled with a waker that does nothing.
//!
//! It knows which sockets are ready, by when each task wants to be polled, and which other threads have woken. What a task
//! may wait for is made from that in [`runtime`](crate::runtime), which is all that sessions see. In debug builds an await of
//! any other kind is a panic: it would never be polled again. How it works is described in docs/event-loop.md.

pub(crate) mod context;
mod cross_thread;
mod executor;
mod inbox;
mod listening_source;
mod shared;
#[cfg(test)]
pub(crate) mod simulation;
mod source;
mod sources;
mod sync;
mod tasks;

pub use self::cross_thread::{CrossThread, cross_thread};
pub use self::executor::EventLoop;
pub(crate) use self::listening_source::ListeningSource;
pub(crate) use self::source::Source;
pub(crate) use self::sources::{BROKEN, FINISHED, IN, OUT};
pub(crate) use self::tasks::TaskId;
