//! The shipped load test through the whole path: what it counts is what the proxy's log and the service's own log count.

use clap::Parser;
use latticegate_load::{Arguments, Report};
use serde_json::Value;
use support::namespace::Namespace;

use crate::Lab;
use crate::lattice::{ACCESS_KEY, Lattice, SECRET_KEY};
use crate::network::{BALANCER, BALANCER_INSIDE, BALANCER_PUBLIC, TASK};
use crate::process::eventually;
use crate::proxy::{Config, Proxy};

const LOAD: [&str; 10] = ["--users", "8", "--rate", "60", "--ramp", "500ms", "--duration", "1500ms", "--report", "1h"];

/// Runs it on a machine of the lab, with credentials in its environment.
fn generate(lab: &Lab, machine: &Namespace, url: &str, more: &[&str]) -> Report {
    let ca = lab.dir.path().join("ca.pem");
    let trust: &[&str] = if url.starts_with("https") { &["--cacert", ca.to_str().unwrap()] } else { &[] };
    let arguments =
        ["load", "--url", url].into_iter().chain(LOAD).chain(trust.iter().copied()).chain(more.iter().copied());
    let arguments = Arguments::try_parse_from(arguments).unwrap();
    let environment = |name: &str| match name {
        "AWS_ACCESS_KEY_ID" => Some(ACCESS_KEY.to_owned()),
        "AWS_SECRET_ACCESS_KEY" => Some(SECRET_KEY.to_owned()),
        "AWS_SESSION_TOKEN" => Some("session/token==".to_owned()),
        _ => None,
    };
    machine.enter(|| latticegate_load::run(&arguments, &environment)).unwrap()
}

/// As many as it made.
fn records(proxy: &Proxy, report: &Report) -> Vec<Value> {
    let mut records = Vec::new();
    eventually(|| {
        records.extend(proxy.records());
        count(&records) >= report.tally.connections
    });
    assert_eq!(count(&records), report.tally.connections, "{report}");
    records
}

fn count(records: &[Value]) -> u64 {
    records.len().try_into().unwrap()
}

fn sum(records: &[Value], bytes: &str) -> u64 {
    records.iter().map(|record| record[bytes].as_u64().unwrap()).sum()
}

/// Every planned request was answered with 200, and the service has answered as many more.
fn assert_answered(lab: &Lab, before: u64, report: &Report) {
    let total = report.total();
    assert!(total.planned > 50, "{report}");
    assert_eq!((total.statuses.get(&200), total.failed(), total.open()), (Some(&total.planned), 0, 0), "{report}");
    let wanted = before + total.planned;
    let answered = || Lattice::answered(lab.dir.path());
    assert!(eventually(|| answered() >= wanted), "{} of {wanted}", answered());
    assert_eq!(answered(), wanted);
}

#[test]
fn signed_requests_over_kept_connections_are_counted_alike_by_all() {
    let Some(lab) = Lab::up() else { return };
    let proxy = lab.proxy(&Config::shipped());
    // botocore verifies each signature, and answers 403 where it differs.
    let sign = ["--connect", BALANCER, "--sigv4", "vpc-lattice-svcs", "--region", "us-west-2"];
    for (scheme, listener) in [("https", "tls"), ("http", "http")] {
        let before = Lattice::answered(lab.dir.path());
        let report =
            generate(&lab, &lab.network.client, &format!("{scheme}://orders.example.com/signed?a=1&b=x%20y"), &sign);
        assert_answered(&lab, before, &report);
        assert!(report.tally.connections <= 8 && report.tally.reconnected == 0, "{report}");
        let records = records(&proxy, &report);
        for record in &records {
            assert_eq!((&record["outcome"], &record["listener"]), (&"relayed".into(), &listener.into()), "{record}");
            assert_eq!(record["client"], "10.1.0.2", "{record}");
        }
        assert_eq!(sum(&records, "bytes_up"), report.tally.bytes_sent);
        // The service's farewell may come when the generator has closed.
        let more = sum(&records, "bytes_down") - report.tally.bytes_received;
        assert!(more <= 64 * report.tally.connections, "{more}: {report}");
    }
}

#[test]
fn a_connection_for_each_request_is_a_record_for_each_request() {
    let Some(lab) = Lab::up() else { return };
    let proxy = lab.proxy(&Config::shipped());
    for url in ["https://orders.example.com/any", "http://billing.example.com/any"] {
        let before = Lattice::answered(lab.dir.path());
        let report = generate(&lab, &lab.network.client, url, &["--connect", BALANCER, "--no-keep-alive"]);
        assert_answered(&lab, before, &report);
        assert_eq!(report.tally.connections, report.total().planned);
        let records = records(&proxy, &report);
        // To the byte: the service closes first, and the generator reads to the end.
        assert_eq!(sum(&records, "bytes_up"), report.tally.bytes_sent);
        assert_eq!(sum(&records, "bytes_down"), report.tally.bytes_received);
        assert!(records.iter().all(|record| record["reason"] == "done"), "{records:?}");
    }
    // Without the load balancer, from its address.
    let (target, before) = (format!("{TASK}:8443"), Lattice::answered(lab.dir.path()));
    let direct = ["--connect", &target, "--proxy-protocol"];
    let report = generate(&lab, &lab.network.balancer, "https://orders.example.com/any", &direct);
    assert_answered(&lab, before, &report);
    for record in records(&proxy, &report) {
        assert_eq!((&record["client"], &record["outcome"]), (&BALANCER_INSIDE.into(), &"relayed".into()), "{record}");
    }
    // Somebody who may not enter.
    let report =
        generate(&lab, &lab.network.outsider, "https://orders.example.com/any", &["--connect", BALANCER_PUBLIC]);
    let total = report.total();
    assert_eq!((total.succeeded(), total.failed()), (0, total.planned), "{report}");
    assert!(report.tally.examples["tls"].contains("AccessDenied"), "{report}");
    for record in records(&proxy, &report) {
        assert_eq!(record["reason"], "client_denied", "{record}");
    }
}
