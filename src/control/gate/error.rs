//! Why a gate could not start.

use std::fmt;
use std::io;

use crate::proxy::listener::BindError;
use crate::reload::SourceError;
use latticegate_core::diagnostic::Diagnostic;

#[derive(Debug)]
pub enum StartError {
    Bind(BindError),
    Io(String, io::Error),
    Policy(SourceError),
    /// A file that the configuration names: the token, or the access log.
    Setting(Box<Diagnostic>),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(error) => error.fmt(f),
            Self::Io(what, error) => write!(f, "{what}: {error}"),
            Self::Policy(error) => write!(f, "no access list: {error}"),
            Self::Setting(diagnostic) => diagnostic.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}
