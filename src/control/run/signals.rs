//! The signals of `latticegate run`, watched from the first moment on: unwatched, each of them would end the process.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::control::gate::StopRequest;
use crate::sys::blocking::{BlockingThread, Patience};
use crate::telemetry::log_writer::Rotation;
use crate::telemetry::process_log;

/// Signals that arrive before anything waits for them are kept.
pub(super) struct Signals {
    pub(super) stop: StopSignals,
    pub(super) reopen: ReopenSignals,
    pub(super) debug: DebugSignal,
}

pub(super) struct StopSignals {
    term: Signal,
    interrupt: Signal,
}

pub(super) struct ReopenSignals {
    hangup: Signal,
    usr1: Signal,
    /// Sent when a write exceeds the largest file size that this process may have (`ulimit -f`); the write fails as well.
    _file_size: Signal,
}

/// SIGUSR2.
pub(super) struct DebugSignal(Signal);

/// The access log's file, with the thread on which it is reopened, since that may never return.
pub(super) struct Reopener {
    pub(super) log: Rotation,
    pub(super) thread: BlockingThread,
}

impl Signals {
    /// Inside a runtime. Another runtime may wait for them later.
    pub(super) fn install() -> io::Result<Self> {
        let stop = StopSignals { term: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
        let reopen = ReopenSignals {
            hangup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
            _file_size: signal(SignalKind::from_raw(libc::SIGXFSZ))?,
        };
        Ok(Self { stop, reopen, debug: DebugSignal(signal(SignalKind::user_defined2())?) })
    }
}

impl StopSignals {
    pub(super) async fn recv(&mut self) {
        tokio::select! {
            _ = self.term.recv() => tracing::info!("SIGTERM"),
            _ = self.interrupt.recv() => tracing::info!("SIGINT"),
        }
    }

    /// Never returns. The first signal drains, each further one cuts.
    pub(super) async fn pass_on(mut self, stop: mpsc::UnboundedSender<StopRequest>) {
        loop {
            self.recv().await;
            // The receiver is gone only when the process is ending.
            let _ = stop.send(StopRequest::Drain);
        }
    }
}

impl ReopenSignals {
    /// Never returns. SIGHUP and SIGUSR1 reopen the log's file, the latter as in nginx.
    pub(super) async fn serve(mut self, reopener: Option<Reopener>, mut patience: Patience) {
        loop {
            let asked = tokio::select! {
                _ = self.hangup.recv() => false,
                _ = self.usr1.recv() => true,
            };
            match &reopener {
                Some(Reopener { log, thread }) => {
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
                // SIGHUP is for the access list, too.
                None if asked => tracing::info!("SIGUSR1: the access log is on stdout, there is no file to open anew"),
                None => {}
            }
        }
    }
}

impl DebugSignal {
    /// Never returns. Nothing here waits for anything else, so that debug lines can be had whatever hangs.
    pub(super) async fn serve(mut self) {
        loop {
            self.0.recv().await;
            process_log::toggle_debug();
        }
    }
}
