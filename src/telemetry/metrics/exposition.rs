//! The text that Prometheus reads (format 0.0.4). Families and their series stand in the order in which they are written,
//! which is the same at each scrape.

use std::fmt::{Display, Write};

/// What a family of series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// The text so far.
#[derive(Debug, Default)]
pub struct Exposition(String);

/// A label and its value.
pub type Label<'a> = (&'a str, &'a str);

impl Exposition {
    /// A counter without labels.
    pub fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, Kind::Counter, help).sample(&[], value);
    }

    /// A gauge without labels.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, Kind::Gauge, help).sample(&[], value);
    }

    /// Of which samples are written next. One without samples is not written.
    pub fn family<'a>(&'a mut self, name: &'a str, kind: Kind, help: &'a str) -> Family<'a> {
        Family { text: &mut self.0, name, kind, help, begun: false }
    }

    pub fn into_text(self) -> String {
        self.0
    }
}

/// The series of one name.
pub struct Family<'a> {
    text: &'a mut String,
    name: &'a str,
    kind: Kind,
    help: &'a str,
    begun: bool,
}

impl Family<'_> {
    pub fn sample(&mut self, labels: &[Label<'_>], value: impl Display) {
        self.part("", labels, value);
    }

    /// `suffix`: of a histogram's series, such as `_sum`.
    pub(super) fn part(&mut self, suffix: &str, labels: &[Label<'_>], value: impl Display) {
        let Self { text, name, kind, help, begun } = self;
        // Writing to a String cannot fail.
        if !std::mem::replace(begun, true) {
            let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {}", Escaped(help), kind.word());
        }
        let _ = write!(text, "{name}{suffix}");
        for (index, (label, value)) in labels.iter().enumerate() {
            let _ = write!(text, "{}{label}=\"{}\"", if index == 0 { '{' } else { ',' }, Escaped(value));
        }
        let _ = writeln!(text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

/// Help, or a label's value. In help a quotation mark needs no escape, and must not have one: ours has none.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            c => f.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_stand_as_they_are_written_and_only_with_samples() {
        let mut text = Exposition::default();
        text.gauge("b", "The second letter.", 1);
        text.family("empty", Kind::Counter, "Nothing.");
        let mut family = text.family("a_total", Kind::Counter, "The first.");
        family.sample(&[("x", "1"), ("y", "say \"no\\\n\"")], 0.5);
        family.sample(&[], u64::MAX);
        let expected = "# HELP b The second letter.\n# TYPE b gauge\nb 1\n\
                        # HELP a_total The first.\n# TYPE a_total counter\n\
                        a_total{x=\"1\",y=\"say \\\"no\\\\\\n\\\"\"} 0.5\na_total 18446744073709551615\n";
        assert_eq!(text.into_text(), expected);
    }
}
