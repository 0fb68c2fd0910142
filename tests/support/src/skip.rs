//! What a machine cannot run is said, so that nobody takes it for tested.

use std::fs;
use std::io::Write;

/// Tells that a whole test, or a part of one, did not run, where nobody can overlook it: `tests/run` repeats it.
pub fn skip(what: Skipped<'_>, reason: &str) {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    let line = match what {
        Skipped::Test => format!("test {test}: {reason}\n"),
        Skipped::Part(part) => format!("part {test}: {part}: {reason}\n"),
    };
    // Not eprint!, which the test runner would hold back.
    let _ = std::io::stderr().write_all(format!("SKIPPED {line}").as_bytes());
    if let Some(path) = std::env::var_os("TESTS_SKIPPED") {
        // One write of one line: other tests append to the same file.
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

/// How much of a test did not run.
pub enum Skipped<'a> {
    /// All of it.
    Test,
    /// What this says.
    Part(&'a str),
}
