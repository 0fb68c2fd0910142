//! Diagnostics on standard error, for the verbs that have no process log.

use std::io::{self, Write};

use latticegate_core::diagnostic::{Problem, Severity};

/// One line each, on standard error.
pub(super) fn tell(severity: Severity, problems: &[Problem]) -> io::Result<()> {
    let mut err = io::stderr().lock();
    problems.iter().try_for_each(|problem| writeln!(err, "{severity}: {problem}"))
}
