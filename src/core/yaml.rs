//! The only module that knows a YAML crate: text in, typed values and the location of each out.
//!
//! Two readers go over the same bytes. `saphyr-parser` gives positions, and with them every limit and refusal
//! (`events`); `serde_yaml` gives the values. Both must see the same structure and the same text (`join`), or the file
//! is refused; fuzz target `yaml` holds them together.
//! Anchors, aliases, tags and further documents are refused before the second reader starts: there is no bomb left.

mod events;
mod help;
mod join;
mod lines;
mod missing_space;
mod invisible;
mod read;
mod scalar;
#[cfg(test)]
pub(crate) mod schema;
mod source;
mod tree;
mod values;

use serde_yaml::Value;

pub(crate) use events::MAX_DIAGNOSTICS;
pub use scalar::{FromScalar, Many, Read, ValueError, number, number_error, typed, word};
pub use source::{MAX_BYTES, text, unreadable};
pub use tree::Path;

use crate::diagnostic::{Diagnostic, Origin, Position};
use invisible::InvisibleChar;
use join::join;
use tree::{Kind, Location, Node};

/// A YAML document: its values and where each was written, possibly in several origins.
#[derive(Debug)]
pub struct Document {
    origins: Vec<Origin>,
    root: Node,
    value: Value,
    /// Invisible characters of the first origin.
    invisible: Vec<InvisibleChar>,
}

impl Document {
    /// A document without any key, to which [`Document::set`] adds.
    pub fn empty() -> Self {
        let root = Node { at: Location::default(), kind: Kind::Map(Vec::new()) };
        let value = Value::Mapping(serde_yaml::Mapping::new());
        Self { origins: vec![Origin::Defaults], root, value, invisible: Vec::new() }
    }

    /// Reads a text whose top level is a map; reports every error of form, not only the first.
    pub fn parse(text: &str, origin: Origin) -> Result<Self, Vec<Diagnostic>> {
        let document = Self::parse_any(text, origin.clone())?;
        match document.root.kind {
            Kind::Map(_) => Ok(document),
            Kind::Null => {
                Err(vec![Diagnostic::whole(origin, "is empty", "write its keys, or start from the file in conf/")])
            }
            Kind::List(_) | Kind::Scalar { .. } => {
                let missing_space = document.value.as_str().and_then(missing_space::missing_space);
                let help =
                    missing_space.unwrap_or_else(|| "begin with a key, like `rules:` or `listeners:`".to_owned());
                let diagnostic = Diagnostic::whole(origin, "has no keys at its top level", help);
                Err(vec![document.with_invisible(Diagnostic { at: document.root.at.position(), ..diagnostic })])
            }
        }
    }

    fn parse_any(text: &str, origin: Origin) -> Result<Self, Vec<Diagnostic>> {
        if let Some(diagnostic) = invisible::refused(text, &origin) {
            return Err(vec![diagnostic]);
        }
        let mut root = events::tree(text, &origin).map_err(|diagnostics| help::form(diagnostics, text, &origin))?;
        // Where only white space or a comment follows, a tab is allowed, but not by this reader.
        let raw = serde_yaml::from_str(text).or_else(|_| serde_yaml::from_str(&events::without_idle_tabs(text)));
        let raw = raw.map_err(|error| vec![disagreement(&error, text, &origin)])?;
        let value = join(&mut root, raw).map_err(|location| {
            let help = "put names and addresses in quotes, and write one key a line";
            let diagnostic = Diagnostic::whole(origin.clone(), "can be read in two ways", help);
            vec![Diagnostic { at: location.position(), ..diagnostic }]
        })?;
        Ok(Self { origins: vec![origin], root, value, invisible: invisible::all(text) })
    }

    /// Puts `text`, a YAML value, at `path`, as if it had been written there. Keys and sections that are missing on the
    /// way are created.
    pub fn set(&mut self, path: &[&str], text: &str, origin: Origin) -> Result<(), Vec<Diagnostic>> {
        let start = Path::of_words(path);
        let mut new = Self::parse_any(text, origin.clone()).map_err(|mut diagnostics| {
            diagnostics.iter_mut().for_each(|diagnostic| diagnostic.key = start.joined(&diagnostic.key).into());
            diagnostics
        })?;
        let source = u16::try_from(self.origins.len()).unwrap_or(u16::MAX);
        new.root.set_source(source);
        if matches!(new.root.kind, Kind::Null) {
            let diagnostic = Diagnostic::whole(origin, "has no value", "write one, or unset the variable");
            return Err(vec![Diagnostic { key: start.to_string().into(), ..diagnostic }]);
        }
        let location = Location { source, ..Location::default() };
        tree::graft((&mut self.root, &mut self.value), path, (new.root, new.value), location).map_err(|message| {
            let diagnostic = Diagnostic::whole(origin.clone(), message, "compare it with the configuration file");
            vec![Diagnostic { key: start.to_string().into(), ..diagnostic }]
        })?;
        self.origins.push(origin);
        Ok(())
    }

    /// Whether there is something at `path`, valid or not.
    pub fn has(&self, path: &Path) -> bool {
        self.root.find(path).is_some()
    }

    /// The keys at the top level, as written.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let entries: &[_] = if let Kind::Map(entries) = &self.root.kind { entries } else { &[] };
        entries.iter().map(|entry| &*entry.key)
    }

    pub fn is_empty_list(&self, path: &Path) -> bool {
        self.root.find(path).is_some_and(|node| matches!(&node.kind, Kind::List(items) if items.is_empty()))
    }

    /// A diagnostic about the value at `path`, or about its nearest ancestor that exists.
    pub fn diagnostic(&self, path: &Path, message: impl Into<Box<str>>, help: impl Into<Box<str>>) -> Diagnostic {
        let (location, found) = self.root.find_nearest(path);
        let value = if found { tree::scalar_text(&self.value, path) } else { None };
        let mut diagnostic = Diagnostic::whole(self.origin(location), message, help);
        (diagnostic.key, diagnostic.at, diagnostic.value) =
            (path.to_string().into(), location.position(), value.map(Into::into));
        self.with_invisible(diagnostic)
    }

    /// With the help replaced where an invisible character on the same line is the likely cause.
    fn with_invisible(&self, diagnostic: Diagnostic) -> Diagnostic {
        let first = self.origins.first() == Some(&diagnostic.origin);
        let on_its_line = |at: Position| self.invisible.iter().find(|found| first && found.at.line == at.line);
        let help = match diagnostic.at.and_then(on_its_line) {
            Some(found) => Some(found.help(found.at.line)),
            None => diagnostic.value.as_deref().and_then(invisible::help),
        };
        help.map_or(diagnostic.clone(), |help| Diagnostic { help: help.into(), ..diagnostic })
    }

    /// The elements of the list at `path`, each by its start and its last line; empty where there is no list.
    pub fn lines(&self, path: &Path) -> Vec<(Position, u32)> {
        match self.root.find(path).map(|node| &node.kind) {
            Some(Kind::List(items)) => {
                let start = |item: &Node| Position { line: item.at.line, column: item.at.column };
                items.iter().map(|item| (start(item), item.last_line())).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Where the value at `path` was written: once for each origin that has a part of it. Empty where there is none.
    pub fn written(&self, path: &Path) -> Vec<(Origin, Option<Position>)> {
        let mut found: Vec<(Origin, Option<Position>)> = Vec::new();
        let mut open: Vec<&Node> = self.root.find(path).into_iter().collect();
        while let Some(node) = open.pop() {
            let children: Vec<&Node> = match &node.kind {
                Kind::Null | Kind::Scalar { .. } => Vec::new(),
                Kind::List(items) => items.iter().collect(),
                Kind::Map(entries) => entries.iter().map(|entry| &entry.node).collect(),
            };
            // What has parts is written where these are.
            if children.is_empty() {
                let origin = self.origin(node.at);
                if found.iter().all(|(other, _)| *other != origin) {
                    found.push((origin, node.at.position()));
                }
            }
            open.extend(children.into_iter().rev());
        }
        found
    }

    fn origin(&self, location: Location) -> Origin {
        self.origins.get(usize::from(location.source)).cloned().unwrap_or(Origin::Defaults)
    }
}

/// The first reader accepted the text and the second did not: reported where the second stopped.
fn disagreement(error: &serde_yaml::Error, text: &str, origin: &Origin) -> Diagnostic {
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or(&message);
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let location = |line, column| events::within(Location { source: 0, line, column }, text);
    let at = error.location().and_then(|at| location(number(at.line()), number(at.column())).position());
    help::syntax(Diagnostic { at, ..Diagnostic::whole(origin.clone(), format!("is not YAML: {message}"), "") }, text)
}

#[cfg(test)]
mod tests;
