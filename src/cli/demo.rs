//! `latticegate demo`: the whole path on this machine, or a check of it.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Args;

use super::check::tell;
use super::log;
use crate::demo::{self, Options};
use crate::problem::Severity;

/// Play the whole path on this machine: load balancer, resolver and services are stand-ins on loopback.
///
/// Exit status 0: ended by a signal, or with --check every request ended as it should; 1: something went wrong.
#[derive(Debug, Args)]
pub(super) struct Demo {
    #[command(flatten)]
    options: Options,
}

impl Demo {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (filter, problem) = log::filter("warn");
        tell(Severity::Warning, problem.as_slice())?;
        // The connections tell the story; of the rest only what goes wrong.
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .init();
        let well = demo::run(&self.options)?;
        Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
