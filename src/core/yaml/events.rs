//! Text → tree of locations, by the events of `saphyr-parser`. All limits, and all that is refused for its form, are
//! here.

use std::borrow::Cow;
use std::collections::HashSet;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span};

use super::lines::lines;
use super::missing_space::missing_space;
use super::tree::{Kind, Location, MapEntry, Node, Path, Segment};
use crate::diagnostic::{Diagnostic, Origin};

/// Deepest nesting; the deepest key of ours is at level 4.
const MAX_DEPTH: usize = 16;
/// Keys and values at most; 100 000 one-line rules have 300 002.
const MAX_NODES: usize = 1_000_000;
/// Diagnostics reported at most: an operator fixes a few and checks again.
pub(crate) const MAX_DIAGNOSTICS: usize = 25;

/// The tree, or all errors of the text's form. Where tabs are allowed is left to the other reader, which follows the
/// rule of YAML: not in the indentation of blocks. This reader refuses more than that, so it gets spaces instead.
pub(super) fn tree(text: &str, origin: &Origin) -> Result<Node, Vec<Diagnostic>> {
    let mut builder = Builder { origin, open: Vec::new(), root: None, nodes: 0, diagnostics: Vec::new() };
    for event in Parser::new_from_str(&without_tabs(text)) {
        let step = match event {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => {
                // Errors found in a text that then turns out not to be YAML would only mislead.
                builder.diagnostics.clear();
                Err(builder.syntax(&error, text))
            }
        };
        if let Err(diagnostic) = step {
            builder.diagnostics.push(diagnostic);
            break;
        }
        if builder.diagnostics.len() >= MAX_DIAGNOSTICS {
            break;
        }
    }
    if !builder.diagnostics.is_empty() {
        return Err(builder.diagnostics);
    }
    Ok(builder.root.unwrap_or(Node { at: Location::default(), kind: Kind::Null }))
}

struct Builder<'a> {
    origin: &'a Origin,
    open: Vec<OpenNode>,
    root: Option<Node>,
    nodes: usize,
    diagnostics: Vec<Diagnostic>,
}

/// With a space in place of each tab, so that every character keeps its position.
fn without_tabs(text: &str) -> Cow<'_, str> {
    if text.contains('\t') { Cow::Owned(text.replace('\t', " ")) } else { Cow::Borrowed(text) }
}

/// With spaces in place of the tabs in lines that hold no value.
pub(super) fn without_idle_tabs(text: &str) -> String {
    let idle = |line: &str| line.trim_start().is_empty() || line.trim_start().starts_with('#');
    text.split_inclusive('\n')
        .map(|line| if idle(line) { Cow::Owned(line.replace('\t', " ")) } else { Cow::Borrowed(line) })
        .collect()
}

/// The line of the first syntax error, if there is one.
pub(super) fn stops(text: &str) -> Option<u32> {
    let error = Parser::new_from_str(&without_tabs(text)).find_map(Result::err)?;
    Some(within(location(*error.marker()), text).line)
}

/// A list or map whose end has not been read yet.
enum OpenNode {
    List(Location, Vec<Node>),
    Map { at: Location, entries: Vec<MapEntry>, seen: HashSet<Box<str>>, key: Option<PendingKey> },
}

/// A key whose value has not been read yet.
struct PendingKey {
    text: Box<str>,
    at: Location,
    plain: bool,
}

impl Builder<'_> {
    /// An `Err` ends the reading; errors after which it can go on are added to `diagnostics`.
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Diagnostic> {
        let at = location(span.start);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            Event::DocumentStart(_) if self.root.is_some() => {
                return Err(self.refuse(
                    at,
                    "starts a second YAML document",
                    "use one document per file; remove the `---`",
                ));
            }
            Event::DocumentStart(_) => {}
            Event::Alias(_) => return Err(self.refuse(at, "is an alias (`*`)", "write the value out")),
            Event::Scalar(_, _, anchor, ref tag) => self.plain(at, anchor, tag.is_some())?,
            Event::SequenceStart(anchor, ref tag) | Event::MappingStart(anchor, ref tag) => {
                self.plain(at, anchor, tag.is_some())?;
            }
            Event::SequenceEnd | Event::MappingEnd => {}
        }
        match event {
            Event::Scalar(text, style, _, _) => self.scalar(&text, style, at),
            Event::SequenceStart(..) => self.open(at, OpenNode::List(at, Vec::new())),
            Event::MappingStart(..) => {
                self.open(at, OpenNode::Map { at, entries: Vec::new(), seen: HashSet::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                match self.open.pop() {
                    Some(OpenNode::List(at, items)) => self.add(Node { at, kind: Kind::List(items) }),
                    Some(OpenNode::Map { at, entries, .. }) => self.add(Node { at, kind: Kind::Map(entries) }),
                    None => {}
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn plain(&mut self, at: Location, anchor: usize, tag: bool) -> Result<(), Diagnostic> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(self.refuse(at, "is more than a million keys and values", "join neighbouring networks"));
        }
        if anchor != 0 {
            return Err(self.refuse(at, "has an anchor (`&`)", "write the value out where it is needed"));
        }
        if tag {
            return Err(self.refuse(at, "has a tag (`!`)", "put the value in quotes, or remove the `!`"));
        }
        Ok(())
    }

    fn open(&mut self, at: Location, open: OpenNode) -> Result<(), Diagnostic> {
        if let Some(OpenNode::Map { key: None, .. }) = self.open.last() {
            return Err(self.refuse(at, "is a list or map used as a key", "put the key in quotes"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(self.refuse(at, "is nested deeper than 16 levels", "remove brackets or indentation"));
        }
        self.open.push(open);
        Ok(())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, at: Location) -> Result<(), Diagnostic> {
        if let (Some(OpenNode::Map { key: None, .. }), "", ScalarStyle::Plain) = (self.open.last(), text, style) {
            return Err(self.refuse(at, "has no key before the colon", "write one"));
        }
        if let Some(OpenNode::Map { seen, key: key @ None, .. }) = self.open.last_mut() {
            *key = Some(PendingKey { text: text.into(), at, plain: style == ScalarStyle::Plain });
            if !seen.insert(text.into()) {
                let diagnostic = self.refuse(at, "appears twice", "remove one of the two");
                self.diagnostics.push(diagnostic);
            }
            return Ok(());
        }
        let plain = style == ScalarStyle::Plain;
        let null = plain && matches!(text, "" | "~" | "null" | "Null" | "NULL");
        if null && !self.open.is_empty() {
            let key = match self.open.last() {
                Some(OpenNode::Map { key: Some(key), .. }) => missing_space(&key.text),
                _ => None,
            };
            let help = key.unwrap_or_else(|| match text {
                "" => "write one, or remove the key".to_owned(),
                word => format!("write one, or remove the key; if you mean the word, put it in quotes: \"{word}\""),
            });
            let diagnostic = self.refuse(at, "has no value", &help);
            self.diagnostics.push(diagnostic);
        }
        self.add(Node { at, kind: if null { Kind::Null } else { Kind::Scalar { text: text.into(), plain } } });
        Ok(())
    }

    fn add(&mut self, node: Node) {
        match self.open.last_mut() {
            Some(OpenNode::List(_, items)) => items.push(node),
            Some(OpenNode::Map { entries, key, .. }) => {
                if let Some(PendingKey { text: key, at: key_at, plain }) = key.take() {
                    entries.push(MapEntry { key, key_at, plain, node });
                }
            }
            None => self.root = Some(node),
        }
    }

    fn refuse(&self, at: Location, message: &str, help: &str) -> Diagnostic {
        let mut diagnostic = Diagnostic::whole(self.origin.clone(), message, help);
        (diagnostic.at, diagnostic.key) = (at.position(), self.path().to_string().into());
        diagnostic
    }

    /// The path of the value that is being read.
    fn path(&self) -> Path {
        let steps = self.open.iter().filter_map(|open| match open {
            OpenNode::List(_, items) => Some(Segment::Index(items.len())),
            OpenNode::Map { key, .. } => key.as_ref().map(|key| Segment::Key(key.text.to_string())),
        });
        Path(steps.collect())
    }

    fn syntax(&self, error: &ScanError, text: &str) -> Diagnostic {
        let at = within(location(*error.marker()), text);
        self.refuse(at, &format!("is not YAML: {}", error.info()), "")
    }
}

/// A location within the text: readers that miss something at its end point at the line after the last.
pub(super) fn within(at: Location, text: &str) -> Location {
    let (count, last) = lines(text).zip(1..).last().map_or((1, ""), |(line, number)| (number, line));
    if at.line <= count {
        return at;
    }
    Location { line: count, column: number(last.trim_end().chars().count()) + 1, ..at }
}

fn location(mark: Marker) -> Location {
    Location { source: 0, line: number(mark.line()), column: number(mark.col()) + 1 }
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX - 1)
}
