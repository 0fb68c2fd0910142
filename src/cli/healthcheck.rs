//! `latticegate healthcheck`: the question that a container's health check asks of the process beside it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use socket2::{Domain, Socket, Type};

use super::Source;
use crate::sys::files;
use crate::web::health_socket::{self, Running};

/// Ask the running latticegate whether it is ready, for a container's health check.
///
/// Asks the process that this user, or root, runs on this machine with the same path of a configuration file; what
/// stands in that file by now does not matter. Where there is none that can be found so, or several, it asks
/// health.bind of that configuration, path /readyz; of several whose file cannot be read, all have to be ready.
///
/// Exit status 0: ready; 1: not ready, or no answer within two seconds.
#[derive(Debug, Args)]
pub(super) struct Healthcheck {
    #[command(flatten)]
    source: Source,
}

/// For connect, and for each read: below the 5 s that ECS and Docker wait.
const PATIENCE: Duration = Duration::from_secs(2);
/// No answer of ours is longer.
const MAX_ANSWER: u64 = 4096;

impl Healthcheck {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let file = self.source.config.as_deref();
        let mut running = health_socket::running(file, PATIENCE).unwrap_or_default();
        let answer = match (running.pop(), running.is_empty()) {
            (Some(process), true) => of_process(process),
            (Some(process), false) => match files::configuration(file, files::environment()) {
                Ok((config, _)) => of_port(file, config.health, "several processes run"),
                // A mistake in the file is no ill health: which of them is meant is not known, so all have to be ready.
                Err(_) => std::iter::once(process).chain(running).try_for_each(of_process),
            },
            (None, _) => of_configured_port(file),
        };
        let Err(why) = answer else { return Ok(ExitCode::SUCCESS) };
        writeln!(io::stderr(), "{why}")?;
        Ok(ExitCode::FAILURE)
    }
}

/// Ready, or why not.
fn of_process(process: Running) -> Result<(), String> {
    match process.says() {
        Ok(says) if says.starts_with("ready\n") => Ok(()),
        Ok(says) if says.is_empty() => Err("the process ended without an answer".to_owned()),
        Ok(says) => Err(says.trim_end().to_owned()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err(format!("the process runs, but does not answer within {} s", PATIENCE.as_secs()))
        }
        Err(error) => Err(format!("the process does not answer: {error}")),
    }
}

/// By the port that the configuration names, since the file alone leads to no process.
fn of_configured_port(file: Option<&Path>) -> Result<(), String> {
    const NONE: &str = "no process of this user runs";
    match files::configuration(file, files::environment()) {
        Ok((config, _)) => of_port(file, config.health, NONE),
        Err(diagnostics) => {
            let first = diagnostics.first().map(ToString::to_string).unwrap_or_default();
            Err(format!("{NONE} {}, and it does not say which port to ask: {first}", with(file)))
        }
    }
}

fn of_port(file: Option<&Path>, health: SocketAddr, how_many: &str) -> Result<(), String> {
    match ask(health) {
        Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => Ok(()),
        Ok(answer) => Err(answer.trim_end().lines().last().unwrap_or("an empty answer").to_owned()),
        Err(error) => {
            Err(format!("{how_many} {}, and there is no answer from {}: {error}", with(file), loopback(health)))
        }
    }
}

fn with(file: Option<&Path>) -> String {
    file.map_or_else(|| "without a configuration file".to_owned(), |file| format!("with {}", file.display()))
}

fn ask(health: SocketAddr) -> io::Result<String> {
    let address = loopback(health);
    // A listener on [::] falls back to IPv4 where there is no IPv6.
    let connected = connect(address).or_else(|error| match health.ip() {
        IpAddr::V6(ip) if ip.is_unspecified() => connect((Ipv4Addr::LOCALHOST, health.port()).into()),
        _ => Err(error),
    });
    let mut stream = connected?;
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
    Ok(answer)
}

fn connect(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.connect_timeout(&address.into(), PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Where a listener on every address is reached from here.
fn loopback(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}
