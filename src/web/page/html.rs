//! Text as HTML: whatever came from a client is escaped.

use std::fmt::{self, Display, Write};

use latticegate_core::diagnostic::is_deceptive;

/// Text as HTML, wherever it stands: nothing in it can end an element or an attribute, or change how what is around it reads.
pub(super) struct Escaped<T>(pub(super) T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut html = Html(f);
        write!(html, "{}", self.0)
    }
}

struct Html<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Html<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| self.write_char(c))
    }

    fn write_char(&mut self, c: char) -> fmt::Result {
        match c {
            '&' => self.0.write_str("&amp;"),
            '<' => self.0.write_str("&lt;"),
            '>' => self.0.write_str("&gt;"),
            '"' => self.0.write_str("&quot;"),
            '\'' => self.0.write_str("&#39;"),
            // Line ends are kept for explanations.
            '\n' => self.0.write_char(c),
            c if c.is_control() || is_deceptive(c) => write!(self.0, "{}", c.escape_unicode()),
            c => self.0.write_char(c),
        }
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

/// One column of a table.
#[derive(Debug, Clone, Copy)]
pub(super) enum Column {
    Text(&'static str),
    /// Right-aligned; its cells have their value in `data-v`.
    Number(&'static str),
}

/// A table below the heading `<h2 id="{id}-h">` or `<h3 …>`, in a box that scrolls. `rows` writes `<tr>…`.
pub(super) fn table(
    out: &mut String,
    id: &str,
    columns: &[Column],
    rows: impl FnOnce(&mut String) -> fmt::Result,
) -> fmt::Result {
    write!(out, "<div class=scroll tabindex=0 role=region aria-labelledby={id}-h>")?;
    write!(out, "<table id={id}-t aria-labelledby={id}-h><thead><tr>")?;
    for column in columns {
        match column {
            Column::Text(title) => write!(out, "<th scope=col>{title}")?,
            Column::Number(title) => write!(out, "<th scope=col class=n>{title}")?,
        }
    }
    out.write_str("<tbody>")?;
    rows(out)?;
    out.write_str("</table></div>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_an_element_or_an_attribute() {
        let shown = Escaped("<script>\"'&\u{1b}[0m\n").to_string();
        assert_eq!(shown, "&lt;script&gt;&quot;&#39;&amp;\\u{1b}[0m\n");
        assert_eq!(Marked("a `<b>` c").to_string(), "a <code>&lt;b&gt;</code> c");
    }

    #[test]
    fn nothing_turns_the_direction_of_text_or_hides_in_it() {
        let shown = Escaped("a\u{202e}moc.live\u{2066}\u{200b}\u{feff}\u{7f}\u{85}é").to_string();
        assert_eq!(shown, "a\\u{202e}moc.live\\u{2066}\\u{200b}\\u{feff}\\u{7f}\\u{85}é");
    }
}
