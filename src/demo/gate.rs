//! latticegate itself in the demo: the real one, on its own threads, with its access log read back as it is written.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use tokio::sync::{mpsc, oneshot};

use super::addresses::PortPair;
use super::log_line::LogLine;
use super::web_server::WebServer;
use super::{Error, names};
use crate::control::gate::{Gate, StartError, StopRequest};
use crate::reload::{Loaded, ReloadEvent, SourceError, SourceThread};
use crate::sys::blocking;
use crate::sys::files;
use crate::telemetry::log_writer::Sink;
use latticegate_core::config::{PolicySource, Protocol};
use latticegate_core::diagnostic::Diagnostic;

const PART: &str = "latticegate";

/// The gate while it serves.
pub(super) struct RunningGate {
    pub(super) ports: PortPair,
    /// The explicit proxy.
    pub(super) proxy: SocketAddr,
    pub(super) admin: SocketAddr,
    /// Changes of the access list as the user edits it.
    pub(super) lists: mpsc::UnboundedReceiver<ReloadEvent>,
    stop: mpsc::UnboundedSender<StopRequest>,
    /// How it ended; the sender is dropped if it panicked.
    ended: oneshot::Receiver<Result<(), StartError>>,
}

/// Starts the gate by its configuration file; its access log comes out of the receiver.
pub(super) async fn start(config: &Path) -> Result<(RunningGate, mpsc::UnboundedReceiver<LogLine>), Error> {
    // The environment is left alone: a variable meant for the real one must not change the demo.
    let (config, _) = files::configuration(Some(config), std::iter::empty()).map_err(all).map_err(Error::of(PART))?;
    let (source, list) = first_list(&config.policy).await.map_err(Error::of("the access list"))?;
    let (records, lines) = mpsc::unbounded_channel();
    let sink = read_back(records).map_err(Error::of(PART))?;
    let (stop, stopped) = mpsc::unbounded_channel();
    let (ready, started) = oneshot::channel();
    let (events, lists) = mpsc::unbounded_channel();
    let (end, ended) = oneshot::channel();
    let serve = move || {
        let gate = Gate::start(config, list, sink)?;
        gate.reload_from(source, Some(events));
        // The receiver is gone if the demo is ending already.
        let _ = ready.send(describe(&gate));
        gate.run(stopped)
    };
    let thread = move || drop(end.send(serve()));
    blocking::spawn("latticegate", thread).map_err(Error::of(PART))?;
    match started.await {
        Ok(described) => {
            let Described { ports, proxy, admin } = described.map_err(Error::of(PART))?;
            Ok((RunningGate { ports, proxy, admin, lists, stop, ended }, lines))
        }
        Err(_) => Err(match ended.await {
            Ok(Ok(())) => Error::of(PART)("it ended at once"),
            Ok(Err(error)) => Error::of(PART)(error),
            Err(_) => Error::of(PART)("it panicked"),
        }),
    }
}

impl RunningGate {
    /// Lets live connections end by themselves for the two seconds that the configuration grants.
    pub(super) fn stop(&self) {
        // It may have ended already.
        let _ = self.stop.send(StopRequest::Drain);
    }

    pub(super) async fn ended(self) -> Result<(), Error> {
        self.ended.await.map_err(|_| "it panicked").map_err(Error::of(PART))?.map_err(Error::of(PART))
    }
}

/// The configuration that the demo runs with, as a file that a reader can look at.
pub(super) fn config_yaml(dns: SocketAddr, lattice: &WebServer, internet: &WebServer) -> String {
    let (node, lattice_network, sites_network) = (names::NODE, names::LATTICE_NETWORK, names::SITES_NETWORK);
    let (lattice_tls, lattice_http) = (lattice.tls.port(), lattice.http.port());
    let (https, http) = (internet.tls.port(), internet.http.port());
    format!(
        "\
# What this demo runs latticegate with; port 0 is any free port. Made anew at each start.
listeners:
  - {{ name: tls, bind: \"127.0.0.1:0\", protocol: tls, upstream_port: {lattice_tls}, public_port: 443 }}
  - {{ name: http, bind: \"127.0.0.1:0\", protocol: http, upstream_port: {lattice_http}, public_port: 80 }}
  - name: egress
    bind: \"127.0.0.1:0\"
    protocol: forward
    connect_ports: [{https}]    # 443 unless set
    http_ports: [{http}]        # 80 unless set
    upstream: {{ allowed_networks: [{sites_network}] }}    # in place of `public`
proxy_protocol: {{ trusted: [{node}/32] }}
policy: ipcontrol.yaml
dns: {{ server: \"{dns}\", ipv6: \"off\" }}
upstream: {{ allowed_networks: [{lattice_network}] }}
drain: {{ delay: 0s, timeout: 2s }}
health: {{ bind: \"127.0.0.1:0\" }}
admin: {{ bind: \"127.0.0.1:0\" }}
"
    )
}

/// Where it listens.
struct Described {
    ports: PortPair,
    proxy: SocketAddr,
    admin: SocketAddr,
}

fn describe(gate: &Gate) -> io::Result<Described> {
    let of = |protocol| {
        let listener = gate.listeners().iter().find(|listener| listener.protocol == protocol);
        listener.map(|listener| listener.bind).ok_or(io::ErrorKind::NotFound)
    };
    let ports = PortPair { tls: of(Protocol::Tls)?, http: of(Protocol::Http)? };
    Ok(Described { ports, proxy: of(Protocol::Forward)?, admin: gate.admin_address() })
}

async fn first_list(from: &PolicySource) -> Result<(SourceThread, Loaded), SourceError> {
    let source = SourceThread::start(from).map_err(|error| SourceError::Unreachable(error.to_string()))?;
    let list = source.first().await?;
    Ok((source, list))
}

/// A sink for the access log that parses each line and passes it on.
fn read_back(records: mpsc::UnboundedSender<LogLine>) -> io::Result<Sink> {
    let (sink, pieces) = std::sync::mpsc::channel::<Vec<u8>>();
    blocking::spawn("demo-log", move || {
        for piece in pieces {
            for line in piece.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
                match LogLine::read(line) {
                    Ok(line) => {
                        // The receiver is gone if the demo is ending.
                        let _ = records.send(line);
                    }
                    Err(error) => tracing::warn!(%error, "the demo cannot read a line of the access log"),
                }
            }
        }
    })?;
    Ok(Sink::Channel(sink))
}

/// All diagnostics of a file, one per line.
fn all(diagnostics: Vec<Diagnostic>) -> String {
    diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
