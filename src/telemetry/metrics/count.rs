//! Numbers that this process reads as well as exports: the operator's page and CloudWatch need them, and a handle of
//! the metrics crate cannot be read. A connection updates one atomic; the recorder is updated before each scrape.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge};

/// A counter.
#[derive(Clone)]
pub struct Count(Arc<(AtomicU64, Counter)>);

impl Count {
    pub(super) fn new(exported: Counter) -> Self {
        Self(Arc::new((AtomicU64::new(0), exported)))
    }

    pub fn increment(&self, by: u64) {
        self.0.0.fetch_add(by, Ordering::Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }

    /// Before each scrape.
    pub(super) fn export(&self) {
        self.0.1.absolute(self.value());
    }
}

/// A gauge that is incremented and decremented.
#[derive(Clone)]
pub(super) struct Level(Arc<(AtomicU64, Gauge)>);

impl Level {
    pub(super) fn new(exported: Gauge) -> Self {
        Self(Arc::new((AtomicU64::new(0), exported)))
    }

    pub(super) fn increment(&self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn decrement(&self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn value(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }

    /// Before each scrape.
    pub(super) fn export(&self) {
        self.0.1.set(as_f64(self.value()));
    }
}

/// A histogram in steps of 15 %, from 50 µs to half a minute: accurate enough for a percentile.
#[derive(Clone)]
pub struct Durations(Arc<Vec<(Duration, AtomicU64)>>);

/// The counts of [`Durations`] at one moment.
#[derive(Debug, Clone, Default)]
pub struct DurationCounts(Vec<u64>);

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

    pub fn counts(&self) -> DurationCounts {
        DurationCounts(self.0.iter().map(|(_, count)| count.load(Ordering::Relaxed)).collect())
    }

    /// What 99 of 100 since `before` did not exceed; None if there were none.
    pub fn p99(&self, before: &DurationCounts) -> Option<Duration> {
        let earlier = before.0.iter().copied().chain(std::iter::repeat(0));
        let new: Vec<u64> =
            self.counts().0.into_iter().zip(earlier).map(|(now, then)| now.saturating_sub(then)).collect();
        let all: u64 = new.iter().sum();
        let (mut left, mut bounds) = (all - all / 100, self.0.iter().zip(new));
        bounds.find_map(|((bound, _), count)| {
            left = left.saturating_sub(count);
            (all > 0 && left == 0).then_some(*bound)
        })
    }
}

/// Numbers here stay far below 2^32.
pub(super) fn as_f64(number: u64) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_percentile_is_within_15_percent_and_of_new_samples_only() {
        let durations = Durations::default();
        assert_eq!(durations.p99(&DurationCounts::default()), None);
        durations.record(Duration::from_secs(3));
        let before = durations.counts();
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
