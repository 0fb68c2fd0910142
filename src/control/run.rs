//! `latticegate run`: this process as a service, from the fd limit to the last signal.

mod signals;
mod summary;

use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::LocalRuntime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use self::signals::{Reopener, Signals, StopSignals};
use crate::control::gate::{Gate, StartError};
use crate::reload::{Loaded, MainFile, SourceError, SourceThread};
use crate::sys::blocking::{BlockingThread, Patience};
use crate::sys::control_runtime::control_runtime;
use crate::sys::files;
use crate::sys::socket;
use crate::telemetry::log_writer::{Sink, cannot_open};
use crate::web::{Token, health_socket};
use latticegate_core::config::{Config, LogOutput, PolicySource};
use latticegate_core::diagnostic::Diagnostic;

/// The time before the gate starts: signals are watched already.
pub struct Startup {
    runtime: LocalRuntime,
    signals: Signals,
}

/// The configuration, read and checked.
pub struct Configured {
    pub config: Config,
    pub warnings: Vec<Diagnostic>,
    /// The path of the main file, as given.
    file: Option<PathBuf>,
    main_file: Option<MainFile>,
    /// Reads the main file.
    thread: BlockingThread,
}

impl Startup {
    /// To be called before anything else: from here on no signal is missed, and none ends the process by itself.
    pub fn new() -> io::Result<Self> {
        let runtime = control_runtime()?;
        let signals = {
            let _context = runtime.enter();
            Signals::install()?
        };
        Ok(Self { runtime, signals })
    }

    /// Reads the configuration. None: a stop signal came first.
    pub fn configure(
        &mut self,
        file: Option<PathBuf>,
    ) -> Result<Option<Result<Configured, Vec<Diagnostic>>>, StartError> {
        let thread = start_thread("configuration")?;
        let name =
            file.as_deref().map_or("the defaults".into(), |file| format!("the configuration {}", file.display()));
        let from = file.clone();
        let read = thread.run(move || {
            let loaded = files::configuration(from.as_deref(), files::environment());
            loaded.map(|loaded| (loaded, from.as_deref().and_then(MainFile::at_start)))
        });
        let Some(loaded) = self.until_stopped(name, read) else { return Ok(None) };
        let loaded = loaded.ok_or_else(|| panicked("reading the configuration"))?;
        let configured =
            loaded.map(|((config, warnings), main_file)| Configured { config, warnings, file, main_file, thread });
        Ok(Some(configured))
    }

    /// None: a stop signal came first. Reading a file may never return.
    fn until_stopped<T>(&mut self, what: impl Display, work: impl Future<Output = T>) -> Option<T> {
        let stop: &mut StopSignals = &mut self.signals.stop;
        let mut patience = Patience::default();
        let done = self.runtime.block_on(async {
            tokio::select! {
                done = patience.wait(&what, work) => Some(done),
                () = stop.recv() => None,
            }
        });
        if done.is_none() {
            tracing::info!("ended while waiting for {what}");
        }
        done
    }
}

impl Configured {
    /// Logs what differs from the defaults, and where it was written. To be followed by the warnings.
    pub fn summarize(&self) {
        summary::configuration(&self.config, self.file.as_deref());
    }
}

/// Serves until SIGTERM or SIGINT and the drain that follows it.
pub fn run(mut startup: Startup, configured: Configured) -> Result<(), StartError> {
    let Configured { config, file, main_file, thread, .. } = configured;
    let Some((source, loaded)) = load_policy(&mut startup, &config)? else { return Ok(()) };
    let raised = socket::raise_fd_limit()
        .inspect_err(|error| tracing::warn!(%error, "open files: the limit could not be raised"));
    summary::limits(&config, raised.ok().and_then(|(before, now)| (before != now).then_some(before)));
    let Some(log) = open_log(&mut startup, &config)? else { return Ok(()) };
    let Some(token) = load_token(&mut startup, &config)? else { return Ok(()) };
    let Startup { runtime, signals } = startup;
    drop(runtime);
    let mut gate = Gate::start(config, loaded, log.sink)?;
    token.into_iter().for_each(|token| gate.set_admin_token(token));
    gate.reload_from(source, None);
    let blocked = gate.shared().metrics.blocked.clone();
    if let Some(main) = main_file {
        let patience = Patience::new(blocked.configuration);
        gate.spawn(async move { main.watch(signal(SignalKind::hangup()), thread, patience).await });
    }
    match health_socket::bind(file.as_deref()) {
        Ok(socket) => gate.spawn(health_socket::serve(socket, Arc::clone(&gate.shared().status))),
        Err(error) => tracing::warn!("healthcheck can use the health port only: no Unix socket: {error}"),
    }
    gate.spawn(signals.reopen.serve(log.reopener, Patience::new(blocked.rotation)));
    gate.spawn(signals.debug.serve());
    summary::addresses(&gate);
    let (stop, stopped) = mpsc::unbounded_channel();
    gate.spawn(signals.stop.pass_on(stop));
    gate.run(stopped)?;
    tracing::info!("ended");
    Ok(())
}

/// The list to start with: from its source, or from the fallback where a remote source does not answer. None: a stop
/// signal came first.
fn load_policy(startup: &mut Startup, config: &Config) -> Result<Option<(SourceThread, Loaded)>, StartError> {
    let source = start_source(&config.policy)?;
    let first = startup.until_stopped(format_args!("the access list {}", config.policy), source.first());
    match (first, &config.policy_fallback) {
        (None, _) => Ok(None),
        (Some(Ok(loaded)), _) => {
            summary::list(config, &loaded);
            Ok(Some((source, loaded)))
        }
        (Some(Err(SourceError::Unreachable(why))), Some(path)) => {
            tracing::warn!(fallback = %path.display(), "the access list's source does not answer: {why}");
            let fallback = start_source(&PolicySource::File(path.clone()))?;
            let what = format_args!("the access list {}", path.display());
            let Some(loaded) = startup.until_stopped(what, fallback.first()) else { return Ok(None) };
            // The source's own version is not known: whatever it has counts as new.
            Ok(Some((source, loaded.map_err(StartError::Policy)?)))
        }
        (Some(Err(error)), _) => Err(StartError::Policy(error)),
    }
}

/// The access log, open.
struct OpenedLog {
    sink: Sink,
    /// Reopens it, if it is a file.
    reopener: Option<Reopener>,
}

/// None: a stop signal came first.
fn open_log(startup: &mut Startup, config: &Config) -> Result<Option<OpenedLog>, StartError> {
    let output = &config.access_log.output;
    let path = match output {
        LogOutput::Stdout => {
            let sink = Sink::open(output).map_err(|error| StartError::Io("cannot write to stdout".into(), error))?;
            return Ok(Some(OpenedLog { sink, reopener: None }));
        }
        LogOutput::File(path) => path,
    };
    let (thread, to_open) = (start_thread("access-log-open")?, output.clone());
    let opened = thread.run(move || Sink::open(&to_open));
    let what = format!("the access log {}", path.display());
    let Some(opened) = startup.until_stopped(what, opened) else { return Ok(None) };
    let sink = opened
        .ok_or_else(|| panicked("opening the access log"))?
        .map_err(|error| StartError::Setting(cannot_open(config, path, &error).into()))?;
    let reopener = sink.rotation().map(|log| Reopener { log, thread });
    Ok(Some(OpenedLog { sink, reopener }))
}

/// The token of the admin port, if it needs one. None: a stop signal came first.
fn load_token(startup: &mut Startup, config: &Config) -> Result<Option<Option<Token>>, StartError> {
    let Some(path) = &config.admin_access.token_file else { return Ok(Some(None)) };
    let (thread, config) = (start_thread("admin-token")?, config.clone());
    let name = format!("the token {}", path.display());
    let read = thread.run(move || Token::configured(&config));
    let Some(read) = startup.until_stopped(name, read) else { return Ok(None) };
    let token = read.ok_or_else(|| panicked("reading the token"))?;
    token.map(Some).map_err(|diagnostic| StartError::Setting(diagnostic.into()))
}

fn start_thread(name: &str) -> Result<BlockingThread, StartError> {
    BlockingThread::start(name).map_err(|error| StartError::Io(format!("cannot start the thread {name}"), error))
}

fn start_source(from: &PolicySource) -> Result<SourceThread, StartError> {
    SourceThread::start(from)
        .map_err(|error| StartError::Io("cannot start the thread that reads the access list".into(), error))
}

fn panicked(what: &str) -> StartError {
    StartError::Io(what.to_owned(), io::Error::other("it panicked"))
}
