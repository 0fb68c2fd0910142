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
