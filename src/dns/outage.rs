//! Whether the server responds, from the outcomes of all lookups.

use crate::runtime::Instant;

use super::LookupError;
use super::cache_config::CacheConfig;

#[derive(Default)]
pub(super) struct OutageTracker {
    answered: Option<Instant>,
    /// A lookup has failed since the last answer.
    failed: bool,
    recovered: Option<Instant>,
}

impl OutageTracker {
    /// When the server last responded again after an outage.
    pub(super) fn recovered(&self) -> Option<Instant> {
        self.recovered
    }

    /// An outage ends with an answer after failures, if there was none for as long as a failure is held against a name.
    pub(super) fn record(&mut self, outcome: Result<(), LookupError>, now: Instant) {
        match outcome {
            Ok(()) | Err(LookupError::Unknown) => {
                let was_silent = self.answered.is_none_or(|answered| now > answered + CacheConfig::FIRST_HOLD);
                if std::mem::take(&mut self.failed) && was_silent {
                    self.recovered = Some(now);
                }
                self.answered = Some(now);
            }
            Err(LookupError::Timeout | LookupError::Failed) => self.failed = true,
            Err(LookupError::Limited | LookupError::Shortage) => {}
        }
    }
}
