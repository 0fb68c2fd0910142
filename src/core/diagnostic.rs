//! What is wrong with an operator's file or environment variable, where, and how to fix it.
//!
//! Configuration, access list and lints use the same type, so that `check` prints them all alike and an editor can jump
//! to `file:line:column`.

use std::fmt::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

/// Longest value shown in a message, in characters: enough to recognise it in the file.
const MAX_SHOWN: usize = 80;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub origin: Origin,
    /// Where the value (or the unknown key) starts; `None` for a file as a whole and for an environment variable.
    pub at: Option<Position>,
    /// The path of the key, `listeners[0].bind`; empty for the file as a whole.
    pub key: Box<str>,
    /// The value as written, if it is a single one.
    pub value: Option<Box<str>>,
    /// What is wrong, as a sentence about the value.
    pub message: Box<str>,
    /// What to write or to do instead.
    pub help: Box<str>,
}

/// Whether a diagnostic keeps a file from being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    File(Arc<Path>),
    /// An environment variable, by its name.
    Variable(Arc<str>),
    /// Nowhere: the program's own defaults.
    Defaults,
}

/// Line and column, both counted from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub line: u32,
    pub column: u32,
}

impl Diagnostic {
    /// A diagnostic about a file as a whole.
    pub fn whole(origin: Origin, message: impl Into<Box<str>>, help: impl Into<Box<str>>) -> Self {
        Self { origin, at: None, key: Box::default(), value: None, message: message.into(), help: help.into() }
    }

    /// As JSON, for programs: an object with a fixed set of keys, null where there is no value.
    pub fn to_json(&self, severity: Severity) -> serde_json::Value {
        let (file, variable) = match &self.origin {
            Origin::File(path) => (Some(path.to_string_lossy()), None),
            Origin::Variable(name) => (None, Some(name.as_ref())),
            Origin::Defaults => (None, None),
        };
        let at = self.at.filter(|_| file.is_some());
        serde_json::json!({
            "severity": severity.to_string(),
            "file": file,
            "line": at.map(|at| at.line),
            "column": at.map(|at| at.column),
            "variable": variable,
            "key": self.key,
            "value": self.value,
            "message": self.message,
            "help": self.help,
        })
    }

    pub fn at(mut self, at: Position) -> Self {
        self.at = Some(at);
        self
    }
}

impl Origin {
    pub fn file(path: impl AsRef<Path>) -> Self {
        Self::File(Arc::from(path.as_ref()))
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = OneLine(f);
        write!(line, "{}", self.origin)?;
        if let (Some(at), Origin::File(_)) = (self.at, &self.origin) {
            write!(line, ":{}:{}", at.line, at.column)?;
        }
        line.write_str(": ")?;
        if !self.key.is_empty() {
            write!(line, "{}: ", self.key)?;
        }
        if let Some(value) = &self.value {
            write!(line, "{} ", shown(value))?;
        }
        line.write_str(&self.message)?;
        if !self.help.is_empty() {
            write!(line, "; {}", self.help)?;
        }
        Ok(())
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// A character that turns the direction of text or is not seen: names with it look like others.
pub fn is_deceptive(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Escapes control characters and [deceptive](is_deceptive) ones: what others wrote may contain escape sequences for a
/// terminal, or begin a line.
pub struct OneLine<'a, 'b>(pub &'a mut fmt::Formatter<'b>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| self.write_char(c))
    }

    fn write_char(&mut self, c: char) -> fmt::Result {
        if c.is_control() || is_deceptive(c) { write!(self.0, "{}", c.escape_default()) } else { self.0.write_char(c) }
    }
}

/// The value in quotes, with control characters escaped, truncated to [`MAX_SHOWN`].
fn shown(value: &str) -> String {
    if value.chars().nth(MAX_SHOWN).is_none() {
        return format!("{value:?}");
    }
    let start: String = value.chars().take(MAX_SHOWN).collect();
    format!("{start:?}…")
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Defaults => f.write_str("configuration"),
        }
    }
}

/// The word of `known` that was probably meant by `written`, if one is similar.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Jaro-Winkler similarity from which a word counts as a misspelling of another; found by trying.
    const NEAR: f64 = 0.8;
    let written = written.to_lowercase();
    // Two swapped letters count little with Jaro-Winkler in a word as short as `tls`.
    let swapped = |word: &str| word.len() > 2 && strsim::osa_distance(&written, word) == 1;
    known
        .into_iter()
        .map(|word| (strsim::jaro_winkler(&written, word), word))
        .filter(|(similarity, word)| *similarity >= NEAR || swapped(word))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostic(origin: Origin) -> Diagnostic {
        Diagnostic {
            origin,
            at: Some(Position { line: 3, column: 12 }),
            key: "listeners[0].bind".into(),
            value: Some("8443".into()),
            message: "is not an address and port".into(),
            help: "write \"[::]:8443\"".into(),
        }
    }

    #[test]
    fn reads_as_one_line_that_an_editor_can_jump_to() {
        assert_eq!(
            diagnostic(Origin::file("conf/latticegate.yaml")).to_string(),
            "conf/latticegate.yaml:3:12: listeners[0].bind: \"8443\" is not an address and port; write \"[::]:8443\""
        );
    }

    #[test]
    fn names_the_variable_instead_of_a_line() {
        assert_eq!(
            diagnostic(Origin::Variable("LATTICEGATE_LISTENERS".into())).to_string(),
            "environment variable LATTICEGATE_LISTENERS: listeners[0].bind: \"8443\" is not an address and port; \
             write \"[::]:8443\""
        );
    }

    #[test]
    fn long_values_are_truncated_and_control_characters_escaped() {
        let text = Diagnostic {
            value: Some(("\u{1b}[31m".to_owned() + &"x".repeat(9000)).into()),
            ..diagnostic(Origin::Defaults)
        }
        .to_string();
        assert!(text.len() < 250 && text.contains("\\u{1b}[31m") && text.contains("…"), "{text}");
    }

    #[test]
    fn a_key_cannot_steer_the_terminal_or_start_a_line() {
        let text = Diagnostic { key: "a\u{1b}[31m\n\u{202e}b".into(), ..diagnostic(Origin::Defaults) }.to_string();
        assert!(text.contains("a\\u{1b}[31m\\n\\u{202e}b: ") && !text.contains(char::is_control), "{text:?}");
    }

    #[test]
    fn only_a_similar_word_is_suggested() {
        let known = ["bind", "name", "protocol", "proxy_protocol"];
        assert_eq!(nearest("bnd", known), Some("bind"));
        assert_eq!(nearest("Proxy-Protocol", known), Some("proxy_protocol"));
        assert_eq!(nearest("zzz", known), None);
        assert_eq!(nearest("tsl", ["tls", "http"]), Some("tls"));
    }
}
