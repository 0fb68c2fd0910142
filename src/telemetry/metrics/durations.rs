//! A histogram of fixed size. The recorder's own would keep each sample, with a reading of a clock, until it is folded;
//! here a connection increments a counter, and the same counters give the percentile for CloudWatch.

use std::fmt::Write as _;
use std::iter::successors;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The bounds that Prometheus is shown, in microseconds; from a hit in the same AZ to the connect timeout.
const EXPORTED: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];

/// Counts how long something took: up to each of those bounds, and in steps of 15 % from 50 µs to half a minute, which is
/// accurate enough for a percentile.
#[derive(Clone)]
pub struct Durations(Arc<Buckets>);

struct Buckets {
    /// The longest duration of each, rising; longer than that of the one before.
    up_to: Vec<(Duration, AtomicU64)>,
    longer: AtomicU64,
    sum_micros: AtomicU64,
}

/// The counts of [`Durations`] at one moment.
#[derive(Debug, Clone, Default)]
pub struct DurationCounts(Vec<u64>);

impl Default for Durations {
    fn default() -> Self {
        let steps = successors(Some(50_u64), |micros| Some(micros * 23 / 20)).take_while(|&micros| micros < 30_000_000);
        let mut bounds: Vec<u64> = steps.chain(EXPORTED).collect();
        bounds.sort_unstable();
        bounds.dedup();
        let up_to = bounds.into_iter().map(|micros| (Duration::from_micros(micros), AtomicU64::new(0))).collect();
        Self(Arc::new(Buckets { up_to, longer: AtomicU64::new(0), sum_micros: AtomicU64::new(0) }))
    }
}

impl Durations {
    pub fn record(&self, duration: Duration) {
        let Buckets { up_to, longer, sum_micros } = &*self.0;
        let at = up_to.partition_point(|(bound, _)| *bound < duration);
        up_to.get(at).map_or(longer, |(_, count)| count).fetch_add(1, Ordering::Relaxed);
        sum_micros.fetch_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub fn counts(&self) -> DurationCounts {
        DurationCounts(self.all().map(|(_, count)| count).collect())
    }

    /// What 99 of 100 since `before` did not exceed, or half a minute; None if there were none.
    pub fn p99(&self, before: &DurationCounts) -> Option<Duration> {
        self.percentile(before, 99)
    }

    /// What so many of 100 since `before` did not exceed, like [`p99`](Self::p99).
    pub fn percentile(&self, before: &DurationCounts, percent: u64) -> Option<Duration> {
        let earlier = before.0.iter().copied().chain(std::iter::repeat(0));
        let new: Vec<(Duration, u64)> =
            self.all().zip(earlier).map(|((bound, now), then)| (bound, now.saturating_sub(then))).collect();
        let all: u64 = new.iter().map(|(_, count)| count).sum();
        let mut left = all - all * 100_u64.saturating_sub(percent) / 100;
        new.into_iter().find_map(|(bound, count)| {
            left = left.saturating_sub(count);
            (all > 0 && left == 0).then_some(bound)
        })
    }

    /// Appends it in Prometheus' text format.
    pub(super) fn export(&self, text: &mut String, name: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} histogram");
        let mut total = 0;
        for (bound, count) in &self.0.up_to {
            total += count.load(Ordering::Relaxed);
            if EXPORTED.iter().any(|&micros| Duration::from_micros(micros) == *bound) {
                let _ = writeln!(text, "{name}_bucket{{le=\"{}\"}} {total}", bound.as_secs_f64());
            }
        }
        total += self.0.longer.load(Ordering::Relaxed);
        let sum = Duration::from_micros(self.0.sum_micros.load(Ordering::Relaxed)).as_secs_f64();
        let _ = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {total}\n{name}_sum {sum}\n{name}_count {total}\n");
    }

    /// Each bucket's bound and count; the last one stands for what was longer, too.
    fn all(&self) -> impl Iterator<Item = (Duration, u64)> {
        let Buckets { up_to, longer, .. } = &*self.0;
        let longest = up_to.last().map_or(Duration::MAX, |(bound, _)| *bound);
        let counts = up_to.iter().map(|(bound, count)| (*bound, count)).chain([(longest, longer)]);
        counts.map(|(bound, count)| (bound, count.load(Ordering::Relaxed)))
    }
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

    #[test]
    fn prometheus_is_shown_how_many_took_at_most_so_long() {
        let durations = Durations::default();
        for micros in [0, 499, 500, 501, 9_999_999, 10_000_000, 10_000_001, 3_600_000_000] {
            durations.record(Duration::from_micros(micros));
        }
        let mut text = String::from("before 1\n");
        durations.export(&mut text, "took_seconds", "How long it took.");
        let buckets =
            ["0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5"];
        let mut expected =
            String::from("before 1\n# HELP took_seconds How long it took.\n# TYPE took_seconds histogram\n");
        for (bound, count) in buckets.into_iter().zip(std::iter::once(3).chain(std::iter::repeat(4))) {
            expected.push_str(&format!("took_seconds_bucket{{le=\"{bound}\"}} {count}\n"));
        }
        expected.push_str("took_seconds_bucket{le=\"10\"} 6\ntook_seconds_bucket{le=\"+Inf\"} 8\n");
        expected.push_str("took_seconds_sum 3630.0015\ntook_seconds_count 8\n\n");
        assert_eq!(text, expected);
    }
}
