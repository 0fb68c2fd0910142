//! The access list by its size: nanoseconds for a decision, time and memory to load it.
//! `benches/run access_list` builds and starts this.
//!
//! Each list has a process of its own, so that its memory can be read from the kernel. Clients are drawn anew for each decision
//! from a set that does not fit into the processor's nearest cache, as clients of a real gate do not either.
#![allow(clippy::as_conversions, clippy::indexing_slicing, reason = "random bits are cut into addresses")]

#[path = "../compare/print.rs"]
#[allow(unreachable_pub, reason = "compare has it public")]
mod print;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use latticegate_core::client::Client;
use latticegate_core::diagnostic::Origin;
use latticegate_core::hostname::Hostname;
use latticegate_core::policy::{ListenerView, Policy, RequestedPort};

use self::print::print;

/// Measures decisions and loading of access lists of 10, 1 000 and 100 000 networks.
#[derive(Parser)]
#[command(bin_name = "benches/run access_list")]
struct Arguments {
    /// Measure one list (the program starts itself)
    #[arg(long, hide = true, value_enum, requires = "networks")]
    shape: Option<Shape>,
    #[arg(long, hide = true)]
    networks: Option<usize>,
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Shape {
    /// `- deny: [n networks]`, then `- allow: all`
    OneRule,
    /// n rules of one network each, allow and deny in turn
    Rules,
}

const SIZES: [usize; 3] = [10, 1_000, 100_000];
const CLIENTS: usize = 100_000;
const ROUNDS: usize = 21;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let (Some(shape), Some(networks)) = (arguments.shape, arguments.networks) {
        print(format_args!("{}", measure(shape, networks)?))?;
        return Ok(());
    }
    if !arguments.bench {
        print(format_args!("started as a test: nothing to do; see benches/run access_list"))?;
        return Ok(());
    }
    print(format_args!(
        "| list | admit, ns | route, ns | load, ms | text, KiB | memory, MiB | peak while loading, MiB |"
    ))?;
    print(format_args!("|---|---|---|---|---|---|---|"))?;
    for shape in Shape::value_variants() {
        for networks in SIZES {
            let name = shape.to_possible_value().context("every shape has a name")?;
            let output = Command::new(std::env::current_exe()?)
                .args(["--shape", name.get_name(), "--networks", &networks.to_string()])
                .output()?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            print(format_args!("{}", String::from_utf8_lossy(&output.stdout).trim_end()))?;
        }
    }
    Ok(())
}

fn measure(shape: Shape, networks: usize) -> Result<String> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let list = random.networks(networks);
    let clients: Vec<Client> = (0..CLIENTS).map(|number| random.client(&list, number)).collect();
    let text = text(shape, &list);
    let before = resident("VmRSS")?;
    let begun = Instant::now();
    let policy = match Policy::parse(&text, Origin::file("ipcontrol.yaml")) {
        Ok(policy) => policy,
        Err(problems) => bail!("the access list has {} problems: {}", problems.len(), problems[0]),
    };
    let load = begun.elapsed();
    let (after, peak) = (resident("VmRSS")?, resident("VmHWM")?);
    let listener = ListenerView { name: "tls", port: RequestedPort::Public(443), now: SystemTime::UNIX_EPOCH };
    let name = Hostname::parse(b"orders.example.com")?;
    let admit = nanoseconds(&clients, |client| {
        black_box(policy.admit(client, &listener));
    });
    let route = nanoseconds(&clients, |client| {
        black_box(policy.route(client, &listener, &name));
    });
    let mib = |kib: u64| kib as f64 / 1024.0;
    let what = match shape {
        Shape::OneRule => format!("1 rule of {networks} networks"),
        Shape::Rules => format!("{networks} rules of 1 network"),
    };
    let mut row = String::new();
    write!(row, "| {what} | {admit:.0} | {route:.0} | {:.2} ", load.as_secs_f64() * 1e3)?;
    write!(row, "| {} ", text.len() / 1024)?;
    write!(row, "| {:.1} | {:.1} |", mib(after.saturating_sub(before)), mib(peak.saturating_sub(before)))?;
    Ok(row)
}

/// Of one decision, in the best of the rounds: what else runs on the machine only adds.
fn nanoseconds(clients: &[Client], decide: impl Fn(&Client)) -> f64 {
    let round = || {
        let begun = Instant::now();
        clients.iter().for_each(|client| decide(black_box(client)));
        begun.elapsed()
    };
    let best = (0..ROUNDS).map(|_| round()).min().unwrap_or_default();
    best.as_nanos() as f64 / clients.len() as f64
}

fn text(shape: Shape, networks: &[IpNet]) -> String {
    let mut text = String::from("rules:\n");
    match shape {
        Shape::OneRule => {
            text.push_str("- deny:\n");
            for network in networks {
                text.push_str(&format!("  - {network}\n"));
            }
            text.push_str("- allow: all\n");
        }
        Shape::Rules => {
            for (number, network) in networks.iter().enumerate() {
                let action = if number % 2 == 0 { "allow" } else { "deny" };
                text.push_str(&format!("- {action}: {network}\n"));
            }
        }
    }
    text
}

/// KiB, as the kernel counts them for this process.
fn resident(what: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()).context("the kernel reports it")?;
    Ok(number.parse()?)
}

/// xorshift64*: the same lists and clients in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Different ones: four fifths IPv4 of /12 to /32, mostly /24, one fifth IPv6 of /32 to /64.
    fn networks(&mut self, count: usize) -> Vec<IpNet> {
        let (mut list, mut seen) = (Vec::with_capacity(count), HashSet::new());
        while list.len() < count {
            let (bits, pick) = (self.next(), self.next() % 100);
            let network = if pick < 80 {
                let length = if pick < 48 { 24 } else { 12 + (self.next() % 21) as u8 };
                Ipv4Net::new_assert(Ipv4Addr::from(bits as u32), length).trunc().into()
            } else {
                let length = [32, 48, 56, 64][(self.next() % 4) as usize];
                IpNet::from(Ipv6Net::new_assert(global(bits), length).trunc())
            };
            if seen.insert(network) {
                list.push(network);
            }
        }
        list
    }

    /// Every other one is in one of the networks.
    fn client(&mut self, networks: &[IpNet], number: usize) -> Client {
        let bits = self.next();
        let ip = match (number % 2, networks[(bits as usize >> 8) % networks.len()]) {
            (0, network) => network.addr(),
            (_, IpNet::V4(_)) => IpAddr::V4(Ipv4Addr::from(self.next() as u32)),
            (_, IpNet::V6(_)) => IpAddr::V6(global(self.next())),
        };
        Client::new(SocketAddr::new(ip, 40_000), None)
    }
}

/// In 2000::/12, its first 64 bits random.
fn global(bits: u64) -> Ipv6Addr {
    Ipv6Addr::from((u128::from(bits) >> 12 | 0x2 << 60) << 64)
}
