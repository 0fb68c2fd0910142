//! How cost grows: each curve of `workloads/growth.rs`, size by size, in interleaved rounds. `benches/run growth` starts this,
//! and `benches/plot` draws what it writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::cell::{Bench, Cell};
use crate::check;
use crate::peers::Peer;
use crate::preface::Shape;
use crate::print::print;
use crate::workloads::growth::{Configuration, Curve};
use crate::{Arguments, about, print_cell, quiet_cell};

/// How often a cell that fails is tried.
const ATTEMPTS: usize = 3;
/// The lines of nginx's configuration that are its access list, and how it gets to the name.
const NGINX_LIST: &str = "    allow 192.168.0.0/16;\n    allow 172.16.0.0/12;\n    allow 10.0.0.0/8;\n    deny all;\n";
const NGINX_NAME: &str = "$ssl_preread_server_name:443";
/// Where all clients of the workload are.
const CLIENTS: &str = "10.0.0.0/8";

/// The file that `benches/plot` reads. What changes its meaning changes `format`.
#[derive(Serialize)]
struct Growth<'a> {
    format: u32,
    about: Vec<(String, String)>,
    curves: Vec<About<'a>>,
    cells: &'a [Point],
}

#[derive(Serialize)]
struct About<'a> {
    name: &'a str,
    about: &'a str,
    of: &'a str,
}

/// A peer at one size in one round.
#[derive(Serialize)]
struct Point {
    curve: &'static str,
    size: usize,
    peer: String,
    round: usize,
    /// Of a new connection: without what those that are held take.
    cpu_micros: f64,
    /// What these take, in CPUs.
    held_cpus: f64,
    p50_micros: u32,
    p99_micros: u32,
    units: u64,
    failures: u64,
    dns_queries: u64,
    memory_empty: u64,
    memory_held: u64,
    memory_loaded: u64,
    foreign: f64,
}

/// A peer as it is configured for a curve.
struct Variant<'a> {
    name: String,
    peer: &'a Peer,
    is_geo: bool,
}

pub async fn measure(bench: &Bench, peers: &[Peer], curves: &[Curve], arguments: &Arguments) -> Result<()> {
    let began = Instant::now();
    let path = arguments.json.clone().unwrap_or_else(|| bench.scratch.join("growth.json"));
    check_hellos(bench, peers).await?;
    let plan: Vec<(&Curve, usize)> =
        curves.iter().flat_map(|curve| curve.sizes.iter().map(move |size| (curve, *size))).collect();
    let (mut cells, mut points) = (Vec::new(), Vec::new());
    for round in 0..arguments.rounds() {
        // A round that is not complete would compare sizes of different rounds. One that is over by a little may be.
        let needed = began.elapsed().mul_f64((round + 1) as f64 / round.max(1) as f64);
        if round > 0 && needed > arguments.budget().mul_f64(1.1) {
            eprintln!(
                "{round} of {} rounds in {} s: no time for another",
                arguments.rounds(),
                began.elapsed().as_secs()
            );
            break;
        }
        for (at, (curve, size)) in plan.iter().enumerate() {
            let variants = variants(peers, curve);
            for turn in 0..variants.len() {
                let variant = &variants[(round + at + turn) % variants.len()];
                let configurations = configured(bench, curve.configuration, *size, variant.is_geo)?;
                let bench = Bench { configurations, ..bench.clone() };
                // Each cell may use what it and those before it have not used of their shares of the time.
                let done = (round * plan.len() + at + 1) as f64 / (arguments.rounds() * plan.len()) as f64;
                let may_repeat = || began.elapsed() < arguments.budget().mul_f64(done);
                let Some(mut cell) = attempted(&bench, variant, curve, *size, round, arguments, may_repeat).await
                else {
                    continue;
                };
                cell.peer.clone_from(&variant.name);
                points.push(Point::new(curve, *size, &cell));
                cells.push(cell);
            }
        }
        // After each round, so that an end before the last one loses little.
        let about = about(arguments, peers, &cells, began.elapsed());
        let curves = curves.iter().map(|curve| About { name: curve.name, about: curve.about, of: curve.of }).collect();
        let growth = Growth { format: 1, about, curves, cells: &points };
        fs::write(&path, growth.json()?).with_context(|| format!("writing {}", path.display()))?;
    }
    print(format_args!("written to {}; benches/plot draws it", path.display()))
}

/// Every peer relays a hello of any size, be it in many records.
async fn check_hellos(bench: &Bench, peers: &[Peer]) -> Result<()> {
    for peer in peers {
        let running = bench.start(peer).await?;
        for (bytes, record) in [(250, None), (16_384, None), (250, Some(64)), (16_384, Some(64))] {
            let relayed = check::relays_hello(peer.target(), Shape::Sized { bytes, record }).await;
            relayed.with_context(|| format!("{}: a hello of {bytes} bytes, record {record:?}", peer.name))?;
        }
        drop(running);
    }
    Ok(())
}

/// nginx reads its list of `allow` from the top; a large one is for `geo`, which is a tree.
fn variants<'a>(peers: &'a [Peer], curve: &Curve) -> Vec<Variant<'a>> {
    let mut variants = Vec::new();
    for peer in peers.iter().filter(|peer| !peer.is_direct()) {
        variants.push(Variant { name: peer.name.clone(), peer, is_geo: false });
        if curve.configuration == Configuration::List && peer.name == "nginx" {
            variants.push(Variant { name: "nginx geo".into(), peer, is_geo: true });
        }
    }
    variants
}

/// One cell; one that fails is tried again, since a measurement of minutes must not end for one of them.
async fn attempted(
    bench: &Bench,
    variant: &Variant<'_>,
    curve: &Curve,
    size: usize,
    round: usize,
    arguments: &Arguments,
    may_repeat: impl Fn() -> bool,
) -> Option<Cell> {
    for _ in 0..ATTEMPTS {
        match quiet_cell(bench, variant.peer, &curve.workload(size), round, arguments, &may_repeat).await {
            Ok(cell) if cell.failures * 100 <= cell.units && of_new_connection(&cell) > 0.0 => {
                print_cell(&cell, &format!("{} {size}", curve.name), &variant.name, "µs/connection");
                return Some(cell);
            }
            Ok(cell) => eprintln!(
                "{} of {size}, {}: disturbed, {} of {} units failed",
                curve.name, variant.name, cell.failures, cell.units
            ),
            Err(error) => eprintln!("{} of {size}, {}: {error:#}", curve.name, variant.name),
        }
    }
    None
}

impl Point {
    fn new(curve: &Curve, size: usize, cell: &Cell) -> Self {
        Self {
            curve: curve.name,
            size,
            peer: cell.peer.clone(),
            round: cell.round,
            cpu_micros: rounded(of_new_connection(cell), 100.0),
            held_cpus: rounded(cell.held_cpus, 1e5),
            p50_micros: cell.p50_micros,
            p99_micros: cell.p99_micros,
            units: cell.units,
            failures: cell.failures,
            dns_queries: cell.dns_queries,
            memory_empty: cell.memory_empty,
            memory_held: cell.memory_held,
            memory_loaded: cell.memory_loaded,
            foreign: rounded(cell.foreign, 1000.0),
        }
    }
}

/// CPU time in µs, without what the connections that are held take meanwhile.
fn of_new_connection(cell: &Cell) -> f64 {
    cell.cpu_per_unit - cell.held_cpus * 1e6 / cell.rate
}

fn rounded(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

impl Growth<'_> {
    /// One cell on a line, so that two results can be compared by eye.
    fn json(&self) -> Result<String> {
        let lines = |values: Vec<serde_json::Result<String>>| -> Result<String> {
            Ok(values.into_iter().collect::<serde_json::Result<Vec<_>>>()?.join(",\n    "))
        };
        Ok(format!(
            "{{\n  \"format\": {},\n  \"about\": [\n    {}\n  ],\n  \"curves\": [\n    {}\n  ],\n  \"cells\": [\n    {}\n  ]\n}}\n",
            self.format,
            lines(self.about.iter().map(serde_json::to_string).collect())?,
            lines(self.curves.iter().map(serde_json::to_string).collect())?,
            lines(self.cells.iter().map(serde_json::to_string).collect())?,
        ))
    }
}

/// A folder of configurations for this size: the peers' own, changed where it has to be.
fn configured(bench: &Bench, configuration: Configuration, size: usize, is_geo: bool) -> Result<PathBuf> {
    if configuration == Configuration::Usual {
        return Ok(bench.configurations.clone());
    }
    let folder = bench.scratch.join("configurations");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    for entry in fs::read_dir(&bench.configurations)? {
        let path = entry?.path();
        fs::copy(&path, folder.join(path.file_name().context("a file has a name")?))?;
    }
    match configuration {
        Configuration::Usual => {}
        Configuration::List => {
            let networks = networks(size);
            let rules = format!("rules:\n  - allow:\n      - {}\n  - deny: all\n", networks.join("\n      - "));
            fs::write(folder.join("ipcontrol.yaml"), rules)?;
            let nginx = folder.join("nginx.conf");
            if is_geo {
                let networks = networks.join(" 0;\n        ");
                let list = format!(
                    "    geo $refused {{\n        default 1;\n        {networks} 0;\n    }}\n    map $refused $destination {{\n        \
                     0 {NGINX_NAME};\n        1 '';\n    }}\n"
                );
                replace(&nginx, &format!("proxy_pass {NGINX_NAME};"), "proxy_pass $destination;")?;
                replace(&nginx, NGINX_LIST, &list)?;
            } else {
                let list = format!("    allow {};\n    deny all;\n", networks.join(";\n    allow "));
                replace(&nginx, NGINX_LIST, &list)?;
            }
        }
        // More than latticegate allows by default, half of its connections. What that costs is to be seen, not the limit.
        Configuration::HalfOpen => {
            let limits = format!("limits: {{ connections: {0}, half_open: {0},", size + 2_000);
            replace(&folder.join("latticegate.yaml"), "limits: {", &limits)?;
        }
    }
    Ok(folder)
}

fn replace(path: &Path, what: &str, by: &str) -> Result<()> {
    let text = fs::read_to_string(path)?;
    ensure!(text.contains(what), "{} has no {what:?} any more", path.display());
    Ok(fs::write(path, text.replacen(what, by, 1))?)
}

/// Different /24 of unicast addresses, scattered, and in their middle the network of the clients.
fn networks(count: usize) -> Vec<String> {
    // An odd factor permutes the 2^24 networks.
    let scattered = (1_u32..).map(|number| number.wrapping_mul(0x009E_3779) & 0x00FF_FFFF);
    let foreign = scattered.map(|network| [(network >> 16) as u8, (network >> 8) as u8, network as u8]);
    let is_foreign = |[a, b, c]: &[u8; 3]| !matches!(a, 0 | 10 | 127 | 224..) && [*a, *b, *c] != [203, 0, 113];
    let mut networks: Vec<String> =
        foreign.filter(is_foreign).take(count - 1).map(|[a, b, c]| format!("{a}.{b}.{c}.0/24")).collect();
    networks.insert(networks.len() / 2, CLIENTS.to_owned());
    networks
}
