//! Numbers and sizes that may be `auto`.

use std::num::NonZeroUsize;

use crate::yaml::{FromScalar, ValueError, number, number_error};

/// Workers at most: far more than Fargate has CPUs.
const MAX_WORKERS: usize = 1024;
/// `limits.connections` and `limits.half_open`.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) enum Connections {
    Auto,
    Number(NonZeroUsize),
}

impl FromScalar for Connections {
    const EXPECTED: &'static str = "`auto` or a number";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let error = || ValueError::new("is not a number above 0", "write `auto` or a number");
        number(text).map(Self::Number).ok_or_else(|| number_error(text, error))
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "anyOf": [{ "const": "auto" }, { "type": "integer", "minimum": 1 }] })
    }
}

/// `limits.half_open_bytes`.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) enum Memory {
    Auto,
    Bytes(u64),
}

/// Below this, only a handful of long hellos would fit.
const MIN_MEMORY: u64 = 1 << 20;

impl FromScalar for Memory {
    const EXPECTED: &'static str = "`auto` or a size, like 128MiB";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        const UNITS: [(&str, u64); 6] = [
            ("KiB", 1 << 10),
            ("MiB", 1 << 20),
            ("GiB", 1 << 30),
            ("kB", 1000),
            ("MB", 1_000_000),
            ("GB", 1_000_000_000),
        ];
        if text == "auto" {
            return Ok(Self::Auto);
        }
        if let Ok(number) = text.parse::<u64>() {
            // A number from a mebibyte on can only mean bytes.
            let help = match number >> 20 {
                0 => format!("write \"{text}MiB\" or \"{text}KiB\""),
                mebibytes => format!("write \"{mebibytes}MiB\""),
            };
            return Err(ValueError::new("has no unit", help));
        }
        let size = UNITS.iter().find_map(|(unit, bytes)| {
            let number: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
            number.checked_mul(*bytes)
        });
        match size {
            None => Err(ValueError::new("is not a size", "write `auto`, or a size like \"128MiB\"")),
            Some(size) if size < MIN_MEMORY => Err(ValueError::new("is less than 1 MiB", "write more, or `auto`")),
            Some(size) => Ok(Self::Bytes(size)),
        }
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": "string", "pattern": "^(auto|[0-9]+ *([KMG]iB|kB|MB|GB))$", "examples": ["auto", "128MiB"] })
    }
}

/// `workers`.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) enum Workers {
    Auto,
    Number(NonZeroUsize),
}

impl FromScalar for Workers {
    const EXPECTED: &'static str = "auto, or a number";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        match number::<NonZeroUsize>(text) {
            Some(number) if number.get() <= MAX_WORKERS => Ok(Self::Number(number)),
            _ => {
                let error = || ValueError::new("is not a number of workers", "write auto, or a number from 1 to 1024");
                Err(number_error(text, error))
            }
        }
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "anyOf": [{ "const": "auto" }, { "type": "integer", "minimum": 1, "maximum": MAX_WORKERS }] })
    }
}
