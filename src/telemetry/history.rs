//! Totals of the last quarter of an hour and of the last day, in rings of fixed length, for the charts of the operator's page.

use std::collections::VecDeque;
use std::iter;
use std::time::{Duration, Instant, SystemTime};

use crate::telemetry::metrics::{DurationCounts, Metrics};
use latticegate_core::outcome::{ByteCounts, Outcome};

/// What happened in one step.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When it ended.
    pub at: SystemTime,
    /// How long it was: a process that was stopped has a long one.
    pub span: Duration,
    /// Connections open at its end.
    pub open: u64,
    pub opened: u64,
    pub refused: u64,
    pub failed: u64,
    pub up: u64,
    pub down: u64,
    /// What half of the connects to upstreams did not exceed; None if there were none.
    pub connect_p50: Option<Duration>,
    pub connect_p99: Option<Duration>,
    /// Of a CPU, what the busiest worker has used.
    pub busiest: f64,
}

/// Samples of equal steps, the oldest first.
#[derive(Debug)]
pub struct Series {
    pub step: Duration,
    /// How many are kept.
    pub most: usize,
    pub samples: VecDeque<Sample>,
    before: Totals,
    since: Instant,
}

/// Since the start, at one moment.
#[derive(Debug, Clone, Default)]
struct Totals {
    opened: u64,
    refused: u64,
    failed: u64,
    up: u64,
    down: u64,
    connects: DurationCounts,
    /// Of each worker.
    busy: Vec<Duration>,
}

#[derive(Debug)]
pub struct History {
    /// A quarter of an hour.
    pub minutes: Series,
    /// A day.
    pub hours: Series,
}

impl Default for History {
    fn default() -> Self {
        let series = |step, most| Series {
            step: Duration::from_secs(step),
            most,
            samples: VecDeque::new(),
            before: Totals::default(),
            since: Instant::now(),
        };
        Self { minutes: series(5, 180), hours: series(300, 288) }
    }
}

impl History {
    /// How often [`tick`](Self::tick) is to be called.
    pub const STEP: Duration = Duration::from_secs(5);

    /// Ends each step whose time has come.
    pub fn tick(&mut self, metrics: &Metrics, now: SystemTime) {
        let instant = Instant::now();
        for series in [&mut self.minutes, &mut self.hours] {
            // A timer may be early by less than a step.
            if instant.saturating_duration_since(series.since) + Self::STEP / 2 >= series.step {
                series.end_step(metrics, now, instant);
            }
        }
    }
}

impl Series {
    fn end_step(&mut self, metrics: &Metrics, at: SystemTime, instant: Instant) {
        let now = Totals::of(metrics);
        let Totals { opened, refused, failed, up, down, connects, busy } = &self.before;
        let span = instant.saturating_duration_since(self.since);
        let earlier = busy.iter().copied().chain(iter::repeat(Duration::ZERO));
        let used = now.busy.iter().zip(earlier).map(|(now, then)| now.saturating_sub(then)).max();
        let sample = Sample {
            at,
            span,
            open: metrics.active(),
            opened: now.opened.saturating_sub(*opened),
            refused: now.refused.saturating_sub(*refused),
            failed: now.failed.saturating_sub(*failed),
            up: now.up.saturating_sub(*up),
            down: now.down.saturating_sub(*down),
            connect_p50: metrics.connect().percentile(50, connects),
            connect_p99: metrics.connect().percentile(99, connects),
            busiest: used.filter(|_| !span.is_zero()).map_or(0.0, |used| used.as_secs_f64() / span.as_secs_f64()),
        };
        if self.samples.len() >= self.most {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        (self.before, self.since) = (now, instant);
    }
}

impl Totals {
    fn of(metrics: &Metrics) -> Self {
        let (mut refused, mut failed) = (0, 0);
        for (outcome, count) in metrics.endings() {
            match outcome {
                Outcome::Refused(_) => refused += count,
                Outcome::Failed(_) => failed += count,
                Outcome::Relayed(_) | Outcome::Probe(_) | Outcome::Unfinished(_) => {}
            }
        }
        let ByteCounts { up, down } = metrics.bytes();
        let busy = metrics.workers.times().into_iter().map(|time| time.busy).collect();
        Self { opened: metrics.opened(), refused, failed, up, down, connects: metrics.connect().counts(), busy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_what_is_new_and_the_ring_has_an_end() {
        let metrics = Metrics::default();
        let mut history = History::default();
        let at = SystemTime::now();
        let worker = metrics.workers.add(0);
        for n in 1..=200_u64 {
            worker.up().add(n);
            metrics.connect().record(Duration::from_millis(1));
            history.minutes.end_step(&metrics, at, Instant::now());
        }
        let samples = &history.minutes.samples;
        assert_eq!((samples.len(), samples.back().unwrap().up, samples.front().unwrap().up), (180, 200, 21));
        let p50 = samples.back().unwrap().connect_p50.unwrap();
        assert!(p50 >= Duration::from_millis(1) && p50 < Duration::from_micros(1200), "{p50:?}");
        history.minutes.end_step(&metrics, at, Instant::now());
        let last = history.minutes.samples.back().unwrap();
        assert_eq!((last.up, last.connect_p50), (0, None));
        assert!(history.hours.samples.is_empty());
    }
}
