//! What the verbs print: answers on standard output, what is wrong on standard error.

use std::fmt;
use std::io::{self, BufWriter, ErrorKind, Write};

use latticegate_core::diagnostic::{Diagnostic, Severity};

/// Standard output did not take the answer, as on a full disk: nobody knows it, whatever it is.
#[derive(Debug)]
pub struct Unwritten(pub(super) io::Error);

impl fmt::Display for Unwritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write to standard output: {}", self.0)
    }
}

impl std::error::Error for Unwritten {}

/// Whether anybody still reads standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    There,
    Gone,
}

/// Prints what `write` writes. A reader that goes early, as `| head` does, has had enough: that is no error, and the exit status
/// is what it would have been.
pub(super) fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<Reader, Unwritten> {
    let mut out = BufWriter::new(io::stdout().lock());
    printed(write(&mut out).and_then(|()| out.flush()))
}

pub(super) fn printed(result: io::Result<()>) -> Result<Reader, Unwritten> {
    match result {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(Unwritten(error)),
    }
}

/// One line on standard error, for the verbs that have no process log. Where nobody takes it, the exit status still says what it can.
pub(super) fn say(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Diagnostics, one per line.
pub(super) fn print_diagnostics(severity: Severity, diagnostics: &[Diagnostic]) {
    diagnostics.iter().for_each(|diagnostic| say(format_args!("{severity}: {diagnostic}")));
}
