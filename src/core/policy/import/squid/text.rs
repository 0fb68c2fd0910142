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
    let mut open: Option<(usize, String)> = None;
    for (line, number) in text.lines().zip(1..) {
        let line = line.trim();
        // Squid skips these in the middle of a directive, too.
        if let Some(comment) = line.strip_prefix('#') {
            if open.is_none() {
                above.push(comment.trim().to_owned());
            }
            continue;
        }
        if line.is_empty() {
            if open.is_none() {
                above.clear();
            }
            continue;
        }
        let (number, mut whole) = open.take().unwrap_or((number, String::new()));
        whole.push_str(line);
        if whole.ends_with('\\') {
            whole.pop();
            open = Some((number, whole));
            continue;
        }
        lines.push(directive(number, &whole, &mut above));
    }
    lines.extend(open.map(|(number, whole)| directive(number, &whole, &mut above)));
    lines
}

fn directive(number: usize, text: &str, above: &mut Vec<String>) -> Line {
    let (words, comment) = words(text);
    let above = std::mem::take(above);
    let above = if above.len() <= MAX_COMMENT { above } else { Vec::new() };
    Line { number, words, comment, above }
}

/// A `#` begins a comment where a word would begin.
fn words(text: &str) -> (Vec<String>, Option<String>) {
    let starts = text.char_indices().filter(|(at, c)| {
        *c == '#' && text.get(..*at).is_some_and(|before| before.is_empty() || before.ends_with(char::is_whitespace))
    });
    let (code, comment) = match starts.map(|(at, _)| at).next().and_then(|at| text.split_at_checked(at)) {
        Some((code, comment)) => (code, Some(comment.trim_start_matches('#').trim().to_owned())),
        None => (text, None),
    };
    (code.split_whitespace().map(str::to_owned).collect(), comment.filter(|comment| !comment.is_empty()))
}

/// One value on a line, as in a file that an ACL names: blanks inside belong to it.
pub(super) fn value(line: &str) -> (Option<&str>, Option<&str>) {
    let line = line.trim();
    let comment = line
        .match_indices('#')
        .map(|(at, _)| at)
        .find(|at| line.get(..*at).is_some_and(|before| before.is_empty() || before.ends_with(char::is_whitespace)));
    let (value, comment) = match comment.and_then(|at| line.split_at_checked(at)) {
        Some((value, comment)) => (value.trim(), Some(comment.trim_start_matches('#').trim())),
        None => (line, None),
    };
    (Some(value).filter(|value| !value.is_empty()), comment.filter(|comment| !comment.is_empty()))
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
