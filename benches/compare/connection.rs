//! User instructions of one short connection, counted by callgrind: the difference of a long and a short run of the whole
//! program, so that starting and ending it cancel out. The kernel's share is not in it.

use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::task::LocalSet;
use tokio::time::sleep;

use crate::cell::Bench;
use crate::peers::Peer;
use crate::print::print;
use crate::tally::Tally;
use crate::workloads::Workload;

/// The most that may be spent on a connection. A change that lowers a count lowers its bound.
const BOUNDS: [(&str, u64); 2] = [("conn", 18_000), ("calm", 19_900)];

const SHORT: u64 = 1000;
const LONG: u64 = 3000;
/// How many events come at once is chance. The least of so many runs counts.
const RUNS: usize = 3;
/// Under callgrind everything takes fifty times as long.
const DEADLINE: Duration = Duration::from_secs(120);

/// Workloads that are counted when none is named: those with a bound.
pub fn usual() -> impl Iterator<Item = &'static str> {
    BOUNDS.iter().map(|(name, _)| *name)
}

/// Prints the count of each, and fails if one is above its bound.
pub async fn count_all(bench: &Bench, peers: &[Peer], workloads: &[Workload]) -> Result<()> {
    if let Some(other) = workloads.iter().find(|workload| !workload.is_in_turn()) {
        bail!("{} is not counted: its units do not follow one another", other.name);
    }
    let mut above = Vec::new();
    for workload in workloads {
        for peer in peers.iter().filter(|peer| !peer.is_direct()) {
            let count = per_unit(bench, peer, workload).await?;
            let bound = BOUNDS.iter().find(|(name, _)| *name == workload.name).map(|(_, bound)| *bound);
            let said = bound.map_or(String::new(), |bound| format!("   at most {bound:>7}"));
            print(format_args!("{:14}{:14}{count:>8} user instructions{said}", workload.name, peer.name))?;
            if bound.is_some_and(|bound| count > bound) {
                above.push(workload.name);
            }
        }
    }
    ensure!(above.is_empty(), "more than may be spent on {}", above.join(", "));
    Ok(())
}

async fn per_unit(bench: &Bench, peer: &Peer, workload: &Workload) -> Result<u64> {
    let (mut short, mut long) = (u64::MAX, u64::MAX);
    for _ in 0..RUNS {
        short = short.min(collected(bench, peer, workload, SHORT).await?);
        long = long.min(collected(bench, peer, workload, LONG).await?);
    }
    Ok(long.saturating_sub(short) / (LONG - SHORT))
}

/// What callgrind has collected in a run with so many units. What each function cost remains in a file.
async fn collected(bench: &Bench, peer: &Peer, workload: &Workload, units: u64) -> Result<u64> {
    let directory = bench.scratch.join(&peer.name);
    let profile = bench.scratch.join(format!("{}.{}.{units}.callgrind", workload.name, peer.name));
    let running = bench.start(&peer.under_callgrind(profile)).await?;
    let tally = Rc::new(Tally::default());
    let load = LocalSet::new();
    let ran = load.run_until(async {
        workload.start_some(peer.target(), Rc::clone(&tally), units)?;
        let deadline = Instant::now() + DEADLINE;
        while tally.units() + tally.failures() < units {
            ensure!(Instant::now() < deadline, "{} of {units} units in {DEADLINE:?}", tally.units());
            sleep(Duration::from_millis(10)).await;
        }
        anyhow::Ok(())
    });
    ran.await?;
    drop(load);
    running.terminate()?;
    ensure!(tally.failures() == 0, "{} of {units} units failed", tally.failures());
    read(&directory)
}

fn read(directory: &Path) -> Result<u64> {
    let path = directory.join("stderr");
    let printed = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let number = printed.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    number.with_context(|| format!("callgrind has said nothing of what it collected:\n{printed}"))
}
