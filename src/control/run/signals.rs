//! The signals of `latticegate run`, watched from its first moment on: unwatched, each of them would end the process.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::control::gate::Stop;
use crate::sys::blocking::{BlockingThread, Patience};
use crate::telemetry::log_writer::Rotation;

/// What was sent before somebody listens is heard then.
pub(super) struct Signals {
    pub(super) stop: StopSignals,
    pub(super) rotation: RotationSignals,
}

pub(super) struct StopSignals {
    term: Signal,
    interrupt: Signal,
}

pub(super) struct RotationSignals {
    hangup: Signal,
    usr1: Signal,
    usr2: Signal,
    /// Comes with the error of a write beyond the largest size of a file that this process may have (`ulimit -f`).
    _file_size: Signal,
}

impl Signals {
    /// Inside a runtime. Another one may listen later.
    pub(super) fn install() -> io::Result<Self> {
        let stop = StopSignals { term: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
        let rotation = RotationSignals {
            hangup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
            usr2: signal(SignalKind::user_defined2())?,
            _file_size: signal(SignalKind::from_raw(libc::SIGXFSZ))?,
        };
        Ok(Self { stop, rotation })
    }
}

impl StopSignals {
    pub(super) async fn recv(&mut self) {
        tokio::select! {
            _ = self.term.recv() => tracing::info!("SIGTERM"),
            _ = self.interrupt.recv() => tracing::info!("SIGINT"),
        }
    }

    /// For ever: the first signal drains, each further one cuts.
    pub(super) async fn pass_on(mut self, stop: mpsc::UnboundedSender<Stop>) {
        loop {
            self.recv().await;
            // The receiver is gone only when the process is ending.
            let _ = stop.send(Stop::Drain);
        }
    }
}

impl RotationSignals {
    /// For ever: SIGHUP and SIGUSR1 open the log's file anew, as nginx does it at the latter; SIGUSR2 would end a
    /// process that does not know it.
    ///
    /// `log`: with the thread on which it is opened, as that may never return.
    pub(super) async fn run_evictions(mut self, log: Option<(Rotation, BlockingThread)>, mut patience: Patience) {
        loop {
            let asked = tokio::select! {
                _ = self.hangup.recv() => false,
                _ = self.usr1.recv() => true,
                _ = self.usr2.recv() => {
                    tracing::info!("SIGUSR2 means nothing here");
                    continue;
                }
            };
            match &log {
                Some((log, thread)) => {
                    let (file, next) = (log.path().display(), log.clone());
                    let opened = thread.run(move || next.reopen());
                    match patience.wait(format_args!("the access log {file} to be opened anew"), opened).await {
                        Some(Ok(())) => tracing::info!(%file, "access log opened anew"),
                        Some(Err(error)) => tracing::error!(
                            %file,
                            "the access log cannot be opened anew, the old file stays open: {error}"
                        ),
                        None => tracing::error!(%file, "the access log was not opened anew: that panicked"),
                    }
                }
                // A SIGHUP has other meanings, too.
                None if asked => tracing::info!("SIGUSR1: the access log is on stdout, there is no file to open anew"),
                None => {}
            }
        }
    }
}
