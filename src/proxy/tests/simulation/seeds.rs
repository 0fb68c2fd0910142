//! Which seeds are run, and where: in processes of their own, as each limits its open files.

use std::ops::Range;
use std::process::{Child, Command, Stdio};

use super::check::check;
use super::run::run;

/// Numbers, and ranges of them as `FROM..TO`.
const SEEDS: &str = "SIMULATE_SEEDS";
/// This process is one of several: it runs each so-manyth seed, from this one on. `1/2` are those with odd positions.
const PART: &str = "SIMULATE_PART";

/// Without others named; the last ones are those that have found what no earlier one had.
const FEW: &str = "0..300 60197 511871";

#[test]
fn whatever_peers_do_each_connection_ends_once_and_truly() {
    let seeds = std::env::var(SEEDS).unwrap_or_else(|_| FEW.to_owned());
    let seeds: Vec<u64> = seeds.split_whitespace().flat_map(range).collect();
    if let Ok(part) = std::env::var(PART) {
        let (first, step) = part.split_once('/').unwrap();
        let (first, step): (usize, usize) = (first.parse().unwrap(), step.parse().unwrap());
        return run_all(seeds.into_iter().skip(first).step_by(step));
    }
    let parts = std::thread::available_parallelism().unwrap().get().min(seeds.len());
    let (_, module) = module_path!().split_once("::").unwrap();
    let name = format!("{module}::whatever_peers_do_each_connection_ends_once_and_truly");
    let start = |part| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([&*name, "--exact", "--nocapture"]).env(PART, format!("{part}/{parts}"));
        command.stdout(Stdio::piped()).spawn().unwrap()
    };
    let started: Vec<_> = (0..parts).map(start).collect();
    let holds = |part: Child| {
        let said = part.wait_with_output().unwrap().stdout;
        // And not that there was no such test.
        String::from_utf8_lossy(&said).contains("1 passed")
    };
    let failed = started.into_iter().map(holds).filter(|holds| !holds).count();
    assert_eq!(failed, 0, "runs fail, see above");
}

fn range(seeds: &str) -> Range<u64> {
    match seeds.split_once("..") {
        Some((from, to)) => from.parse().unwrap()..to.parse().unwrap(),
        None => seeds.parse().unwrap()..seeds.parse::<u64>().unwrap() + 1,
    }
}

fn run_all(seeds: impl Iterator<Item = u64>) {
    /// Then the defect is seen.
    const ENOUGH: usize = 10;
    let fails = |seed: &u64| {
        let result = std::panic::catch_unwind(|| {
            let (run, reported) = run(*seed);
            check(&run, &reported);
        });
        result.is_err()
    };
    let failed: Vec<String> = seeds.filter(fails).take(ENOUGH).map(|seed| seed.to_string()).collect();
    assert!(failed.is_empty(), "replay them with: tests/simulate {}", failed.join(" "));
}

/// Or a failure could not be replayed.
#[test]
fn the_same_seed_makes_the_same_run() {
    let records = |seed| {
        let (_, mut reported) = run(seed);
        for record in &mut reported.records {
            // The clock that people read is not simulated.
            record.as_object_mut().unwrap().remove("time");
        }
        reported.records
    };
    // Without those that limit this process's files, among which other tests may be.
    let seeds = (0..).filter(|seed| super::scenario::Scenario::draw(*seed).0.settings.shortage.is_none());
    for seed in seeds.take(5) {
        assert_eq!(records(seed), records(seed), "{seed}");
    }
}
