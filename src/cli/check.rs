//! `latticegate check`: the checks made at startup, without starting, and lints.

use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::print::{Reader, Unwritten, print, say};
use super::{ConfigArgs, list, log};
use crate::reload;
use crate::sys::files;
use crate::sys::machine;
use crate::telemetry::log_writer::Sink;
use crate::web::Token;
use latticegate_core::config::{Config, Limits, Machine, PolicySource};
use latticegate_core::diagnostic::{Diagnostic, Origin, Severity};
use latticegate_core::policy::{Action, Policy};

/// Report everything that is wrong with the configuration and the access list, without opening a port.
///
/// Errors are what would keep the verb run from starting, and mistakes in policy_fallback and shadow. Warnings are what
/// is probably not intended: rules that never match, catch-alls that forget IPv6, rules about to expire. Not checked is
/// whether the addresses belong to this machine and are free, and what the source of a remote list would answer.
///
/// Exit status 0: no error; 1: an error, or with --strict a warning.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Check this access list instead of the configured one: a file that you are about to publish, s3://bucket/key, or
    /// http:// on loopback. A configured list that is not a file is fetched only if it is named here.
    #[arg(long, value_name = "LIST", value_parser = list::named)]
    policy: Option<PolicySource>,
    /// Treat warnings as errors.
    #[arg(long)]
    strict: bool,
    /// Output for people or for programs.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One line per diagnostic on standard error, one line per file on standard output.
    Text,
    /// One object on standard output: {"ok": …, "diagnostics": […], "files": […], "not_checked": […], "limits": {…}}.
    Json,
}

/// The result of all checks.
#[derive(Default)]
struct Findings {
    diagnostics: Vec<(Severity, Diagnostic)>,
    /// Files without an error, with a summary of each.
    files: Vec<(String, String)>,
    /// What was not checked, and why.
    not_checked: Vec<String>,
    /// What `auto` means on this machine.
    limits: Option<(Limits, Machine)>,
}

impl CheckArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let findings = self.findings();
        let failed = findings.has_error();
        match self.format {
            Format::Text => findings.print()?,
            Format::Json => print(|out| writeln!(out, "{:#}", findings.to_json()))?,
        };
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn findings(&self) -> Findings {
        let mut findings = Findings::default();
        let file = self.config.file.as_deref();
        let config = match files::configuration(file, files::environment()) {
            Ok((config, warnings)) => {
                findings.add(self.severity(), warnings);
                findings.limits = Some((config.limits.clone(), machine::of_process()));
                config
            }
            Err(diagnostics) => {
                findings.add(Severity::Error, diagnostics);
                return findings;
            }
        };
        findings.add(self.severity(), log::filter().err().into_iter().collect());
        self.check_source(&config, &mut findings);
        let files = [Sink::try_open(&config).err(), Token::configured(&config).err()];
        findings.add(Severity::Error, files.into_iter().flatten().collect());
        if !findings.has_error() {
            findings.files.push((file.map_or(Origin::Defaults, Origin::file).to_string(), listening(&config)));
        }
        match (&self.policy, &config.policy) {
            (Some(list), _) | (None, list @ PolicySource::File(_)) => self.check_list(list, &config, &mut findings),
            (None, source) => findings.not_checked.push(format!(
                "{source}: not checked, because it is not fetched; check the file before you publish it with \
                 --policy FILE, or what is published with --policy {source}"
            )),
        }
        let others = [&config.policy_fallback, &config.shadow].into_iter().flatten();
        for path in others {
            self.check_list(&PolicySource::File(path.clone()), &config, &mut findings);
        }
        findings
    }

    /// Whether this build can read from the configured source of the list.
    fn check_source(&self, config: &Config, findings: &mut Findings) {
        if let Err(error) = reload::ListSource::new(&config.policy) {
            findings.add(Severity::Error, list::diagnostics(&config.policy, error));
        }
    }

    fn check_list(&self, list: &PolicySource, config: &Config, findings: &mut Findings) {
        match list::load(list) {
            Ok(policy) => {
                let lints = policy.lints(SystemTime::now(), Some(config));
                if lints.is_empty() || !self.strict {
                    findings.files.push((list.to_string(), summary(&policy)));
                }
                findings.add(self.severity(), lints);
            }
            Err(diagnostics) => findings.add(Severity::Error, diagnostics),
        }
    }

    /// Of warnings.
    fn severity(&self) -> Severity {
        if self.strict { Severity::Error } else { Severity::Warning }
    }
}

impl Findings {
    fn has_error(&self) -> bool {
        self.diagnostics.iter().any(|(severity, _)| *severity == Severity::Error)
    }

    fn add(&mut self, severity: Severity, diagnostics: Vec<Diagnostic>) {
        self.diagnostics.extend(diagnostics.into_iter().map(|diagnostic| (severity, diagnostic)));
    }

    fn print(&self) -> Result<Reader, Unwritten> {
        for (severity, diagnostic) in &self.diagnostics {
            say(format_args!("{severity}: {diagnostic}"));
        }
        print(|out| {
            if let Some((limits, machine)) = &self.limits {
                writeln!(out, "{}", room(limits, machine))?;
            }
            for (file, summary) in &self.files {
                writeln!(out, "{file}: ok: {summary}")?;
            }
            self.not_checked.iter().try_for_each(|text| writeln!(out, "{text}"))
        })
    }

    fn to_json(&self) -> serde_json::Value {
        let diagnostics: Vec<_> =
            self.diagnostics.iter().map(|(severity, diagnostic)| diagnostic.to_json(*severity)).collect();
        let files: Vec<_> =
            self.files.iter().map(|(file, summary)| json!({ "file": file, "summary": summary })).collect();
        let ok = !self.has_error();
        let limits = self.limits.as_ref().map(|(limits, machine)| {
            json!({
                "connections": limits.connections,
                "half_open": limits.half_open,
                "half_open_bytes": limits.half_open_bytes,
                "open_files": machine.open_files,
                "memory": machine.memory,
            })
        });
        json!({ "ok": ok, "diagnostics": diagnostics, "files": files, "not_checked": self.not_checked, "limits": limits })
    }
}

fn listening(config: &Config) -> String {
    let listeners = config.listeners.iter().map(|listener| format!("{} on {}", listener.name, listener.bind));
    let listeners: Vec<String> = listeners.collect();
    format!("{}, health on {}, admin on {}", listeners.join(", "), config.health, config.admin)
}

/// In whole MiB.
fn room(limits: &Limits, machine: &Machine) -> String {
    let (bytes, memory) = (limits.half_open_bytes >> 20, machine.memory >> 20);
    format!(
        "limits here: {} connections, of them {} half-open that hold {bytes} MiB together; this process may have {} open \
         files and {memory} MiB of memory",
        limits.connections, limits.half_open, machine.open_files
    )
}

fn summary(policy: &Policy) -> String {
    let allow = policy.rules().filter(|(_, rule)| rule.action == Action::Allow).count();
    match policy.rules().len() {
        0 => "no rules, so everyone is denied".to_owned(),
        all => format!("{all} rules ({allow} allow, {} deny)", all - allow),
    }
}
