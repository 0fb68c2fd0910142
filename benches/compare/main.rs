//! The benchmark: latticegate beside nginx, HAProxy, Envoy and no proxy at all, on the same work in the same run.
//! `benches/run compare` installs the peers, builds, makes the network namespace and calls this; see `docs/performance.md`.
#![allow(unreachable_pub, reason = "a program of several files has no other crate to reach it")]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "a measuring tool: it prints, turns counts into fractions, and may stop at a broken invariant"
)]

mod arrivals;
mod cell;
mod check;
mod client;
mod connection;
mod dns;
mod growth;
mod machine;
mod peers;
mod preface;
mod print;
mod quota;
mod report;
mod statistics;
mod syscalls;
mod tally;
mod tls;
mod upstream;
mod workloads;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::cell::{Bench, Cell};
use crate::peers::{Peer, Role};
use crate::print::print;
use crate::quota::{Periods, Quota};
use crate::report::Report;
use crate::workloads::Workload;
use crate::workloads::growth::Curve;

/// Compares proxies by CPU per unit of work, in interleaved rounds.
#[derive(Parser)]
#[command(bin_name = "benches/run compare")]
struct Arguments {
    /// Workloads to run; all when none is named, under a quota paced-300 and paced-1000. For growth, curves
    workloads: Vec<String>,
    /// Peers: direct, nginx, haproxy, envoy, latticegate (under a quota direct, nginx, latticegate; as explicit proxies
    /// squid, latticegate), or NAME=PATH for another build of latticegate
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Give each peer so many ms of CPU in every 100 ms; without a number 50, half a vCPU
    #[arg(long, value_name = "MS", num_args = 0..=1, require_equals = true, default_missing_value = "50")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000), conflicts_with = "syscalls")]
    quota: Option<u32>,
    /// Compare explicit proxies; `benches/run egress` does
    #[arg(long, conflicts_with_all = ["quota", "syscalls"])]
    egress: bool,
    /// Measure how cost grows by the size of one thing, beside nginx; `benches/run growth` does
    #[arg(long, conflicts_with_all = ["quota", "syscalls", "egress", "instructions"])]
    growth: bool,
    /// Short windows and few rounds
    #[arg(long)]
    quick: bool,
    #[arg(long)]
    rounds: Option<usize>,
    /// Length of a cell's window in milliseconds
    #[arg(long)]
    window: Option<u64>,
    /// Repeat a cell when other processes took more than this percentage of the machine
    #[arg(long, default_value_t = 10)]
    foreign: u32,
    /// Repeat cells only while the run keeps to this many seconds
    #[arg(long)]
    budget: Option<u64>,
    /// Count system calls too (needs strace)
    #[arg(long)]
    syscalls: bool,
    /// Only count user instructions per connection (needs valgrind); `benches/run connection` does
    #[arg(long, conflicts_with_all = ["quota", "syscalls"])]
    instructions: bool,
    /// Write all cells as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the tables as Markdown
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// List the workloads, and stop
    #[arg(long)]
    list: bool,
    /// Only check that each peer relays correctly
    #[arg(long)]
    check: bool,
    /// What cargo passes to a benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    fn role(&self) -> Role {
        if self.egress { Role::Egress } else { Role::Ingress }
    }

    fn peers(&self) -> Vec<&str> {
        match (&self.peers[..], self.quota) {
            ([], None) if self.egress => vec!["squid", "latticegate"],
            ([], None) if self.instructions => vec!["latticegate"],
            ([], None) if self.growth => vec!["nginx", "latticegate"],
            ([], None) => vec!["direct", "nginx", "haproxy", "envoy", "latticegate"],
            ([], Some(_)) => vec!["direct", "nginx", "latticegate"],
            (named, _) => named.iter().map(String::as_str).collect(),
        }
    }

    fn rounds(&self) -> usize {
        let usual = match (self.growth, self.quick) {
            (true, true) => 1,
            (true, false) | (false, true) => 3,
            (false, false) => 5,
        };
        self.rounds.unwrap_or(usual)
    }

    fn window(&self) -> Duration {
        let usual = match (self.quota.is_some(), self.quick) {
            _ if self.growth => 500,
            (false, true) => 700,
            (false, false) => 2000,
            (true, true) => 3000,
            (true, false) => 15_000,
        };
        Duration::from_millis(self.window.unwrap_or(usual))
    }

    fn budget(&self) -> Duration {
        let usual = match (self.quota.is_some(), self.quick) {
            (_, true) if self.growth => 200,
            _ if self.growth => 640,
            (_, true) => 540,
            (true, false) => 1200,
            (false, false) => 2100,
        };
        Duration::from_secs(self.budget.unwrap_or(usual))
    }
}

/// The most that a disturbed cell is repeated.
const REPEATS: usize = 3;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    statistics::check()?;
    Periods::check()?;
    peers::check()?;
    if arguments.growth && arguments.list {
        for curve in curves(&arguments)? {
            print(format_args!("{:14}{:28}{}", curve.name, curve.of, curve.about))?;
        }
        return Ok(());
    }
    let workloads = if arguments.growth { Vec::new() } else { chosen(&arguments)? };
    if arguments.list {
        for workload in &workloads {
            print(format_args!("{:14}{:16}{}", workload.name, workload.unit.name, workload.about))?;
        }
        return Ok(());
    }
    // `cargo bench` and `cargo test --all-targets` start this without a namespace: that is no failure.
    if std::env::var_os("BENCH_NAMESPACE").is_none() {
        return print(format_args!(
            "the arithmetic is right; to measure, this needs a network namespace: start it with benches/run compare"
        ));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // As the first process of its pid namespace this is ended only by signals that it handles.
        let mut terminated = signal(SignalKind::terminate())?;
        tokio::select! {
            result = compare(&arguments, &workloads) => result,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            _ = terminated.recv() => bail!("terminated"),
        }
    })
}

fn chosen(arguments: &Arguments) -> Result<Vec<Workload>> {
    let names = &arguments.workloads;
    let all: Vec<Workload> = match arguments.role() {
        Role::Egress => workloads::egress(),
        Role::Ingress => workloads::all().into_iter().chain(workloads::under_quota()).collect(),
    };
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|workload| workload.name != **name)) {
        let is_number = unknown.parse::<u32>().is_ok() && arguments.quota.is_some();
        let hint = if is_number { format!(", and the quota is written --quota={unknown}") } else { String::new() };
        bail!("no workload is called {unknown}; --list has them all{hint}");
    }
    Ok(match (arguments.list, &names[..]) {
        (true, []) => all,
        (false, []) if arguments.egress => all,
        (false, []) if arguments.quota.is_some() => workloads::under_quota(),
        (false, []) if arguments.instructions => {
            all.into_iter().filter(|workload| connection::usual().any(|name| name == workload.name)).collect()
        }
        (false, []) => workloads::all(),
        _ => all.into_iter().filter(|workload| names.iter().any(|name| name == workload.name)).collect(),
    })
}

/// The curves that were named, or all.
fn curves(arguments: &Arguments) -> Result<Vec<Curve>> {
    let all = workloads::growth::curves(descriptors());
    let names = &arguments.workloads;
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|curve| curve.name != **name)) {
        bail!("no curve is called {unknown}; --list has them all");
    }
    Ok(all.into_iter().filter(|curve| names.is_empty() || names.iter().any(|name| name == curve.name)).collect())
}

async fn compare(arguments: &Arguments, workloads: &[Workload]) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let peers: Vec<Peer> = arguments
        .peers()
        .into_iter()
        .map(|name| Peer::named(name, arguments.role(), &target))
        .collect::<Result<_>>()?;
    raise_descriptor_limit()?;
    upstream::start()?;
    let bench = Bench {
        configurations: root.join("benches/compare/peers"),
        scratch: target.join("bench/run"),
        window: arguments.window(),
        warm_up: Duration::from_millis(300),
        quota: arguments.quota.map(|millis| Quota { millis }),
        dns: dns::start()?,
    };
    let began = Instant::now();
    for peer in &peers {
        let running = bench.start(peer).await?;
        check::all(peer.target(), peer.role()).await.with_context(|| format!("{} does not do the work", peer.name))?;
        drop(running);
        eprintln!("{} {} relays correctly", peer.name, peer.version());
    }
    if arguments.check {
        return Ok(());
    }
    if arguments.instructions {
        return connection::count_all(&bench, &peers, workloads).await;
    }
    if arguments.growth {
        return growth::measure(&bench, &peers, &curves(arguments)?, arguments).await;
    }
    let reference = if arguments.egress { "squid" } else { "nginx" };
    let quota = arguments.quota.is_some();
    let mut report = Report { quota, reference, about: Vec::new(), cells: Vec::new(), calls: Vec::new() };
    let (mut done, cells) = (0, workloads.len() * arguments.rounds() * peers.len());
    for workload in workloads {
        let mut unable: Vec<&str> = Vec::new();
        for round in 0..arguments.rounds() {
            // Another peer begins each round, so that none always runs on a machine warmed by the same neighbour.
            for turn in 0..peers.len() {
                let peer = &peers[(round + turn) % peers.len()];
                if unable.contains(&&*peer.name) || peer.is_direct() && workload.is_about_refusal() {
                    continue;
                }
                // Each cell may use what it and those before it have not used of their shares of the time.
                done += 1;
                let share = arguments.budget().mul_f64(done as f64 / cells as f64);
                let may_repeat = || began.elapsed() < share;
                match quiet_cell(&bench, peer, workload, round, arguments, may_repeat).await {
                    Ok(cell) => {
                        print_cell(&cell, workload.name, &peer.name, workload.unit.name);
                        report.cells.push(cell);
                    }
                    // One peer that cannot do one workload must not cost the run; the table shows a dash.
                    Err(error) => {
                        eprintln!("{} {} round {round}: {error:#}", workload.name, peer.name);
                        unable.push(&peer.name);
                    }
                }
            }
        }
    }
    if arguments.syscalls {
        for workload in workloads.iter().filter(|workload| {
            ["conn", "session", "http", "tls", "refused-list", "refused-name", "echo"].contains(&workload.name)
        }) {
            for peer in peers.iter().filter(|peer| !peer.is_direct()) {
                match syscalls::count(&bench, peer, workload).await {
                    Ok(calls) => report.calls.push(calls),
                    Err(error) => eprintln!("system calls of {}: {error:#}", peer.name),
                }
            }
        }
    }
    report.about = about(arguments, &peers, &report.cells, began.elapsed());
    let names: Vec<String> = peers.iter().map(|peer| peer.name.clone()).collect();
    let markdown = report.markdown(workloads, &names);
    if let Some(path) = &arguments.markdown {
        fs::write(path, &markdown).with_context(|| format!("writing {}", path.display()))?;
    }
    if let Some(path) = &arguments.json {
        fs::write(path, serde_json::to_string_pretty(&report)?)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    // Last: what cannot be printed is in the files.
    print(format_args!("{markdown}"))
}

/// A cell during which others left the machine alone, or else the least disturbed one of some.
async fn quiet_cell(
    bench: &Bench,
    peer: &Peer,
    workload: &Workload,
    round: usize,
    arguments: &Arguments,
    may_repeat: impl Fn() -> bool,
) -> Result<Cell> {
    let limit = f64::from(arguments.foreign) / 100.0;
    let mut best = bench.run(peer, workload, round).await?;
    for _ in 0..REPEATS {
        if best.foreign <= limit || !may_repeat() {
            break;
        }
        let again = bench.run(peer, workload, round).await?;
        if again.foreign < best.foreign {
            best = again;
        }
    }
    Ok(best)
}

fn print_cell(cell: &Cell, what: &str, peer: &str, unit: &str) {
    eprintln!(
        "{what:13} {} {peer:12} {:9.2} {unit}  {:8.1}/s  p50 {} p99 {}  failed {}  others {:.0} %",
        cell.round,
        cell.cpu_per_unit,
        cell.rate,
        cell.p50_micros,
        cell.p99_micros,
        cell.failures,
        cell.foreign * 100.0
    );
}

fn about(arguments: &Arguments, peers: &[Peer], cells: &[Cell], took: Duration) -> Vec<(String, String)> {
    let name = match (arguments.egress, arguments.growth) {
        (true, _) => "egress",
        (_, true) => "growth",
        _ => "compare",
    };
    let mut command = vec![format!("benches/run {name}")];
    let passed_by_run = ["--bench", "--egress", "--growth"];
    command.extend(std::env::args().skip(1).filter(|argument| !passed_by_run.contains(&&**argument)));
    let versions: Vec<String> =
        peers.iter().filter(|peer| !peer.is_direct()).map(|peer| format!("{} {}", peer.name, peer.version())).collect();
    let foreign: Vec<f64> = cells.iter().map(|cell| cell.foreign * 100.0).collect();
    let worst = foreign.iter().copied().fold(0.0, f64::max);
    let middle = statistics::median(&foreign).unwrap_or_default();
    let pairs = [
        ("machine", machine::description()),
        ("congestion control", machine::congestion_control().unwrap_or_else(|error| format!("? ({error:#})"))),
        ("peers", versions.join(", ")),
        ("workers", workers(cells)),
        ("descriptors", format!("{} for each process", descriptors())),
        ("commit", output(Command::new("git").args(["describe", "--always", "--dirty"]))),
        ("compiler", output(Command::new("rustc").arg("--version"))),
        ("date", jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string()),
        ("command", command.join(" ")),
        (
            "cells",
            format!(
                "{} rounds, windows of {} ms, {} s in all",
                arguments.rounds(),
                arguments.window().as_millis(),
                took.as_secs()
            ),
        ),
        (
            "taken by other processes",
            format!("{middle:.0} % of the machine in the median cell, {worst:.0} % in the worst"),
        ),
    ];
    let quota = arguments.quota.map(|millis| ("quota", Quota { millis }.description()));
    quota.into_iter().chain(pairs).map(|(key, value)| (key.to_owned(), value)).collect()
}

/// As they were counted while each peer ran.
fn workers(cells: &[Cell]) -> String {
    let counted: BTreeSet<String> =
        cells.iter().filter(|cell| cell.workers > 0).map(|cell| format!("{} {}", cell.peer, cell.workers)).collect();
    counted.into_iter().collect::<Vec<_>>().join(", ")
}

fn output(command: &mut Command) -> String {
    command.output().map_or("?".into(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Client and upstream of 9 000 idle connections are in this one process.
fn raise_descriptor_limit() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("raising the descriptor limit")
}

/// What a process may have open.
fn descriptors() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}
