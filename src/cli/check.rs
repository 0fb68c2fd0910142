//! `latticegate check`: the checks of the start, without the start.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;

use super::Source;
use crate::config::{Config, PolicySource, env};
use crate::policy::{Action, Policy};
use crate::problem::{Origin, Problem};

/// Exit status 0: `run` would start with this; 1: it would refuse.
#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    source: Source,
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut out = io::stdout().lock();
        let file = self.source.config.as_deref();
        let config = match Config::load(file, env::of_process()) {
            Ok((config, warnings)) => {
                tell("warning", &warnings)?;
                let origin = file.map_or(Origin::Defaults, Origin::file);
                writeln!(out, "{origin}: ok: {}", listening(&config))?;
                config
            }
            Err(problems) => {
                tell("error", &problems)?;
                return Ok(ExitCode::FAILURE);
            }
        };
        let PolicySource::File(path) = &config.policy else {
            writeln!(out, "{}: not fetched: check the list before it is published", config.policy)?;
            return Ok(ExitCode::SUCCESS);
        };
        match Policy::load(path) {
            Ok(policy) => writeln!(out, "{}: ok: {}", path.display(), summary(&policy))?,
            Err(problems) => {
                tell("error", &problems)?;
                return Ok(ExitCode::FAILURE);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// One line each, on standard error.
pub(super) fn tell(severity: &str, problems: &[Problem]) -> io::Result<()> {
    let mut err = io::stderr().lock();
    problems.iter().try_for_each(|problem| writeln!(err, "{severity}: {problem}"))
}

fn listening(config: &Config) -> String {
    let listeners = config.listeners.iter().map(|listener| format!("{} on {}", listener.name, listener.bind));
    let listeners: Vec<String> = listeners.collect();
    format!("{}, health on {}, admin on {}", listeners.join(", "), config.health, config.admin)
}

fn summary(policy: &Policy) -> String {
    let allow = policy.rules().filter(|(_, rule)| rule.action == Action::Allow).count();
    match policy.rules().len() {
        0 => "no rules, so everyone is denied".to_owned(),
        all => format!("{all} rules ({allow} allow, {} deny)", all - allow),
    }
}
