//! One cell of the table: one peer, one workload, one round. The peer is started for it and stopped after it, so that no
//! cell inherits caches, descriptors or memory from another.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tokio::task::LocalSet;
use tokio::time::sleep;

use crate::machine;
use crate::peers::{Peer, Running};
use crate::quota::{Periods, Quota};
use crate::statistics::percentile;
use crate::tally::Tally;
use crate::workloads::{Extent, GIVE_UP, Workload};

/// A cell of a fixed number of units must not last longer.
const UNITS_DEADLINE: Duration = Duration::from_secs(30);
/// For the connections that are held, and for the units before a window; more only while others take most of the machine.
const PREPARATION_DEADLINE: Duration = Duration::from_secs(120);
/// For the last of the planned units to be answered or given up after the window.
const ANSWERS_DEADLINE: Duration = GIVE_UP.saturating_add(Duration::from_secs(1));
/// After the last of a fixed number of units, and after its connections are closed; buffers are given back meanwhile, log
/// lines written.
const SETTLE: Duration = Duration::from_millis(1200);

#[derive(Clone)]
pub struct Bench {
    pub configurations: PathBuf,
    pub scratch: PathBuf,
    pub window: Duration,
    pub warm_up: Duration,
    /// For each peer, if any.
    pub quota: Option<Quota>,
    pub dns: Arc<AtomicU64>,
}

#[derive(Clone, Serialize)]
pub struct Cell {
    pub workload: String,
    pub peer: String,
    pub round: usize,
    /// The peer's CPU time by unit of work, in the workload's unit.
    pub cpu_per_unit: f64,
    /// The same of client and upstream together.
    pub load_cpu_per_unit: f64,
    /// In units of work each second; bulk: GiB.
    pub rate: f64,
    pub p50_micros: u32,
    pub p99_micros: u32,
    pub p999_micros: u32,
    pub units: u64,
    pub failures: u64,
    /// Units planned for the window, and how many of them were done, be it after its end. Without a plan both are 0.
    pub asked: u64,
    pub answered: u64,
    /// By how much the load began the planned units too late.
    pub late_p99_micros: u32,
    pub workers: usize,
    /// Of the quota, in the window.
    pub periods: Option<Periods>,
    pub dns_queries: u64,
    pub memory_empty: u64,
    /// With the connections that are held, before the first unit; without any, empty.
    pub memory_held: u64,
    /// What the peer needed for these alone, in CPUs.
    pub held_cpus: f64,
    pub memory_loaded: u64,
    /// When the connections of the load are closed.
    pub memory_after: u64,
    pub descriptors_empty: u64,
    pub descriptors_loaded: u64,
    /// How much of the machine other processes took, 0 to 1.
    pub foreign: f64,
}

impl Bench {
    pub async fn run(&self, peer: &Peer, workload: &Workload, round: usize) -> Result<Cell> {
        let running = self.start(peer).await?;
        let pids = running.pids();
        ensure!(peer.is_direct() || !pids.is_empty(), "the peer has no process");
        let (memory_empty, descriptors_empty) = (machine::memory(&pids), machine::descriptors(&pids));

        let tally = Rc::new(Tally::default());
        let load = LocalSet::new();
        let (memory_held, held_cpus, window) = load
            .run_until(async {
                // `hold` and `start` need to be inside the set: they spawn.
                let held_cpus = hold(workload, peer, &pids).await?;
                let memory_held = machine::memory(&pids);
                workload.start(peer.target(), Rc::clone(&tally))?;
                anyhow::Ok((memory_held, held_cpus, self.window(workload.extent, &tally, &running).await?))
            })
            .await?;
        let (memory_loaded, descriptors_loaded) = (machine::memory(&pids), machine::descriptors(&pids));
        let workers = running.workers();
        drop(load);
        if matches!(workload.extent, Extent::Units(_)) {
            sleep(SETTLE).await;
        }
        let memory_after = machine::memory(&pids);
        drop(running);
        ensure!(window.units > 0, "not one unit in {:?}; {} failed", window.wall, tally.failures());

        let (latencies, lateness) = (tally.latencies(), tally.lateness());
        let asked = tally.asked();
        let per_unit = |time: Duration| time.as_secs_f64() * 1e6 * workload.unit.size / window.units as f64;
        let scale = if workload.unit.size > 1.0 { 1_073_741_824.0 } else { 1.0 };
        let wall = window.wall.as_secs_f64();
        let foreign = window.busy.saturating_sub(window.peer_cpu + window.own_cpu).as_secs_f64();
        Ok(Cell {
            workload: workload.name.into(),
            peer: peer.name.clone(),
            round,
            cpu_per_unit: per_unit(window.peer_cpu),
            load_cpu_per_unit: per_unit(window.own_cpu),
            rate: window.units as f64 / scale / wall,
            p50_micros: percentile(&latencies, 500),
            p99_micros: percentile(&latencies, 990),
            p999_micros: percentile(&latencies, 999),
            units: window.units,
            failures: tally.failures(),
            asked,
            answered: if asked > 0 { latencies.len() as u64 } else { 0 },
            late_p99_micros: percentile(&lateness, 990),
            workers,
            periods: window.periods,
            dns_queries: window.dns_queries,
            memory_empty,
            memory_held,
            held_cpus,
            memory_loaded,
            memory_after,
            descriptors_empty,
            descriptors_loaded,
            foreign: foreign / (wall * machine::cpus() as f64),
        })
    }

    pub async fn start(&self, peer: &Peer) -> Result<Running> {
        peer.start(&self.configurations, &self.scratch, self.quota).await
    }

    async fn window(&self, extent: Extent, tally: &Tally, running: &Running) -> Result<Window> {
        match extent {
            Extent::Window => sleep(self.warm_up).await,
            Extent::Long(_, warm_up) => sleep(Duration::from_secs(warm_up)).await,
            Extent::Units(_) => {}
            Extent::After(units) => at_least(units, tally).await?,
        }
        tally.record();
        let start = self.moment(running, tally)?;
        match extent {
            Extent::Window | Extent::After(_) => sleep(self.window).await,
            Extent::Long(times, _) => sleep(self.window * times).await,
            Extent::Units(units) => {
                let deadline = Instant::now() + UNITS_DEADLINE;
                while tally.units() < units && Instant::now() < deadline {
                    sleep(Duration::from_millis(10)).await;
                }
                ensure!(
                    tally.units() >= units,
                    "{} of {units} units in half a minute, {} failed",
                    tally.units(),
                    tally.failures()
                );
            }
        }
        let end = self.moment(running, tally)?;
        tally.stop_asking();
        let deadline = Instant::now() + ANSWERS_DEADLINE;
        while tally.unanswered() > 0 {
            ensure!(Instant::now() < deadline, "{} planned units have no end", tally.unanswered());
            sleep(Duration::from_millis(10)).await;
        }
        if matches!(extent, Extent::Units(_)) {
            sleep(SETTLE).await;
        }
        Ok(Window {
            wall: end.at - start.at,
            peer_cpu: end.peer_cpu.saturating_sub(start.peer_cpu),
            own_cpu: end.own_cpu.saturating_sub(start.own_cpu),
            busy: end.busy.saturating_sub(start.busy),
            units: end.units - start.units,
            dns_queries: end.dns_queries - start.dns_queries,
            periods: end.periods.zip(start.periods).map(|(end, start)| end.since(start)),
        })
    }

    fn moment(&self, running: &Running, tally: &Tally) -> Result<Moment> {
        Ok(Moment {
            at: Instant::now(),
            peer_cpu: machine::cpu_time(&running.pids()),
            own_cpu: machine::cpu_time(&[std::process::id()]),
            busy: machine::busy_time().context("how busy the machine is")?,
            units: tally.units(),
            dns_queries: self.dns.load(Ordering::Relaxed),
            periods: running.periods().transpose()?,
        })
    }
}

/// Opens the connections that are held beside the units, and waits until all are there. Returns how many CPUs the peer needs for
/// them then.
async fn hold(workload: &Workload, peer: &Peer, pids: &[u32]) -> Result<f64> {
    if workload.held() == 0 {
        return Ok(0.0);
    }
    let tally = Rc::new(Tally::default());
    workload.hold(peer.target(), Rc::clone(&tally))?;
    at_least(workload.held() as u64, &tally).await?;
    sleep(SETTLE / 4).await;
    // Long enough for a byte of each slow client.
    let (before, began) = (machine::cpu_time(pids), Instant::now());
    sleep(SETTLE).await;
    Ok(machine::cpu_time(pids).saturating_sub(before).as_secs_f64() / began.elapsed().as_secs_f64())
}

async fn at_least(units: u64, tally: &Tally) -> Result<()> {
    let deadline = Instant::now() + PREPARATION_DEADLINE;
    while tally.units() < units {
        let (done, failed) = (tally.units(), tally.failures());
        ensure!(Instant::now() < deadline, "{done} of {units} units in {PREPARATION_DEADLINE:?}, {failed} failed");
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

struct Moment {
    at: Instant,
    peer_cpu: Duration,
    own_cpu: Duration,
    busy: Duration,
    units: u64,
    dns_queries: u64,
    periods: Option<Periods>,
}

struct Window {
    wall: Duration,
    peer_cpu: Duration,
    own_cpu: Duration,
    busy: Duration,
    units: u64,
    dns_queries: u64,
    periods: Option<Periods>,
}
