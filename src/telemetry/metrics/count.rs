//! Numbers that this process reads as well as shows: the operator's page and CloudWatch need them, and a handle of
//! the metrics crate cannot be read. A connection touches one atomic; the recorder learns of it before each scrape.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge};

/// What only grows.
#[derive(Clone)]
pub struct Count(Arc<(AtomicU64, Counter)>);

impl Count {
    pub(super) fn new(shown: Counter) -> Self {
        Self(Arc::new((AtomicU64::new(0), shown)))
    }

    pub fn increment(&self, by: u64) {
        self.0.0.fetch_add(by, Ordering::Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }

    pub(super) fn show(&self) {
        self.0.1.absolute(self.value());
    }
}

/// What rises and falls, never below zero.
#[derive(Clone)]
pub struct Level(Arc<(AtomicU64, Gauge)>);

impl Level {
    pub(super) fn new(shown: Gauge) -> Self {
        Self(Arc::new((AtomicU64::new(0), shown)))
    }

    pub fn rise(&self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn fall(&self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }

    pub(super) fn show(&self) {
        self.0.1.set(super::float(self.value()));
    }
}

/// A level that nobody watches.
impl Default for Level {
    fn default() -> Self {
        Self::new(Gauge::noop())
    }
}

/// Durations in steps of 15 %, from 50 µs to half a minute: near enough for a percentile.
#[derive(Clone)]
pub struct Durations(Arc<Vec<(Duration, AtomicU64)>>);

/// The counts at one moment.
#[derive(Debug, Clone, Default)]
pub struct Taken(Vec<u64>);

impl Default for Durations {
    fn default() -> Self {
        let bounds = std::iter::successors(Some(50_u64), |micros| Some(micros * 23 / 20));
        let bounds = bounds.take_while(|&micros| micros < 30_000_000);
        Self(Arc::new(bounds.map(|micros| (Duration::from_micros(micros), AtomicU64::new(0))).collect()))
    }
}

impl Durations {
    pub fn record(&self, duration: Duration) {
        let at = self.0.partition_point(|(bound, _)| *bound < duration);
        if let Some((_, count)) = self.0.get(at).or(self.0.last()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn take(&self) -> Taken {
        Taken(self.0.iter().map(|(_, count)| count.load(Ordering::Relaxed)).collect())
    }

    /// What 99 of 100 since `before` did not exceed; none if there were none.
    pub fn p99(&self, before: &Taken) -> Option<Duration> {
        let earlier = before.0.iter().copied().chain(std::iter::repeat(0));
        let new: Vec<u64> =
            self.take().0.into_iter().zip(earlier).map(|(now, then)| now.saturating_sub(then)).collect();
        let all: u64 = new.iter().sum();
        let (mut left, mut bounds) = (all - all / 100, self.0.iter().zip(new));
        bounds.find_map(|((bound, _), count)| {
            left = left.saturating_sub(count);
            (all > 0 && left == 0).then_some(*bound)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_percentile_is_within_15_percent_and_of_what_is_new() {
        let durations = Durations::default();
        assert_eq!(durations.p99(&Taken::default()), None);
        durations.record(Duration::from_secs(3));
        let before = durations.take();
        assert_eq!(durations.p99(&before), None);
        for n in 1..=1000 {
            durations.record(Duration::from_millis(n));
        }
        let p99 = durations.p99(&before).unwrap().as_secs_f64();
        assert!((0.99..0.99 * 1.15 * 1.01).contains(&p99), "{p99}");
        durations.record(Duration::from_secs(500));
        assert!(durations.p99(&before).is_some());
    }
}
