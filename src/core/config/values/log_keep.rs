//! Which records the access log keeps.

use crate::config::LogKeep;
use crate::yaml::{FromScalar, ValueError};

impl FromScalar for LogKeep {
    const EXPECTED: &'static str = "all, refused or sample:N";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        const HELP: &str = "write all, refused, or sample:N for one of N relayed connections, like sample:100";
        match (text, text.strip_prefix("sample:")) {
            ("all", _) => Ok(Self::All),
            ("refused", _) => Ok(Self::Refused),
            (_, Some(count)) => match count.parse() {
                Ok(one_of) if count.starts_with(|c: char| c.is_ascii_digit() && c != '0') => Ok(Self::Sample(one_of)),
                _ => Err(ValueError::new("has no sample size: a number from 1 to 4294967295", HELP)),
            },
            _ => Err(ValueError::new("is none of all, refused and sample:N", HELP)),
        }
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "anyOf": [{ "enum": ["all", "refused"] }, { "type": "string", "pattern": "^sample:[1-9][0-9]*$" }] })
    }
}
