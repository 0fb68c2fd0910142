//! `latticegate diff`: what a new access list would change, in addresses.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;

use super::list;
use super::print::{print, print_diagnostics, say};
use crate::sys::files;
use latticegate_core::config::{Listener, PolicySource};
use latticegate_core::diagnostic::{Diagnostic, Severity};
use latticegate_core::policy::Policy;
use latticegate_core::policy::diff::{Change, diff};

/// Print what a new access list would change: which addresses, for which names.
///
/// Compares what the two lists decide, not how they are written: a rule that is split, moved or renamed without effect
/// is not a difference. + is allowed by the new list only, - by the old list only.
///
/// A rule that allows any name without saying "to: any" allows nothing on a forward listener. Where that matters, changes
/// on forward listeners only say so; with --config the listeners are known, and changes elsewhere are left out: for other
/// listeners, ports that none has, and endpoints where no PROXY header names them.
///
/// Exit status as for diff(1): 0: no difference; 1: some; 2: a list cannot be read.
#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// The old list: a file, s3://bucket/key, or http:// on loopback.
    #[arg(value_parser = list::named)]
    old: PolicySource,
    /// The new list, in the same form.
    #[arg(value_parser = list::named)]
    new: PolicySource,
    /// The configuration whose listeners the lists are for.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What is compared, and for which listeners if they are known.
struct Loaded {
    listeners: Option<Vec<Listener>>,
    old: Policy,
    new: Policy,
}

/// Ranges printed for one change.
const MAX_RANGES: usize = 1000;

impl DiffArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Loaded { listeners, old, new } = match self.load() {
            Ok(loaded) => loaded,
            Err(diagnostics) => {
                print_diagnostics(Severity::Error, &diagnostics);
                return Ok(ExitCode::from(2));
            }
        };
        let changes = match diff(&old, &new, listeners.as_deref(), SystemTime::now()) {
            Ok(changes) => changes,
            Err(error) => {
                say(format_args!("error: {error}"));
                return Ok(ExitCode::from(2));
            }
        };
        print(|out| changes.iter().try_for_each(|change| write(out, change, &new)))?;
        Ok(if changes.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }

    fn load(&self) -> Result<Loaded, Vec<Diagnostic>> {
        let listeners = match &self.config {
            Some(file) => Some(files::configuration_for_list(Some(file), files::environment())?.0.listeners),
            None => None,
        };
        Ok(Loaded { listeners, old: list::load(&self.old)?, new: list::load(&self.new)? })
    }
}

fn write(out: &mut dyn Write, change: &Change, new: &Policy) -> io::Result<()> {
    let Change { scopes, allowed, rule, ranges } = change;
    let (sign, verb) = if *allowed { ('+', "allowed") } else { ('-', "denied") };
    let by = match rule.and_then(|id| Some((id, new.rule(id)?))) {
        Some((id, rule)) => format!("by {}  {}", new.named_label(id), rule.text),
        None => "because no rule matches".to_owned(),
    };
    writeln!(out, "{}: now {verb} {by}", scopes.join(", or\n"))?;
    for range in ranges.iter().take(MAX_RANGES) {
        writeln!(out, "  {sign} {range}")?;
    }
    if ranges.len() > MAX_RANGES {
        writeln!(out, "  {sign} … and {} more ranges", ranges.len() - MAX_RANGES)?;
    }
    Ok(())
}
