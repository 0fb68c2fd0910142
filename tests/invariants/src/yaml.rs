//! YAML: what is taken is the same to both readers, structure and text, and what only one of them takes is refused.

use latticegate_core::diagnostic::Origin;
use latticegate_core::yaml::Document;
use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_yaml::Value;

use crate::diagnostics;

pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (events, values) = (Reader::events(text), Reader::values(text));
    match Document::parse(text, Origin::file("a.yaml")) {
        Ok(document) => {
            let ours: Value = document.read(&mut Vec::new());
            assert!(matches!(events, Reader::Takes(()) | Reader::Minds), "taken, but no YAML by its events: {text:?}");
            match values {
                Reader::Takes(theirs) => same(&ours, &theirs),
                Reader::Minds => {}
                Reader::Refuses => panic!("taken, but no YAML by its values: {text:?}"),
            }
        }
        Err(found) => {
            diagnostics::are_well_formed(&found, text);
            let says = |message: &str| found.iter().any(|diagnostic| diagnostic.message.starts_with(message));
            if is_at_the_edge(text) || is_refused_by_libyaml(text) {
                return;
            }
            assert!(!says("can be read in two ways"), "two readings of {text:?}");
            let agree = match (events, values) {
                (Reader::Minds, _) | (_, Reader::Minds) | (Reader::Refuses, Reader::Refuses) => true,
                (Reader::Takes(()), _) | (_, Reader::Takes(_)) => !says("is not YAML"),
            };
            assert!(agree, "YAML to one, and not to the other: {text:?}");
        }
    }
}

/// Where the readers are known to differ, so that a text may be refused by one alone or for two readings: the edges of
/// block scalars, tabs, an end of a document that is written out, and the marks of what is refused anyway (explicit
/// keys, tags, anchors, aliases, directives).
fn is_at_the_edge(text: &str) -> bool {
    text.contains(['|', '>', '\t', '?', '!', '&', '*', '%']) || text.contains("...")
}

/// What YAML allows and libyaml, which is older, does not: within `{}` a key that goes on in the next line (1.2.2, 7.4.2),
/// and within brackets plain text that begins with a colon (7.3.3).
fn is_refused_by_libyaml(text: &str) -> bool {
    // Of each collection that is open: whether it is a map, and whether a key comes next.
    let mut open: Vec<(bool, bool)> = Vec::new();
    for (event, span) in Parser::new_from_str(text).map_while(Result::ok) {
        let is_key = matches!(open.last(), Some((true, true)));
        match event {
            Event::SequenceEnd | Event::MappingEnd => {
                open.pop();
                continue;
            }
            Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..) => {}
            _ => continue,
        }
        if matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text.starts_with(':')) {
            return true;
        }
        if is_key && matches!(event, Event::Scalar(..)) && span.start.line() != span.end.line() {
            return true;
        }
        if let Some((_, key_is_next)) = open.last_mut() {
            *key_is_next = !*key_is_next;
        }
        match event {
            Event::SequenceStart(..) => open.push((false, false)),
            Event::MappingStart(..) => open.push((true, true)),
            _ => {}
        }
    }
    false
}

/// What one reader says of a text.
enum Reader<T> {
    Takes(T),
    Refuses,
    /// It refuses for a rule of its own, that ours does not have.
    Minds,
}

/// Rules that saphyr-parser has and libyaml has not, be they YAML's or not.
const STRICTER: [&str; 3] =
    ["invalid indentation", "plain scalar cannot start with '-'", "comments must be separated from other tokens"];

impl Reader<()> {
    fn events(text: &str) -> Self {
        match Parser::new_from_str(text).find_map(Result::err) {
            None => Self::Takes(()),
            // It has more rules for tabs than YAML.
            Some(error) if text.contains('\t') || STRICTER.iter().any(|rule| error.info().contains(rule)) => {
                Self::Minds
            }
            Some(_) => Self::Refuses,
        }
    }
}

impl Reader<Value> {
    fn values(text: &str) -> Self {
        match serde_yaml::from_str(text) {
            Ok(value) => Self::Takes(value),
            Err(error) => {
                let error = error.to_string();
                // Two keys that are one number; a number too long for the type that holds any value.
                let minds =
                    error.contains("duplicate entry") || error.contains("128, expected any") || text.contains('\t');
                if minds { Self::Minds } else { Self::Refuses }
            }
        }
    }
}

/// Ours has text where the value may be typed; it must be the text of that value.
fn same(ours: &Value, theirs: &Value) {
    match (ours, theirs) {
        (Value::Null, Value::Null) => {}
        (Value::String(text), Value::String(other)) => assert_eq!(text, other),
        (Value::String(text), Value::Number(_) | Value::Bool(_) | Value::Null) => {
            let typed: Value = serde_yaml::from_str(text).unwrap();
            // Not a number is not equal to itself.
            assert!(typed == *theirs || format!("{typed:?}") == format!("{theirs:?}"), "{text:?} is not {theirs:?}");
        }
        (Value::Sequence(ours), Value::Sequence(theirs)) => {
            assert_eq!(ours.len(), theirs.len());
            ours.iter().zip(theirs).for_each(|(ours, theirs)| same(ours, theirs));
        }
        (Value::Mapping(ours), Value::Mapping(theirs)) => {
            assert_eq!(ours.len(), theirs.len());
            for ((key, value), (their_key, their_value)) in ours.iter().zip(theirs) {
                same(key, their_key);
                same(value, their_value);
            }
        }
        _ => panic!("{ours:?} is not {theirs:?}"),
    }
}
