//! Names: of listeners, in CloudWatch, in Via, of AWS accounts.

use crate::yaml::{FromScalar, ValueError};

/// Longest name of a listener, in bytes: it is in every log line and metric.
const MAX_NAME: usize = 32;

/// A listener's name, safe in a log line and in a metric's label.
#[derive(Debug, Clone)]
pub(in crate::config) struct ListenerName(pub(in crate::config) String);

impl FromScalar for ListenerName {
    const EXPECTED: &'static str = "a listener's name";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if text.is_empty() || text.len() > MAX_NAME || !text.bytes().all(allowed) {
            return Err(ValueError::new("is not a listener's name", "use 1 to 32 letters, digits, `-` or `_`"));
        }
        Ok(Self(text.to_owned()))
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": ["string", "number", "boolean"], "pattern": "^[A-Za-z0-9_-]{1,32}$" })
    }
}

/// A namespace, or the value of a dimension, in CloudWatch.
#[derive(Debug, Clone)]
pub(in crate::config) struct MetricWord(pub(in crate::config) Box<str>);

impl FromScalar for MetricWord {
    const EXPECTED: &'static str = "a word for CloudWatch";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        // CloudWatch: 1 to 255 characters of ASCII, not beginning with a colon.
        let valid = !text.is_empty() && text.len() <= 255 && !text.starts_with(':');
        if !valid || !text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) || text.trim().is_empty() {
            return Err(ValueError::new(
                "is no name for CloudWatch",
                "use 1 to 255 letters, digits or ./-_#, like latticegate",
            ));
        }
        Ok(Self(text.into()))
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": ["string", "number", "boolean"], "minLength": 1, "maxLength": 255 })
    }
}

/// Longest name in Via, in bytes: it is in every request and response.
const MAX_VIA_NAME: usize = 64;

/// The name of a proxy in the Via field: a token (RFC 9110 §5.6.2).
#[derive(Debug, Clone)]
pub(in crate::config) struct ViaName(pub(in crate::config) Box<str>);

impl FromScalar for ViaName {
    const EXPECTED: &'static str = "a name for the Via field";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if text.is_empty() || text.len() > MAX_VIA_NAME || !text.bytes().all(is_token) {
            return Err(ValueError::new(
                "is not a name for the Via field",
                "use 1 to 64 letters, digits, `-`, `_` or `.`, like egress-prod",
            ));
        }
        Ok(Self(text.into()))
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        let pattern = format!("^[A-Za-z0-9!#$%&'*+.^_`|~-]{{1,{MAX_VIA_NAME}}}$");
        serde_json::json!({ "type": ["string", "number", "boolean"], "pattern": pattern })
    }
}

/// An AWS account id: 12 digits.
#[derive(Debug, Clone)]
pub(in crate::config) struct AccountId(pub(in crate::config) Box<str>);

impl FromScalar for AccountId {
    const EXPECTED: &'static str = "an AWS account id in quotes";

    fn from_scalar(text: &str) -> Result<Self, ValueError> {
        if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(Self(text.into()));
        }
        Err(ValueError::new("is not an account id", "write its 12 digits in quotes"))
    }

    #[cfg(test)]
    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": ["string", "integer"], "pattern": "^[0-9]{12}$" })
    }
}
