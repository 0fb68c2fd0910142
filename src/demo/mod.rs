//! `latticegate demo`: the whole path on one machine, nothing else installed, no root.
//!
//! The data path is the real one; load balancer, resolver and VPC Lattice are stand-ins on loopback.

mod authority;
mod calls;
mod check;
mod client;
mod directory;
mod dns;
mod error;
mod gate;
mod lattice;
mod load_balancer;
mod output;
mod ports;
mod programme;
mod scene;
mod seen;
mod show;
mod sigv4;
mod stage;

use std::future::Future;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

pub use error::Error;
use output::Output;
use ports::Preference;
use show::{GREEN, RED, styled};
use stage::Stage;

use crate::reload::ReloadEvent;

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Make every request at once, print pass or fail for each, and end
    #[arg(long, conflicts_with = "dir")]
    check: bool,
    /// Keep the access list and the certificate here; a temporary directory otherwise
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
}

/// Plays until Ctrl-C, or checks; says whether all is well.
pub fn run(options: &Options) -> Result<bool, Error> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(Error::of("the runtime"))?;
    runtime.block_on(async {
        let stop = stopped().map_err(Error::of("the signals"))?;
        let mut out = Output::start().map_err(Error::of(OUTPUT))?;
        let well = if options.check {
            tokio::select! {
                passed = check(&mut out) => passed,
                // Whoever stops the check has not seen it pass.
                () = stop => Ok(false),
            }
        } else {
            play(options, stop, &mut out).await.map(|()| true)
        };
        out.end().await;
        well
    })
}

async fn check(out: &mut impl Write) -> Result<bool, Error> {
    let mut stage = Stage::set(None, Preference::Any).await?;
    let passed = check::run(&mut stage, out).await.map_err(Error::of(OUTPUT))?;
    stage.gate.stop();
    stage.gate.ended().await?;
    Ok(passed)
}

async fn play(options: &Options, stop: impl Future<Output = ()>, out: &mut Output) -> Result<(), Error> {
    let mut stage = Stage::set(options.dir.as_deref(), Preference::WellKnown).await?;
    let told = tell(&mut stage, stop, out).await;
    stage.gate.stop();
    if told.is_ok() {
        // What was still open has its line too.
        while let Some(seen) = stage.seen.recv().await {
            let _ = writeln!(out, "{}", show::line(&seen));
        }
    }
    stage.gate.ended().await?;
    match told {
        // The reader of our output has gone, as `| head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        told => told.map_err(Error::of(OUTPUT)),
    }
}

const OUTPUT: &str = "the output";

/// Shows connections and changes of the access list as they come, until told to stop.
async fn tell(stage: &mut Stage, stop: impl Future<Output = ()>, out: &mut Output) -> io::Result<()> {
    programme::print(stage, out)?;
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return Ok(()),
            error = out.failed() => return Err(error),
            Some(seen) = stage.seen.recv() => writeln!(out, "{}", show::line(&seen))?,
            Some(told) = stage.gate.lists.recv() => match told {
                ReloadEvent::Loaded { rules } => writeln!(out, "{} {rules} rules", styled(GREEN, "new access list:"))?,
                ReloadEvent::Failed { why } => writeln!(out, "{}\n{why}", styled(RED, "the old access list stays:"))?,
            },
        }
        out.flush()?;
    }
}

/// Ends with the first SIGINT, SIGTERM, or SIGHUP of a closed terminal: the temporary directory must go.
fn stopped() -> io::Result<impl Future<Output = ()>> {
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
