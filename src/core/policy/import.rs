//! nginx `allow`/`deny` files → our access list. Comments are kept, and what cannot be imported is listed.
//!
//! Text in, text out: the caller reads the files. Where nginx behaves differently, the result says so: nginx allows
//! clients that no rule matches, and ignores host bits. Files of Squid are imported by [`import_squid`].

mod nginx;
mod squid;

use std::fmt::Write;
use std::path::PathBuf;

use nginx::{Item, items};

use crate::networks::{NetworkError, parse_network};
pub use squid::{SquidOptions, import_squid, is_squids};

/// The first line of a list, by which editors know its keys.
const SCHEMA: &str = "# yaml-language-server: $schema=ipcontrol.schema.json\n";
/// Deepest nesting of includes.
const MAX_DEPTH: usize = 16;

/// The new access list, and what an operator must know about it.
#[derive(Debug, Default)]
pub struct Imported {
    pub yaml: String,
    /// Rules in the new list.
    pub rules: usize,
    /// What was not imported: `file:line: what: why`.
    pub left_out: Vec<String>,
    /// What was changed or added to keep the meaning.
    pub notes: Vec<String>,
    /// What denies, and cannot be imported: without it the list would let more through, so there is none.
    pub errors: Vec<String>,
}

/// A file named by an `include`.
#[derive(Debug)]
pub struct Included {
    pub name: String,
    pub text: String,
}

/// Finds the files of an `include`.
pub trait Include {
    /// A path that is equal for all names of the same file.
    fn identity(&self, name: &str) -> PathBuf {
        name.into()
    }

    /// The files that match `pattern`, relative to the file `from`; an error says why there are none.
    fn find(&self, from: &str, pattern: &str) -> Result<Vec<Included>, String>;
}

impl<F: Fn(&str, &str) -> Result<Vec<Included>, String>> Include for F {
    fn find(&self, from: &str, pattern: &str) -> Result<Vec<Included>, String> {
        self(from, pattern)
    }
}

pub fn import(name: &str, text: &str, include: &dyn Include) -> Imported {
    let mut import = Importer { out: Imported::default(), include, ends_with_all: false, open: Vec::new() };
    let _ = write!(import.out.yaml, "{SCHEMA}# Imported from {} by `latticegate import`.\n\nrules:\n", printable(name));
    import.file(name, text);
    import.end();
    import.out
}

struct Importer<'a> {
    out: Imported,
    include: &'a dyn Include,
    /// The last rule is for everyone, so nginx's default does not matter.
    ends_with_all: bool,
    /// The files that are being read, each included by the one before.
    open: Vec<PathBuf>,
}

impl Importer<'_> {
    fn file(&mut self, name: &str, text: &str) {
        self.open.push(self.include.identity(name));
        for item in items(text) {
            match item {
                Item::Blank => self.out.yaml.push('\n'),
                Item::Comment { text, trailing: true } => self.trailing(&text),
                Item::Comment { text, trailing: false } => self.line(&format!("# {text}")),
                Item::Directive { words, line } => self.directive(name, &words, line),
                Item::Block { words, line } => {
                    let why = missing_end(&words).unwrap_or_else(|| "blocks are not supported".to_owned());
                    self.leave_out(name, line, &format!("{} {{ … }}", words.join(" ")), &why);
                }
                Item::Unfinished { words, line, missing } => {
                    let why = missing_end(&words).unwrap_or_else(|| format!("the `{missing}` at its end is missing"));
                    self.leave_out(name, line, &words.join(" "), &why);
                }
            }
        }
        self.open.pop();
    }

    fn directive(&mut self, name: &str, words: &[String], line: usize) {
        if let Some(why) = missing_end(words) {
            return self.leave_out(name, line, &words.join(" "), &why);
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            [action @ ("allow" | "deny"), source] => self.rule(name, action, source, line),
            ["include", pattern] if self.open.len() <= MAX_DEPTH => match self.include.find(name, pattern) {
                Ok(files) => {
                    for file in files {
                        if self.open.contains(&self.include.identity(&file.name)) {
                            let why = format!("{} would include itself", file.name);
                            self.leave_out(name, line, &words.join(" "), &why);
                            continue;
                        }
                        self.line(&format!("# from {}", file.name));
                        self.file(&file.name, &file.text);
                    }
                }
                Err(error) => self.leave_out(name, line, &words.join(" "), &error),
            },
            ["include", _] => self.leave_out(name, line, &words.join(" "), "includes are nested too deep"),
            _ => self.leave_out(name, line, &words.join(" "), "only allow, deny and include are supported"),
        }
    }

    fn rule(&mut self, name: &str, action: &str, source: &str, line: usize) {
        let (source, comment) = match (source, parse_network(source)) {
            ("all", _) => ("all".to_owned(), None),
            (_, Ok(_)) => (source.to_owned(), None),
            (_, Err(NetworkError::HostBits(network))) => {
                let comment = format!("nginx ignores the host bits of {source}");
                self.out.notes.push(format!("{name}:{line}: {comment}; written as {network}"));
                (network.to_string(), Some(comment))
            }
            ("unix:", _) => {
                return self.leave_out(name, line, &format!("{action} unix:"), "there are no UNIX sockets here");
            }
            (_, Err(NetworkError::NotANetwork)) => {
                return self.leave_out(name, line, &format!("{action} {source}"), "it is not a network");
            }
        };
        self.ends_with_all = source == "all";
        self.out.rules += 1;
        let quoted = if source.contains(':') { format!("\"{source}\"") } else { source };
        self.line(&format!("- {action}: {quoted}"));
        if let Some(comment) = comment {
            self.trailing(&comment);
        }
    }

    /// nginx allows clients that no rule matches; we deny them.
    fn end(&mut self) {
        if self.out.rules == 0 {
            self.out.yaml = self.out.yaml.replacen("rules:\n", "rules: []\n", 1);
            self.out.notes.push("no rule was found: the new list denies everyone".to_owned());
        } else if !self.ends_with_all && self.out.left_out.is_empty() {
            self.line("# nginx allows clients that no rule above matches. Remove this line if that was never meant.");
            self.line("- allow: all");
            self.out.rules += 1;
            self.out.notes.push(
                "the list does not end with `deny all` or `allow all`: nginx then allows everyone else, so \
                 `- allow: all` was added"
                    .to_owned(),
            );
        } else if !self.ends_with_all {
            // A rule that denies may be among what was not imported.
            self.line("# nginx allows clients that no rule matches. Not added, because not everything was imported:");
            self.line("# - allow: all");
            self.out.notes.push(
                "the list does not end with `deny all` or `allow all`: nginx then allows everyone else; the new list \
                 denies them, because something was not imported"
                    .to_owned(),
            );
        }
    }

    fn leave_out(&mut self, name: &str, line: usize, what: &str, why: &str) {
        self.line(&format!("# not imported ({name}:{line}): {what}"));
        self.out.left_out.push(format!("{name}:{line}: {what}: {why}"));
    }

    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out.yaml, "  {}", printable(text).trim_end());
    }

    /// Appends a comment to the last line.
    fn trailing(&mut self, text: &str) {
        if self.out.yaml.ends_with('\n') {
            self.out.yaml.pop();
        }
        let _ = writeln!(self.out.yaml, "   # {}", printable(text));
    }
}

/// What is wrong if another directive begins within this one: the first has no end.
fn missing_end(words: &[String]) -> Option<String> {
    let next = words.iter().skip(1).position(|word| matches!(word.as_str(), "allow" | "deny" | "include"))?;
    let first = words.get(..=next)?.join(" ");
    Some(format!("a `;` is missing after `{first}`"))
}

/// Without what would end the comment, or be refused in YAML.
fn printable(text: &str) -> String {
    let is_bad =
        |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    text.chars().map(|c| if is_bad(c) { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests;
