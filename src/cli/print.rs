//! Diagnostics on standard error, for the verbs that have no process log.

use std::io::{self, Write};

use latticegate_core::diagnostic::{Diagnostic, Severity};

/// One line each, on standard error.
pub(super) fn tell(severity: Severity, diagnostics: &[Diagnostic]) -> io::Result<()> {
    let mut err = io::stderr().lock();
    diagnostics.iter().try_for_each(|diagnostic| writeln!(err, "{severity}: {diagnostic}"))
}
