//! `latticegate healthcheck`: whether the running process is ready, for a container's health check.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::print::say;
use super::{ConfigArgs, local_http};
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
        say(why);
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
    match local_http::get(health, "/readyz", "", PATIENCE, MAX_ANSWER) {
        Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => Ok(()),
        Ok(answer) => Err(answer.trim_end().lines().last().unwrap_or("an empty answer").to_owned()),
        Err(error) => Err(format!(
            "{how_many} {}, and there is no answer from {}: {error}",
            with(file),
            local_http::loopback(health)
        )),
    }
}

fn with(file: Option<&Path>) -> String {
    file.map_or_else(|| "without a configuration file".to_owned(), |file| format!("with {}", file.display()))
}
