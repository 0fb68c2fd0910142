//! The command line: `latticegate-load --help`, or `benches/run load --help`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "its report goes to standard output, errors to standard error"
)]

use std::process::ExitCode;

use clap::Parser;
use latticegate_load::{Arguments, Report, run};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let report = if arguments.merge.is_empty() {
        run(&arguments, &|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    } else {
        Report::merged(&arguments.merge)
    };
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::from(2);
        }
    };
    if arguments.json {
        println!("{}", report.json());
    } else {
        print!("{report}");
    }
    let failed = report.total().failed();
    if arguments.allowed_errors.permit(failed, report.total().planned) {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {failed} requests failed, more than --allowed-errors {}", arguments.allowed_errors);
    ExitCode::FAILURE
}
