//! Arguments → verb → exit status.

use std::io::{self, Write};
use std::process::ExitCode;

use latticegate::cli::{self, Unwritten};

fn main() -> ExitCode {
    cli::run().unwrap_or_else(|error| {
        // Standard error may be closed.
        let _ = writeln!(io::stderr(), "error: {error:#}");
        if error.is::<Unwritten>() { ExitCode::from(2) } else { ExitCode::FAILURE }
    })
}
