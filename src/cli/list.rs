//! An access list named on the command line: read from a file, or fetched as `run` would fetch it.

use crate::reload::{ListSource, SourceError};
use crate::sys::control_runtime::control_runtime;
use latticegate_core::config::PolicySource;
use latticegate_core::diagnostic::{Diagnostic, Origin};
use latticegate_core::policy::Policy;
use latticegate_core::yaml::FromScalar;

/// Parses the argument that names a list.
pub(super) fn named(text: &str) -> Result<PolicySource, String> {
    PolicySource::from_scalar(text).map_err(|error| format!("{}; {}", error.message, error.help))
}

pub(super) fn load(from: &PolicySource) -> Result<Policy, Vec<Diagnostic>> {
    fetch(from).map_err(|error| diagnostics(from, error))
}

/// A source's error as diagnostics.
pub(super) fn diagnostics(from: &PolicySource, error: SourceError) -> Vec<Diagnostic> {
    match error {
        SourceError::Invalid(diagnostics) => diagnostics,
        SourceError::Unreachable(why) => {
            let why = why.strip_prefix(&format!("{from}: ")).unwrap_or(&why);
            vec![Diagnostic::whole(Origin::file(from.to_string()), why, "")]
        }
    }
}

fn fetch(from: &PolicySource) -> Result<Policy, SourceError> {
    let mut source = ListSource::new(from)?;
    let runtime = control_runtime().map_err(|error| SourceError::Unreachable(error.to_string()))?;
    Ok(runtime.block_on(source.first())?.policy)
}
