//! `latticegate import`: an nginx access list as `ipcontrol.yaml`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::print::print_diagnostics;
use crate::sys::files;
use latticegate_core::diagnostic::{Origin, Severity};
use latticegate_core::policy::Policy;
use latticegate_core::policy::import::{Include, Included, import};

/// Convert an nginx allow/deny file into an access list.
///
/// Prints the new list on standard output. Comments are kept, and include is followed relative to the including file.
/// What cannot be imported is a comment in the new list and is reported on standard error.
///
/// Exit status 0: everything was imported; 1: something was not, or the file cannot be read.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The nginx file: lines such as "allow 10.0.0.0/8;" and "deny all;".
    file: PathBuf,
}

impl ImportArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let text = match files::text(&self.file) {
            Ok(text) => text,
            Err(diagnostic) => {
                print_diagnostics(Severity::Error, &[diagnostic])?;
                return Ok(ExitCode::FAILURE);
            }
        };
        let imported = import(&self.file.display().to_string(), &text, &FromDisk);
        io::stdout().lock().write_all(imported.yaml.as_bytes())?;
        let mut err = io::stderr().lock();
        for note in &imported.notes {
            writeln!(err, "note: {note}")?;
        }
        for left_out in &imported.left_out {
            writeln!(err, "not imported: {left_out}")?;
        }
        drop(err);
        // Checks that what was printed is a valid list, and lints it.
        match Policy::parse(&imported.yaml, Origin::file("the new list")) {
            Ok(policy) => print_diagnostics(Severity::Warning, &policy.lints(std::time::SystemTime::now(), None))?,
            Err(diagnostics) => {
                print_diagnostics(Severity::Error, &diagnostics)?;
                return Ok(ExitCode::FAILURE);
            }
        }
        Ok(if imported.left_out.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

struct FromDisk;

impl Include for FromDisk {
    fn identity(&self, name: &str) -> PathBuf {
        std::fs::canonicalize(name).unwrap_or_else(|_| name.into())
    }

    fn find(&self, from: &str, pattern: &str) -> Result<Vec<Included>, String> {
        find(from, pattern)
    }
}

/// The files that match `pattern`, relative to the directory of `from`, sorted by name.
fn find(from: &str, pattern: &str) -> Result<Vec<Included>, String> {
    let directory = Path::new(from).parent().unwrap_or(Path::new(""));
    let pattern = directory.join(pattern);
    let pattern = pattern.to_str().ok_or("its path is not UTF-8")?;
    let found = glob::glob(pattern).map_err(|error| error.to_string())?;
    let paths = found.collect::<Result<Vec<PathBuf>, _>>().map_err(|error| error.to_string())?;
    if paths.is_empty() && !pattern.contains(['*', '?', '[']) {
        return Err(format!("{pattern} does not exist; nginx looks below its own configuration directory"));
    }
    let read = |path: PathBuf| {
        let text = files::text(&path).map_err(|diagnostic| diagnostic.to_string())?;
        Ok(Included { name: path.display().to_string(), text })
    };
    paths.into_iter().map(read).collect()
}
