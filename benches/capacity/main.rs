//! Writes `measured.json`, the figures of `latticegate capacity`, from results of `benches/run compare --json`.
//! `benches/run capacity` builds and starts this.
//!
//! What a result has replaces what was there, with that run's commit, date, command and machine; what it has not stays.
#![allow(clippy::as_conversions, reason = "counts become fractions")]

#[path = "../compare/print.rs"]
#[allow(unreachable_pub, reason = "compare has it public")]
mod print;
#[path = "../compare/statistics.rs"]
#[allow(dead_code, unreachable_pub, reason = "the median alone is needed here")]
mod statistics;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde_json::{Map, Value, json};

use self::print::print;

/// Takes the figures of latticegate capacity from results of benches/run compare.
#[derive(Parser)]
#[command(bin_name = "benches/run capacity")]
struct Arguments {
    /// What `benches/run compare --json FILE` has written; of several the medians over all their rounds
    #[arg(required_unless_present = "bench")]
    results: Vec<PathBuf>,
    /// The file to change
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/capacity/measured.json"))]
    measured: PathBuf,
    /// The peer whose figures these are
    #[arg(long, default_value = "latticegate")]
    peer: String,
    /// What cargo passes to a benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// A figure: its name, the workload that it is from (any, where there is none) and how a cell gives it.
type Source = (&'static str, &'static str, fn(&Value) -> Option<f64>);

const SOURCES: [Source; 9] = [
    ("connection_busy", "conn", cpu),
    ("connection_cold", "calm", cpu),
    ("connection_tls", "tls", cpu),
    ("request_tls", "echo", cpu),
    ("request_http", "http-kept", cpu),
    ("down", "down", cpu),
    ("up", "up", cpu),
    ("empty", "", |cell| Some(field(cell, "memory_empty")? / 1_048_576.0)),
    ("idle_user", "idle", |cell| {
        // A relayed connection is two files.
        let connections = (field(cell, "descriptors_loaded")? - field(cell, "descriptors_empty")?) / 2.0;
        Some((field(cell, "memory_loaded")? - field(cell, "memory_empty")?) / connections)
    }),
];

fn cpu(cell: &Value) -> Option<f64> {
    field(cell, "cpu_per_unit")
}

fn field(cell: &Value, name: &str) -> Option<f64> {
    cell.get(name)?.as_f64()
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    check()?;
    // `cargo bench` and `cargo test --all-targets` start this without results: that is no failure.
    if arguments.results.is_empty() {
        print(format_args!("nothing to take figures from: start it with benches/run capacity RESULT.json"))?;
        return Ok(());
    }
    let reports: Vec<Value> = arguments.results.iter().map(read).collect::<Result<_>>()?;
    let mut measured = read(&arguments.measured)?;
    let file = measured.as_object_mut().context("the file to change holds no object")?;
    let cells: Vec<&Value> = reports.iter().filter_map(|report| report["cells"].as_array()).flatten().collect();
    let run = origin(&reports)?;
    let mut taken = 0;
    for (name, workload, value) in SOURCES {
        let of = cells
            .iter()
            .filter(|cell| cell["peer"] == *arguments.peer && (workload.is_empty() || cell["workload"] == workload));
        let values: Vec<f64> = of.filter_map(|cell| value(cell)).collect();
        let Some(middle) = statistics::median(&values) else { continue };
        ensure!(middle.is_finite() && middle > 0.0, "{name} is {middle}");
        let figure = file.get_mut(name).and_then(Value::as_object_mut).with_context(|| format!("{name} is missing"))?;
        figure.insert("value".into(), json!(rounded(middle)));
        figure.extend(run.clone());
        print(format_args!("{name:16} {} from {} cells", rounded(middle), values.len()))?;
        taken += 1;
    }
    ensure!(taken > 0, "no cell is of the peer {} and of a workload that is needed", arguments.peer);
    fs::write(&arguments.measured, serde_json::to_string_pretty(&measured)? + "\n")?;
    print(format_args!("now the examples: UPDATE_DOCS=1 cargo test --test capacity"))?;
    Ok(())
}

fn read(path: &PathBuf) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))
}

/// Where the figures are from: of several runs the first one's date, and how many there were.
fn origin(reports: &[Value]) -> Result<Map<String, Value>> {
    let about = |report: &Value, key: &str| {
        let pairs = report["about"].as_array()?;
        let found = pairs.iter().find(|pair| pair[0] == *key)?;
        found[1].as_str().map(str::to_owned)
    };
    let first = reports.first().context("no results")?;
    let of = |key: &str| about(first, key).with_context(|| format!("the result does not say its {key}"));
    let commit = of("commit")?;
    ensure!(
        reports.iter().all(|report| about(report, "commit").as_deref() == Some(&commit)),
        "the results are of different commits"
    );
    let times = if reports.len() > 1 { format!(", {} times", reports.len()) } else { String::new() };
    let mut origin = Map::new();
    origin.insert("commit".into(), json!(commit));
    origin.insert("date".into(), json!(of("date")?.split(' ').next().unwrap_or_default()));
    origin.insert("command".into(), json!(without_files(&of("command")?) + &times));
    origin.insert("machine".into(), json!(of("machine")? + ", loopback"));
    Ok(origin)
}

/// Where a result was written says nothing about how it was measured.
fn without_files(command: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut words = command.split(' ');
    while let Some(word) = words.next() {
        match word {
            "--json" | "--markdown" => drop(words.next()),
            _ if word.starts_with("--json=") || word.starts_with("--markdown=") => {}
            _ => kept.push(word),
        }
    }
    kept.join(" ")
}

/// Three digits are more than the machine repeats.
fn rounded(value: f64) -> f64 {
    let digits = 10f64.powi(2 - value.log10().floor() as i32);
    (value * digits).round() / digits
}

/// Known answers, asked at every start: a benchmark has no tests of its own.
fn check() -> Result<()> {
    statistics::check()?;
    for (value, answer) in [(47.94, 47.9), (101.4, 101.0), (8.352, 8.35), (1126.4, 1130.0), (0.012_34, 0.0123)] {
        ensure!((rounded(value) - answer).abs() < 1e-9, "{value} is rounded to {}", rounded(value));
    }
    let command = "benches/run compare --quick --json out.json conn --markdown=out.md";
    ensure!(without_files(command) == "benches/run compare --quick conn", "{}", without_files(command));
    Ok(())
}
