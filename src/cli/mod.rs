//! The verbs and their help. Each verb's work is in a file of its own.

mod capacity;
mod check;
#[cfg(feature = "demo")]
mod demo;
mod diff;
mod doctor;
mod explain;
mod healthcheck;
mod import;
mod list;
mod local_http;
mod log;
mod print;
mod replay;
mod run;
mod status;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use self::print::printed;

pub use self::print::Unwritten;

/// Layer-4 gate from outside into Amazon VPC Lattice.
///
/// A load balancer passes connections on with a PROXY v2 header; latticegate checks the client against
/// its access list, reads the TLS server name or the HTTP Host ahead, and relays the bytes unchanged to the Lattice
/// address of that name.
#[derive(Debug, Parser)]
#[command(name = "latticegate", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
// The help of a verb is at its type: a comment on the variant would replace it.
enum Verb {
    Run(run::RunArgs),
    Check(check::CheckArgs),
    Explain(explain::ExplainArgs),
    Diff(diff::DiffArgs),
    Import(import::ImportArgs),
    Doctor(doctor::DoctorArgs),
    Status(status::StatusArgs),
    Healthcheck(healthcheck::HealthcheckArgs),
    Capacity(capacity::CapacityArgs),
    #[cfg(feature = "demo")]
    Demo(demo::DemoArgs),
}

/// Where the configuration is.
#[derive(Debug, Args)]
struct ConfigArgs {
    /// The configuration file. Without it the defaults apply, and the access list is
    /// /etc/latticegate/ipcontrol.yaml.
    ///
    /// Every key can also be set by an environment variable, with two underscores between levels and YAML as the value:
    /// LATTICEGATE_DNS__TIMEOUT=1s, LATTICEGATE_PROXY_PROTOCOL__TRUSTED='[10.0.0.0/16]',
    /// LATTICEGATE_LISTENERS__0__UPSTREAM_PORT=8443. The environment takes precedence.
    #[arg(long = "config", value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Runs the verb that the command line has. An error has not been printed yet.
pub fn run() -> anyhow::Result<ExitCode> {
    Cli::try_parse().map_or_else(|instead| show(&instead), Cli::run)
}

/// Help that was asked for goes to standard output, what is wrong with the arguments to standard error.
fn show(instead: &clap::Error) -> anyhow::Result<ExitCode> {
    let shown = instead.print().and_then(|()| io::stdout().flush());
    if !instead.use_stderr() {
        printed(shown)?;
    }
    Ok(ExitCode::from(u8::try_from(instead.exit_code())?))
}

impl Cli {
    fn run(self) -> anyhow::Result<ExitCode> {
        match self.verb {
            Verb::Run(run) => run.run(),
            Verb::Check(check) => check.run(),
            Verb::Healthcheck(check) => check.run(),
            Verb::Explain(explain) => explain.run(),
            Verb::Diff(diff) => diff.run(),
            Verb::Import(import) => import.run(),
            Verb::Doctor(doctor) => doctor.run(),
            Verb::Status(status) => status.run(),
            Verb::Capacity(capacity) => capacity.run(),
            #[cfg(feature = "demo")]
            Verb::Demo(demo) => demo.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_verb_documents_its_exit_status_and_its_arguments() {
        let mut verbs = 0;
        for mut verb in Cli::command().get_subcommands().cloned() {
            let (name, help) = (verb.get_name().to_owned(), verb.render_long_help().to_string());
            assert!(help.contains("Exit status"), "{name}: {help}");
            assert!(!help.contains('`'), "{name}: {help}");
            assert!(verb.get_about().is_some_and(|about| !about.to_string().contains('\n')), "{name}");
            for argument in verb.get_arguments() {
                assert!(argument.get_help().is_some(), "{name} {}", argument.get_id());
            }
            verbs += 1;
        }
        assert!(verbs >= 6);
    }
}
