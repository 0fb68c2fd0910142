//! `LATTICEGATE_LOG`: how much the process tells about itself. A filter that is none is told, not passed over.

use tracing_subscriber::EnvFilter;

use crate::problem::{Origin, Problem, nearest};

const VARIABLE: &str = "LATTICEGATE_LOG";
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The filter that is asked for; `usual` where none is, or where what is asked for cannot be read.
pub(super) fn filter(usual: &str) -> (EnvFilter, Option<Problem>) {
    let Some(text) = std::env::var_os(VARIABLE) else { return (EnvFilter::new(usual), None) };
    match read(&text.to_string_lossy()) {
        Ok(Some(filter)) => (filter, None),
        Ok(None) => (EnvFilter::new(usual), None),
        Err(problem) => (EnvFilter::new(usual), Some(problem)),
    }
}

/// None where nothing is asked for.
fn read(text: &str) -> Result<Option<EnvFilter>, Problem> {
    let told = |why: &str, mend: String| {
        let problem = Problem::whole(Origin::Variable(VARIABLE.into()), format!("is no log filter: {why}"), mend);
        Problem { value: Some(text.into()), ..problem }
    };
    let directives = || text.split(',').map(str::trim).filter(|directive| !directive.is_empty());
    if directives().next().is_none() {
        return Ok(None);
    }
    // A word alone would be taken for a module, and a mistyped level silence all others.
    for directive in directives().filter(|directive| !directive.contains(['[', ']', '{', '}'])) {
        let level = directive.rsplit('=').next().unwrap_or(directive);
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            let mend = match nearest(level, LEVELS) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("write one of {}", LEVELS.join(", ")),
            };
            return Err(told(&format!("{level:?} is no level"), mend));
        }
    }
    let filter = EnvFilter::builder().parse(text);
    filter.map(Some).map_err(|error| told(&error.to_string(), format!("write one of {}", LEVELS.join(", "))))
}
