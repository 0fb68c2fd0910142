//! Lines on standard error.

use std::fmt;
use std::io::{Write, stderr};

/// Says it where somebody listens: a run does not end because nobody does, and its exit status is not lost.
pub fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(stderr(), "{line}");
}
