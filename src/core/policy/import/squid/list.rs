//! An allow list: one domain a line, as a file that `dstdomain` names.

use std::collections::HashMap;

use super::super::{Imported, Included};
use super::directives;
use super::sets::Pattern;
use super::text::{self, is_blank};
use super::values::{self, Domain};
use super::write::Writer;

/// What a file is, by its text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    List,
    Configuration,
    /// A line, from 1, is no domain, and none has a directive of Squid.
    Neither(usize),
}

pub(super) fn kind(text: &str) -> Kind {
    let lines = || text.lines().zip(1..).filter_map(|(line, number)| Some((text::value(line).0?, number)));
    // A word without a dot, and its arguments.
    let is_directive = |value: &str| {
        let is_word = |word: &str| word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        value.split_once(is_blank).is_some_and(|(first, _)| is_word(first))
    };
    let Some((_, line)) = lines().find(|(value, _)| is_directive(value)) else { return Kind::List };
    let first = |value: &str| value.split(is_blank).next().unwrap_or_default().to_owned();
    let is_nginxs = |value: &str| value.ends_with(';') && matches!(&*first(value), "allow" | "deny");
    let is_known = lines().any(|(value, _)| directives::is_known(&first(value)) || is_nginxs(value));
    if is_known { Kind::Configuration } else { Kind::Neither(line) }
}

/// The first line, from 1, by which a text is a configuration of Squid or a list of domains, and nothing else.
pub(super) fn recognise(text: &str) -> Option<u32> {
    let lines = || text.lines().zip(1..).filter_map(|(line, number)| Some((text::value(line).0?, number)));
    let is_directive = |line: &str| {
        let mut words = line.split_whitespace();
        matches!((words.next(), words.next()), (Some("acl" | "http_access"), Some(_))) && !line.ends_with(';')
    };
    let is_domain = |line: &str| line.contains('.') && matches!(values::domain(line), Ok(Domain::Names(_)));
    let first = || lines().next().map(|(_, number)| number);
    let directive = lines().find(|(line, _)| is_directive(line)).map(|(_, number)| number);
    directive.or_else(|| first().filter(|_| lines().all(|(line, _)| is_domain(line))))
}

/// Writes rules for lists, one after the other.
pub(super) struct Lists<'a, 'b> {
    pub(super) writer: &'a mut Writer<'b>,
    pub(super) out: &'a mut Imported,
    /// The patterns of the rules, and the line of each.
    written: HashMap<String, String>,
}

impl<'a, 'b> Lists<'a, 'b> {
    pub(super) fn new(writer: &'a mut Writer<'b>, out: &'a mut Imported) -> Self {
        Self { writer, out, written: HashMap::new() }
    }

    /// Writes a rule for each line, so that its comment stays beside it and its hits are counted for it.
    pub(super) fn file(&mut self, file: &Included) {
        for (line, number) in file.text.lines().zip(1..) {
            let (value, comment) = text::value(line);
            match (value, comment) {
                (Some(value), comment) => self.value(&format!("{}:{number}", file.name), value, comment),
                (None, Some(comment)) => self.writer.comment(comment),
                (None, None) => self.writer.blank(),
            }
        }
    }

    fn value(&mut self, at: &str, value: &str, comment: Option<&str>) {
        let beside = comment.map(|comment| format!("   # {comment}")).unwrap_or_default();
        let why = match values::domain(value) {
            Ok(Domain::Names(patterns)) => {
                // The last one is the widest.
                if let Some(line) = patterns.last().and_then(|pattern| self.covering(pattern)) {
                    let why = format!("{line} already covers it");
                    self.writer.comment(&format!("{at}: {value}: {why}{beside}"));
                    return self.out.notes.push(format!("{at}: {value}: {why}, so it has no rule"));
                }
                for pattern in &patterns {
                    self.written.entry(pattern.to_string()).or_insert_with(|| format!("{at} ({value})"));
                }
                return self.writer.name(&patterns, comment);
            }
            Ok(Domain::Address) => "it is an address; requests for addresses are refused in any case".to_owned(),
            Err(why) => why,
        };
        self.writer.comment(&format!("not imported ({at}): {value}{beside}"));
        self.out.left_out.push(format!("{at}: {value}: {why}"));
    }

    /// The line of a rule that has every name of a pattern.
    fn covering(&self, pattern: &Pattern) -> Option<&String> {
        let (Pattern::Exact(name) | Pattern::Below(name)) = pattern;
        let name = name.as_str();
        let parents = name.match_indices('.').filter_map(|(dot, _)| name.get(dot + 1..));
        let wider = parents.map(|parent| format!("*.{parent}"));
        [pattern.to_string()].into_iter().chain(wider).find_map(|pattern| self.written.get(&pattern))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_has_a_directive_of_squid() {
        for (text, expected) in [
            (".example.com\nwww.example.com # x\n", Kind::List),
            ("", Kind::List),
            ("# acl a src all\n", Kind::List),
            ("example.com www.example.com\n", Kind::List),
            ("http_port 3128\n", Kind::Configuration),
            ("\tvisible_hostname x\nintranet portal\n", Kind::Configuration),
            ("allow 10.0.0.0/8;\n", Kind::Configuration),
            ("example.com www.example.com\n\nintranet portal\n", Kind::Neither(3)),
            ("htp_access deny all\n", Kind::Neither(1)),
            ("acl\u{a0}a src all\nhttp access allow all\n", Kind::Neither(2)),
        ] {
            assert_eq!(kind(text), expected, "{text:?}");
        }
    }

    #[test]
    fn files_of_squid_are_recognised() {
        for (text, line) in [
            ("# x\nhttp_port 3128\nacl a src ::1\n", Some(3)),
            ("http_access deny all", Some(1)),
            ("\n# shops\n.example.com # ours\nwww.example.org\r\n", Some(3)),
            ("rules:\n- allow: all\n", None),
            ("allow 10.0.0.0/8;\ndeny all;\n", None),
            ("acl x;\n", None),
            ("example.com\nexample.org: x\n", None),
            ("rules\n", None),
            ("10.0.0.1\n", None),
            ("", None),
        ] {
            assert_eq!(recognise(text), line, "{text:?}");
        }
    }
}
