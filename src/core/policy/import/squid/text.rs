//! The syntax of `squid.conf`: lines of words, comments, and lines that go on in the next.

/// Comments of at most so many lines above a directive are the operator's own; longer ones are Squid's manual.
const MAX_COMMENT: usize = 8;

/// A directive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// Of its first line, from 1.
    pub(super) number: usize,
    pub(super) words: Vec<String>,
    /// The comment at its end.
    pub(super) comment: Option<String>,
    /// The comments right above it.
    pub(super) above: Vec<String>,
    /// Whether a carriage return ended it, and more text stood behind that.
    pub(super) is_cut: bool,
}

/// What parts words. Squid takes no other blanks for such, those of Unicode least of all.
pub(super) fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r')
}

/// What Squid removes at both ends of a line.
fn is_space(c: char) -> bool {
    is_blank(c) || matches!(c, '\u{b}' | '\u{c}')
}

impl Line {
    /// As it was written, with single blanks and without its comment.
    pub(super) fn text(&self) -> String {
        self.words.join(" ")
    }
}

pub(super) fn lines(text: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut above: Vec<String> = Vec::new();
    // What a `\` at the end of a line has left open.
    let mut open = Line::default();
    let mut whole = String::new();
    for (line, number) in text.lines().zip(1..) {
        let (line, rest) = line.split_once('\r').unwrap_or((line, ""));
        let line = line.trim_start_matches(is_space);
        // Squid skips these in the middle of a directive, too.
        if let Some(comment) = line.strip_prefix('#') {
            if open.number == 0 {
                above.push(comment.trim().to_owned());
            }
            continue;
        }
        if line.is_empty() {
            if open.number == 0 {
                above.clear();
            }
            continue;
        }
        if open.number == 0 {
            open = Line { number, ..Line::default() };
        }
        open.is_cut |= !rest.trim_matches(is_space).is_empty();
        whole.push_str(line);
        if whole.ends_with('\\') {
            whole.pop();
            continue;
        }
        lines.push(directive(std::mem::take(&mut open), &std::mem::take(&mut whole), &mut above));
    }
    lines.extend((open.number != 0).then(|| directive(open, &whole, &mut above)));
    lines
}

fn directive(line: Line, text: &str, above: &mut Vec<String>) -> Line {
    let (words, comment) = words(text.trim_end_matches(is_space));
    let above = std::mem::take(above);
    let above = if above.len() <= MAX_COMMENT { above } else { Vec::new() };
    Line { words, comment, above, ..line }
}

fn words(text: &str) -> (Vec<String>, Option<String>) {
    let (code, comment) = before_comment(text);
    let words = code.split(is_blank).filter(|word| !word.is_empty());
    (words.map(str::to_owned).collect(), comment.map(str::to_owned))
}

/// One value on a line, as in a file that an ACL names: blanks inside belong to it.
pub(super) fn value(line: &str) -> (Option<&str>, Option<&str>) {
    let (value, comment) = before_comment(line);
    let value = value.trim_matches(is_blank);
    (Some(value).filter(|value| !value.is_empty()), comment)
}

/// A `#` begins a comment where a word would begin.
fn before_comment(text: &str) -> (&str, Option<&str>) {
    let begins = |at: &usize| text.get(..*at).is_some_and(|before| before.is_empty() || before.ends_with(is_blank));
    let at = text.match_indices('#').map(|(at, _)| at).find(begins);
    match at.and_then(|at| text.split_at_checked(at)) {
        Some((code, comment)) => {
            (code, Some(comment.trim_start_matches('#').trim()).filter(|comment| !comment.is_empty()))
        }
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_comments_and_long_lines() {
        let text = "# ours\nacl Safe_ports port 80\t\t# http\r\n\n# far away\n\nhttp_access allow \\\n# between\n  \
                    localnet a#b \\";
        let found = lines(text);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].number, found[0].text().as_str()), (2, "acl Safe_ports port 80"));
        assert_eq!((found[0].comment.as_deref(), &found[0].above[..]), (Some("http"), &["ours".to_owned()][..]));
        assert_eq!((found[1].number, found[1].text().as_str()), (6, "http_access allow localnet a#b"));
        assert!(found[1].above.is_empty());
    }

    #[test]
    fn blanks_are_those_of_squid() {
        let words = |text: &str| lines(text).into_iter().map(|line| line.words).collect::<Vec<_>>();
        assert_eq!(words(" \u{c}acl\ta  b\u{b}\n"), [["acl", "a", "b"]]);
        for part in ['\u{a0}', '\u{2028}', '\u{3000}', '\u{85}', '\u{b}', '\u{c}'] {
            let text = format!("acl a dstdomain b.example{part}c.example");
            assert_eq!(words(&text)[0].len(), 4, "{part:?}");
            let line = format!("b.example{part}# x");
            assert_eq!(value(&line), (Some(line.as_str()), None), "{part:?}");
            assert_eq!(value(&format!(" b.example{part}")).0.unwrap().chars().last(), Some(part));
        }
        // A `\` before a blank is a word.
        assert_eq!(words("acl a \\ \nb"), [vec!["acl", "a", "\\"], vec!["b"]]);
    }

    #[test]
    fn a_carriage_return_ends_a_line() {
        let found = lines("acl a b\rc \\\r d\r\nacl e\r\n# x\racl f\nacl g \\\r\n h\r i\n");
        let found: Vec<_> = found.iter().map(|line| (line.number, line.text(), line.is_cut)).collect();
        let line = |number, text: &str, is_cut| (number, text.to_owned(), is_cut);
        assert_eq!(found, [line(1, "acl a b", true), line(2, "acl e", false), line(4, "acl g h", true)]);
        assert_eq!(value(" a\rb.example\r # x").0, Some("a\rb.example"));
    }

    #[test]
    fn a_manual_is_no_comment_of_the_operator() {
        let manual = "# x\n".repeat(MAX_COMMENT + 1);
        assert!(lines(&format!("{manual}http_access deny all\n"))[0].above.is_empty());
    }

    #[test]
    fn a_value_is_what_stands_before_its_comment() {
        for (line, expected) in [
            (" .example.com \t# shop", (Some(".example.com"), Some("shop"))),
            ("a b", (Some("a b"), None)),
            ("a#b", (Some("a#b"), None)),
            ("# only", (None, Some("only"))),
            ("#", (None, None)),
            ("  ", (None, None)),
        ] {
            assert_eq!(value(line), expected, "{line}");
        }
    }
}
