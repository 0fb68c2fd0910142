//! Joins what the two readers have read: the structure, in which they must agree, and each scalar's text as written.
//!
//! serde_yaml turns plain scalars into numbers and loses how they were written: `1.10` is 1.1, `0x1F` is 31, and a
//! number of 30 digits is an error. Most of our scalars are text, so the text is taken from saphyr-parser; a number or
//! a truth value is read from that text by serde_yaml ([`super::typed`]).

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{Mapping, Value};

use super::tree::{Kind, Location, Node};

/// A document as serde_yaml reads it. Keys keep their order and may be equal; duplicates are found by their text.
pub(super) enum Raw {
    Null,
    Text(String),
    /// A number or a truth value.
    Typed,
    List(Vec<Raw>),
    Map(Vec<(Raw, Raw)>),
}

/// The values, all scalars as text, or the location of the first about which the readers disagree. Moves the texts out
/// of `node`.
pub(super) fn join(node: &mut Node, raw: Raw) -> Result<Value, Location> {
    let disagree = Err(node.at);
    match (&mut node.kind, raw) {
        (Kind::Null, Raw::Null) => Ok(Value::Null),
        (Kind::Scalar { text, plain }, raw) => match scalar(std::mem::take(text), *plain, raw) {
            Some(text) => Ok(Value::String(text)),
            None => disagree,
        },
        (Kind::List(items), Raw::List(values)) if items.len() == values.len() => {
            items.iter_mut().zip(values).map(|(item, value)| join(item, value)).collect()
        }
        (Kind::Map(entries), Raw::Map(pairs)) if entries.len() == pairs.len() => {
            let mut map = Mapping::with_capacity(entries.len());
            for (entry, (key, value)) in entries.iter_mut().zip(pairs) {
                // A key like `null:` is a word to us.
                let key = if let Raw::Null = key { Raw::Typed } else { key };
                let key = scalar(entry.key.clone(), entry.plain, key).ok_or(entry.key_at)?;
                entry.key = key.as_str().into();
                map.insert(Value::String(key), join(&mut entry.node, value)?);
            }
            Ok(Value::Mapping(map))
        }
        _ => disagree,
    }
}

/// The text, if both readers agree about it.
fn scalar(text: Box<str>, plain: bool, raw: Raw) -> Option<String> {
    match raw {
        Raw::Text(original) if is_same(&text, &original) => Some(original),
        Raw::Typed if plain => Some(text.into()),
        _ => None,
    }
}

/// saphyr-parser got spaces in place of tabs, and adds a newline to a block at the end of a file.
fn is_same(text: &str, original: &str) -> bool {
    let spaced = |text: &str| text.replace('\t', " ");
    text == original || [text, text.strip_suffix('\n').unwrap_or(text)].map(spaced).contains(&spaced(original))
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    /// An empty document.
    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Raw, E> {
        Ok(Raw::Text(text))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Typed)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Typed)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Typed)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Typed)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Typed)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Typed)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}
