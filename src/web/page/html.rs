//! Text as HTML: whatever came from a client is escaped.

use std::fmt::{self, Display, Write};

/// Text as HTML, wherever it stands: nothing in it can end an element or an attribute.
pub(super) struct Escaped<T>(pub(super) T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.to_string().chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            // Line ends are kept for explanations; other control characters are replaced.
            c if c.is_control() && c != '\n' => f.write_str("\u{fffd}"),
            c => f.write_char(c),
        })
    }
}

/// Escaped, and what stands between backticks as code.
pub(super) struct Marked(pub(super) &'static str);

impl Display for Marked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.split('`').enumerate().try_for_each(|(index, part)| match index % 2 {
            0 => write!(f, "{}", Escaped(part)),
            _ => write!(f, "<code>{}</code>", Escaped(part)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_an_element_or_an_attribute() {
        let shown = Escaped("<script>\"'&\u{1b}[0m").to_string();
        assert_eq!(shown, "&lt;script&gt;&quot;&#39;&amp;\u{fffd}[0m");
        assert_eq!(Marked("a `<b>` c").to_string(), "a <code>&lt;b&gt;</code> c");
    }
}
