//! The command line: `latticegate-load --help`, or `benches/run load --help`.

use std::io::{self, ErrorKind, Write, stdout};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use latticegate_load::say::say;
use latticegate_load::{Arguments, Report, run};

fn main() -> ExitCode {
    program().unwrap_or_else(|error| {
        say(format_args!("error: {error:#}"));
        ExitCode::from(2)
    })
}

fn program() -> Result<ExitCode> {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(other) => {
            // The help that was asked for goes to standard output, what is wrong to standard error.
            let printed = other.print().and_then(|()| stdout().flush());
            if !other.use_stderr() {
                unless_gone(printed).context("writing the help")?;
            }
            return Ok(u8::try_from(other.exit_code())?.into());
        }
    };
    let report = if arguments.merge.is_empty() {
        run(&arguments, &|name| std::env::var(name).ok().filter(|value| !value.is_empty()))?
    } else {
        Report::merged(&arguments.merge)?
    };
    let text = if arguments.json { report.json() + "\n" } else { report.to_string() };
    let mut output = stdout().lock();
    unless_gone(output.write_all(text.as_bytes()).and_then(|()| output.flush())).context("writing the report")?;
    Ok(match report.fault(arguments.allowed_errors) {
        None => ExitCode::SUCCESS,
        Some(fault) => {
            say(format_args!("error: {fault}"));
            ExitCode::FAILURE
        }
    })
}

/// A reader that goes early, as `| head` does, has had enough: that is no error, and the exit status is that of the run.
fn unless_gone(written: io::Result<()>) -> io::Result<()> {
    written.or_else(|error| if error.kind() == ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
}
