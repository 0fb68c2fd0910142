//! The `Date` of an answer (RFC 9110 §6.6.1). A refusal should cost little, so it is formatted once a second.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

thread_local! {
    /// A second and its text; each worker is one thread.
    static LAST: RefCell<(Option<u64>, String)> = const { RefCell::new((None, String::new())) };
}

/// Calls `use_it` with the date, like `Sat, 21 Nov 2026 10:56:57 GMT`; not if the clock is beyond the year 9999.
pub(super) fn with_date(now: SystemTime, use_it: impl FnOnce(&str)) {
    let Ok(since) = now.duration_since(UNIX_EPOCH) else { return };
    LAST.with_borrow_mut(|(second, text)| {
        if second.replace(since.as_secs()) != Some(since.as_secs()) {
            let time = i64::try_from(since.as_secs()).ok().and_then(|second| Timestamp::from_second(second).ok());
            *text = time
                .and_then(|time| DateTimePrinter::new().timestamp_to_rfc9110_string(&time).ok())
                .unwrap_or_default();
        }
        if !text.is_empty() {
            use_it(text);
        }
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_is_the_date_of_the_second_that_it_is_given() {
        let date = |millis| {
            let mut date = None;
            with_date(UNIX_EPOCH + Duration::from_millis(millis), |text| date = Some(text.to_owned()));
            date
        };
        assert_eq!(date(784_111_777_000).as_deref(), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
        assert_eq!(date(1_795_258_617_999).as_deref(), Some("Sat, 21 Nov 2026 10:56:57 GMT"));
        assert_eq!(date(1_795_258_618_000).as_deref(), Some("Sat, 21 Nov 2026 10:56:58 GMT"));
        assert_eq!(date(784_111_777_999).as_deref(), Some("Sun, 06 Nov 1994 08:49:37 GMT"), "a clock may go backwards");
        assert_eq!(date(u64::MAX), None, "no date is better than a wrong one");
    }
}
