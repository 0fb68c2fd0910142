//! Durations with a unit.

use std::time::Duration;

use jiff::SignedDuration;

use crate::yaml::{FromScalar, ValueError};

/// Longest duration accepted: a longer one is a mistyped unit.
const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);
/// From zero to a day; a [`Timeout`](crate::config::Timeout) is more than zero.
impl FromScalar for Duration {
    const EXPECTED: &'static str = "a duration, like \"10s\" or \"2m\"";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        let negative = || ValueError::new("is negative", "write how long to wait");
        if text.parse::<f64>().is_ok_and(f64::is_finite) {
            let help = format!("write \"{text}s\" for seconds or \"{text}ms\" for milliseconds");
            return Err(if text.starts_with('-') { negative() } else { ValueError::new("has no unit", help) });
        }
        let read: SignedDuration = text
            .parse()
            .map_err(|_| ValueError::new("is not a duration", "write it like \"10s\", \"500ms\" or \"2m\""))?;
        let duration = Self::try_from(read).map_err(|_| negative())?;
        if duration > MAX_DURATION {
            return Err(ValueError::new("is longer than a day", "check the unit: s, m or h"));
        }
        Ok(duration)
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": "string", "pattern": "^[0-9]", "examples": ["10s", "500ms", "2m"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_a_sign_and_a_bound() {
        assert_eq!(Duration::from_scalar("610s"), Ok(Duration::from_secs(610)));
        assert_eq!(Duration::from_scalar("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(Duration::from_scalar("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(Duration::from_scalar("0s"), Ok(Duration::ZERO));
        for (text, message, help) in [
            ("3", "has no unit", "\"3s\""),
            ("-3s", "is negative", "how long"),
            ("-1", "is negative", "how long"),
            ("nan", "is not a duration", "\"10s\""),
            ("25h", "is longer than a day", "unit"),
            ("soon", "is not a duration", "\"10s\""),
            ("", "is not a duration", "\"10s\""),
        ] {
            let error = Duration::from_scalar(text).unwrap_err();
            assert!(error.message == message && error.help.contains(help), "{text}: {error:?}");
        }
    }
}
