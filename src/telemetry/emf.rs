//! CloudWatch's embedded metric format: JSON lines on standard output from which CloudWatch makes metrics, so that
//! ECS scales on connections and alarms work without an agent.
//!
//! The first line of each interval has all values by the configured dimensions; for refusals and failures there is a
//! line for each reason that occurred, with `reason` as one more dimension.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use crate::telemetry::metrics::{DurationCounts, Metrics};
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
    opened: u64,
    requests: u64,
    up: u64,
    down: u64,
    dns: u64,
    endings: BTreeMap<(&'static str, &'static str), u64>,
    connects: DurationCounts,
}

impl Emitter {
    pub fn new(config: Emf, metrics: Metrics) -> Self {
        Self { config, metrics, previous: Totals::default() }
    }

    pub fn interval(&self) -> Duration {
        self.config.interval.get()
    }

    /// The lines of the interval that ends now.
    pub fn lines(&mut self, now: SystemTime) -> Vec<u8> {
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
        ];
        if let Some(requests) = metrics.requests() {
            values.push(("Requests", "Count", json!(since(&mut self.previous.requests, requests))));
        }
        // Without a connect there is no value.
        if let Some(p99) = metrics.connect().percentile(99, &self.previous.connects) {
            values.push(("ConnectP99", "Milliseconds", json!(p99.as_secs_f64() * 1000.0)));
        }
        self.previous.connects = metrics.connect().counts();
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use latticegate_core::config::{Listener, Protocol, ProxyProtocol};
    use latticegate_core::networks::DestinationNetworks;
    use latticegate_core::outcome::{Failure, RefuseReason};

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
        metrics.connect().record(Duration::from_millis(1));
        for outcome in [Outcome::Refused(RefuseReason::NotTls), Outcome::Failed(Failure::DnsFailed)] {
            listener.opened();
            listener.closed(outcome);
        }
        let lines = String::from_utf8(lines.lines(SystemTime::now())).unwrap();
        let lines = lines.lines().map(|line| serde_json::from_str::<Map<String, Value>>(line).unwrap());
        let written: BTreeSet<String> = lines.flat_map(|line| line.into_iter().map(|(name, _)| name)).collect();
        let refused: BTreeSet<String> = Emf::TAKEN_NAMES.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(written, refused);
    }
}
