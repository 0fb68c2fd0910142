//! Invisible characters: white space that YAML does not count as such, characters of no width, and characters that YAML
//! forbids. They come with text that was copied from a web page or a word processor.

use super::lines::lines;
use crate::diagnostic::{Diagnostic, Origin, Position};

/// An invisible character and its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InvisibleChar {
    pub(super) at: Position,
    char: char,
}

/// Characters kept at most.
const MAX_KEPT: usize = 1000;

impl InvisibleChar {
    /// What to do about it; names its line where that is not `from`.
    pub(super) fn help(self, from: u32) -> String {
        let line = if self.at.line == from { String::new() } else { format!("line {}, ", self.at.line) };
        format!("{} in {line}column {}", help_for(self.char), self.at.column)
    }
}

/// All invisible characters outside comments.
pub(super) fn all(text: &str) -> Vec<InvisibleChar> {
    if text.is_ascii() {
        return Vec::new();
    }
    let in_line = |(line, number): (&str, u32)| {
        let comment = if line.starts_with('#') { Some(0) } else { line.find(" #").or_else(|| line.find("\t#")) };
        let code = line.get(..comment.unwrap_or(line.len())).unwrap_or(line);
        let found = code.chars().zip(1..).filter(|(c, _)| is_invisible(*c));
        found.map(|(char, column)| InvisibleChar { at: Position { line: number, column }, char }).collect::<Vec<_>>()
    };
    lines(text).zip(1..).flat_map(in_line).take(MAX_KEPT).collect()
}

/// What to do about a refused value that has one: with a plain space in its place it would be refused again.
pub(super) fn help(value: &str) -> Option<String> {
    value.chars().find(|c| is_invisible(*c)).map(|c| format!("remove the {} (U+{:04X})", name(c), u32::from(c)))
}

/// The text with plain spaces, and without characters of no width.
pub(super) fn replaced(text: &str) -> String {
    let plain = |c: char| match c {
        c if !is_invisible(c) => Some(c),
        c if c.is_whitespace() => Some(' '),
        _ => None,
    };
    text.chars().filter_map(plain).collect()
}

/// The first character that YAML forbids, or that ends a line for one reader and not for the other.
pub(super) fn refused(text: &str, origin: &Origin) -> Option<Diagnostic> {
    let is_refused = |c: char| match c {
        '\t' | '\n' | '\r' => false,
        '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => true,
        c => c.is_control(),
    };
    if !text.contains(is_refused) {
        return None;
    }
    let (line, number) = lines(text).zip(1..).find(|(line, _)| line.contains(is_refused))?;
    let (char, column) = line.chars().zip(1..).find(|(c, _)| is_refused(*c))?;
    let message = match char {
        '\u{85}' | '\u{2028}' | '\u{2029}' => format!("has a line separator (U+{:04X}) here", u32::from(char)),
        '\u{feff}' => "has a byte order mark (U+FEFF) here, not at its beginning".to_owned(),
        char => format!("has a control character (U+{:04X}) here", u32::from(char)),
    };
    let ends_a_line = matches!(char, '\u{85}' | '\u{2028}' | '\u{2029}');
    let help = if ends_a_line { "put a line break there, or remove it" } else { "remove it" };
    Some(Diagnostic::whole(origin.clone(), message, help).at(Position { line: number, column }))
}

fn is_invisible(c: char) -> bool {
    !c.is_ascii() && c.is_whitespace()
        || matches!(c, '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn help_for(c: char) -> String {
    let (name, code) = (name(c), u32::from(c));
    if c.is_whitespace() {
        format!("write a plain space instead of the {name} (U+{code:04X})")
    } else {
        format!("remove the {name} (U+{code:04X})")
    }
}

fn name(c: char) -> &'static str {
    match c {
        '\u{a0}' => "no-break space",
        '\u{ad}' => "soft hyphen",
        '\u{200b}' => "zero-width space",
        '\u{200c}' | '\u{200d}' => "zero-width joiner",
        '\u{202f}' => "narrow no-break space",
        '\u{3000}' => "ideographic space",
        '\u{feff}' => "byte order mark",
        c if c.is_whitespace() => "space of another kind",
        _ => "invisible character",
    }
}
