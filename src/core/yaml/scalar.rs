//! Typed scalars and lists of them, with errors that say what to write instead.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, SeqAccess, Visitor};

use crate::diagnostic;

/// Separates message and help in the text of a serde error, which is all that serde passes on.
const SEPARATOR: char = '\u{1e}';

/// What is wrong with a value (as a sentence about it) and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueError {
    pub message: String,
    pub help: String,
}

/// A value that is written as one YAML scalar.
pub trait FromScalar: Sized {
    /// What is expected, for the message when there is a list or map instead.
    const EXPECTED: &'static str;

    fn from_scalar(text: &str) -> Result<Self, ValueError>;

    /// For the JSON Schemas in `conf/`, which a test writes and compares.
    #[cfg(test)]
    fn schema() -> serde_json::Value;
}

/// Deserialises what [`FromScalar`] reads. Every scalar of a document is text, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read<T>(pub T);

/// A list, or one value, or several in one text separated by commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Many<T>(pub Vec<T>);

impl ValueError {
    pub fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }

    /// The error about `part`, one of several values separated by commas: the others may stay.
    pub fn in_part(&self, part: &str) -> Self {
        Self::new(format!("has {part:?} in it, which {}", self.message), format!("in its place, {}", self.help))
    }

    pub(super) fn split(text: &str) -> Option<Self> {
        text.split_once(SEPARATOR).map(|(message, help)| Self::new(message, help))
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{SEPARATOR}{}", self.message, self.help)
    }
}

/// A number or a truth value by the rules of YAML: `0x1F` is 31, `True` is true.
pub fn typed<T: DeserializeOwned>(text: &str) -> Option<T> {
    // Other text is neither, and no other syntax of YAML is wanted here.
    let is_plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    if is_plain { serde_yaml::from_str(text).ok() } else { None }
}

/// A number. None begins with a zero, like `0443`: it is 443 to some readers of YAML, and 291 to those of YAML 1.1.
pub fn number<T: FromStr + DeserializeOwned>(text: &str) -> Option<T> {
    if without_zeros(text).is_some() {
        return None;
    }
    text.parse().ok().or_else(|| typed(text))
}

/// The error about what is a number, or the one about its leading zeros.
pub fn number_error(text: &str, other: impl FnOnce() -> ValueError) -> ValueError {
    match without_zeros(text) {
        Some(digits) => {
            let message = "begins with a zero, as an octal number does in YAML 1.1";
            ValueError::new(message, format!("write {digits}"))
        }
        None => other(),
    }
}

/// The same decimal number without leading zeros, if it has some.
fn without_zeros(text: &str) -> Option<&str> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_decimal = digits.len() > 1 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_decimal || !digits.starts_with('0') {
        return None;
    }
    Some(digits.trim_start_matches('0')).map(|rest| if rest.is_empty() { "0" } else { rest })
}

/// One of a few fixed words.
pub fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, ValueError> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let known = words.iter().map(|(word, _)| *word);
    let list = known.clone().collect::<Vec<_>>().join(", ");
    let help = match diagnostic::nearest(text, known) {
        Some(near) => format!("did you mean {near:?}?"),
        None => "write one of these".to_owned(),
    };
    Err(ValueError::new(format!("is none of {list}"), help))
}

impl<'de, T: FromScalar> Deserialize<'de> for Read<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor(PhantomData)).map(Self)
    }
}

impl<'de, T: FromScalar> Deserialize<'de> for Many<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ManyVisitor(PhantomData)).map(Self)
    }
}

struct ScalarVisitor<T>(PhantomData<T>);

impl<T: FromScalar> Visitor<'_> for ScalarVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::from_scalar(text).map_err(E::custom)
    }
}

struct ManyVisitor<T>(PhantomData<T>);

impl<'de, T: FromScalar> Visitor<'de> for ManyVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, or a list of them", T::EXPECTED)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
        let mut values = Vec::new();
        while let Some(Read(value)) = elements.next_element()? {
            values.push(value);
        }
        Ok(values)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        let in_part = |part: &str, error: ValueError| if parts.len() > 1 { error.in_part(part) } else { error };
        parts.iter().map(|part| T::from_scalar(part).map_err(|error| E::custom(in_part(part, error)))).collect()
    }
}

#[cfg(test)]
mod schema {
    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    use super::{FromScalar, Many, Read};

    impl<T: FromScalar> JsonSchema for Read<T> {
        fn inline_schema() -> bool {
            true
        }

        fn schema_name() -> Cow<'static, str> {
            T::EXPECTED.into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            Schema::try_from(T::schema()).unwrap()
        }
    }

    impl<T: FromScalar> JsonSchema for Many<T> {
        fn inline_schema() -> bool {
            true
        }

        fn schema_name() -> Cow<'static, str> {
            T::EXPECTED.into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            let one = T::schema();
            json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
        }
    }
}
