//! A histogram of fixed size: a connection increments a counter in it, and the same counters give Prometheus its buckets
//! and CloudWatch and the operator's page their percentiles.

use std::iter::successors;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::exposition::{Family, Label};

/// The bounds that Prometheus is shown, in microseconds; from a hit in the same AZ to the connect timeout.
const EXPORTED: [u32; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];

/// How long something took, in seconds: up to each of those bounds, and in steps of 15 % from 50 µs to half a minute, which
/// is accurate enough for a percentile.
#[derive(Clone)]
pub struct Durations(Arc<Histogram>);

/// The counts of [`Durations`] at one moment.
#[derive(Debug, Clone, Default)]
pub struct DurationCounts(Vec<u64>);

impl Default for Durations {
    fn default() -> Self {
        let steps = successors(Some(50_u32), |micros| Some(micros * 23 / 20)).take_while(|&micros| micros < 30_000_000);
        let mut bounds: Vec<u32> = steps.chain(EXPORTED).collect();
        bounds.sort_unstable();
        bounds.dedup();
        Self(Arc::new(Histogram::new(bounds)))
    }
}

impl Durations {
    pub fn record(&self, duration: Duration) {
        self.0.record(micros(duration));
    }

    pub fn counts(&self) -> DurationCounts {
        DurationCounts(self.0.counts().collect())
    }

    /// What so many of a hundred since `before` did not exceed, or half a minute; None if there were none.
    pub fn percentile(&self, of_hundred: u64, before: &DurationCounts) -> Option<Duration> {
        let earlier = before.0.iter().copied().chain(std::iter::repeat(0));
        let new: Vec<u64> = self.0.counts().zip(earlier).map(|(now, then)| now.saturating_sub(then)).collect();
        let all: u64 = new.iter().sum();
        let mut left = all - all.saturating_mul(100_u64.saturating_sub(of_hundred)) / 100;
        let longest = self.0.bounds.last();
        // The last one stands for what was longer, too.
        let bounds = self.0.bounds.iter().chain(longest);
        bounds.zip(new).find_map(|(bound, count)| {
            left = left.saturating_sub(count);
            (all > 0 && left == 0).then(|| Duration::from_micros(u64::from(*bound)))
        })
    }

    pub(super) fn export(&self, family: &mut Family<'_>, labels: &[Label<'_>]) {
        self.0.export(family, labels, &EXPORTED, 1e6);
    }
}

/// The same in the exported steps alone: where there are many histograms.
#[derive(Debug)]
pub(super) struct CoarseDurations(Histogram);

impl Default for CoarseDurations {
    fn default() -> Self {
        Self(Histogram::new(EXPORTED.into()))
    }
}

impl CoarseDurations {
    pub(super) fn record(&self, duration: Duration) {
        self.0.record(micros(duration));
    }

    /// How many there were, and how long they took in total.
    pub(super) fn total(&self) -> (u64, Duration) {
        (self.0.counts().sum(), Duration::from_micros(self.0.sum.load(Ordering::Relaxed)))
    }

    pub(super) fn export(&self, family: &mut Family<'_>, labels: &[Label<'_>]) {
        self.0.export(family, labels, &EXPORTED, 1e6);
    }
}

/// Sizes in bytes.
#[derive(Clone)]
pub(super) struct Sizes(Arc<Histogram>);

impl Sizes {
    /// A ClientHello fits in one TCP segment up to about 1 460 bytes (8 960 with jumbo frames), has the size of a
    /// post-quantum key share and more beyond that, and at most 16 KiB.
    const BOUNDS: [u32; 8] = [256, 512, 1_024, 1_460, 2_048, 4_096, 8_192, 16_384];

    pub(super) fn record(&self, bytes: u32) {
        self.0.record(bytes);
    }

    pub(super) fn export(&self, family: &mut Family<'_>) {
        self.0.export(family, &[], &Self::BOUNDS, 1.0);
    }
}

impl Default for Sizes {
    fn default() -> Self {
        Self(Arc::new(Histogram::new(Self::BOUNDS.into())))
    }
}

#[derive(Debug)]
struct Histogram {
    /// The largest value of each bucket but the last, rising.
    bounds: Box<[u32]>,
    /// One more than bounds: the last one is for what is larger.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: Vec<u32>) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds: bounds.into(), counts, sum: AtomicU64::new(0) }
    }

    fn record(&self, value: u32) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(u64::from(value), Ordering::Relaxed);
    }

    fn counts(&self) -> impl Iterator<Item = u64> {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed))
    }

    /// `unit`: how many of them Prometheus has as one.
    fn export(&self, family: &mut Family<'_>, labels: &[Label<'_>], shown: &[u32], unit: f64) {
        let mut total = 0;
        let bucket = |family: &mut Family<'_>, bound: &str, total: u64| {
            family.part("_bucket", &[labels, &[("le", bound)]].concat(), total);
        };
        let bounds = self.bounds.iter().map(Some).chain([None]);
        for (bound, count) in bounds.zip(self.counts()) {
            total += count;
            if let Some(bound) = bound.filter(|bound| shown.contains(bound)) {
                bucket(family, &(f64::from(*bound) / unit).to_string(), total);
            }
        }
        bucket(family, "+Inf", total);
        let sum = Duration::from_micros(self.sum.load(Ordering::Relaxed)).as_secs_f64() * (1e6 / unit);
        family.part("_sum", labels, sum);
        family.part("_count", labels, total);
    }
}

/// 71 minutes, if it was longer.
fn micros(duration: Duration) -> u32 {
    let micros = duration.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(duration.subsec_micros()));
    u32::try_from(micros).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::exposition::{Exposition, Kind};
    use super::*;

    #[test]
    fn a_percentile_is_within_15_percent_and_of_new_samples_only() {
        let durations = Durations::default();
        assert_eq!(durations.percentile(99, &DurationCounts::default()), None);
        durations.record(Duration::from_secs(3));
        let before = durations.counts();
        assert_eq!(durations.percentile(99, &before), None);
        for n in 1..=1000 {
            durations.record(Duration::from_millis(n));
        }
        for (percent, exact) in [(50, 0.5), (99, 0.99), (100, 1.0)] {
            let found = durations.percentile(percent, &before).unwrap().as_secs_f64();
            assert!((exact..exact * 1.15 * 1.01).contains(&found), "{percent}: {found}");
        }
        durations.record(Duration::from_secs(500));
        assert!(durations.percentile(99, &before).is_some());
        assert_eq!(durations.percentile(100, &before), durations.percentile(100, &DurationCounts::default()));
    }

    fn exported(export: impl FnOnce(&mut Family<'_>)) -> String {
        let mut text = Exposition::default();
        export(&mut text.family("took", Kind::Histogram, "How long it took."));
        text.into_text()
    }

    #[test]
    fn prometheus_is_shown_how_many_took_at_most_so_long() {
        let (durations, coarse) = (Durations::default(), CoarseDurations::default());
        for micros in [0, 499, 500, 501, 9_999_999, 10_000_000, 10_000_001, 3_600_000_000] {
            durations.record(Duration::from_micros(micros));
            coarse.record(Duration::from_micros(micros));
        }
        let buckets =
            ["0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5"];
        let mut expected = String::from("# HELP took How long it took.\n# TYPE took histogram\n");
        for (bound, count) in buckets.into_iter().zip(std::iter::once(3).chain(std::iter::repeat(4))) {
            expected.push_str(&format!("took_bucket{{le=\"{bound}\"}} {count}\n"));
        }
        expected.push_str("took_bucket{le=\"10\"} 6\ntook_bucket{le=\"+Inf\"} 8\n");
        expected.push_str("took_sum 3630.0015\ntook_count 8\n");
        assert_eq!(exported(|family| durations.export(family, &[])), expected);
        assert_eq!(exported(|family| coarse.export(family, &[])), expected);
        assert_eq!(coarse.total(), (8, Duration::from_micros(3_630_001_500)));
    }

    #[test]
    fn sizes_are_shown_in_bytes() {
        let sizes = Sizes::default();
        for bytes in [256, 257, 1_700, 16_384, 20_000] {
            sizes.record(bytes);
        }
        let text = exported(|family| sizes.export(family));
        for line in ["le=\"256\"} 1", "le=\"512\"} 2", "le=\"16384\"} 4", "+Inf\"} 5", "took_sum 38597\n"] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
