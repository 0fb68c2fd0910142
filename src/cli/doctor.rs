//! `latticegate doctor`: examine machine, resolver and path, and print what was found.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;

use super::ConfigArgs;
use super::print::{print, say};
use crate::doctor::{self, Request};

/// Examine this machine, the resolver and the path to each service, and say what to do about each fault.
///
/// Checks that configuration and access list load, that the ports are free or held by a running latticegate with this
/// configuration, open files, memory, kernel settings and the clock, and whether dns.server answers. Then, for each
/// name: what it resolves to, whether that may be dialled or leads back to us or to a load balancer, whether the
/// addresses accept connections, and whether the service answers: a TLS handshake, whose certificate is reported and not
/// trusted, or HEAD / by HTTP. Nothing is changed, and what must not be dialled is not.
///
/// Exit status 0: every line is pass or warn; 1: a line is fail; 2: it cannot run.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Names to examine; for a forward listener also NAME:PORT. Without any, those that rules of the access list allow
    /// exactly, the first 50 of them.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// One object on standard output: {"ok": …, "findings": [{"grade": …, "check": …, "about": …, "text": …, "help": …}]}.
    #[arg(long)]
    json: bool,
    /// Whom to ask the time by NTP. The default is Amazon's time service in every VPC.
    #[arg(long, value_name = "ADDRESS", default_value = "169.254.169.123:123")]
    time_server: SocketAddr,
}

impl DoctorArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let request = Request { config: self.config.file, names: self.names, time_server: self.time_server };
        let diagnosis = match doctor::examine(&request) {
            Ok(diagnosis) => diagnosis,
            Err(error) => {
                // 1 would mean that something was found.
                say(format_args!("error: cannot start: {error}"));
                return Ok(ExitCode::from(2));
            }
        };
        print(|out| if self.json { writeln!(out, "{:#}", diagnosis.to_json()) } else { write!(out, "{diagnosis}") })?;
        Ok(if diagnosis.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}
