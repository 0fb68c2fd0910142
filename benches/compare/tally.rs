//! What a load has done so far. The load runs without end; whoever measures reads the tally at both ends of a window.

use std::cell::{Cell, RefCell};
use std::time::Instant;

#[derive(Default)]
pub struct Tally {
    units: Cell<u64>,
    failures: Cell<u64>,
    recording: Cell<bool>,
    micros: RefCell<Vec<u32>>,
}

impl Tally {
    /// A unit that began at `began` is complete.
    pub fn done(&self, began: Instant) {
        self.add(1);
        if self.recording.get() {
            self.micros.borrow_mut().push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
    }

    /// Units without a latency: bytes.
    pub fn add(&self, units: usize) {
        self.units.set(self.units.get() + units as u64);
    }

    pub fn failed(&self) {
        self.failures.set(self.failures.get() + 1);
    }

    pub fn units(&self) -> u64 {
        self.units.get()
    }

    pub fn failures(&self) -> u64 {
        self.failures.get()
    }

    /// Latencies are kept from here on.
    pub fn record(&self) {
        self.recording.set(true);
    }

    /// The latencies since `record`, sorted.
    pub fn latencies(&self) -> Vec<u32> {
        self.recording.set(false);
        let mut taken = self.micros.take();
        taken.sort_unstable();
        taken
    }
}
