//! Diagnostics on standard error, one per line, for the verbs that have no process log.

use std::io::{self, Write};

use latticegate_core::diagnostic::{Diagnostic, Severity};

pub(super) fn print_diagnostics(severity: Severity, diagnostics: &[Diagnostic]) -> io::Result<()> {
    let mut err = io::stderr().lock();
    diagnostics.iter().try_for_each(|diagnostic| writeln!(err, "{severity}: {diagnostic}"))
}
