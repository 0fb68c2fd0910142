//! The reports of several generators, added up.

use std::path::PathBuf;

use latticegate_load::Report;

use crate::run;
use crate::service::{OK, answering};

#[test]
fn reports_are_added_up_with_their_percentiles() {
    let (address, _heads) = answering(OK);
    let (bad, _) = answering("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n");
    let url = format!("http://{address}/");
    let reports = [run(&url, &[]), run(&url, &["--seed", "2", "--ramp", "50ms"])];
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| -> PathBuf {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    };
    // As in the log of a task: progress before the report.
    let first = write("first", &format!("     5 s  planned 3\n{}\n", reports[0].json()));
    let second = write("second", &reports[1].json());
    let merged = Report::merged(&[first.clone(), second.clone()]).unwrap();
    let totals = [reports[0].total(), reports[1].total()];
    assert_eq!(merged.total().planned, totals[0].planned + totals[1].planned);
    assert_eq!(merged.total().statuses[&200], merged.total().planned);
    assert_eq!((merged.generators, merged.users, merged.rate), (2, 2, 200.0));
    // Medians cannot be added, but the buckets behind them can.
    let mut latency = totals[0].latency.clone();
    latency += &totals[1].latency;
    for quantile in [0.0, 0.5, 0.9, 0.99, 1.0] {
        assert_eq!(merged.total().latency.quantile(quantile), latency.quantile(quantile));
    }
    let both = write("both", &format!("{}\n{}", reports[0].json(), reports[1].json()));
    assert_eq!(Report::merged(&[both]).unwrap().json(), merged.json());

    let other = write("other", &run(&format!("http://{bad}/"), &["--seed", "3"]).json());
    for (files, text) in [
        (vec![first.clone(), first.clone()], "first:2: seed 1: this report is there twice"),
        (vec![first.clone(), other], "another test"),
        (vec![write("none", "no report\n")], "no line of JSON"),
        (vec![write("wrong", "{}\n")], "no report of this program"),
        (vec![folder.path().join("nothing")], "reading"),
    ] {
        let error = format!("{:#}", Report::merged(&files).unwrap_err());
        assert!(error.contains(text), "{error}");
    }
}
