//! `latticegate healthcheck`: a container's health check without a shell or curl in the image.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use socket2::{Domain, Socket, Type};

use super::Source;
use super::check::tell;
use crate::config::{Config, env};
use crate::problem::Severity;

/// Ask the running latticegate whether it is ready, for a container's health check.
///
/// Asks the health port, path /readyz, of the latticegate that runs on this machine with the same configuration.
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
        let health = match Config::load(self.source.config.as_deref(), env::of_process()) {
            Ok((config, _)) => config.health,
            Err(problems) => {
                tell(Severity::Error, &problems)?;
                return Ok(ExitCode::FAILURE);
            }
        };
        let why = match ask(health) {
            Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => return Ok(ExitCode::SUCCESS),
            Ok(answer) => answer.trim_end().lines().last().unwrap_or("an empty answer").to_owned(),
            Err(error) => format!("no answer from {}: {error}", loopback(health)),
        };
        writeln!(io::stderr(), "{why}")?;
        Ok(ExitCode::FAILURE)
    }
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
