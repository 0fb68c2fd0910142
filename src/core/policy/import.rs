//! nginx `allow`/`deny` files → our access list, with comments kept and everything named that cannot be taken over.
//!
//! Reading files is the caller's; here text becomes text. What differs between the two worlds is written out: nginx
//! lets pass what no rule matches, and ignores host bits.

use std::fmt::Write;
use std::path::PathBuf;

use crate::networks::{NetworkError, parse_network};

/// Includes within includes.
const MAX_DEPTH: usize = 16;

/// The new file, and what an operator must know about it.
#[derive(Debug, Default)]
pub struct Imported {
    pub yaml: String,
    /// Rules taken over.
    pub rules: usize,
    /// `file:line: what, and why not`.
    pub left_out: Vec<String>,
    /// What was changed to keep its meaning.
    pub notes: Vec<String>,
}

/// A file that `include` leads to.
#[derive(Debug)]
pub struct Included {
    pub name: String,
    pub text: String,
}

/// Finds the files of an `include`.
pub trait Include {
    /// The same for every name of one file.
    fn identity(&self, name: &str) -> PathBuf {
        name.into()
    }

    /// `pattern` as seen from the file `from`; an error says why there are none.
    fn find(&self, from: &str, pattern: &str) -> Result<Vec<Included>, String>;
}

impl<F: Fn(&str, &str) -> Result<Vec<Included>, String>> Include for F {
    fn find(&self, from: &str, pattern: &str) -> Result<Vec<Included>, String> {
        self(from, pattern)
    }
}

pub fn import(name: &str, text: &str, include: &dyn Include) -> Imported {
    let mut import = Import { out: Imported::default(), include, ends_with_all: false, open: Vec::new() };
    let schema = "# yaml-language-server: $schema=ipcontrol.schema.json\n";
    let _ = write!(import.out.yaml, "{schema}# Imported from {name} by `latticegate import`.\n\nrules:\n");
    import.file(name, text);
    import.end();
    import.out
}

struct Import<'a> {
    out: Imported,
    include: &'a dyn Include,
    /// The last rule is for everyone, so nothing is left to nginx's default.
    ends_with_all: bool,
    /// The files that are being read, each included by the one before.
    open: Vec<PathBuf>,
}

/// A piece of an nginx file.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Blank,
    /// On a line of its own, or after a directive.
    Comment {
        text: String,
        trailing: bool,
    },
    Directive {
        words: Vec<String>,
        line: usize,
    },
    /// A directive with a block, its content left out.
    Block {
        words: Vec<String>,
        line: usize,
    },
    /// The file ends within a directive or block.
    Unfinished {
        words: Vec<String>,
        line: usize,
        /// What would have ended it.
        missing: char,
    },
}

impl Import<'_> {
    fn file(&mut self, name: &str, text: &str) {
        self.open.push(self.include.identity(name));
        for piece in pieces(text) {
            match piece {
                Piece::Blank => self.out.yaml.push('\n'),
                Piece::Comment { text, trailing: true } => self.trailing(&text),
                Piece::Comment { text, trailing: false } => self.line(&format!("# {text}")),
                Piece::Directive { words, line } => self.directive(name, &words, line),
                Piece::Block { words, line } => {
                    let why = missing_end(&words).unwrap_or_else(|| "blocks have no place here".to_owned());
                    self.leave_out(name, line, &format!("{} {{ … }}", words.join(" ")), &why);
                }
                Piece::Unfinished { words, line, missing } => {
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
            _ => self.leave_out(name, line, &words.join(" "), "only allow, deny and include have a meaning here"),
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

    /// nginx allows whom no rule matches; we deny.
    fn end(&mut self) {
        if self.out.rules == 0 {
            self.out.yaml = self.out.yaml.replacen("rules:\n", "rules: []\n", 1);
            self.out.notes.push("no rule was found: the new list denies everyone".to_owned());
        } else if !self.ends_with_all && self.out.left_out.is_empty() {
            self.line("# nginx allows whom no rule above matches. Remove this line if that was never meant.");
            self.line("- allow: all");
            self.out.rules += 1;
            self.out.notes.push(
                "the list does not end with `deny all` or `allow all`: nginx then allows everyone else, so \
                 `- allow: all` was added"
                    .to_owned(),
            );
        } else if !self.ends_with_all {
            // Something may be missing that would have denied.
            self.line("# nginx allows whom no rule matches; not added, because not all was taken over:");
            self.line("# - allow: all");
            self.out.notes.push(
                "the list does not end with `deny all` or `allow all`: nginx then allows everyone else; the new list \
                 denies them, because something was not taken over"
                    .to_owned(),
            );
        }
    }

    fn leave_out(&mut self, name: &str, line: usize, what: &str, why: &str) {
        self.line(&format!("# not taken over ({name}:{line}): {what}"));
        self.out.left_out.push(format!("{name}:{line}: {what}: {why}"));
    }

    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out.yaml, "  {}", printable(text).trim_end());
    }

    /// Onto the end of the last line.
    fn trailing(&mut self, text: &str) {
        if self.out.yaml.ends_with('\n') {
            self.out.yaml.pop();
        }
        let _ = writeln!(self.out.yaml, "   # {}", printable(text));
    }
}

/// Another directive begins within this one, so that the end of the first is missing.
fn missing_end(words: &[String]) -> Option<String> {
    let next = words.iter().skip(1).position(|word| matches!(word.as_str(), "allow" | "deny" | "include"))?;
    let first = words.get(..=next)?.join(" ");
    Some(format!("a `;` is missing after `{first}`"))
}

/// Control characters would end the comment, or the file's being YAML.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Comments, directives and blocks in the order in which they stand.
fn pieces(text: &str) -> Vec<Piece> {
    let mut scan = Scan::default();
    for (line, number) in text.lines().zip(1..) {
        scan.line(line, number);
    }
    scan.end()
}

#[derive(Default)]
struct Scan {
    pieces: Vec<Piece>,
    words: Vec<String>,
    /// Where the open directive, or block, began.
    start: usize,
    /// Open braces.
    depth: usize,
    block: Vec<String>,
    /// The quote that a word began with.
    quote: Option<char>,
}

impl Scan {
    fn line(&mut self, line: &str, number: usize) {
        let open = !self.words.is_empty() || self.depth > 0;
        if line.trim().is_empty() && !open {
            // One blank line is as good as three.
            if self.pieces.last().is_some_and(|last| *last != Piece::Blank) {
                self.pieces.push(Piece::Blank);
            }
            return;
        }
        let before = self.pieces.len();
        let mut word: Option<String> = None;
        let mut rest = line.char_indices();
        while let Some((at, c)) = rest.next() {
            match (self.quote, c) {
                (Some(quote), c) if c == quote => self.quote = None,
                (Some(_), '\\') => word.get_or_insert_default().extend(rest.next().map(|(_, c)| c)),
                (None, '"' | '\'') if word.is_none() => {
                    self.quote = Some(c);
                    word = Some(String::new());
                }
                (None, '#') if word.is_none() => {
                    let text = line.get(at + 1..).unwrap_or_default().trim().to_owned();
                    if self.depth == 0 {
                        let trailing = self.pieces.len() > before && self.words.is_empty();
                        self.pieces.push(Piece::Comment { text, trailing });
                    }
                    break;
                }
                (None, ';' | '{' | '}') => {
                    self.word(word.take(), number);
                    self.mark(c);
                }
                (None, c) if c.is_whitespace() => self.word(word.take(), number),
                (_, c) => word.get_or_insert_default().push(c),
            }
        }
        self.word(word, number);
    }

    fn word(&mut self, word: Option<String>, line: usize) {
        let Some(word) = word else { return };
        if self.words.is_empty() && self.depth == 0 {
            self.start = line;
        }
        self.words.push(word);
    }

    fn mark(&mut self, mark: char) {
        let words = std::mem::take(&mut self.words);
        let line = self.start;
        match mark {
            ';' if self.depth == 0 && !words.is_empty() => self.pieces.push(Piece::Directive { words, line }),
            '{' => {
                if self.depth == 0 {
                    self.block = words;
                }
                self.depth += 1;
            }
            '}' if self.depth == 1 => {
                self.depth = 0;
                self.pieces.push(Piece::Block { words: std::mem::take(&mut self.block), line });
            }
            '}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    fn end(mut self) -> Vec<Piece> {
        let (words, end) = if self.depth > 0 { (self.block, '}') } else { (self.words, ';') };
        if !words.is_empty() {
            let missing = self.quote.unwrap_or(end);
            self.pieces.push(Piece::Unfinished { words, line: self.start, missing });
        }
        while self.pieces.last() == Some(&Piece::Blank) {
            self.pieces.pop();
        }
        self.pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Origin;
    use crate::policy::Policy;

    fn no_include(_: &str, pattern: &str) -> Result<Vec<Included>, String> {
        Err(format!("{pattern} cannot be read"))
    }

    fn imported(text: &str) -> Imported {
        let imported = import("ipcontrol.conf", text, &no_include);
        let policy =
            Policy::parse(&imported.yaml, Origin::Defaults).unwrap_or_else(|p| panic!("{p:?}\n{}", imported.yaml));
        assert_eq!(policy.rules().len(), imported.rules);
        imported
    }

    fn body(imported: &Imported) -> &str {
        imported.yaml.split_once("rules:\n").unwrap().1
    }

    #[test]
    fn the_incumbents_list_is_taken_over() {
        let imported = imported("allow 192.168.0.0/16;\nallow 172.16.0.0/12;\nallow 10.0.0.0/8;\ndeny all;\n");
        assert_eq!(
            body(&imported),
            "  - allow: 192.168.0.0/16\n  - allow: 172.16.0.0/12\n  - allow: 10.0.0.0/8\n  - deny: all\n"
        );
        assert!(imported.left_out.is_empty() && imported.notes.is_empty());
    }

    #[test]
    fn comments_stay_where_they_are() {
        let imported =
            imported("# office\n\nallow 192.0.2.1; # Ann's desk\nallow\n  2001:db8::/32 ;#v6\ndeny all;\r\n");
        assert_eq!(
            body(&imported),
            "  # office\n\n  - allow: 192.0.2.1   # Ann's desk\n  - allow: \"2001:db8::/32\"   # v6\n  - deny: all\n"
        );
    }

    #[test]
    fn what_nginx_does_silently_is_written_out() {
        let first = imported("allow 10.0.0.5/8;\n");
        assert_eq!(
            body(&first).lines().map(str::trim).collect::<Vec<_>>(),
            [
                "- allow: 10.0.0.0/8   # nginx ignores the host bits of 10.0.0.5/8",
                "# nginx allows whom no rule above matches. Remove this line if that was never meant.",
                "- allow: all"
            ]
        );
        assert_eq!(first.notes.len(), 2);
        assert!(body(&imported("allow 10.0.0.1;\nsatisfy any;\n")).ends_with("  # - allow: all\n"));
        assert!(imported("# nothing\n").notes[0].contains("denies everyone"));
    }

    #[test]
    fn what_cannot_be_taken_over_is_named_with_its_line() {
        let text = "allow unix:;\nsatisfy any;\nlocation /x {\n  allow 1.2.3.4; # }\n  if (a) { deny all; }\n}\n\
                    allow example.com;\ninclude more.conf;\nallow 'a b';\ndeny all;\nallow 10.0.0.1";
        let imported = imported(text);
        assert_eq!(imported.rules, 1, "{}", imported.yaml);
        assert_eq!(
            imported.left_out,
            [
                "ipcontrol.conf:1: allow unix:: there are no UNIX sockets here",
                "ipcontrol.conf:2: satisfy any: only allow, deny and include have a meaning here",
                "ipcontrol.conf:3: location /x { … }: blocks have no place here",
                "ipcontrol.conf:7: allow example.com: it is not a network",
                "ipcontrol.conf:8: include more.conf: more.conf cannot be read",
                "ipcontrol.conf:9: allow a b: it is not a network",
                "ipcontrol.conf:11: allow 10.0.0.1: the `;` at its end is missing",
            ]
        );
    }

    #[test]
    fn includes_are_followed_and_end_somewhere() {
        let include = |from: &str, pattern: &str| {
            let text = match (from, pattern) {
                ("a.conf" | "c.conf", "b.conf") => "allow 10.0.0.1;\ninclude c.conf;",
                ("b.conf", "c.conf") => "allow 10.0.0.2;\ninclude b.conf;\nallow 10.0.0.3;",
                other => panic!("{other:?}"),
            };
            Ok(vec![Included { name: pattern.to_owned(), text: text.to_owned() }])
        };
        // The same file twice is no cycle.
        let imported = import("a.conf", "include b.conf;\ninclude b.conf;\ndeny all;\n", &include);
        assert_eq!(imported.rules, 7);
        let told = "c.conf:2: include b.conf: b.conf would include itself";
        assert_eq!(imported.left_out, [told, told]);
        let deeper = |_: &str, pattern: &str| {
            let text = format!("allow 10.0.0.1;\ninclude {pattern}x;");
            Ok(vec![Included { name: pattern.to_owned(), text }])
        };
        let imported = import("a.conf", "include x;\ndeny all;\n", &deeper);
        assert_eq!((imported.rules, imported.left_out.len()), (1 + MAX_DEPTH, 1));
        assert!(imported.left_out[0].ends_with("includes are nested too deep"), "{:?}", imported.left_out);
    }

    #[test]
    fn a_missing_end_is_told_as_that() {
        for (text, told) in [
            ("allow 10.0.0.1\ndeny all;\n", "allow 10.0.0.1 deny all: a `;` is missing after `allow 10.0.0.1`"),
            ("allow 10.0.0.1 # x\nallow all", "allow 10.0.0.1 allow all: a `;` is missing after `allow 10.0.0.1`"),
            ("deny all\n", "deny all: the `;` at its end is missing"),
            ("location /x {\n  deny all;\n", "location /x: the `}` at its end is missing"),
            ("allow 10.0.0.1 location / { deny all; }", "allow 10.0.0.1 location / { … }: blocks have no place here"),
            ("satisfy any\nallow all;\n", "satisfy any allow all: a `;` is missing after `satisfy any`"),
            ("allow \"10.0.0.1;\ndeny all;\n", "the `\"` at its end is missing"),
        ] {
            let imported = imported(text);
            assert!(imported.left_out.len() == 1 && imported.left_out[0].ends_with(told), "{:?}", imported.left_out);
        }
    }
}
