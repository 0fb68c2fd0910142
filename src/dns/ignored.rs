//! Messages that belong to no query: counted, and reported in the log now and then.

use std::cell::RefCell;
use std::time::Duration;

use crate::runtime::Instant;

#[derive(Default)]
pub(super) struct IgnoredMessages(RefCell<Unreported>);

#[derive(Default)]
struct Unreported {
    count: u64,
    last_report: Option<Instant>,
}

impl IgnoredMessages {
    /// One line in the log in this time at most.
    const REPORT_EVERY: Duration = Duration::from_secs(60);

    pub(super) fn add(&self) {
        let now = Instant::now();
        let mut ignored = self.0.borrow_mut();
        let count = ignored.count.saturating_add(1);
        if ignored.last_report.is_some_and(|last| now < last + Self::REPORT_EVERY) {
            ignored.count = count;
            return;
        }
        *ignored = Unreported { count: 0, last_report: Some(now) };
        drop(ignored);
        tracing::warn!(count, "ignored DNS messages that belong to no query: this may be an attempt to forge answers");
    }

    #[cfg(test)]
    pub(super) fn unreported(&self) -> u64 {
        self.0.borrow().count
    }

    #[cfg(test)]
    pub(super) fn any(&self) -> bool {
        self.0.borrow().last_report.is_some()
    }
}
