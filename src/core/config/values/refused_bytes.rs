//! How many refused connections are kept with their first bytes.

use std::num::NonZeroU8;

use crate::yaml::{FromScalar, ValueError};

/// As many as an operator looks at, each of them with up to 16 KiB.
const MOST: u8 = 100;

/// `None`: off.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) struct RefusedBytes(pub(in crate::config) Option<NonZeroU8>);

impl FromScalar for RefusedBytes {
    const EXPECTED: &'static str = "off, or how many refused connections";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        if text == "off" {
            return Ok(Self(None));
        }
        let number = text.parse::<u8>().ok().filter(|number| *number <= MOST).and_then(NonZeroU8::new);
        match number {
            Some(number) if text.starts_with(|c: char| c.is_ascii_digit()) => Ok(Self(Some(number))),
            _ => Err(ValueError::new(
                "is no number of refused connections",
                "write off, or a number from 1 to 100, like 20",
            )),
        }
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "anyOf": [{ "enum": ["off"] }, { "type": "integer", "minimum": 1, "maximum": MOST }] })
    }
}
