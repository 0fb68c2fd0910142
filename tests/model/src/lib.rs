//! Checks, in every order in which threads can run, that no task sleeps on although another thread has woken it.
//!
//! `inbox` and `cross_thread` are the event loop's own files. What they use of the loop is modelled here: an eventfd that
//! epoll watches edge-triggered, a lock, and what the current task is. If a wake-up is lost, all threads wait, which loom reports
//! as a deadlock.

// Public there.
#![cfg(test)]
#![expect(unreachable_pub, reason = "these files are parts of another crate")]

#[path = "../../../src/event_loop/cross_thread.rs"]
mod cross_thread;
#[path = "../../../src/event_loop/inbox.rs"]
mod inbox;

mod channel;
mod context;
mod sync;
mod tasks;
mod tests;
