//! Values → a Rust type. What serde refuses is reported and removed, and the rest is read again, so that all mistakes
//! are reported at once.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment as SerdeSegment;
use serde_yaml::Value;

use super::events::MAX_DIAGNOSTICS;
use super::missing_space::missing_space;
use super::tree::{Kind, Location, Node, Path, Segment, scalar_text};
use super::{Document, ValueError};
use crate::diagnostic::{Diagnostic, nearest};

impl Document {
    /// Reads as much as can be read; what cannot is left out and reported in `diagnostics`.
    pub fn read<T: DeserializeOwned + Default>(&self, diagnostics: &mut Vec<Diagnostic>) -> T {
        let mut value = Cow::Borrowed(&self.value);
        let mut live = Cow::Borrowed(&self.root);
        loop {
            let error = match serde_path_to_error::deserialize(value.as_ref()) {
                Ok(read) => return read,
                Err(error) => error,
            };
            let path = path_of(error.path());
            diagnostics.push(self.refused(&live, &value, &path, &error.inner().to_string()));
            let removed = remove(live.to_mut(), value.to_mut(), &path.0);
            if !removed || diagnostics.len() >= MAX_DIAGNOSTICS {
                return T::default();
            }
        }
    }

    fn refused(&self, live: &Node, value: &Value, path: &Path, error: &str) -> Diagnostic {
        let (mut location, _) = live.find_nearest(path);
        let (mut text, value_error) = (None, translate(error));
        if error.starts_with("unknown field") {
            location = key_location(live, path).unwrap_or(location);
        } else if ValueError::split(error).is_some() {
            text = scalar_text(value, path);
        }
        let mut diagnostic = Diagnostic::whole(self.origin(location), value_error.message, value_error.help);
        (diagnostic.at, diagnostic.value) = (location.position(), text.map(Into::into));
        diagnostic.key = self.written_path(live, path).to_string().into();
        self.with_invisible(diagnostic)
    }

    /// The path in the whole document of what is at `path` in the part that is left: list elements were removed.
    fn written_path(&self, live: &Node, path: &Path) -> Path {
        let (mut node, mut whole) = (Some(live), Some(&self.root));
        let segments = path.0.iter().map(|segment| {
            node = node.and_then(|node| node.child(segment));
            let segment = match (segment, node, whole.map(|whole| &whole.kind)) {
                (Segment::Index(index), Some(node), Some(Kind::List(items))) => {
                    Segment::Index(items.iter().position(|item| item.at == node.at).unwrap_or(*index))
                }
                _ => segment.clone(),
            };
            whole = whole.and_then(|whole| whole.child(&segment));
            segment
        });
        Path(segments.collect())
    }
}

fn path_of(path: &serde_path_to_error::Path) -> Path {
    let segments = path.iter().filter_map(|segment| match segment {
        SerdeSegment::Seq { index } => Some(Segment::Index(*index)),
        SerdeSegment::Map { key } => Some(Segment::Key(key.clone())),
        SerdeSegment::Enum { .. } | SerdeSegment::Unknown => None,
    });
    Path(segments.collect())
}

fn key_location(root: &Node, path: &Path) -> Option<Location> {
    let (last, parents) = path.0.split_last()?;
    let parent = root.find(&Path(parents.to_vec()))?;
    match last {
        Segment::Key(key) => parent.entry(key).map(|entry| entry.key_at),
        Segment::Index(_) => None,
    }
}

/// serde's message, in words that an operator of YAML files knows.
fn translate(error: &str) -> ValueError {
    if let Some(error) = ValueError::split(error) {
        return error;
    }
    if let Some(rest) = error.strip_prefix("unknown field ") {
        let mut words = rest.split('`').skip(1).step_by(2);
        let unknown = words.next().unwrap_or_default();
        let known: Vec<&str> = words.collect();
        let help = match nearest(unknown, known.iter().copied()) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("the keys known here are {}", known.join(", ")),
        };
        return ValueError::new("unknown key", help);
    }
    match error.strip_prefix("invalid type: ").and_then(|rest| rest.split_once(", expected ")) {
        Some((found, expected)) => {
            // `allow:10.0.0.0/8` where keys are expected.
            let string = found.strip_prefix("string \"").and_then(|rest| rest.strip_suffix('"'));
            let spaced = string.and_then(missing_space);
            let found = found.replace("sequence", "a list").replace("map", "a map").replace("unit value", "nothing");
            let expected = expected.replace("a sequence", "a list").replace("a map", "keys with values");
            let help = spaced.unwrap_or_else(|| format!("write {expected}"));
            ValueError::new(format!("found {found}"), help)
        }
        None => ValueError::new(error, ""),
    }
}

/// Removes what is at `path` from both trees.
fn remove(node: &mut Node, value: &mut Value, path: &[Segment]) -> bool {
    let Some((segment, rest)) = path.split_first() else {
        return false;
    };
    match (&mut node.kind, value, segment) {
        (Kind::List(items), Value::Sequence(values), Segment::Index(index)) => {
            if rest.is_empty() && *index < items.len().min(values.len()) {
                items.remove(*index);
                values.remove(*index);
                return true;
            }
            items.get_mut(*index).zip(values.get_mut(*index)).is_some_and(|(node, value)| remove(node, value, rest))
        }
        (Kind::Map(entries), Value::Mapping(map), Segment::Key(key)) => {
            let Some(at) = entries.iter().position(|entry| *entry.key == **key) else {
                return false;
            };
            if rest.is_empty() {
                entries.remove(at);
                return map.shift_remove(key.as_str()).is_some();
            }
            let value = map.get_mut(key.as_str());
            entries.get_mut(at).zip(value).is_some_and(|(entry, value)| remove(&mut entry.node, value, rest))
        }
        _ => false,
    }
}
