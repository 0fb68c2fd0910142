//! What one worker counts for itself, with plain loads and stores on memory that no other thread writes: bytes as they
//! move, at each read. Whoever wants the total adds up all workers.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::exposition::{Exposition, Kind};
use crate::runtime::longest_turn;
use crate::sys::mutex::lock;
use crate::sys::process::{Thread, ThreadTime};
use crate::sys::recent_longest::RecentLongest;
use latticegate_core::outcome::ByteCounts;

/// A counter that one thread writes and others read.
#[derive(Debug, Default)]
struct OwnCount(AtomicU64);

impl OwnCount {
    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A worker's own counters. There is one handle, which cannot be shared between threads: adding is no locked instruction.
#[derive(Debug)]
pub struct WorkerMetrics {
    counts: Arc<Counts>,
    not_sync: PhantomData<Cell<()>>,
}

/// On cache lines of their own, two of which are fetched together.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counts {
    up: OwnCount,
    down: OwnCount,
}

impl Default for WorkerMetrics {
    /// Of a worker that nobody reads.
    fn default() -> Self {
        Self { counts: Arc::default(), not_sync: PhantomData }
    }
}

impl WorkerMetrics {
    /// Bytes that an upstream has taken.
    pub fn up(&self) -> Adder<'_> {
        Adder { count: &self.counts.up, _worker: self }
    }

    /// Bytes that a client has taken.
    pub fn down(&self) -> Adder<'_> {
        Adder { count: &self.counts.down, _worker: self }
    }
}

/// Adds to one of a worker's own counters.
#[derive(Debug, Clone, Copy)]
pub struct Adder<'a> {
    count: &'a OwnCount,
    _worker: &'a WorkerMetrics,
}

impl Adder<'_> {
    pub fn add(self, by: u64) {
        self.count.0.store(self.count.value().wrapping_add(by), Ordering::Relaxed);
    }
}

/// All workers, as others read them. What a worker has counted stays when it has ended.
#[derive(Debug, Clone, Default)]
pub struct Workers(Arc<Mutex<Vec<Worker>>>);

#[derive(Debug)]
struct Worker {
    number: usize,
    counts: Arc<Counts>,
    thread: Thread,
    longest_turn: RecentLongest,
    /// As last read: a thread that has ended has no file any more.
    time: ThreadTime,
}

/// How busy a worker has been since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerTime {
    pub worker: usize,
    /// On a CPU. A worker waits for nothing but its event loop, so the rest of the time it is idle, or waits for a CPU.
    pub busy: Duration,
    /// Ready to run, without a CPU. None: the kernel does not say.
    pub starved: Option<Duration>,
    /// The longest turn of its event loop in the last minute or two: so long, its other connections waited.
    pub longest_turn: Duration,
}

impl Workers {
    /// To be called on the worker's thread.
    pub fn add(&self, number: usize) -> WorkerMetrics {
        let own = WorkerMetrics::default();
        let (counts, thread, longest_turn) = (Arc::clone(&own.counts), Thread::current(), longest_turn());
        lock(&self.0).push(Worker { number, counts, thread, longest_turn, time: ThreadTime::default() });
        own
    }

    /// Bytes relayed since the start, those of open connections included.
    pub fn bytes(&self) -> ByteCounts {
        let workers = lock(&self.0);
        let sum = |of: fn(&Counts) -> &OwnCount| {
            workers.iter().fold(0_u64, |sum, worker| sum.wrapping_add(of(&worker.counts).value()))
        };
        ByteCounts { up: sum(|counts| &counts.up), down: sum(|counts| &counts.down) }
    }

    /// By number.
    pub fn times(&self) -> Vec<WorkerTime> {
        let mut workers = lock(&self.0);
        workers.sort_by_key(|worker| worker.number);
        let times = workers.iter_mut().map(|Worker { number, thread, time, longest_turn, .. }| {
            if let Some(now) = thread.time() {
                *time = now;
            }
            let longest_turn = longest_turn.get();
            WorkerTime { worker: *number, busy: time.cpu, starved: time.starved, longest_turn }
        });
        times.collect()
    }

    pub(super) fn export(&self, text: &mut Exposition) {
        let ByteCounts { up, down } = self.bytes();
        let help = "Bytes relayed, counted as they move: up is client to upstream.";
        let mut bytes = text.family("latticegate_bytes_total", Kind::Counter, help);
        bytes.sample(&[("direction", "up")], up);
        bytes.sample(&[("direction", "down")], down);
        let times = self.times();
        let help = "CPU time of each worker thread: its rate is the share of a CPU that is in use.";
        let mut busy = text.family("latticegate_worker_busy_seconds_total", Kind::Counter, help);
        for time in &times {
            busy.sample(&[("worker", &time.worker.to_string())], time.busy.as_secs_f64());
        }
        let help = "Time that each worker thread was ready to run and had no CPU, as where a quota is used up.";
        let mut starved = text.family("latticegate_worker_starved_seconds_total", Kind::Counter, help);
        for time in &times {
            if let Some(waited) = time.starved {
                starved.sample(&[("worker", &time.worker.to_string())], waited.as_secs_f64());
            }
        }
        let help =
            "The longest turn of each worker's event loop in the last minute or two: its other connections waited.";
        let mut longest = text.family("latticegate_worker_longest_turn_seconds", Kind::Gauge, help);
        for time in &times {
            longest.sample(&[("worker", &time.worker.to_string())], time.longest_turn.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_exact_and_outlives_the_workers() {
        let workers = Workers::default();
        let counting = [1_u64, 2, 3].map(|number| {
            let workers = workers.clone();
            std::thread::spawn(move || {
                let own = workers.add(usize::try_from(number).unwrap());
                for _ in 0..10_000 {
                    own.up().add(number);
                    own.down().add(1);
                }
            })
        });
        let mut before = workers.bytes();
        while !counting.iter().all(|thread| thread.is_finished()) {
            let now = workers.bytes();
            assert!(now.up >= before.up && now.down >= before.down, "{before:?} {now:?}");
            before = now;
        }
        counting.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(workers.bytes(), ByteCounts { up: 60_000, down: 30_000 });
    }

    #[test]
    fn a_worker_that_works_is_busy_and_its_time_never_falls() {
        let workers = Workers::default();
        let thread = {
            let workers = workers.clone();
            std::thread::spawn(move || {
                let _own = workers.add(0);
                while workers.times().iter().all(|time| time.busy < Duration::from_millis(30)) {}
            })
        };
        thread.join().unwrap();
        let [time] = <[WorkerTime; 1]>::try_from(workers.times()).unwrap();
        assert!(time.worker == 0 && time.busy >= Duration::from_millis(30), "{time:?}");
        assert_eq!(workers.times(), [time], "it has ended");
    }
}
