//! `LATTICEGATE_LOG`: the filter of the process log. An invalid filter is reported, not ignored.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

use crate::telemetry::process_log::ProcessLog;
use latticegate_core::diagnostic::{Diagnostic, Origin, Severity, nearest};

const VARIABLE: &str = "LATTICEGATE_LOG";
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Starts the process log with the configured filter, or with `usual` where there is none or it is invalid.
pub(super) fn start(usual: LevelFilter) -> io::Result<ProcessLog> {
    let (filter, diagnostic) = match filter() {
        Ok(filter) => (filter, None),
        Err(diagnostic) => (None, Some(diagnostic)),
    };
    // A filter that names the resolver's library asks for all of its lines.
    let all = filter.as_ref().is_some_and(|filter| filter.to_string().contains("hickory"));
    let log = ProcessLog::start(filter.unwrap_or_else(|| Targets::new().with_default(usual)), all)?;
    log.report(Severity::Warning, diagnostic.as_slice());
    Ok(log)
}

/// The configured filter, if there is one.
pub(super) fn filter() -> Result<Option<Targets>, Diagnostic> {
    std::env::var_os(VARIABLE).map_or(Ok(None), |text| read(&text.to_string_lossy()))
}

/// None where the value is empty.
fn read(text: &str) -> Result<Option<Targets>, Diagnostic> {
    let invalid = |why: &str, help: String| {
        let diagnostic =
            Diagnostic::whole(Origin::Variable(VARIABLE.into()), format!("is not a log filter: {why}"), help);
        Diagnostic { value: Some(text.into()), ..diagnostic }
    };
    let directives = || text.split(',').map(str::trim).filter(|directive| !directive.is_empty());
    if directives().next().is_none() {
        return Ok(None);
    }
    // A single word would be taken for a module, so that a mistyped level would silence everything else.
    for directive in directives() {
        let level = directive.rsplit('=').next().unwrap_or(directive);
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            let help = match nearest(level, LEVELS) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("write one of {}", LEVELS.join(", ")),
            };
            return Err(invalid(&format!("{level:?} is not a level"), help));
        }
        // Of spans and fields, which are not filtered here.
        if let Some((module, _)) = directive.rsplit_once('=').filter(|(module, _)| module.contains(['[', '{', '='])) {
            let help = "write a level, or MODULE=LEVEL".to_owned();
            return Err(invalid(&format!("{module:?} is not a module"), help));
        }
    }
    let filter = directives().collect::<Vec<_>>().join(",").parse::<Targets>();
    filter.map(Some).map_err(|error| invalid(&error.to_string(), format!("write one of {}", LEVELS.join(", "))))
}
