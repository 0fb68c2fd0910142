//! When planned units of work arrive: at random moments that depend on nothing that is measured.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

/// Sends the moments of a Poisson process when they have come, until the receiver is dropped. They are the same in each run.
#[allow(clippy::disallowed_methods, reason = "the thread does nothing else")]
pub fn announce(rate: f64, planned: &mpsc::UnboundedSender<Instant>) {
    let (random, mean) = (Random::new(), Duration::from_secs_f64(1.0 / rate));
    let mut due = Instant::now();
    loop {
        due += random.exponential(mean);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if planned.send(due).is_err() {
            return;
        }
    }
}

/// Xorshift: repeatable, and good enough to spread arrivals.
pub struct Random(Cell<u64>);

impl Random {
    pub fn new() -> Self {
        Self(Cell::new(0x9E37_79B9_7F4A_7C15))
    }

    pub fn uniform(&self) -> f64 {
        let mut value = self.0.get();
        value ^= value << 13;
        value ^= value >> 7;
        value ^= value << 17;
        self.0.set(value);
        (value >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn exponential(&self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.uniform()).ln())
    }
}
