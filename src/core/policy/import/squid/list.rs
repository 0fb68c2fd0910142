//! An allow list: one domain a line, as a file that `dstdomain` names.

use super::super::{Imported, Included};
use super::text;
use super::values::{self, Domain};
use super::write::Writer;

/// Whether no line of these is a directive: a word without a dot, and its arguments.
pub(super) fn is_list(text: &str) -> bool {
    !text.lines().filter_map(|line| text::value(line).0).any(|value| {
        let mut words = value.split_whitespace();
        let is_word = |word: &str| word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        words.next().is_some_and(is_word) && words.next().is_some()
    })
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

/// Writes a rule for each line, so that its comment stays beside it and its hits are counted for it.
pub(super) fn rules(file: &Included, writer: &mut Writer<'_>, out: &mut Imported) {
    for (line, number) in file.text.lines().zip(1..) {
        let (value, comment) = text::value(line);
        match (value.map(|value| (value, values::domain(value))), comment) {
            (None, Some(comment)) => writer.comment(comment),
            (None, None) => writer.blank(),
            (Some((_, Ok(Domain::Names(patterns)))), comment) => writer.name(&patterns, comment),
            (Some((value, other)), comment) => {
                let why = match other {
                    Err(why) => why,
                    Ok(_) => "it is an address; requests for addresses are refused in any case".to_owned(),
                };
                let comment = comment.map(|comment| format!("   # {comment}")).unwrap_or_default();
                writer.comment(&format!("not imported ({}:{number}): {value}{comment}", file.name));
                out.left_out.push(format!("{}:{number}: {value}: {why}", file.name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
