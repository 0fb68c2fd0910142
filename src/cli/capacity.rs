//! `latticegate capacity`: how many tasks carry a load, what they cost, and which limit decides.
//!
//! Arithmetic on measured figures and on limits that are documented; nothing is asked and nothing is measured here.

mod limits; // what ends at which number
mod load; // what is to be carried
mod measured; // the one file of measured figures
mod plan; // how many tasks
mod price; // what they cost
mod report; // lines and JSON
mod size; // sizes of tasks
mod table; // columns

use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, ValueEnum};
use latticegate_core::config::LogKeep;
use latticegate_core::yaml::FromScalar;

use self::load::{Fleet, HANDSHAKE_BYTES, LATTICE_SECONDS, Listener, Load, LogLines};
use self::measured::Measured;
use self::plan::Plan;
use self::price::{Price, Prices};
use self::report::Report;
use self::size::Size;
use super::print::{print, say};

/// Plan a fleet: tasks, cost a month, and which limit binds, for a load.
///
/// Prints what the load needs, how many tasks of each size carry it while one zone is lost, what these cost on Fargate,
/// load balancer and log, and how close each limit is: those of the load balancer, of Lattice, of DNS, of ports and open
/// files, and those of latticegate. The size marked * is the cheapest, or the one of --cpu. What was measured and what
/// was not is in docs/capacity.md.
///
/// Exit status 0: every limit holds; 1: one is exceeded that more tasks do not help, and is printed as over; 2: the
/// arguments make no sense.
#[derive(Debug, Args)]
pub(super) struct CapacityArgs {
    /// New connections each second.
    #[arg(long, value_name = "N", default_value = "0", value_parser = amount)]
    connections_per_second: f64,
    /// Connections that are open at the same time and on which nothing moves.
    #[arg(long, value_name = "N", default_value = "0", value_parser = amount)]
    idle_connections: f64,
    /// How long Lattice keeps a connection on which nothing moves (idleTimeoutSeconds of the service); then it is opened
    /// anew.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(60..=600))]
    idle_seconds: u32,
    /// Requests on each new connection.
    #[arg(long, value_name = "N", default_value = "1", value_parser = amount)]
    requests_per_connection: f64,
    /// Bytes of each new connection, both directions together.
    #[arg(long, value_name = "BYTES", default_value = "10240", value_parser = amount)]
    bytes_per_connection: f64,
    /// Traffic in all, in place of --bytes-per-connection.
    #[arg(long, value_name = "GBIT", value_parser = amount, conflicts_with = "bytes_per_connection")]
    gbits_per_second: Option<f64>,
    /// How long each new connection stays open; Lattice ends it after 600 seconds.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = amount)]
    seconds_per_connection: f64,
    /// What clients connect to.
    #[arg(long, value_enum, default_value = "tls")]
    listener: Listener,
    /// Services of Lattice among which the load is divided evenly.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    services: u32,
    /// Names in use; without it as many as services.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    names: Option<u32>,
    /// Zones that the fleet runs in.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=6))]
    zones: u32,
    /// Percent of CPU and memory that may be in use while a zone is lost. The templates scale at 70 percent of CPU.
    #[arg(long, value_name = "PERCENT", default_value_t = 70, value_parser = clap::value_parser!(u32).range(10..=100))]
    utilisation: u32,
    /// Size of a task in vCPU: 0.25, 0.5, 1, 2, 4, 8 or 16. Without it the cheapest of the templates' sizes.
    #[arg(long, value_name = "VCPU", value_parser = amount)]
    cpu: Option<f64>,
    /// Memory of a task in GB; without it the least that Fargate has for --cpu.
    #[arg(long, value_name = "GB", value_parser = amount, requires = "cpu")]
    memory: Option<f64>,
    /// Open files that a task may have (nofile).
    #[arg(long, value_name = "N", default_value_t = 1 << 20, value_parser = clap::value_parser!(u64).range(64..))]
    open_files: u64,
    /// The kernel's local ports and 60 s of TIME_WAIT, as with WidePorts=false in the templates.
    #[arg(long)]
    narrow_ports: bool,
    /// Which connections have a line in the log: all, failures, or "sample 1/100".
    #[arg(long, value_name = "KEEP", default_value = "all", value_parser = keep)]
    log_keep: Keep,
    /// How a line is written.
    #[arg(long, value_enum, default_value = "json")]
    log_format: Format,
    /// A price in USD in place of the list price of US East (N. Virginia): arm-vcpu-hour, arm-gb-hour, x86-vcpu-hour,
    /// x86-gb-hour, nlb-hour, nlcu-hour or log-gb. Again for each.
    #[arg(long = "price", value_name = "NAME=USD", value_parser = price::named)]
    prices: Vec<(Price, f64)>,
    /// One object on standard output.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Json,
    Nginx,
}

/// As it was written, and what it means.
#[derive(Debug, Clone)]
struct Keep {
    text: String,
    keep: LogKeep,
}

impl CapacityArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (load, chosen) = match self.load().and_then(|load| Ok((load, self.size()?))) {
            Ok(asked) => asked,
            Err(error) => {
                // 1 would mean that a limit is exceeded.
                say(format_args!("error: {error:#}"));
                return Ok(ExitCode::from(2));
            }
        };
        let measured = Measured::shipped();
        let fleet = Fleet {
            zones: f64::from(self.zones),
            utilisation: f64::from(self.utilisation) / 100.0,
            open_files: self.open_files,
            wide_ports: !self.narrow_ports,
        };
        let bytes = if self.log_format == Format::Json { measured.log_json } else { measured.log_nginx };
        let log = LogLines { keep: self.log_keep.keep, bytes };
        let prices = Prices { given: self.prices };
        let mut plans: Vec<Plan> = Size::SHIPPED.map(|size| Plan::new(&load, &fleet, size, &measured)).into();
        let chosen = match chosen {
            Some(size) => Plan::new(&load, &fleet, size, &measured),
            None => Plan::recommended(&load, &fleet, &measured, &prices),
        };
        if plans.iter().all(|plan| plan.tasks != chosen.tasks) {
            plans.push(chosen.clone());
        }
        let report = Report {
            load: &load,
            fleet: &fleet,
            measured: &measured,
            prices: &prices,
            log: &log,
            log_keep: &self.log_keep.text,
            plans: &plans,
            chosen: &chosen,
        };
        print(|out| if self.json { writeln!(out, "{:#}", report.to_json()) } else { write!(out, "{report}") })?;
        Ok(if report.fits() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn load(&self) -> anyhow::Result<Load> {
        let (new, idle) = (self.connections_per_second, self.idle_connections);
        if new == 0.0 && idle == 0.0 {
            bail!("no load is given; write --connections-per-second, --idle-connections or both");
        }
        if self.requests_per_connection < 1.0 {
            bail!("--requests-per-connection {}: a connection has one request at least", self.requests_per_connection);
        }
        if self.seconds_per_connection > LATTICE_SECONDS {
            let seconds = self.seconds_per_connection;
            bail!("--seconds-per-connection {seconds}: Lattice ends a connection after {LATTICE_SECONDS} s");
        }
        let names = self.names.unwrap_or(self.services);
        if names < self.services {
            bail!("--names {names}: each service has a name at least, and there are --services {}", self.services);
        }
        let services = f64::from(self.services);
        let idle_seconds = f64::from(self.idle_seconds);
        let handshake = if self.listener == Listener::Tls { HANDSHAKE_BYTES } else { 0.0 };
        let bytes = new * self.bytes_per_connection + idle / idle_seconds * handshake;
        Ok(Load {
            listener: self.listener,
            connections_per_second: new,
            requests_per_connection: self.requests_per_connection,
            seconds_per_connection: self.seconds_per_connection,
            bytes_per_second: self.gbits_per_second.map_or(bytes, |gbits| gbits * 1e9 / 8.0),
            idle,
            idle_seconds,
            services,
            names: f64::from(names),
        })
    }

    fn size(&self) -> anyhow::Result<Option<Size>> {
        let size = self.cpu.map(|vcpu| Size::new(vcpu, self.memory)).transpose();
        size.map_err(anyhow::Error::msg)
    }
}

/// More than any fleet has, and few enough digits to be counted exactly.
const MOST: f64 = 1e12;

fn amount(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "is not a number".to_owned())?;
    match (0.0..=MOST).contains(&value) {
        // -0 is 0, without its sign.
        true => Ok(value.abs()),
        false => Err(format!("is not from 0 to {MOST}")),
    }
}

fn keep(text: &str) -> Result<Keep, String> {
    let keep = LogKeep::from_scalar(text).map_err(|error| format!("{}; {}", error.message, error.help))?;
    Ok(Keep { text: text.to_owned(), keep })
}
