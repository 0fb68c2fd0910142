//! An access list for a verb to look at: a file, or fetched as `run` would fetch it.

use tokio::runtime::{Builder, LocalOptions};

use crate::reload::{ListSource, SourceError};
use latticegate_core::config::PolicySource;
use latticegate_core::diagnostic::{Diagnostic, Origin};
use latticegate_core::policy::Policy;
use latticegate_core::yaml::FromScalar;

/// Reads a list as an argument names it.
pub(super) fn named(text: &str) -> Result<PolicySource, String> {
    PolicySource::from_scalar(text).map_err(|error| format!("{}; {}", error.message, error.help))
}

pub(super) fn load(from: &PolicySource) -> Result<Policy, Vec<Diagnostic>> {
    fetch(from).map_err(|error| diagnostics(from, error))
}

/// What is wrong with a source, as problems with what is configured.
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
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let runtime = runtime.map_err(|error| SourceError::Unreachable(error.to_string()))?;
    Ok(runtime.block_on(source.first())?.policy)
}
