//! The command line, and what it asks for.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Error, Result, ensure};
use clap::{Parser, ValueEnum};
use hyper::header::{HeaderName, HeaderValue};

use crate::plan::Load;
use crate::target::{ConnectTo, Target};

/// Tasks of one definition differ in their environment only.
const GENERATOR: &str = "LATTICEGATE_LOAD_GENERATOR";

/// Sends requests through a deployed latticegate at planned moments, however slowly they are answered, and reports what became
/// of them. Exit status: 0, or 1 if more than --allowed-errors failed or nothing was sent, or 2 if it could not run or write
/// its report.
#[derive(Parser, Debug)]
#[command(name = "latticegate-load", bin_name = "benches/run load", version)]
pub struct Arguments {
    /// What to request, https://… or http://…; more than once: the users are divided among them
    #[arg(long = "url", value_name = "URL", required_unless_present = "merge")]
    pub urls: Vec<Target>,
    /// Connect to this name or address, such as the load balancer's, whatever the URL's; its port is the URL's unless given
    #[arg(long, value_name = "NAME[:PORT]")]
    pub connect: Option<ConnectTo>,
    /// A load that has a name; the next four change it. Without: 10 users, 10 requests/s, no ramp, 30 s
    #[arg(long, value_enum)]
    pub scenario: Option<Scenario>,
    /// Users; each has one connection, and waits for the answer before the next request is sent
    #[arg(long)]
    pub users: Option<usize>,
    /// Requests per second of all users together, when all have come
    #[arg(long, value_name = "PER_SECOND")]
    pub rate: Option<f64>,
    /// The time over which users come one after the other, such as 5min
    #[arg(long, value_parser = humantime::parse_duration)]
    pub ramp: Option<Duration>,
    /// The time for which all users stay, after the ramp, such as 20min
    #[arg(long, value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
    /// This is one of so many generators, at most as many as users, and takes its share of users and rate
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub generators: u16,
    /// Which of them, from 1 on: needed where the users cannot be divided evenly
    #[arg(long, value_name = "NUMBER", env = GENERATOR)]
    pub generator: Option<u16>,
    /// A connection for each request, instead of one that each user keeps
    #[arg(long)]
    pub no_keep_alive: bool,
    /// How long a request may take, with its connection and handshake
    #[arg(long, default_value = "90s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// Sent with each request, as in 'Name: value'
    #[arg(long = "header", value_name = "FIELD")]
    pub headers: Vec<Field>,
    /// Trust the certificate authorities of this PEM file, instead of the system's
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    /// Do not verify certificates
    #[arg(long, conflicts_with = "cacert")]
    pub insecure: bool,
    /// Sign requests for this service (vpc-lattice-svcs), with the credentials of the environment or of the ECS task
    #[arg(long, value_name = "SERVICE")]
    pub sigv4: Option<String>,
    /// The region to sign for; without: AWS_REGION
    #[arg(long, requires = "sigv4")]
    pub region: Option<String>,
    /// Send a PROXY v2 header with this machine's address first: to try a latticegate without a load balancer
    #[arg(long)]
    pub proxy_protocol: bool,
    /// How often to report progress, on standard error
    #[arg(long, default_value = "5s", value_name = "INTERVAL", value_parser = humantime::parse_duration)]
    pub report: Duration,
    /// Write the report as one line of JSON
    #[arg(long)]
    pub json: bool,
    /// How many requests may fail, as a number or in percent, such as 10 or 0.1%
    #[arg(long, default_value = "0", value_name = "NUMBER")]
    pub allowed_errors: Allowed,
    /// Threads; without: one for each CPU
    #[arg(long)]
    pub threads: Option<usize>,
    /// Choose the plan's random moments; the same number gives the same plan
    #[arg(long)]
    pub seed: Option<u32>,
    /// Send nothing: add up the JSON reports in these files, one of each generator
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "urls")]
    pub merge: Vec<PathBuf>,
}

/// A load that has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// The published test of the AWS guidance: 5 000 users, who come within 5 minutes and stay for 20, 3 000 requests/s
    Guidance,
}

impl Scenario {
    fn load(scenario: Option<Self>) -> Load {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        match scenario {
            Some(Self::Guidance) => Load { users: 5_000, rate: 3_000.0, ramp: minutes(5), steady: minutes(20) },
            None => Load { users: 10, rate: 10.0, ramp: Duration::ZERO, steady: Duration::from_secs(30) },
        }
    }
}

impl Arguments {
    /// This generator's share of the load.
    pub fn load(&self) -> Result<Load> {
        let usual = Scenario::load(self.scenario);
        let (users, rate) = (self.users.unwrap_or(usual.users), self.rate.unwrap_or(usual.rate));
        ensure!((1..=1_000_000).contains(&users), "--users {users}: from 1 to 1000000");
        ensure!(
            users >= self.generators.into(),
            "--users {users}: fewer than --generators {}, each of which needs one at least",
            self.generators
        );
        ensure!((0.001..=1e6).contains(&rate), "--rate {rate}: from 0.001 to 1000000 requests per second");
        let share = self.share(users)?;
        let load = Load {
            users: share,
            // So that each user asks as often as those of the other generators.
            rate: rate * share as f64 / users as f64,
            ramp: self.ramp.unwrap_or(usual.ramp),
            steady: self.duration.unwrap_or(usual.steady),
        };
        ensure!(load.length() <= DAY, "--ramp and --duration: a day at most, together");
        ensure!(!load.steady.is_zero(), "--duration 0: nothing would be measured");
        Ok(load)
    }

    /// Of the users: those of all generators together are exactly as many.
    fn share(&self, users: usize) -> Result<usize> {
        let generators = usize::from(self.generators);
        let (each, over) = (users / generators, users % generators);
        let Some(one) = self.generator else {
            ensure!(
                over == 0,
                "--users {users}: cannot be divided evenly by --generators {generators}; say which of them this is, with --generator"
            );
            return Ok(each);
        };
        ensure!((1..=generators).contains(&one.into()), "--generator {one}: from 1 to --generators {generators}");
        Ok(each + usize::from(usize::from(one) <= over))
    }

    pub fn check(&self) -> Result<()> {
        ensure!((Duration::from_millis(1)..=DAY).contains(&self.timeout), "--timeout: from 1ms to 1day");
        ensure!((Duration::from_millis(100)..=DAY).contains(&self.report), "--report: from 100ms to 1day");
        let encrypted = self.urls.iter().any(|target| target.tls);
        ensure!(encrypted || self.cacert.is_none(), "--cacert: no --url begins with https://");
        Ok(())
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A header field.
#[derive(Debug, Clone)]
pub struct Field {
    pub name: HeaderName,
    pub value: HeaderValue,
}

impl FromStr for Field {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, value) = text.split_once(':').context("a field is like 'Name: value'")?;
        let name: HeaderName = name.trim().parse().context("the name of the field")?;
        ensure!(name != hyper::header::HOST, "Host is the URL's; use --connect to reach another address");
        Ok(Self { name, value: value.trim().parse().context("the value of the field")? })
    }
}

/// How many requests may fail.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Allowed {
    Count(u64),
    Percent(f64),
}

impl Allowed {
    pub fn permit(self, failed: u64, planned: u64) -> bool {
        match self {
            Self::Count(count) => failed <= count,
            Self::Percent(percent) => failed as f64 * 100.0 <= planned as f64 * percent,
        }
    }
}

impl FromStr for Allowed {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        const FORM: &str = "it is a number or a percentage, such as 10 or 0.1%";
        let Some(percent) = text.strip_suffix('%') else { return Ok(Self::Count(text.parse().context(FORM)?)) };
        let percent: f64 = percent.trim().parse().context(FORM)?;
        ensure!((0.0..=100.0).contains(&percent), FORM);
        Ok(Self::Percent(percent))
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}
