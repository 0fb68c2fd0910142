//! `latticegate demo`: the whole path on this machine, or a check of it.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tracing::level_filters::LevelFilter;

use super::log;
use super::print::Unwritten;
use crate::demo::{self, Options};

/// Run the whole path on this machine: load balancer, resolver, services and the internet are stand-ins on loopback.
///
/// Exit status 0: ended by a signal, or with --check every request ended as expected; 1: something went wrong.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    #[command(flatten)]
    options: Options,
}

impl DemoArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        // The connections are printed; of everything else only warnings are.
        let log = log::start(LevelFilter::WARN)?;
        let well = demo::run(&self.options);
        log.end(Duration::from_secs(1));
        match well.map_err(demo::Error::into_output) {
            Ok(true) => Ok(ExitCode::SUCCESS),
            Ok(false) => Ok(ExitCode::FAILURE),
            Err(Ok(unwritten)) => Err(Unwritten(unwritten).into()),
            Err(Err(error)) => Err(error.into()),
        }
    }
}
