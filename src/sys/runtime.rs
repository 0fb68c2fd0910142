//! What a connection waits for: sockets, deadlines and signals between the tasks of its worker.
//!
//! The data path reaches the network and the monotonic clock through this module only; clippy and `tests/house.rs` hold
//! it to that. tokio is beneath: what replaces it, or simulates a network in a test, replaces this module and leaves
//! sessions, dialling, reading ahead and relaying as they are. Channels to the control thread (lookups, the last
//! refusals) are tokio's still: they need no event loop.

mod listener;
mod notify;
mod stream;
mod task;
mod time;

pub use self::listener::ListeningSocket;
pub use self::notify::{Alive, AllEnded, Notify, Publisher, Watched, alive, watched};
pub use self::stream::Stream;
pub use self::task::{Either, Runtime, Task, race, spawn, yield_if_busy};
pub use self::time::{Instant, TimedOut, Timer, sleep, sleep_until, timeout};
