//! Lines on standard output.

use std::fmt;
use std::io::{ErrorKind, Write, stdout};

use anyhow::{Context, Result};

/// A reader that goes early, as `| head` does, has had enough: a run goes on, and writes its files.
pub fn print(line: fmt::Arguments<'_>) -> Result<()> {
    match writeln!(stdout(), "{line}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing to standard output"),
    }
}
