//! What everything runs on that is not a worker: signals, DNS, reloads, the web ports, and the verbs that ask the network.

use std::io;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

/// One thread's tokio, for tasks that stay on it.
pub fn control_runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
}
