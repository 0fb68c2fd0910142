//! The time of a log line. Formatting a date costs more than the rest of the line, so its text is kept for a second.

use std::cell::{Cell, Ref, RefCell};
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

use super::ascii;

#[derive(Debug, Default)]
pub(super) struct Timestamps {
    second: Cell<Option<u64>>,
    /// `2026-11-21T10:56:57` of that second, in UTC.
    text: RefCell<String>,
}

impl Timestamps {
    /// With milliseconds: `2026-11-21T10:56:57.557Z`.
    pub(super) fn millis(&self, out: &mut Vec<u8>, now: SystemTime) {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        out.extend_from_slice(self.seconds(since.as_secs()).as_bytes());
        out.push(b'.');
        ascii::three(out, since.subsec_millis().into());
        out.push(b'Z');
    }

    /// As nginx's `$time_iso8601` on a machine in UTC: `2026-11-21T10:56:57+00:00`.
    pub(super) fn iso8601(&self, out: &mut Vec<u8>, now: SystemTime) {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        out.extend_from_slice(self.seconds(since.as_secs()).as_bytes());
        out.extend_from_slice(b"+00:00");
    }

    fn seconds(&self, second: u64) -> Ref<'_, String> {
        if self.second.replace(Some(second)) != Some(second) {
            // After the year 9999 the clock is wrong, and a wrong date is the least problem.
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
    fn formats_the_given_time() {
        let clock = Timestamps::default();
        let text = |write: fn(&Timestamps, &mut Vec<u8>, SystemTime), millis| {
            let mut out = Vec::new();
            write(&clock, &mut out, UNIX_EPOCH + Duration::from_millis(millis));
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(Timestamps::millis, 1_795_258_617_057), "2026-11-21T10:56:57.057Z");
        assert_eq!(text(Timestamps::millis, 1_795_258_617_999), "2026-11-21T10:56:57.999Z");
        assert_eq!(text(Timestamps::iso8601, 1_795_258_618_000), "2026-11-21T10:56:58+00:00");
        assert_eq!(text(Timestamps::millis, 1_795_258_617_001), "2026-11-21T10:56:57.001Z", "a clock may go backwards");
    }
}
