//! CloudWatch's embedded metric format, held against its specification, and against what really happened.

use std::collections::HashSet;

use nix::sys::signal::Signal;
use serde_json::Value;
use support::lab::{Parts, Setup};
use support::peer::Peer;
use support::process::Process;
use support::until;
use support::wire::{Hello, hello, tcp4};

use crate::LATTICEGATE;

/// The rules of "Specification: Embedded metric format" of the CloudWatch user guide, one assertion each.
fn assert_specified(line: &str) -> Value {
    /// CloudWatch Logs takes no larger event.
    const MAX_EVENT: usize = 1024 * 1024;
    const UNITS: [&str; 27] = [
        "Seconds",
        "Microseconds",
        "Milliseconds",
        "Bytes",
        "Kilobytes",
        "Megabytes",
        "Gigabytes",
        "Terabytes",
        "Bits",
        "Kilobits",
        "Megabits",
        "Gigabits",
        "Terabits",
        "Percent",
        "Count",
        "Bytes/Second",
        "Kilobytes/Second",
        "Megabytes/Second",
        "Gigabytes/Second",
        "Terabytes/Second",
        "Bits/Second",
        "Kilobits/Second",
        "Megabits/Second",
        "Gigabits/Second",
        "Terabits/Second",
        "Count/Second",
        "None",
    ];
    let only = |object: &Value, known: &[&str]| {
        let unknown: Vec<_> = object.as_object().unwrap().keys().filter(|key| !known.contains(&key.as_str())).collect();
        assert!(unknown.is_empty(), "{unknown:?} in {line}");
    };
    let text = |value: &Value, most: usize| {
        let text = value.as_str().unwrap_or_else(|| panic!("{value} is no string: {line}")).to_owned();
        assert!((1..=most).contains(&text.len()), "{text}");
        text
    };
    assert!(line.len() <= MAX_EVENT && !line.contains('\n'));
    let root: Value = serde_json::from_str(line).unwrap();
    let metadata = &root["_aws"];
    only(metadata, &["Timestamp", "CloudWatchMetrics"]);
    // Milliseconds since 1970: between 2020 and 2100.
    assert!((1_577_836_800_000..4_102_444_800_000).contains(&metadata["Timestamp"].as_u64().unwrap()), "{line}");
    let directives = metadata["CloudWatchMetrics"].as_array().unwrap();
    assert!(!directives.is_empty());
    for directive in directives {
        only(directive, &["Namespace", "Dimensions", "Metrics"]);
        text(&directive["Namespace"], 1024);
        let sets = directive["Dimensions"].as_array().unwrap();
        assert!(!sets.is_empty());
        for set in sets {
            let set = set.as_array().unwrap();
            assert!(set.len() <= 30);
            for name in set {
                // The target of a dimension stands at the top level and is a string.
                text(&root[text(name, 250)], 1024);
            }
        }
        let metrics = directive["Metrics"].as_array().unwrap();
        assert!((1..=100).contains(&metrics.len()));
        let mut seen = HashSet::new();
        for metric in metrics {
            only(metric, &["Name", "Unit", "StorageResolution"]);
            let name = text(&metric["Name"], 1024);
            assert!(seen.insert(name.clone()), "{name} twice");
            assert!(UNITS.contains(&metric["Unit"].as_str().unwrap()), "{metric}");
            // The target of a metric stands at the top level and is a number (or up to 100 of them).
            assert!(root[&name].as_f64().is_some_and(f64::is_finite), "{name} in {line}");
        }
    }
    root
}

fn lines(process: &Process) -> Vec<Value> {
    let stdout = process.parts().read("stdout");
    stdout.lines().filter(|line| line.contains("\"_aws\"")).map(assert_specified).collect()
}

const ENVIRONMENT: &[(&str, &str)] = &[
    ("LATTICEGATE_METRICS__EMF__INTERVAL", "300ms"),
    ("LATTICEGATE_METRICS__EMF__NAMESPACE", "latticegate"),
    ("LATTICEGATE_METRICS__EMF__DIMENSIONS", "{cluster: edge, service: gate-1}"),
];

#[test]
fn it_tells_what_happened_in_the_form_that_is_specified() {
    let process = Process::start(LATTICEGATE, Parts::make(&Setup::default()), ENVIRONMENT);
    let tls = process.address("tls");
    let (mut client, mut upstream) = process.parts().upstream.pair(tls);
    until("it is seen as active", || lines(&process).iter().any(|line| line["ActiveConnections"] == 1));
    upstream.say(b"12345").finish();
    client.hear(5);
    drop((client, upstream));
    for _ in 0..3 {
        let mut refused = Peer::connect(tls);
        refused.say([tcp4(&[]), Hello::to(b"unknown.example.com").record()].concat());
        refused.hear_all();
    }
    let sum = |name: &str, reason: Option<&str>| -> u64 {
        let of = |line: &Value| line["reason"].as_str() == reason;
        lines(&process).iter().filter(|line| of(line)).map(|line| line[name].as_u64().unwrap_or(0)).sum()
    };
    until("all is told", || (sum("NewConnections", None), sum("Refused", None)) == (4, 3));
    assert_eq!(sum("Refused", Some("name_unknown")), 3);
    assert_eq!((sum("BytesUp", None), sum("BytesDown", None)), (hello().len() as u64, 5));
    assert_eq!((sum("Failed", None), sum("DnsFailures", None)), (0, 0));
    let lines = lines(&process);
    assert_eq!(sum("Starts", None), 1);
    assert_eq!((sum("ListOutOfStep", None), sum("LinesLost", None)), (0, 0));
    let of_all: Vec<&Value> = lines.iter().filter(|line| line["reason"].is_null()).collect();
    for line in &of_all {
        let [limits, busy] = ["LimitsUsed", "WorkerBusy"].map(|name| line[name].as_f64().unwrap());
        assert!((0.0..100.0).contains(&limits) && (0.0..=100.0).contains(&busy), "{line}");
    }
    assert!(of_all.iter().filter_map(|line| line["LookupP99"].as_f64()).all(|p99| p99 > 0.0));
    assert!(lines.iter().all(|line| line["cluster"] == "edge" && line["service"] == "gate-1"));
    let connects: Vec<f64> = lines.iter().filter_map(|line| line["ConnectP99"].as_f64()).collect();
    assert_eq!(connects.len(), 1, "one interval had a connection to an upstream");
    assert!(connects[0] > 0.0 && connects[0] < 20_000.0, "{connects:?}");
    for line in &lines {
        let expected: &[&str] = match line["reason"].as_str() {
            None => &["cluster", "service"],
            Some(_) => &["cluster", "service", "reason"],
        };
        assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Dimensions"][0], serde_json::json!(expected));
    }
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait().0.code(), Some(0));
}

#[test]
fn it_is_off_unless_asked_for() {
    let process = Process::start(LATTICEGATE, Parts::make(&Setup::default()), &[]);
    process.address("health");
    process.signal(Signal::SIGTERM);
    let (_, log) = process.wait();
    assert!(log.is_empty(), "{log:?}");
}

#[test]
fn it_goes_to_standard_output_beside_a_log_in_a_file() {
    let parts = Parts::make(&Setup::default());
    let file = parts.files.path().join("access.log");
    let environment = [ENVIRONMENT, &[("LATTICEGATE_ACCESS_LOG__OUTPUT", file.to_str().unwrap())]].concat();
    let process = Process::start(LATTICEGATE, parts, &environment);
    until("a line is told", || !lines(&process).is_empty());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "");
}
