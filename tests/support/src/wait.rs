//! Waiting for what must come true: asked again and again, with a deadline that no machine is slow enough to meet.

use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything that a test waits for takes, on the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` is true; panics with `what` if it does not become so.
#[track_caller]
pub fn until(what: &str, condition: impl FnMut() -> bool) {
    assert!(within(PATIENCE, condition), "in vain: {what}");
}

/// Whether `condition` becomes true before `limit` has passed.
pub fn within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !condition() {
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
    true
}
