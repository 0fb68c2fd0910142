//! The verbs and their help. Each verb's work is in a file of its own.

mod check;
#[cfg(feature = "demo")]
mod demo;
mod diff;
mod explain;
mod healthcheck;
mod import;
mod list;
mod log;
mod print;
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
// What a verb does is told at its type: a comment on the variant would take that text's place in the help.
enum Verb {
    Run(run::Run),
    Check(check::Check),
    Explain(explain::Explain),
    Diff(diff::Diff),
    Import(import::Import),
    Healthcheck(healthcheck::Healthcheck),
    #[cfg(feature = "demo")]
    Demo(demo::Demo),
}

/// Where the configuration is.
#[derive(Debug, Args)]
struct Source {
    /// The configuration file. Without it the defaults hold, and the access list is
    /// /etc/latticegate/ipcontrol.yaml.
    ///
    /// Every key can also be set by an environment variable, with two underscores between levels and YAML as its value:
    /// LATTICEGATE_DNS__TIMEOUT=1s, LATTICEGATE_PROXY_PROTOCOL__TRUSTED='[10.0.0.0/16]',
    /// LATTICEGATE_LISTENERS__0__UPSTREAM_PORT=8443. The environment wins.
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_verb_tells_its_exit_status_and_every_argument_what_it_is() {
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
