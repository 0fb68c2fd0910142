//! `latticegate run`: this process as a service, from the fd limit to the last signal.

mod signals;

use std::io;
use std::path::Path;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use self::signals::{Signals, StopSignals};
use crate::access_log::Sink;
use crate::config::{Config, LogOutput, PolicySource};
use crate::gate::{Gate, StartError};
use crate::machine::Machine;
use crate::reload::{Loaded, MainFile, Source, SourceError};
use crate::socket;

/// The time before the gate is there.
pub struct Beginning {
    runtime: LocalRuntime,
    signals: Signals,
}

impl Beginning {
    /// To be called before anything else: from here on no signal is missed, and none ends the process by itself.
    pub fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
        let signals = {
            let _context = runtime.enter();
            Signals::install()?
        };
        Ok(Self { runtime, signals })
    }
}

/// Serves until SIGTERM or SIGINT and the drain that follows it. `file` is where `config` was read from.
pub fn run(beginning: Beginning, config: Config, file: Option<&Path>) -> Result<(), StartError> {
    let Beginning { runtime, mut signals } = beginning;
    let Some((source, loaded)) = load_policy(&runtime, &mut signals.stop, &config)? else {
        tracing::info!("ended before it had an access list");
        return Ok(());
    };
    drop(runtime);
    match socket::raise_fd_limit() {
        Ok((before, now)) if before == now => tracing::info!(now, "open files: the limit is the hard limit"),
        Ok((before, now)) => tracing::info!(before, now, "open files: limit raised to the hard limit"),
        Err(error) => tracing::warn!(%error, "open files: the limit could not be raised"),
    }
    let sink = Sink::open(&config.access_log.output).map_err(|error| match &config.access_log.output {
        LogOutput::Stdout => StartError::Io("cannot write to stdout".into(), error),
        LogOutput::File(path) => StartError::Io(format!("cannot open access_log.output {}", path.display()), error),
    })?;
    let (workers, rotation, limits) = (config.workers, sink.rotation(), config.limits.clone());
    let gate = Gate::start(config, loaded, sink)?;
    gate.reload_from(source, None);
    if let Some(main) = file.and_then(MainFile::at_start) {
        gate.spawn(async move { main.watch(signal(SignalKind::hangup())).await });
    }
    gate.spawn(signals.rotation.obey(rotation));
    for listener in gate.listeners() {
        tracing::info!(name = %listener.name, address = %listener.bind, protocol = ?listener.protocol, "listening");
    }
    tracing::info!(
        connections = limits.connections,
        half_open = limits.half_open,
        half_open_bytes = limits.half_open_bytes,
        memory = Machine::of_process().memory,
        "limits"
    );
    tracing::info!(%workers, health = %gate.health_address(), admin = %gate.admin_address(), "started");
    let (stop, stopped) = mpsc::unbounded_channel();
    gate.spawn(signals.stop.pass_on(stop));
    gate.run(stopped)?;
    tracing::info!("ended");
    Ok(())
}

/// The list to start with: from its source, or from the fallback where a remote source does not answer. None: told to
/// stop while it was on its way.
fn load_policy(
    runtime: &LocalRuntime,
    stop: &mut StopSignals,
    config: &Config,
) -> Result<Option<(Source, Loaded)>, StartError> {
    let mut source = Source::new(&config.policy).map_err(StartError::Policy)?;
    let first = runtime.block_on(async {
        tokio::select! {
            first = source.first() => Some(first),
            () = stop.recv() => None,
        }
    });
    match (first, &config.policy_fallback) {
        (None, _) => Ok(None),
        (Some(Ok(loaded)), _) => {
            tracing::info!(source = %config.policy, version = %loaded.version, "access list loaded");
            Ok(Some((source, loaded)))
        }
        (Some(Err(SourceError::Unreachable(why))), Some(path)) => {
            tracing::warn!(fallback = %path.display(), "the access list's source does not answer: {why}");
            let mut fallback = Source::new(&PolicySource::File(path.clone())).map_err(StartError::Policy)?;
            let loaded = runtime.block_on(fallback.first()).map_err(StartError::Policy)?;
            // The source's own label is not known: whatever it has, it is news.
            Ok(Some((source, loaded)))
        }
        (Some(Err(error)), _) => Err(StartError::Policy(error)),
    }
}
