//! A duration that is not zero.

use std::time::Duration;

use crate::yaml::{FromScalar, ValueError};

/// How long to wait, or how often to do something: more than zero, so that no wait ends before it begins and no interval
/// is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timeout(Duration);

impl Timeout {
    /// `None` for [`Duration::ZERO`].
    pub const fn new(duration: Duration) -> Option<Self> {
        if duration.is_zero() { None } else { Some(Self(duration)) }
    }

    pub const fn get(self) -> Duration {
        self.0
    }
}

impl FromScalar for Timeout {
    const EXPECTED: &'static str = Duration::EXPECTED;

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        let help = "write how long to wait, or remove the key for the default";
        Self::new(Duration::from_scalar(text)?).ok_or_else(|| ValueError::new("must be greater than zero", help))
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        Duration::schema()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_refused_in_every_unit() {
        for zero in ["0s", "0ms", "0h", "0s 0ms"] {
            assert_eq!(Timeout::from_scalar(zero).unwrap_err().message, "must be greater than zero", "{zero}");
        }
        assert_eq!(Timeout::from_scalar("1ms").unwrap().get(), Duration::from_millis(1));
        assert_eq!(Timeout::from_scalar("-1s").unwrap_err().message, "is negative");
    }
}
