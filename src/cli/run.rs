//! `latticegate run`: configuration and access list, then the server.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::check::tell;
use super::{Source, log};
use crate::config::{Config, env};
use crate::gate::StartError;
use crate::problem::Severity;
use crate::reload::SourceError;
use crate::run::{self, Beginning};

/// Serve until SIGTERM or SIGINT.
///
/// The first of them drains: not ready, no new connections after drain.delay, live ones have drain.timeout to end. A
/// second one cuts them. SIGHUP reads the access list again; SIGHUP and SIGUSR1 open an access log that is a file anew.
///
/// Exit status 0: ended by a signal; 1: it could not start.
#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    source: Source,
}

impl Run {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let beginning = Beginning::new().context("cannot start the runtime")?;
        let (config, warnings) = match Config::load(self.source.config.as_deref(), env::of_process()) {
            Ok(loaded) => loaded,
            Err(problems) => {
                tell(Severity::Error, &problems)?;
                return Ok(ExitCode::FAILURE);
            }
        };
        tell(Severity::Warning, &warnings)?;
        log::start("info")?;
        match run::run(beginning, config, self.source.config.as_deref()) {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(StartError::Policy(SourceError::Problems(problems))) => {
                tell(Severity::Error, &problems)?;
                Ok(ExitCode::FAILURE)
            }
            Err(error) => Err(error.into()),
        }
    }
}
