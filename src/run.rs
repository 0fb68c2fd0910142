//! `latticegate run`: this process as a service, from the fd limit to the last signal.

use std::path::Path;

use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::access_log::{Rotation, Sink};
use crate::config::{Config, LogOutput, PolicySource};
use crate::gate::{Gate, StartError, Stop};
use crate::reload::{Loaded, MainFile, Source, SourceError};
use crate::socket;

/// Serves until SIGTERM or SIGINT and the drain that follows it. `file` is where `config` was read from.
pub fn run(config: Config, file: Option<&Path>) -> Result<(), StartError> {
    let (source, loaded) = load_policy(&config)?;
    match socket::raise_fd_limit() {
        Ok((before, now)) if before == now => tracing::info!(now, "open files: the limit is the hard limit"),
        Ok((before, now)) => tracing::info!(before, now, "open files: limit raised to the hard limit"),
        Err(error) => tracing::warn!(%error, "open files: the limit could not be raised"),
    }
    let sink = Sink::open(&config.access_log.output).map_err(|error| match &config.access_log.output {
        LogOutput::Stdout => StartError::Io("cannot write to stdout".into(), error),
        LogOutput::File(path) => StartError::Io(format!("cannot open access_log.output {}", path.display()), error),
    })?;
    let (workers, rotation) = (config.workers, sink.rotation());
    let gate = Gate::start(config, loaded, sink)?;
    gate.reload_from(source, None);
    if let Some(main) = file.and_then(MainFile::at_start) {
        gate.spawn(async move { main.watch(signal(SignalKind::hangup())).await });
    }
    // From here on none of these signals ends the process.
    match gate.enter(RotationSignals::install) {
        Ok(signals) => gate.spawn(watch_rotation(rotation, signals)),
        Err(error) => tracing::error!(%error, "signals cannot be watched: the access log is not opened anew"),
    }
    for listener in gate.listeners() {
        tracing::info!(name = %listener.name, address = %listener.bind, protocol = ?listener.protocol, "listening");
    }
    tracing::info!(%workers, health = %gate.health_address(), admin = %gate.admin_address(), "started");
    let (stop, stopped) = mpsc::unbounded_channel();
    gate.spawn(async move {
        if let Err(error) = watch_signals(stop).await {
            tracing::error!(%error, "signals cannot be watched: SIGTERM will cut connections");
        }
    });
    gate.run(stopped)?;
    tracing::info!("ended");
    Ok(())
}

/// The list to start with: from its source, or from the fallback where a remote source does not answer.
fn load_policy(config: &Config) -> Result<(Source, Loaded), StartError> {
    let io = |error| StartError::Io("cannot start the runtime".into(), error);
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).map_err(io)?;
    let mut source = Source::new(&config.policy).map_err(StartError::Policy)?;
    match (runtime.block_on(source.first()), &config.policy_fallback) {
        (Ok(loaded), _) => {
            tracing::info!(source = %config.policy, version = %loaded.version, "access list loaded");
            Ok((source, loaded))
        }
        (Err(SourceError::Unreachable(why)), Some(path)) => {
            tracing::warn!(fallback = %path.display(), "the access list's source does not answer: {why}");
            let mut fallback = Source::new(&PolicySource::File(path.clone())).map_err(StartError::Policy)?;
            let loaded = runtime.block_on(fallback.first()).map_err(StartError::Policy)?;
            // The source's own label is not known: whatever it has, it is news.
            Ok((source, loaded))
        }
        (Err(error), _) => Err(StartError::Policy(error)),
    }
}

struct RotationSignals {
    hangup: Signal,
    usr1: Signal,
    usr2: Signal,
}

impl RotationSignals {
    fn install() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
            usr2: signal(SignalKind::user_defined2())?,
        })
    }
}

/// SIGHUP and SIGUSR1 open the log's file anew, as nginx does it at the latter; SIGUSR2 would end a process that does
/// not know it.
async fn watch_rotation(rotation: Option<Rotation>, signals: RotationSignals) {
    let RotationSignals { mut hangup, mut usr1, mut usr2 } = signals;
    loop {
        let asked = tokio::select! {
            _ = hangup.recv() => false,
            _ = usr1.recv() => true,
            _ = usr2.recv() => {
                tracing::info!("SIGUSR2 means nothing here");
                continue;
            }
        };
        match &rotation {
            Some(log) => match log.reopen() {
                Ok(()) => tracing::info!(file = %log.path().display(), "access log opened anew"),
                Err(error) => tracing::error!(
                    file = %log.path().display(),
                    "the access log cannot be opened anew, the old file stays open: {error}"
                ),
            },
            // A SIGHUP has other meanings, too.
            None if asked => tracing::info!("SIGUSR1: the access log is on stdout, there is no file to open anew"),
            None => {}
        }
    }
}

/// The first signal drains, each further one cuts.
async fn watch_signals(stop: mpsc::UnboundedSender<Stop>) -> std::io::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            _ = term.recv() => tracing::info!("SIGTERM"),
            _ = interrupt.recv() => tracing::info!("SIGINT"),
        }
        // The receiver is gone only when the process is ending.
        let _ = stop.send(Stop::Drain);
    }
}
