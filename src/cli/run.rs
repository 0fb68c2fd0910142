//! `latticegate run`: configuration and access list, then the server.

use std::process::ExitCode;

use clap::Args;

use super::Source;
use super::check::tell;
use crate::config::{Config, env};
use crate::policy::Policy;

#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    source: Source,
}

impl Run {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let loaded = Config::load(self.source.config.as_deref(), env::of_process())
            .and_then(|(config, warnings)| Ok((Policy::load(&config.policy)?, config, warnings)));
        let (_policy, _config, warnings) = match loaded {
            Ok(loaded) => loaded,
            Err(problems) => {
                tell("error", &problems)?;
                return Ok(ExitCode::FAILURE);
            }
        };
        tell("warning", &warnings)?;
        // MERGE: the server starts here, `crate::run::run(config, policy)`.
        anyhow::bail!("this build has no server yet")
    }
}
