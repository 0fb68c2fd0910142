//! Why a gate could not start.

use std::fmt;
use std::io;

use crate::proxy::listener::BindError;
use crate::reload::SourceError;

#[derive(Debug)]
pub enum StartError {
    Bind(BindError),
    Io(String, io::Error),
    Policy(SourceError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(error) => error.fmt(f),
            Self::Io(what, error) => write!(f, "{what}: {error}"),
            Self::Policy(error) => write!(f, "no access list: {error}"),
        }
    }
}

impl std::error::Error for StartError {}
