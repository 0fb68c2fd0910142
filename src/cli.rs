//! The verbs and their help. Each verb's work is in a file of its own.

mod check;
#[cfg(feature = "demo")]
mod demo;
mod diff;
mod explain;
mod healthcheck;
mod import;
mod list;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Layer-4 gate from outside into Amazon VPC Lattice.
///
/// A load balancer passes connections on with a PROXY v2 header; latticegate asks its access list about the
/// client, reads the TLS server name or the HTTP Host ahead, and relays the bytes unchanged to that name's Lattice
/// address.
#[derive(Debug, Parser)]
#[command(name = "latticegate", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve until SIGTERM or SIGINT.
    Run(run::Run),
    /// Say everything that is wrong with the configuration and the access list; bind nothing.
    Check(check::Check),
    /// Say what would happen to a connection, step by step, and why.
    Explain(explain::Explain),
    /// Say what a new access list would change: which addresses, for which names.
    Diff(diff::Diff),
    /// Turn an nginx allow/deny file into an access list.
    Import(import::Import),
    /// Ask the running latticegate whether it is ready, for a container's health check.
    Healthcheck(healthcheck::Healthcheck),
    /// Play the whole path on this machine: load balancer, resolver and services are stand-ins on loopback.
    #[cfg(feature = "demo")]
    Demo(demo::Demo),
}

/// Where the configuration is.
#[derive(Debug, Args)]
struct Source {
    /// The configuration file. Without it the defaults hold, and the access list is
    /// /etc/latticegate/ipcontrol.yaml.
    ///
    /// Every key can also be set by an environment variable, with `__` between levels and YAML as its value:
    /// LATTICEGATE_DNS__TIMEOUT=1s, LATTICEGATE_PROXY_PROTOCOL__TRUSTED='[10.0.0.0/16]',
    /// `LATTICEGATE_LISTENERS__0__BIND='[::]:443'`. The environment wins.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Cli {
    /// Does what was asked for; an error is one that has not been told yet.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.verb {
            Verb::Run(run) => run.run(),
            Verb::Check(check) => check.run(),
            Verb::Healthcheck(check) => check.run(),
            Verb::Explain(explain) => explain.run(),
            Verb::Diff(diff) => diff.run(),
            Verb::Import(import) => import.run(),
            #[cfg(feature = "demo")]
            Verb::Demo(demo) => demo.run(),
        }
    }
}
