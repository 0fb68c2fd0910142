//! The load test against services on loopback: every planned request is in one count, and every kind of failure is caused.
//! Behind a real latticegate it runs in `tests/lab/load.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "a broken service must stop the test at once, and counts are small"
)]

mod failures;
mod merging;
mod planning;
mod program;
mod requests;
mod service;
mod signing;

use clap::Parser;
use latticegate_load::{Arguments, Report};

/// The report of a short run: one user, some 20 requests.
fn run(url: &str, more: &[&str]) -> Report {
    latticegate_load::run(&arguments(url, more), &|_| None).unwrap()
}

fn arguments(url: &str, more: &[&str]) -> Arguments {
    let usual = [["--users", "1"], ["--rate", "100"], ["--duration", "200ms"], ["--seed", "1"], ["--report", "1h"]];
    let usual = usual.iter().filter(|[name, _]| !more.contains(name)).flatten();
    Arguments::try_parse_from(["load", "--url", url].iter().chain(usual).chain(more)).unwrap()
}
