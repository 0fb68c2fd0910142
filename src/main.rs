//! Arguments → verb → exit status.

use std::process::ExitCode;

use clap::Parser;
use latticegate::cli::Cli;

fn main() -> anyhow::Result<ExitCode> {
    Cli::parse().run()
}
