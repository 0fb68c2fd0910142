//! `latticegate healthcheck`: whether the running process is ready, for a container's health check.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use socket2::{Domain, Socket, Type};

use super::ConfigArgs;
use crate::sys::files;
use crate::web::health_socket::{self, RunningProcess};

/// Ask the running latticegate whether it is ready, for a container's health check.
///
/// Asks the process that this user or root runs on this machine with the same configuration path; what that file
/// contains by now does not matter. If no such process is found, or several are, it requests /readyz from health.bind of
/// that configuration. If several are found and the file cannot be read, all of them have to be ready.
///
/// Exit status 0: ready; 1: not ready, or no answer within two seconds.
#[derive(Debug, Args)]
pub(super) struct HealthcheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

/// For connect, and for each read: below the 5 s that ECS and Docker wait.
const PATIENCE: Duration = Duration::from_secs(2);
/// No response of the health port is longer.
const MAX_ANSWER: u64 = 4096;

impl HealthcheckArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let file = self.config.file.as_deref();
        let mut running = health_socket::running(file, PATIENCE).unwrap_or_default();
        let answer = match (running.pop(), running.is_empty()) {
            (Some(process), true) => of_process(process),
            (Some(process), false) => match files::configuration(file, files::environment()) {
                Ok((config, _)) => of_port(file, config.health, "several processes run"),
                // A mistake in the file does not make them unhealthy. Which one is meant is unknown, so all have to be ready.
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
fn of_process(process: RunningProcess) -> Result<(), String> {
    match process.readiness() {
        Ok(text) if text.starts_with("ready\n") => Ok(()),
        Ok(text) if text.is_empty() => Err("the process ended without an answer".to_owned()),
        Ok(text) => Err(text.trim_end().to_owned()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err(format!("the process runs, but does not answer within {} s", PATIENCE.as_secs()))
        }
        Err(error) => Err(format!("the process does not answer: {error}")),
    }
}

/// By the configured port, since no process was found by the path.
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
