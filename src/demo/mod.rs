//! `latticegate demo`: the whole path on one machine, nothing else installed, no root.
//!
//! The data path is the real one; load balancer, resolver, VPC Lattice and the internet are stand-ins
//! on loopback.

mod addresses;
mod authority;
mod calls;
mod check;
mod client;
mod directory;
mod dns;
mod egress;
mod error;
mod evidence;
mod gate;
mod lattice;
mod load_balancer;
mod output;
mod ports;
mod internet;
mod intro;
mod names;
mod log_line;
mod format;
mod sigv4;
mod setup;
mod web_server;

use std::future::Future;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

pub use error::Error;
use format::{GREEN, RED, styled};
use output::Output;
use ports::Preference;
use setup::DemoSetup;

use crate::reload::ReloadEvent;

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Make every request, print pass or fail for each, and exit
    #[arg(long, conflicts_with = "dir")]
    check: bool,
    /// Keep the access list and the certificate in this directory instead of a temporary one
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
}

/// Runs until Ctrl-C, or checks; returns whether all is well.
pub fn run(options: &Options) -> Result<bool, Error> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(Error::of("the runtime"))?;
    runtime.block_on(async {
        let stop = stop_signal().map_err(Error::of("the signals"))?;
        let mut out = Output::start().map_err(Error::of(OUTPUT))?;
        let well = if options.check {
            tokio::select! {
                passed = check(&mut out) => passed,
                // A check that is stopped has not passed.
                () = stop => Ok(false),
            }
        } else {
            run_until_stopped(options, stop, &mut out).await.map(|()| true)
        };
        let written = out.end().await;
        well.and_then(|well| written.map(|()| well).map_err(Error::of(OUTPUT)))
    })
}

async fn check(out: &mut impl Write) -> Result<bool, Error> {
    let mut setup = DemoSetup::start(None, Preference::Any).await?;
    let passed = check::run(&mut setup, out).await.map_err(Error::of(OUTPUT))?;
    setup.gate.stop();
    setup.gate.ended().await?;
    Ok(passed)
}

async fn run_until_stopped(options: &Options, stop: impl Future<Output = ()>, out: &mut Output) -> Result<(), Error> {
    let mut setup = DemoSetup::start(options.dir.as_deref(), Preference::WellKnown).await?;
    let printed = print_events(&mut setup, stop, out).await;
    setup.gate.stop();
    if printed.is_ok() {
        // Connections that were still open have their line too.
        while let Some(line) = setup.log.recv().await {
            let _ = writeln!(out, "{}", format::line(&line));
        }
    }
    setup.gate.ended().await?;
    printed.map_err(Error::of(OUTPUT))
}

const OUTPUT: &str = "the output";

/// Prints connections and changes of the access list as they happen, until `stop`.
async fn print_events(setup: &mut DemoSetup, stop: impl Future<Output = ()>, out: &mut Output) -> io::Result<()> {
    intro::print(setup, out)?;
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return Ok(()),
            failed = out.failed() => return failed,
            Some(line) = setup.log.recv() => writeln!(out, "{}", format::line(&line))?,
            Some(event) = setup.gate.lists.recv() => match event {
                ReloadEvent::Loaded { rules } => writeln!(out, "{} {rules} rules", styled(GREEN, "new access list:"))?,
                ReloadEvent::Failed { why } => writeln!(out, "{}\n{why}", styled(RED, "the old access list stays:"))?,
            },
        }
        out.flush()?;
    }
}

/// Completes at the first SIGINT, SIGTERM, or SIGHUP of a closed terminal: the temporary directory must go.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}
