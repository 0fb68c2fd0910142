//! `latticegate run`: configuration and access list, then the server.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::{Source, log};
use crate::control::gate::StartError;
use crate::control::run::{self, Beginning};
use crate::reload::SourceError;
use crate::telemetry::process_log::ProcessLog;
use latticegate_core::diagnostic::Severity;

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
        let log = log::start("info").context("cannot start the thread of the process log")?;
        // From here on all that is said goes that way: standard error may be a pipe that nobody reads.
        let ended = self.serve(beginning, &log);
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
        // Why it did not start is worth a longer wait.
        log.end(if code == ExitCode::SUCCESS { Duration::from_secs(1) } else { Duration::from_secs(5) });
        Ok(code)
    }

    fn serve(self, mut beginning: Beginning, log: &ProcessLog) -> Result<ExitCode, StartError> {
        let Some(configured) = beginning.configure(self.source.config)? else { return Ok(ExitCode::SUCCESS) };
        match configured {
            Ok(configured) => {
                log.report(Severity::Warning, &configured.warnings);
                run::run(beginning, configured)?;
                Ok(ExitCode::SUCCESS)
            }
            Err(diagnostics) => {
                log.report(Severity::Error, &diagnostics);
                Ok(ExitCode::FAILURE)
            }
        }
    }
}
