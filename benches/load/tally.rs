//! What became of the planned requests. Each is in exactly one count: answered, by its status, or failed, by its kind.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::failure::Failure;

/// The requests planned during one phase of the run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Phase {
    pub seconds: f64,
    pub planned: u64,
    /// Complete answers, by status.
    pub statuses: BTreeMap<u16, u64>,
    pub failures: BTreeMap<Failure, u64>,
    /// From the planned moment to the last byte, of answers with a status of 200 to 399.
    pub latency: Times,
    /// From when a request could have been sent (planned, and the user free) until it was: the generator's own fault.
    pub late: Times,
}

impl Phase {
    pub fn answered(&self) -> u64 {
        self.statuses.values().sum()
    }

    pub fn succeeded(&self) -> u64 {
        self.statuses.range(200..400).map(|(_, count)| count).sum()
    }

    /// Without an answer, or with one of another status.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum::<u64>() + self.answered() - self.succeeded()
    }

    /// Those of which nothing is known yet.
    pub fn open(&self) -> u64 {
        self.planned.saturating_sub(self.answered() + self.failures.values().sum::<u64>())
    }

    pub fn fail(&mut self, kind: Failure) {
        *self.failures.entry(kind).or_default() += 1;
    }

    pub fn answer(&mut self, status: u16, latency: Duration) {
        *self.statuses.entry(status).or_default() += 1;
        if (200..400).contains(&status) {
            self.latency.add(latency);
        }
    }
}

impl AddAssign<&Self> for Phase {
    fn add_assign(&mut self, other: &Self) {
        self.seconds = self.seconds.max(other.seconds);
        self.planned += other.planned;
        add_counts(&mut self.statuses, &other.statuses);
        add_counts(&mut self.failures, &other.failures);
        self.latency += &other.latency;
        self.late += &other.late;
    }
}

fn add_counts<K: Ord + Copy>(to: &mut BTreeMap<K, u64>, from: &BTreeMap<K, u64>) {
    for (key, count) in from {
        *to.entry(*key).or_default() += count;
    }
}

/// All of a run, or of one thread's part of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Tally {
    pub ramp: Phase,
    pub steady: Phase,
    pub connections: u64,
    /// Kept connections that had been closed when the next request was sent; it was sent again on another.
    pub reconnected: u64,
    /// Of the connections, TLS included, without PROXY headers.
    pub bytes_sent: u64,
    pub bytes_received: u64,
    /// What was said about the first failure of each kind, and the first answer of each bad status.
    pub examples: BTreeMap<String, String>,
    /// Latencies since the last report of progress.
    #[serde(skip)]
    pub recent: Times,
}

impl Tally {
    pub fn example(&mut self, of: &str, text: &str) {
        if !self.examples.contains_key(of) {
            self.examples.insert(of.to_owned(), text.to_owned());
        }
    }

    /// Both phases together.
    pub fn total(&self) -> Phase {
        let mut total = self.ramp.clone();
        total += &self.steady;
        Phase { seconds: self.ramp.seconds + self.steady.seconds, ..total }
    }

    pub fn phase(&mut self, steady: bool) -> &mut Phase {
        if steady { &mut self.steady } else { &mut self.ramp }
    }
}

impl AddAssign<&Self> for Tally {
    fn add_assign(&mut self, other: &Self) {
        self.ramp += &other.ramp;
        self.steady += &other.steady;
        self.connections += other.connections;
        self.reconnected += other.reconnected;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        for (of, text) in &other.examples {
            self.example(of, text);
        }
        self.recent += &other.recent;
    }
}

/// Times in microseconds, to one per cent; their memory does not grow with their number, nor much does their JSON.
#[derive(Debug, Clone)]
pub struct Times(Histogram<u64>);

/// A day.
const LONGEST: u64 = 24 * 3_600_000_000;

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new_with_max(LONGEST, 2).expect("two digits up to a day are within its limits"))
    }
}

impl Times {
    pub fn add(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    pub fn count(&self) -> u64 {
        self.0.len()
    }

    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// For people; a hyphen of none.
    pub fn shown(&self, quantile: f64) -> String {
        if self.count() == 0 { "-".into() } else { format!("{:.2}", self.quantile(quantile)) }
    }

    /// In milliseconds; 0 of none.
    pub fn quantile(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1000.0
    }
}

impl AddAssign<&Self> for Times {
    fn add_assign(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }
}

/// The quantiles for people, and every bucket, so that the reports of several generators can be added up: percentiles cannot.
#[derive(Serialize, Deserialize)]
struct TimesJson {
    #[serde(default)]
    p50_ms: f64,
    #[serde(default)]
    p90_ms: f64,
    #[serde(default)]
    p99_ms: f64,
    #[serde(default)]
    p999_ms: f64,
    #[serde(default)]
    max_ms: f64,
    buckets_us: Vec<(u64, u64)>,
}

impl Serialize for Times {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let buckets =
            self.0.iter_recorded().map(|value| (value.value_iterated_to(), value.count_since_last_iteration()));
        TimesJson {
            p50_ms: self.quantile(0.5),
            p90_ms: self.quantile(0.9),
            p99_ms: self.quantile(0.99),
            p999_ms: self.quantile(0.999),
            max_ms: self.quantile(1.0),
            buckets_us: buckets.collect(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut times = Self::default();
        for (value, count) in TimesJson::deserialize(deserializer)?.buckets_us {
            times.0.saturating_record_n(value, count);
        }
        Ok(times)
    }
}
