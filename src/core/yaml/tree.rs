//! The location of everything in a document: a tree of the same shape as its values.

use std::fmt;

use serde_yaml::{Mapping, Value};

use crate::diagnostic::Position;

/// The path of a value: `listeners[0].bind`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Path(pub(super) Vec<Segment>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    Key(String),
    Index(usize),
}

/// A position in one of a document's origins; line 0 stands for none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) source: u16,
    pub(super) line: u32,
    pub(super) column: u32,
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) at: Location,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Null,
    /// Its text until it is [joined](super::join()) with its value. Plain: not in quotes, nor a block.
    Scalar {
        text: Box<str>,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<MapEntry>),
}

#[derive(Debug, Clone)]
pub(super) struct MapEntry {
    pub(super) key: Box<str>,
    pub(super) key_at: Location,
    /// Not in quotes.
    pub(super) plain: bool,
    pub(super) node: Node,
}

impl Path {
    pub fn root() -> Self {
        Self::default()
    }

    pub fn key(&self, key: &str) -> Self {
        self.with(Segment::Key(key.to_owned()))
    }

    pub fn index(&self, index: usize) -> Self {
        self.with(Segment::Index(index))
    }

    /// The path that the parts of an environment variable's name stand for.
    pub(super) fn of_words(words: &[&str]) -> Self {
        let segment = |word: &&str| word.parse().map_or_else(|_| Segment::Key((*word).to_owned()), Segment::Index);
        Self(words.iter().map(segment).collect())
    }

    /// This path with `rest`, a path in text form, below it.
    pub(super) fn joined(&self, rest: &str) -> String {
        let dot = if rest.is_empty() || rest.starts_with('[') { "" } else { "." };
        format!("{self}{dot}{rest}")
    }

    fn with(&self, segment: Segment) -> Self {
        let mut path = self.clone();
        path.0.push(segment);
        path
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) if depth == 0 => f.write_str(key)?,
                Segment::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

impl Location {
    pub(super) fn position(self) -> Option<Position> {
        (self.line > 0).then_some(Position { line: self.line, column: self.column })
    }
}

impl Node {
    pub(super) fn child(&self, segment: &Segment) -> Option<&Self> {
        match (&self.kind, segment) {
            (Kind::Map(_), Segment::Key(key)) => self.entry(key).map(|entry| &entry.node),
            (Kind::List(items), Segment::Index(index)) => items.get(*index),
            _ => None,
        }
    }

    pub(super) fn entry(&self, key: &str) -> Option<&MapEntry> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|entry| *entry.key == *key),
            _ => None,
        }
    }

    pub(super) fn find(&self, path: &Path) -> Option<&Self> {
        path.0.iter().try_fold(self, |node, segment| node.child(segment))
    }

    /// The location of the value at `path` and true, or that of its nearest ancestor that exists and false.
    pub(super) fn find_nearest(&self, path: &Path) -> (Location, bool) {
        let mut node = self;
        let mut location = self.at;
        for segment in &path.0 {
            match node.child(segment) {
                Some(child) => node = child,
                None => return (location, false),
            }
            location = node.at;
        }
        (location, true)
    }

    pub(super) fn last_line(&self) -> u32 {
        match &self.kind {
            Kind::Null | Kind::Scalar { .. } => self.at.line,
            Kind::List(items) => items.last().map_or(self.at.line, Self::last_line),
            Kind::Map(entries) => entries.last().map_or(self.at.line, |entry| entry.node.last_line()),
        }
    }

    pub(super) fn set_source(&mut self, source: u16) {
        self.at.source = source;
        match &mut self.kind {
            Kind::Null | Kind::Scalar { .. } => {}
            Kind::List(items) => items.iter_mut().for_each(|item| item.set_source(source)),
            Kind::Map(entries) => {
                for entry in entries {
                    entry.key_at.source = source;
                    entry.node.set_source(source);
                }
            }
        }
    }
}

/// The text of the single value at `path`, for a message.
pub(super) fn scalar_text(value: &Value, path: &Path) -> Option<String> {
    let found = path.0.iter().try_fold(value, |value, segment| match segment {
        Segment::Key(key) => value.get(key.as_str()),
        Segment::Index(index) => value.get(*index),
    })?;
    found.as_str().map(str::to_owned)
}

/// Puts `new` at `path` of a tree and its values; what is missing on the way is created, with the location `location`.
pub(super) fn graft(
    old: (&mut Node, &mut Value),
    path: &[&str],
    new: (Node, Value),
    location: Location,
) -> Result<(), String> {
    let (node, value) = old;
    let Some((segment, rest)) = path.split_first() else {
        (*node, *value) = new;
        return Ok(());
    };
    match (&mut node.kind, value) {
        (Kind::List(items), Value::Sequence(values)) => {
            let index = segment.parse::<usize>().ok().filter(|index| *index <= items.len());
            let index = index.ok_or_else(|| match items.len() {
                0 => format!("has no element {segment}: it is empty, and 0 would add the first"),
                n => format!("has no element {segment}: it has {n}, counted from 0, and {n} would add one"),
            })?;
            if index == items.len() {
                let (node, value) = fresh(rest, location);
                items.push(node);
                values.push(value);
            }
            match (items.get_mut(index), values.get_mut(index)) {
                (Some(item), Some(value)) => graft((item, value), rest, new, location),
                _ => Err("has no such element".to_owned()),
            }
        }
        (Kind::Map(entries), Value::Mapping(map)) => {
            let at = entries.iter().position(|entry| *entry.key == **segment).unwrap_or_else(|| {
                let (node, value) = fresh(rest, location);
                entries.push(MapEntry { key: (*segment).into(), key_at: location, plain: true, node });
                map.insert(Value::String((*segment).to_owned()), value);
                entries.len() - 1
            });
            match (entries.get_mut(at), map.get_mut(*segment)) {
                (Some(entry), Some(value)) => {
                    if rest.is_empty() {
                        entry.key_at = location;
                    }
                    graft((&mut entry.node, value), rest, new, location)
                }
                _ => Err("cannot be set: its key is not a word".to_owned()),
            }
        }
        _ => Err(format!("cannot be set: there is a single value where {segment:?} would be a key below it")),
    }
}

/// What is created on the way to `rest`: a list where its next segment is element 0, otherwise a map.
fn fresh(rest: &[&str], at: Location) -> (Node, Value) {
    match rest.first() {
        Some(&"0") => (Node { at, kind: Kind::List(Vec::new()) }, Value::Sequence(Vec::new())),
        _ => (Node { at, kind: Kind::Map(Vec::new()) }, Value::Mapping(Mapping::new())),
    }
}
