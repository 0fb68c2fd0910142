//! What can keep the demo from starting: which part, and why.

use std::fmt;
use std::io;

use super::OUTPUT;

/// A part of the demo that did not come up.
#[derive(Debug)]
pub struct Error {
    part: &'static str,
    cause: Cause,
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

impl Error {
    /// For `map_err`: the part that the failing step belongs to.
    pub(super) fn of<C: Into<Cause>>(part: &'static str) -> impl Fn(C) -> Self {
        move |cause| Self { part, cause: cause.into() }
    }
}

impl Error {
    /// Where it is the output that failed: why that could not be written.
    pub fn into_output(self) -> Result<io::Error, Self> {
        let Self { part, cause } = self;
        if part != OUTPUT {
            return Err(Self { part, cause });
        }
        cause.downcast().map(|error| *error).map_err(|cause| Self { part, cause })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.part, self.cause)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.source()
    }
}
