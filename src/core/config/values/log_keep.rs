//! Which records the access log keeps, and what of them.

use crate::config::{LogField, LogKeep};
use crate::yaml::{FromScalar, ValueError, word};

/// `refused` and `sample:N` are older words for `failures` and `sample 1/N`.
impl FromScalar for LogKeep {
    const EXPECTED: &'static str = "all, failures or sample 1/N";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        const HELP: &str = "write all, failures, or sample 1/N for one of N relayed connections, like sample 1/100";
        let sample = ["sample 1/", "sample:"].into_iter().find_map(|word| text.strip_prefix(word));
        match (text, sample) {
            ("all", _) => Ok(Self::All),
            ("failures" | "refused", _) => Ok(Self::Failures),
            (_, Some(count)) => match count.parse() {
                Ok(one_of) if count.starts_with(|c: char| c.is_ascii_digit() && c != '0') => Ok(Self::Sample(one_of)),
                _ => Err(ValueError::new("has no sample size: a number from 1 to 4294967295", HELP)),
            },
            _ => Err(ValueError::new("is none of all, failures and sample 1/N", HELP)),
        }
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        let sample = serde_json::json!({ "type": "string", "pattern": "^sample( 1/|:)[1-9][0-9]*$" });
        serde_json::json!({ "anyOf": [{ "enum": ["all", "failures", "refused"] }, sample] })
    }
}

impl FromScalar for LogField {
    const EXPECTED: &'static str = "a field of the JSON line";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        word(text, Self::ALL)
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        let words: Vec<&str> = Self::ALL.iter().map(|(word, _)| *word).collect();
        serde_json::json!({ "enum": words })
    }
}
