//! Debug lines on request: the configured filter, and this program's own lines down to `debug`. Libraries stay as they are
//! configured, since theirs may show what they send.

use std::sync::atomic::{AtomicBool, Ordering};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::reload::Handle;

/// The crates whose lines are this program's own.
const OWN: [&str; 2] = [env!("CARGO_PKG_NAME"), "latticegate_core"];

pub(super) struct Filter {
    configured: Targets,
    text: Box<str>,
    handle: Handle<Targets, Registry>,
    is_debug: AtomicBool,
}

impl Filter {
    pub(super) fn new(configured: Targets, handle: Handle<Targets, Registry>) -> Self {
        let text = configured.to_string().into();
        Self { configured, text, handle, is_debug: AtomicBool::new(false) }
    }

    pub(super) fn configured(&self) -> &str {
        &self.text
    }

    /// Says so while debug lines are on, so that it is seen whatever is configured.
    pub(super) fn toggle(&self) {
        let was_debug = self.is_debug.fetch_xor(true, Ordering::AcqRel);
        if was_debug {
            tracing::info!(filter = %self.text, "SIGUSR2: debug lines are off, the configured filter applies again");
            self.set(self.configured.clone());
        } else {
            self.set(with_debug(&self.configured));
            tracing::info!(filter = %self.text, "SIGUSR2: debug lines are on, until the next SIGUSR2");
        }
    }

    fn set(&self, filter: Targets) {
        if let Err(error) = self.handle.reload(filter) {
            tracing::error!(%error, "the filter of the process log cannot be changed");
        }
    }
}

/// Never less than is configured.
fn with_debug(configured: &Targets) -> Targets {
    let levels = configured.iter().map(|(_, level)| level).chain(configured.default_level());
    let level = levels.fold(LevelFilter::DEBUG, LevelFilter::max);
    configured.clone().with_targets(OWN.map(|name| (name, level)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_crates_log_debug_lines_and_others_what_is_configured() {
        for (configured, own) in
            [("info", "debug"), ("off", "debug"), ("warn,hyper=trace", "trace"), ("latticegate=error", "debug")]
        {
            let filter = with_debug(&configured.parse().unwrap()).to_string();
            let directives: Vec<&str> = filter.split(',').collect();
            for name in OWN {
                assert!(directives.contains(&&*format!("{name}={own}")), "{configured}: {filter}");
            }
            for other in configured.split(',').filter(|other| !other.starts_with(OWN[0])) {
                assert!(directives.contains(&other), "{configured}: {filter}");
            }
        }
    }
}
