//! The metrics as Prometheus reads them, with the real one: the exposition, the alerts and the dashboard of `conf/`, and
//! the tables of `docs/metrics.md`.
//!
//! `tests/setup prometheus` installs it. Where it is not there, these tests say that they were skipped.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::disallowed_methods,
    reason = "a test may block its own thread, and a panic is how it fails"
)]

mod server;
mod shipped;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::http::get;
use support::skip::{Skipped, skip};
use support::{until, within};

use self::server::Prometheus;
use self::traffic::Traffic;

const LATTICEGATE: &str = env!("CARGO_BIN_EXE_latticegate");

/// Whether this machine has it; says so if not.
fn is_installed() -> bool {
    let runs = |program: &str| {
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    let is_installed = runs("promtool") && runs("prometheus");
    if !is_installed {
        skip(Skipped::Test, "promtool and prometheus are not installed: run tests/setup prometheus");
    }
    is_installed
}

#[test]
fn promtool_has_nothing_to_say_about_the_exposition() {
    if !is_installed() {
        return;
    }
    let traffic = Traffic::start();
    traffic.some_of_everything();
    let (_, text) = get(traffic.admin(), "/metrics");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
fn each_alert_is_fired_by_made_up_series() {
    if !is_installed() {
        return;
    }
    let output = Command::new("promtool")
        .args(["test", "rules"])
        .arg(shipped::root("tests/prometheus/alerts.test.yml"))
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
    let tests = std::fs::read_to_string(shipped::root("tests/prometheus/alerts.test.yml")).unwrap();
    for alert in shipped::alerts() {
        let fired = format!("- {{ labels: 'ALERTS{{alertname=\"{}\",alertstate=\"firing\"", alert.name);
        assert!(tests.contains(&fired), "no test fires {}", alert.name);
    }
}

/// The table has the name, type, labels and help of each family, in the order of the exposition.
#[test]
fn the_documentation_lists_every_metric_and_no_other() {
    let traffic = Traffic::start();
    traffic.some_of_everything();
    let (_, text) = get(traffic.admin(), "/metrics");
    let documented = std::fs::read_to_string(shipped::root("docs/metrics.md")).unwrap();
    let rows = |head: &str| -> Vec<String> {
        let (_, table) = documented.split_once(head).unwrap();
        table.lines().skip(2).take_while(|line| line.starts_with('|')).map(str::to_owned).collect()
    };
    let exported = shipped::table(&text);
    assert!(rows("| Metric | Type | Labels | Help |") == exported, "it should be:\n{}\n", exported.join("\n"));
    let alerts: Vec<String> = shipped::alerts().into_iter().map(|alert| alert.row()).collect();
    assert!(rows("| Alert | Severity | For | What it says |") == alerts, "it should be:\n{}\n", alerts.join("\n"));
}

/// What alerts and dashboard ask for is there: a name that is mistyped gives no data, and no error.
#[test]
fn alerts_and_dashboard_name_only_metrics_that_exist() {
    let documented = std::fs::read_to_string(shipped::root("docs/metrics.md")).unwrap();
    let (exprs, alerts) = (shipped::dashboard(), shipped::alerts());
    let exprs = exprs.iter().map(String::as_str).chain(alerts.iter().map(|alert| &*alert.expr));
    let mut seen = BTreeSet::new();
    for expr in exprs {
        for word in expr.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
            if !word.starts_with("latticegate_") && !word.starts_with("process_") {
                continue;
            }
            let family = ["_bucket", "_count", "_sum"].iter().find_map(|part| word.strip_suffix(part)).unwrap_or(word);
            assert!(documented.contains(&format!("| `{family}` |")), "{word} in {expr}");
            seen.insert(family.to_owned());
        }
    }
    assert!(seen.len() > 30, "{seen:?}");
}

/// `process_…` is what every program is asked for: the dashboard shows those of the jobs that are latticegate's, also where all
/// of them are chosen, for which Grafana then writes the names of all.
#[test]
fn the_dashboard_shows_no_process_of_another_program() {
    let text = std::fs::read_to_string(shipped::root("conf/grafana-dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let job = variables.iter().find(|variable| variable["name"] == "job").unwrap();
    assert!(job.get("allValue").is_none(), "{job}");
    assert!(job["definition"].as_str().unwrap().contains("(latticegate_"), "{job}");
    for query in shipped::dashboard() {
        let series = query.match_indices("process_").count() - query.match_indices("latticegate_process_").count();
        let of_the_job = query.match_indices("{job=~\"$job\"").count();
        assert!(series <= of_the_job, "{query}");
    }
}

/// With Prometheus itself and a latticegate in trouble: in one test, since both take a while to start.
#[test]
fn the_dashboard_has_data_and_alerts_fire() {
    if !is_installed() {
        return;
    }
    let traffic = Traffic::start();
    let prometheus = Prometheus::start(traffic.admin());
    let stop = traffic.keep_going();
    let mut empty = Vec::new();
    let exprs = shipped::dashboard();
    let is_full = within(support::PATIENCE, || {
        empty = exprs.iter().filter(|expr| prometheus.query(&shipped::without_variables(expr)).is_empty()).collect();
        empty.is_empty()
    });
    assert!(is_full, "no data for {empty:#?}");
    assert!(exprs.len() > 40, "{exprs:?}");

    traffic.break_list();
    let expected = [
        "LatticegateDnsFailing",
        "LatticegateFailed",
        "LatticegateListRefused",
        "LatticegateListStale",
        "LatticegateNearHalfOpen",
        "LatticegateRefused",
        "LatticegateUnreachable",
        "LatticegateUpstreamFailing",
    ];
    let mut firing = BTreeMap::new();
    let all_fire = within(2 * support::PATIENCE, || {
        // One that reports a moment is over when others begin.
        firing.extend(prometheus.firing());
        expected.iter().all(|alert| firing.contains_key(*alert))
    });
    let missing: Vec<&&str> = expected.iter().filter(|alert| !firing.contains_key(**alert)).collect();
    assert!(all_fire, "{missing:?} beside {firing:#?}");
    for (alert, annotations) in &firing {
        let said = annotations.to_string();
        assert!(!said.contains("error expanding") && !said.contains("<no value>"), "{alert}: {said}");
    }
    // In a process that is as it should be they would be defects of the rules.
    for alert in
        ["LatticegateDown", "LatticegateAbsent", "LatticegateNotReady", "LatticegateLost", "LatticegateDrainStuck"]
    {
        assert!(!firing.contains_key(alert), "{firing:#?}");
    }
    drop(stop);

    traffic.silence_dns();
    until("LatticegateDnsSilent fires", || prometheus.firing().contains_key("LatticegateDnsSilent"));
    drop(traffic);
    until("LatticegateDown and LatticegateAbsent fire", || {
        let firing = prometheus.firing();
        ["LatticegateDown", "LatticegateAbsent"].iter().all(|alert| firing.contains_key(*alert))
    });
}

/// Of a result of the API.
fn result(answer: &Value) -> &[Value] {
    answer["data"]["result"].as_array().map(Vec::as_slice).unwrap_or_default()
}
