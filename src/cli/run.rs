//! `latticegate run`: configuration and access list, then the server.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tracing::level_filters::LevelFilter;

use super::{ConfigArgs, log};
use crate::control::gate::StartError;
use crate::control::run::{self, Startup};
use crate::reload::SourceError;
use crate::telemetry::process_log::ProcessLog;
use latticegate_core::diagnostic::Severity;

/// Serve until SIGTERM or SIGINT.
///
/// The first signal drains: the process reports not ready, stops accepting after drain.delay, and gives open
/// connections drain.timeout to end. A second signal cuts them. SIGHUP reloads the access list; SIGHUP and SIGUSR1
/// reopen the access log if it is a file. SIGUSR2 turns debug lines of the process log on, and off again.
///
/// Exit status 0: ended by a signal; 1: it could not start.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

impl RunArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let startup = Startup::new().context("cannot start the runtime")?;
        let log = log::start(LevelFilter::INFO).context("cannot start the thread of the process log")?;
        // From here on everything is logged: standard error may be a pipe that is not read.
        let ended = self.serve(startup, &log);
        let code = match ended {
            Ok(code) => code,
            Err(StartError::Policy(SourceError::Invalid(diagnostics))) => {
                log.report(Severity::Error, &diagnostics);
                ExitCode::FAILURE
            }
            Err(error) => {
                log.line(format_args!("error: {error}"));
                ExitCode::FAILURE
            }
        };
        // A reason for not starting is worth a longer wait.
        log.end(if code == ExitCode::SUCCESS { Duration::from_secs(1) } else { Duration::from_secs(5) });
        Ok(code)
    }

    fn serve(self, mut startup: Startup, log: &ProcessLog) -> Result<ExitCode, StartError> {
        let Some(configured) = startup.configure(self.config.file)? else { return Ok(ExitCode::SUCCESS) };
        match configured {
            Ok(configured) => {
                configured.summarize();
                log.report(Severity::Warning, &configured.warnings);
                run::run(startup, configured)?;
                Ok(ExitCode::SUCCESS)
            }
            Err(diagnostics) => {
                log.report(Severity::Error, &diagnostics);
                Ok(ExitCode::FAILURE)
            }
        }
    }
}
