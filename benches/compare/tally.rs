//! What a load has done so far. The load runs without end; the tally is read at both ends of a window.

use std::cell::{Cell, RefCell};
use std::time::Instant;

#[derive(Default)]
pub struct Tally {
    units: Cell<u64>,
    failures: Cell<u64>,
    recording: Cell<bool>,
    micros: RefCell<Vec<u32>>,
    planned: Planned,
}

/// Units whose start was planned whatever becomes of those before them.
#[derive(Default)]
struct Planned {
    /// Those that are planned from now on count.
    asking: Cell<bool>,
    asked: Cell<u64>,
    unanswered: Cell<u64>,
    /// By how much each began later than planned: the load's own fault.
    late_micros: RefCell<Vec<u32>>,
}

impl Tally {
    /// A unit that began at `began` is complete.
    pub fn done(&self, began: Instant) {
        self.add(1);
        if self.recording.get() {
            self.micros.borrow_mut().push(micros_since(began));
        }
    }

    /// A unit planned for that moment begins. Whether it is one of those that are asked for in the window.
    pub fn begins(&self, planned: Instant) -> bool {
        let asking = self.planned.asking.get();
        if asking {
            self.planned.asked.set(self.planned.asked.get() + 1);
            self.planned.unanswered.set(self.planned.unanswered.get() + 1);
            self.planned.late_micros.borrow_mut().push(micros_since(planned));
        }
        asking
    }

    /// The end of a unit that was asked for.
    pub fn ended(&self, planned: Instant, is_done: bool) {
        self.planned.unanswered.set(self.planned.unanswered.get() - 1);
        if is_done { self.done(planned) } else { self.failed() }
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

    pub fn asked(&self) -> u64 {
        self.planned.asked.get()
    }

    pub fn unanswered(&self) -> u64 {
        self.planned.unanswered.get()
    }

    /// Latencies are kept, and planned units asked for, from here on.
    pub fn record(&self) {
        self.recording.set(true);
        self.planned.asking.set(true);
    }

    /// No planned unit is asked for from here on. Those that were may still be answered, however late: without them the
    /// longest latencies would be missing.
    pub fn stop_asking(&self) {
        self.planned.asking.set(false);
    }

    /// The latencies since `record`, sorted.
    pub fn latencies(&self) -> Vec<u32> {
        self.recording.set(false);
        sorted(&self.micros)
    }

    /// By how much the planned units began too late, sorted.
    pub fn lateness(&self) -> Vec<u32> {
        sorted(&self.planned.late_micros)
    }
}

fn micros_since(moment: Instant) -> u32 {
    u32::try_from(moment.elapsed().as_micros()).unwrap_or(u32::MAX)
}

fn sorted(values: &RefCell<Vec<u32>>) -> Vec<u32> {
    let mut taken = values.take();
    taken.sort_unstable();
    taken
}
