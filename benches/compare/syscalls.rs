//! System calls per connection, counted by `strace -c` attached to all threads of a peer while it does short connections.

use std::fs;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use tokio::task::LocalSet;
use tokio::time::sleep;

use crate::cell::Bench;
use crate::peers::Peer;
use crate::tally::Tally;
use crate::workloads::Workload;

#[derive(Serialize)]
pub struct Calls {
    pub workload: String,
    pub peer: String,
    pub per_unit: f64,
    /// The calls themselves, most frequent first: name and number per unit.
    pub kinds: Vec<(String, f64)>,
}

pub async fn count(bench: &Bench, peer: &Peer, workload: &Workload) -> Result<Calls> {
    let running = bench.start(peer).await?;
    let summary = bench.scratch.join("strace");
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-U", "name,calls", "-o"]).arg(&summary).stdout(Stdio::null()).stderr(Stdio::null());
    let pids = running.pids();
    for pid in &pids {
        command.arg("-p").arg(pid.to_string());
    }
    let mut strace = command.spawn().context("starting strace")?;
    let attached = || pids.iter().all(|&pid| is_traced(pid));
    let deadline = Instant::now() + Duration::from_secs(5);
    while !attached() {
        ensure!(Instant::now() < deadline, "strace did not attach");
        sleep(Duration::from_millis(10)).await;
    }
    let tally = Rc::new(Tally::default());
    let load = LocalSet::new();
    let started = load.run_until(async {
        workload.start(peer.target(), Rc::clone(&tally))?;
        sleep(Duration::from_secs(2)).await;
        anyhow::Ok(())
    });
    started.await?;
    let units = tally.units();
    drop(load);
    let pid = i32::try_from(strace.id()).ok().and_then(Pid::from_raw).context("strace has no pid")?;
    kill_process(pid, Signal::INT)?;
    strace.wait()?;
    ensure!(units > 0, "no work was done under strace");
    parse(&fs::read_to_string(summary)?, units, peer, workload)
}

fn is_traced(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"))
}

fn parse(summary: &str, units: u64, peer: &Peer, workload: &Workload) -> Result<Calls> {
    let row = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let name = fields.next()?.to_owned();
        let calls = fields.next()?.parse::<u64>().ok()?;
        Some((name, calls as f64 / units as f64))
    };
    let mut kinds: Vec<(String, f64)> = summary.lines().filter_map(row).collect();
    let total = kinds.iter().position(|(name, _)| name == "total").context("strace printed no total")?;
    let (_, per_unit) = kinds.remove(total);
    kinds.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    kinds.truncate(14);
    Ok(Calls { workload: workload.name.into(), peer: peer.name.clone(), per_unit, kinds })
}
