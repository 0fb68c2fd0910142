//! What was sent before a reset arrives before it.
//!
//! After a FIN the other side would take what it has for the whole: an HTTP/1 response without a length that was cut in
//! the middle looks complete. So a reset is passed on; but a reset overtakes what the kernel still holds, and a slow
//! reader would lose it. This waits for delivery before a reset is sent.

use std::time::Duration;

use crate::runtime::{Instant, Stream, sleep};

const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Resolves when the peer has acknowledged every byte, or cannot any more, or has not acknowledged one for `patience`.
pub async fn delivered(stream: &Stream, patience: Duration) {
    let mut pause = FIRST_PAUSE;
    let mut progress = None;
    let mut since = Instant::now();
    while let Some(acknowledged) = stream.undelivered() {
        if progress.replace(acknowledged) != Some(acknowledged) {
            since = Instant::now();
        }
        let left = patience.saturating_sub(since.elapsed());
        if left.is_zero() {
            return;
        }
        sleep(pause.min(left)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
