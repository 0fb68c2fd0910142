//! `LATTICEGATE_LOG`: how much the process tells about itself. A filter that is none is told, not passed over.

use std::io;

use tracing_subscriber::EnvFilter;

use crate::telemetry::process_log::ProcessLog;
use latticegate_core::diagnostic::{Diagnostic, Origin, Severity, nearest};

const VARIABLE: &str = "LATTICEGATE_LOG";
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// From here on the process logs what is asked for, or `usual` where nothing is or it cannot be read.
pub(super) fn start(usual: &str) -> io::Result<ProcessLog> {
    let (filter, diagnostic) = match asked() {
        Ok(filter) => (filter, None),
        Err(diagnostic) => (None, Some(diagnostic)),
    };
    // Whoever names the resolver's library wants to see it all.
    let all = filter.as_ref().is_some_and(|filter| filter.to_string().contains("hickory"));
    let log = ProcessLog::start(filter.unwrap_or_else(|| EnvFilter::new(usual)), all)?;
    log.report(Severity::Warning, diagnostic.as_slice());
    Ok(log)
}

/// The filter that is asked for, if one is.
pub(super) fn asked() -> Result<Option<EnvFilter>, Diagnostic> {
    std::env::var_os(VARIABLE).map_or(Ok(None), |text| read(&text.to_string_lossy()))
}

/// None where nothing is asked for.
fn read(text: &str) -> Result<Option<EnvFilter>, Diagnostic> {
    let told = |why: &str, help: String| {
        let diagnostic = Diagnostic::whole(Origin::Variable(VARIABLE.into()), format!("is no log filter: {why}"), help);
        Diagnostic { value: Some(text.into()), ..diagnostic }
    };
    let directives = || text.split(',').map(str::trim).filter(|directive| !directive.is_empty());
    if directives().next().is_none() {
        return Ok(None);
    }
    // A word alone would be taken for a module, and a mistyped level silence all others.
    for directive in directives().filter(|directive| !directive.contains(['[', ']', '{', '}'])) {
        let level = directive.rsplit('=').next().unwrap_or(directive);
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            let help = match nearest(level, LEVELS) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("write one of {}", LEVELS.join(", ")),
            };
            return Err(told(&format!("{level:?} is no level"), help));
        }
    }
    let filter = EnvFilter::builder().parse(text);
    filter.map(Some).map_err(|error| told(&error.to_string(), format!("write one of {}", LEVELS.join(", "))))
}
