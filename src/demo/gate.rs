//! latticegate itself in the demo: the real one, on threads of its own, its access log read back as it is written.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use tokio::sync::{mpsc, oneshot};

use super::calls::Doors;
use super::seen::Seen;
use super::{Error, scene};
use crate::control::gate::{Gate, StartError, Stop};
use crate::reload::{Loaded, ReloadEvent, SourceError, SourceThread};
use crate::sys::blocking;
use crate::sys::files;
use crate::telemetry::log_writer::Sink;
use latticegate_core::config::{PolicySource, Protocol};
use latticegate_core::diagnostic::Diagnostic;

const PART: &str = "latticegate";

/// The gate while it serves.
pub(super) struct Running {
    pub(super) doors: Doors,
    pub(super) admin: SocketAddr,
    /// What becomes of the access list while the user edits it.
    pub(super) lists: mpsc::UnboundedReceiver<ReloadEvent>,
    stop: mpsc::UnboundedSender<Stop>,
    /// How it ended; nothing where it panicked.
    ended: oneshot::Receiver<Result<(), StartError>>,
}

/// Starts the gate by its configuration file; its records come out of the receiver.
pub(super) async fn start(config: &Path) -> Result<(Running, mpsc::UnboundedReceiver<Seen>), Error> {
    // The environment is left alone: a variable meant for the real one must not turn the demo.
    let (config, _) = files::configuration(Some(config), std::iter::empty()).map_err(all).map_err(Error::of(PART))?;
    let (source, list) = first_list(&config.policy).await.map_err(Error::of("the access list"))?;
    let (records, seen) = mpsc::unbounded_channel();
    let sink = read_back(records).map_err(Error::of(PART))?;
    let (stop, stopped) = mpsc::unbounded_channel();
    let (ready, started) = oneshot::channel();
    let (told, lists) = mpsc::unbounded_channel();
    let (end, ended) = oneshot::channel();
    let serve = move || {
        let gate = Gate::start(config, list, sink)?;
        gate.reload_from(source, Some(told));
        // Nobody waits any more where the demo is ending already.
        let _ = ready.send(describe(&gate));
        gate.run(stopped)
    };
    let thread = move || drop(end.send(serve()));
    blocking::spawn("latticegate", thread).map_err(Error::of(PART))?;
    match started.await {
        Ok(described) => {
            let (doors, admin) = described.map_err(Error::of(PART))?;
            Ok((Running { doors, admin, lists, stop, ended }, seen))
        }
        Err(_) => Err(match ended.await {
            Ok(Ok(())) => Error::of(PART)("it ended at once"),
            Ok(Err(error)) => Error::of(PART)(error),
            Err(_) => Error::of(PART)("it panicked"),
        }),
    }
}

impl Running {
    /// Lets live connections end by themselves for the two seconds that the configuration grants.
    pub(super) fn stop(&self) {
        // Gone already: then there is nothing to stop.
        let _ = self.stop.send(Stop::Drain);
    }

    pub(super) async fn ended(self) -> Result<(), Error> {
        self.ended.await.map_err(|_| "it panicked").map_err(Error::of(PART))?.map_err(Error::of(PART))
    }
}

/// The configuration that the demo runs with, as a file that a reader can look at.
pub(super) fn config_yaml(dns: SocketAddr, upstream_tls: u16, upstream_http: u16) -> String {
    let (node, network) = (scene::NODE, scene::LATTICE_NETWORK);
    format!(
        "\
# What this demo runs latticegate with; port 0 is any free port. Made anew at each start.
listeners:
  - {{ name: tls, bind: \"127.0.0.1:0\", protocol: tls, upstream_port: {upstream_tls}, public_port: 443 }}
  - {{ name: http, bind: \"127.0.0.1:0\", protocol: http, upstream_port: {upstream_http}, public_port: 80 }}
proxy_protocol: {{ trusted: [{node}/32] }}
policy: ipcontrol.yaml
dns: {{ server: \"{dns}\", ipv6: \"off\" }}
upstream: {{ allowed_networks: [{network}] }}
drain: {{ delay: 0s, timeout: 2s }}
health: {{ bind: \"127.0.0.1:0\" }}
admin: {{ bind: \"127.0.0.1:0\" }}
"
    )
}

fn describe(gate: &Gate) -> io::Result<(Doors, SocketAddr)> {
    let of = |protocol| {
        let listener = gate.listeners().iter().find(|listener| listener.protocol == protocol);
        listener.map(|listener| listener.bind).ok_or(io::ErrorKind::NotFound)
    };
    let doors = Doors { tls: of(Protocol::Tls)?, http: of(Protocol::Http)? };
    Ok((doors, gate.admin_address()))
}

async fn first_list(from: &PolicySource) -> Result<(SourceThread, Loaded), SourceError> {
    let source = SourceThread::start(from).map_err(|error| SourceError::Unreachable(error.to_string()))?;
    let list = source.first().await?;
    Ok((source, list))
}

/// A sink for the access log that hands each line on as what it tells.
fn read_back(records: mpsc::UnboundedSender<Seen>) -> io::Result<Sink> {
    let (sink, pieces) = std::sync::mpsc::channel::<Vec<u8>>();
    blocking::spawn("demo-log", move || {
        for piece in pieces {
            for line in piece.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
                match Seen::read(line) {
                    Ok(seen) => {
                        // Nobody reads any more where the demo is ending.
                        let _ = records.send(seen);
                    }
                    Err(error) => tracing::warn!(%error, "the demo cannot read a line of the access log"),
                }
            }
        }
    })?;
    Ok(Sink::Channel(sink))
}

/// All problems of a file, one a line.
fn all(diagnostics: Vec<Diagnostic>) -> String {
    diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
