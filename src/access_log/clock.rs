//! The time of a log line. Formatting a date costs more than the rest of the line, so its seconds are kept.

use std::cell::{Cell, RefCell};
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Clock {
    second: Cell<Option<u64>>,
    /// `2026-11-21T10:56:57` of that second, in UTC.
    text: RefCell<String>,
}

impl Clock {
    /// With milliseconds: `2026-11-21T10:56:57.557Z`.
    pub(super) fn millis(&self, now: SystemTime) -> String {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        format!("{}.{:03}Z", self.seconds(since.as_secs()), since.subsec_millis())
    }

    /// As nginx's `$time_iso8601` on a machine in UTC: `2026-11-21T10:56:57+00:00`.
    pub(super) fn iso8601(&self, now: SystemTime) -> String {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        format!("{}+00:00", self.seconds(since.as_secs()))
    }

    fn seconds(&self, second: u64) -> std::cell::Ref<'_, String> {
        if self.second.replace(Some(second)) != Some(second) {
            // Beyond the year 9999 the clock is wrong, and a wrong date is the least of it.
            let time = i64::try_from(second).ok().and_then(|second| Timestamp::from_second(second).ok());
            *self.text.borrow_mut() = time.unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%S").to_string();
        }
        self.text.borrow()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn tells_the_time_it_is_given() {
        let clock = Clock::default();
        let at = |millis| UNIX_EPOCH + Duration::from_millis(millis);
        assert_eq!(clock.millis(at(1_795_258_617_057)), "2026-11-21T10:56:57.057Z");
        assert_eq!(clock.millis(at(1_795_258_617_999)), "2026-11-21T10:56:57.999Z");
        assert_eq!(clock.iso8601(at(1_795_258_618_000)), "2026-11-21T10:56:58+00:00");
        assert_eq!(clock.millis(at(1_795_258_617_001)), "2026-11-21T10:56:57.001Z", "a clock may go backwards");
    }
}
