//! CloudWatch's embedded metric format: JSON lines on standard output from which CloudWatch makes metrics, so that
//! ECS scales on connections and alarms work without an agent.
//!
//! The first line of each interval has all values by the configured dimensions; for refusals and failures there is a
//! line for each reason that occurred, with `reason` as one more dimension.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Map, Value, json};

use crate::telemetry::metrics::{DurationCounts, Levels, Metrics};
use latticegate_core::config::Emf;
use latticegate_core::outcome::Outcome;

/// Writes what has changed since the last interval.
pub struct Emitter {
    config: Emf,
    metrics: Metrics,
    previous: Totals,
}

/// The totals at the end of an interval.
#[derive(Default)]
struct Totals {
    /// None: it is the first.
    at: Option<Instant>,
    opened: u64,
    requests: u64,
    up: u64,
    down: u64,
    dns: u64,
    lines_lost: u64,
    /// Of each worker.
    busy: Vec<Duration>,
    endings: BTreeMap<(&'static str, &'static str), u64>,
    connects: DurationCounts,
    lookups: DurationCounts,
}

impl Emitter {
    pub fn new(config: Emf, metrics: Metrics) -> Self {
        Self { config, metrics, previous: Totals::default() }
    }

    pub fn interval(&self) -> Duration {
        self.config.interval.get()
    }

    /// The lines of the interval that ends now.
    pub fn lines(&mut self, now: SystemTime, levels: Levels<'_>) -> Vec<u8> {
        let metrics = &self.metrics;
        let since = |previous: &mut u64, now: u64| now.saturating_sub(std::mem::replace(previous, now));
        let (endings, bytes) = (metrics.endings(), metrics.bytes());
        let mut by_reason = Vec::new();
        let (mut refused, mut failed) = (0_u64, 0_u64);
        for (outcome, count) in endings {
            let (total, name) = match outcome {
                Outcome::Refused(_) => (&mut refused, "Refused"),
                Outcome::Failed(_) => (&mut failed, "Failed"),
                _ => continue,
            };
            let new = since(self.previous.endings.entry((name, outcome.reason())).or_default(), count);
            *total = total.saturating_add(new);
            if new > 0 {
                by_reason.push((name, outcome.reason(), new));
            }
        }
        let mut values = vec![
            ("ActiveConnections", "Count", json!(metrics.active())),
            ("NewConnections", "Count", json!(since(&mut self.previous.opened, metrics.opened()))),
            ("Refused", "Count", json!(refused)),
            ("Failed", "Count", json!(failed)),
            ("BytesUp", "Bytes", json!(since(&mut self.previous.up, bytes.up))),
            ("BytesDown", "Bytes", json!(since(&mut self.previous.down, bytes.down))),
            ("DnsFailures", "Count", json!(since(&mut self.previous.dns, metrics.dns.failures()))),
            ("Starts", "Count", json!(u8::from(self.previous.at.is_none()))),
            ("ListOutOfStep", "Count", json!(u8::from(!metrics.list_in_step()))),
            ("LinesLost", "Count", json!(since(&mut self.previous.lines_lost, metrics.lines_lost()))),
            ("LimitsUsed", "Percent", json!(percent(metrics.limits_used(levels)))),
            ("WorkerBusy", "Percent", json!(percent(busiest(metrics, &mut self.previous)))),
        ];
        if let Some(requests) = metrics.requests() {
            values.push(("Requests", "Count", json!(since(&mut self.previous.requests, requests))));
        }
        // Without a connect there is no value.
        if let Some(p99) = metrics.connect().percentile(99, &self.previous.connects) {
            values.push(("ConnectP99", "Milliseconds", json!(millis(p99))));
        }
        if let Some(p99) = metrics.dns.lookups().percentile(99, &self.previous.lookups) {
            values.push(("LookupP99", "Milliseconds", json!(millis(p99))));
        }
        self.previous.connects = metrics.connect().counts();
        self.previous.lookups = metrics.dns.lookups().counts();
        let mut out = self.line(now, &values, None);
        for (name, reason, count) in by_reason {
            out.extend(self.line(now, &[(name, "Count", json!(count))], Some(reason)));
        }
        out
    }

    fn line(&self, now: SystemTime, values: &[(&str, &str, Value)], reason: Option<&str>) -> Vec<u8> {
        let dimensions: Vec<&str> =
            self.config.dimensions.keys().map(|name| &**name).chain(reason.map(|_| "reason")).collect();
        let definitions: Vec<Value> =
            values.iter().map(|(name, unit, _)| json!({ "Name": name, "Unit": unit })).collect();
        let millis = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let mut line = Map::new();
        line.insert(
            "_aws".to_owned(),
            json!({
                "Timestamp": u64::try_from(millis).unwrap_or(u64::MAX),
                "CloudWatchMetrics": [
                    { "Namespace": self.config.namespace, "Dimensions": [dimensions], "Metrics": definitions }
                ],
            }),
        );
        for (name, value) in &self.config.dimensions {
            line.insert(name.to_string(), json!(value));
        }
        if let Some(reason) = reason {
            line.insert("reason".to_owned(), json!(reason));
        }
        for (name, _, value) in values {
            line.insert((*name).to_owned(), value.clone());
        }
        let mut bytes = Value::Object(line).to_string().into_bytes();
        bytes.push(b'\n');
        bytes
    }
}

/// With three decimals.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1000.0
}

/// With one decimal.
fn percent(share: f64) -> f64 {
    (share * 1000.0).round() / 10.0
}

/// The share of a CPU that the busiest worker has used since the last line.
fn busiest(metrics: &Metrics, previous: &mut Totals) -> f64 {
    let now = Instant::now();
    let busy: Vec<Duration> = metrics.workers.times().into_iter().map(|time| time.busy).collect();
    let (before, since) = (std::mem::replace(&mut previous.busy, busy), previous.at.replace(now));
    let elapsed = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)).as_secs_f64();
    let used = previous.busy.iter().zip(before).map(|(now, before)| now.saturating_sub(before).as_secs_f64());
    used.fold(0.0, |most, used| if elapsed > 0.0 { f64::max(most, f64::min(used / elapsed, 1.0)) } else { most })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::telemetry::status::Status;
    use latticegate_core::config::{Drain, Listener, Protocol, ProxyProtocol};
    use latticegate_core::networks::DestinationNetworks;
    use latticegate_core::outcome::{Failure, RefuseReason};

    #[test]
    fn the_busiest_worker_counts_and_only_since_the_last_line() {
        let (metrics, mut previous) = (Metrics::default(), Totals::default());
        let workers = metrics.workers.clone();
        let (works, stop) = std::sync::mpsc::channel::<()>();
        let worker = std::thread::spawn(move || {
            let _own = workers.add(0);
            while stop.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {}
        });
        assert_eq!(busiest(&metrics, &mut previous), 0.0, "there was none before");
        let mut busy = 0.0;
        while busy == 0.0 {
            busy = busiest(&metrics, &mut previous);
        }
        assert!(busy <= 1.0, "{busy}");
        drop(works);
        worker.join().unwrap();
        busiest(&metrics, &mut previous);
        assert_eq!(busiest(&metrics, &mut previous), 0.0, "it has ended");
    }

    #[test]
    fn the_limit_that_is_nearest_counts() {
        let metrics = Metrics::default();
        let (status, drain) = (Status::new(false), Drain { delay: Duration::ZERO, timeout: Duration::ZERO });
        let used = |half_open, half_open_bytes| {
            metrics.limits_used(Levels {
                status: &status,
                max_connections: 9,
                half_open,
                half_open_bytes,
                drain: &drain,
            })
        };
        let least = used((0, 9), (0, 0));
        assert!(least < 0.9, "files or memory: {least}");
        assert_eq!((used((95, 100), (0, 9)), used((1, 100), (999, 1000))), (0.95, 0.999));
    }

    /// A dimension of the same name would overwrite the value.
    #[test]
    fn no_dimension_may_have_a_name_that_a_line_uses() {
        let metrics = Metrics::default();
        let listener = metrics.listener(&Listener {
            name: "egress".into(),
            bind: ([127, 0, 0, 1], 0).into(),
            protocol: Protocol::Forward,
            upstream_port: 0,
            public_port: 3128,
            proxy_protocol: ProxyProtocol::Off,
            forward: None,
            networks: DestinationNetworks::default(),
        });
        let interval = latticegate_core::config::Timeout::new(Duration::from_secs(60)).unwrap();
        let emf = Emf { interval, namespace: "n".into(), dimensions: BTreeMap::new() };
        let mut lines = Emitter::new(emf, metrics.clone());
        let (status, drain) = (Status::new(false), Drain { delay: Duration::ZERO, timeout: Duration::ZERO });
        let levels =
            Levels { status: &status, max_connections: 9, half_open: (0, 9), half_open_bytes: (0, 9), drain: &drain };
        metrics.connect().record(Duration::from_millis(1));
        metrics.dns.looked_up(Duration::from_millis(1));
        for outcome in [Outcome::Refused(RefuseReason::NotTls), Outcome::Failed(Failure::DnsFailed)] {
            listener.opened();
            listener.closed(outcome);
        }
        let lines = String::from_utf8(lines.lines(SystemTime::now(), levels)).unwrap();
        let lines = lines.lines().map(|line| serde_json::from_str::<Map<String, Value>>(line).unwrap());
        let written: BTreeSet<String> = lines.flat_map(|line| line.into_iter().map(|(name, _)| name)).collect();
        let refused: BTreeSet<String> = Emf::TAKEN_NAMES.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(written, refused);
    }
}
