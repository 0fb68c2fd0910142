//! What `/status.json` says, in lines for people.

#![expect(clippy::indexing_slicing, reason = "of JSON, where an absent key is null")]

use std::fmt::{self, Display, Write as _};

use serde_json::Value;

use crate::web::units::{bandwidth, bytes, count, duration, rate, significant};
use latticegate_core::diagnostic::OneLine;

/// How it is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) colour: bool,
    /// Longer lines are cut. None: they are not.
    pub(super) width: Option<usize>,
    /// Of each list at most.
    pub(super) rows: usize,
}

pub(super) struct Report<'a> {
    pub(super) state: &'a Value,
    pub(super) style: Style,
}

/// A column: its title, and whether it has numbers.
type Columns = [(&'static str, bool)];

impl Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        self.history(f)?;
        self.listeners(f)?;
        self.endings(f)?;
        self.refusals(f)?;
        self.connections(f)?;
        self.busiest(f)?;
        self.upstreams(f)?;
        self.dns(f)?;
        self.rules(f)?;
        self.shadow(f)?;
        self.settings(f)
    }
}

impl Report<'_> {
    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state;
        let (colour, word) = match (state["ready"] == true, is_empty(&state["warnings"])) {
            (true, true) => ("32", "ready"),
            (true, false) => ("33", "ready, with warnings"),
            (false, _) => ("31", "not ready"),
        };
        let up = duration(number(&state["uptime_s"]));
        let (version, time) = (text(&state["version"]), text(&state["time"]));
        writeln!(f, "{}", self.cut(&format!("latticegate {version}  {word}  up {up}  {time}"), Some(colour)))?;
        let why = text(&state["not_ready_because"]);
        if !why.is_empty() {
            writeln!(f, "  {}", self.cut(&why, Some(colour)))?;
        }
        for warning in list(&state["warnings"]) {
            writeln!(f, "  {}", self.cut(&text(warning), Some("33")))?;
        }
        let limits = &state["limits"];
        let of = |what: &str| {
            format!("{} of {}", count(number(&limits[what]["taken"])), count(number(&limits[what]["limit"])))
        };
        let line = format!("open {}   in handshake {}   open files {}", of("connections"), of("half_open"), of("fds"));
        writeln!(f, "{}", self.cut(&line, None))?;
        match number(&state["log_lines_lost"]) {
            0 => Ok(()),
            lost => {
                writeln!(f, "{}", self.cut(&format!("log lines lost since the start: {}", count(lost)), Some("33")))
            }
        }
    }

    /// Numbers of the last step, and the steps before as small columns.
    fn history(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (series, title) in [("minutes", "last 15 minutes"), ("hours", "last 24 hours")] {
            let series = &self.state["history"][series];
            let samples = list(&series["samples"]);
            let Some(last) = samples.last() else { continue };
            self.title(f, title)?;
            let each = |sample: &Value, key: &str| -> Option<f64> {
                let span = sample["span_s"].as_f64().filter(|span| *span > 0.0)?;
                Some(sample[key].as_f64()? / span)
            };
            let gauge = |sample: &Value, key: &str| sample[key].as_f64();
            let millis = |value: f64| format!("{} ms", significant(value));
            let whole = |value: f64| format!("{value:.0}");
            type Read<'a> = &'a dyn Fn(&Value, &str) -> Option<f64>;
            type Write<'a> = &'a dyn Fn(f64) -> String;
            let percent = |value: f64| format!("{} %", significant(value * 100.0));
            let lines: [(&str, &str, Read<'_>, Write<'_>); 9] = [
                ("open", "open", &gauge, &whole),
                ("new", "opened", &each, &rate),
                ("refused", "refused", &each, &rate),
                ("failed", "failed", &each, &rate),
                ("up", "bytes_up", &each, &bandwidth),
                ("down", "bytes_down", &each, &bandwidth),
                ("connect, median", "connect_p50_ms", &gauge, &millis),
                ("connect, 99 %", "connect_p99_ms", &gauge, &millis),
                ("busiest worker", "busiest_worker", &gauge, &percent),
            ];
            for (name, key, read, write) in lines {
                let values: Vec<Option<f64>> = samples.iter().map(|sample| read(sample, key)).collect();
                let highest = values.iter().flatten().copied().fold(0.0, f64::max);
                let now = read(last, key).map_or_else(|| "–".to_owned(), write);
                let columns = self.style.width.map_or(60, |width| width.saturating_sub(48).clamp(10, 90));
                let line = format!("{name:<16} {now:>12}  {}  highest {}", bars(&values, columns), write(highest));
                writeln!(f, "{}", self.cut(&line, None))?;
            }
        }
        Ok(())
    }

    fn listeners(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = list(&self.state["listeners"])
            .iter()
            .map(|one| vec![text(&one["name"]), text(&one["protocol"]), text(&one["bind"]), counted(&one["active"])]);
        self.table(f, "listeners", &[("name", false), ("protocol", false), ("address", false), ("open", true)], rows)
    }

    fn endings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcomes = self.state["connections"]["ended"].as_object();
        let mut all: Vec<(&str, &str, u64)> = Vec::new();
        for (outcome, reasons) in outcomes.into_iter().flatten() {
            let reasons = reasons.as_object().into_iter().flatten();
            all.extend(reasons.map(|(reason, n)| (outcome.as_str(), reason.as_str(), number(n))));
        }
        all.sort_by_key(|&(_, reason, n)| (std::cmp::Reverse(n), reason));
        let rows = all.into_iter().map(|(outcome, reason, n)| vec![shown(reason), shown(outcome), count(n)]);
        self.table(f, "how connections ended", &[("reason", false), ("outcome", false), ("count", true)], rows)
    }

    fn refusals(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = [
            ("time", false),
            ("client", false),
            ("name", false),
            ("reason", false),
            ("rule", false),
            ("detail", false),
        ];
        let rows = list(&self.state["recent"])
            .iter()
            .map(|one| ["time", "client", "name", "reason", "rule", "detail"].map(|key| text(&one[key])).into());
        self.table(f, "last refusals and failures", &columns, rows)
    }

    fn connections(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let live = &self.state["live"];
        let columns = [
            ("age", true),
            ("client", false),
            ("listener", false),
            ("name", false),
            ("upstream", false),
            ("up", true),
            ("down", true),
            ("id", false),
        ];
        for (key, title) in [("newest", "newest"), ("longest", "longest-lived"), ("largest", "most bytes")] {
            let rows = list(&live[key]).iter().map(|one| {
                let client = match text(&one["endpoint"]) {
                    via if via.is_empty() => text(&one["client"]),
                    via => format!("{} via {via}", text(&one["client"])),
                };
                vec![
                    duration(number(&one["age_s"])),
                    client,
                    text(&one["listener"]),
                    text(&one["name"]),
                    text(&one["upstream"]),
                    bytes(number(&one["bytes_up"])),
                    bytes(number(&one["bytes_down"])),
                    text(&one["id"]),
                ]
            });
            let title = format!("open connections: {title}, of {}", counted(&live["found"]));
            self.table(f, &title, &columns, rows)?;
        }
        Ok(())
    }

    fn busiest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (of, what) in [("names", "name"), ("clients", "client")] {
            for (key, by) in [("by_traffic", "traffic"), ("by_refusals", "refusals")] {
                let columns = [
                    (what, false),
                    ("open", true),
                    ("ended", true),
                    ("refused", true),
                    ("failed", true),
                    ("up", true),
                    ("down", true),
                ];
                let rows = list(&self.state[of][key]).iter().map(|one| {
                    vec![
                        text(&one[what]),
                        counted(&one["open"]),
                        counted(&one["ended"]),
                        counted(&one["refused"]),
                        counted(&one["failed"]),
                        bytes(number(&one["bytes_up"])),
                        bytes(number(&one["bytes_down"])),
                    ]
                });
                self.table(f, &format!("{of} by {by}"), &columns, rows)?;
            }
        }
        Ok(())
    }

    fn upstreams(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = [
            ("address", false),
            ("open", true),
            ("up", true),
            ("down", true),
            ("connects", true),
            ("mean", true),
            ("failed", false),
        ];
        let rows = list(&self.state["upstreams"]).iter().map(|one| {
            let address = text(&one["address"]);
            let mean = one["connect_mean_ms"]
                .as_f64()
                .map_or_else(|| "–".to_owned(), |mean| format!("{} ms", significant(mean)));
            let failed = one["failed"].as_object().into_iter().flatten();
            let failed: Vec<String> = failed.map(|(reason, n)| format!("{} {}", shown(reason), counted(n))).collect();
            vec![
                if address.is_empty() { "other".to_owned() } else { address },
                counted(&one["open"]),
                bytes(number(&one["bytes_up"])),
                bytes(number(&one["bytes_down"])),
                one["connected"].as_u64().map_or_else(|| "–".to_owned(), count),
                mean,
                failed.join(", "),
            ]
        });
        self.table(f, "upstream addresses", &columns, rows)
    }

    fn dns(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dns = &self.state["dns"];
        let columns = [("name", false), ("age", true), ("valid for", true), ("addresses", false)];
        let rows = list(&dns["names"]).iter().map(|one| {
            let addresses: Vec<String> = list(&one["addresses"]).iter().map(text).collect();
            let failed = text(&one["failed"]);
            let stale = if one["stale"] == true { "expired" } else { "" };
            let notes: Vec<&str> = [stale, &failed].into_iter().filter(|note| !note.is_empty()).collect();
            let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join("; ")) };
            vec![
                text(&one["name"]),
                duration(number(&one["age_s"])),
                duration(number(&one["ttl_s"])),
                format!("{}{notes}", addresses.join(", ")).trim_start().to_owned(),
            ]
        });
        let title = format!("DNS cache: {} names, resolved by {}", counted(&dns["known"]), text(&dns["server"]));
        self.table(f, &title, &columns, rows)
    }

    fn rules(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = &self.state["policy"];
        let title = format!(
            "access list {}: {} rules, {}, in force for {}",
            text(&policy["source"]),
            counted(&policy["rules"]),
            text(&policy["hash"]),
            duration(number(&policy["age_s"]))
        );
        let columns = [("rule", false), ("decided", true), ("last", false), ("text", false)];
        self.table(f, &title, &columns, list(&policy["hits"]).iter().map(rule))
    }

    fn shadow(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shadow = &self.state["shadow"];
        if shadow.is_null() {
            return Ok(());
        }
        let title = format!(
            "shadow list: decisions that would differ; {} denied at the end, {} might be admitted",
            counted(&shadow["denied_at_the_end"]),
            counted(&shadow["might_admit"])
        );
        let columns = [("rule", false), ("differences", true), ("last", false), ("text", false)];
        let differ = list(&shadow["disagreements"]).iter().filter(|one| number(&one["hits"]) > 0);
        self.table(f, &title, &columns, differ.map(rule))
    }

    /// All of it: it is short, and looked at for one key.
    fn settings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = list(&self.state["configuration"]).iter().map(|one| {
            let written: Vec<String> = list(&one["written"]).iter().map(text).collect();
            let from = if written.is_empty() { "default".to_owned() } else { written.join(", ") };
            vec![text(&one["key"]), from, text(&one["value"])]
        });
        let all = Self { state: self.state, style: Style { rows: usize::MAX, ..self.style } };
        all.table(f, "configuration in force", &[("key", false), ("from", false), ("value", false)], rows)
    }

    fn title(&self, f: &mut fmt::Formatter<'_>, title: &str) -> fmt::Result {
        writeln!(f, "\n{}", self.cut(title, Some("1")))
    }

    /// A table whose columns are as wide as what is in them.
    fn table(
        &self,
        f: &mut fmt::Formatter<'_>,
        title: &str,
        columns: &Columns,
        rows: impl Iterator<Item = Vec<String>>,
    ) -> fmt::Result {
        let rows: Vec<Vec<String>> = rows.collect();
        if rows.is_empty() {
            return Ok(());
        }
        self.title(f, title)?;
        let shown = rows.get(..self.style.rows.min(rows.len())).unwrap_or(&rows);
        let head: Vec<String> = columns.iter().map(|(title, _)| (*title).to_owned()).collect();
        let width = |at: usize| {
            let cells = shown.iter().chain([&head]).filter_map(|row| row.get(at));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns.len()).map(width).collect();
        for row in [&head].into_iter().chain(shown) {
            let mut line = String::new();
            for ((cell, width), (_, is_number)) in row.iter().zip(&widths).zip(columns) {
                // Writing to a String cannot fail.
                let _ = if *is_number { write!(line, "  {cell:>width$}") } else { write!(line, "  {cell:<width$}") };
            }
            let is_head = std::ptr::eq(row, &head);
            writeln!(f, "{}", self.cut(line.trim_end(), is_head.then_some("2")))?;
        }
        let more = rows.len() - shown.len();
        if more > 0 { writeln!(f, "  and {more} more") } else { Ok(()) }
    }

    /// The line, as long as there is room for it.
    fn cut(&self, line: &str, colour: Option<&str>) -> String {
        let mut line = line.to_owned();
        if let Some(width) = self.style.width
            && let Some((end, _)) = line.char_indices().nth(width)
        {
            line.truncate(end);
        }
        match colour.filter(|_| self.style.colour) {
            Some(colour) => format!("\x1b[{colour}m{line}\x1b[0m"),
            None => line,
        }
    }
}

fn rule(one: &Value) -> Vec<String> {
    let last = text(&one["last"]);
    let last = if last.is_empty() { "never".to_owned() } else { last };
    vec![text(&one["rule"]), counted(&one["hits"]), last, text(&one["text"])]
}

/// A column of up to eight eighths for each of the last values, or for the highest of some.
fn bars(values: &[Option<f64>], columns: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let highest = values.iter().flatten().copied().fold(0.0, f64::max);
    let each = values.len().div_ceil(columns).max(1);
    let bar = |some: &[Option<f64>]| match some.iter().flatten().copied().reduce(f64::max) {
        None => ' ',
        Some(value) => {
            let share = if highest > 0.0 { value / highest } else { 0.0 };
            BARS.into_iter().zip(1_u8..).find(|(_, n)| share <= f64::from(*n) / 8.0).map_or('█', |(bar, _)| bar)
        }
    };
    let shown: String = values.rchunks(each).rev().map(bar).collect();
    format!("{shown:>columns$}")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn is_empty(value: &Value) -> bool {
    list(value).is_empty()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn counted(value: &Value) -> String {
    count(number(value))
}

/// Harmless in a terminal, whoever has written it; empty for null.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => shown(text),
        other => other.to_string(),
    }
}

fn shown(text: &str) -> String {
    struct Shown<'a>(&'a str);
    impl Display for Shown<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            OneLine(f).write_str(self.0)
        }
    }
    Shown(text).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(state: &Value, style: Style) -> String {
        Report { state, style }.to_string()
    }

    const PLAIN: Style = Style { colour: false, width: None, rows: 2 };

    #[test]
    fn what_others_wrote_does_not_steer_the_terminal() {
        let hostile = "a\u{1b}[31m\u{202e}\n\u{9b}31mb";
        let state = json!({
            "ready": true, "version": hostile, "warnings": [hostile],
            "recent": [{ "client": hostile, "name": hostile, "detail": hostile, "reason": hostile }],
            "names": { "by_traffic": [{ "name": hostile }] },
            "live": { "newest": [{ "name": hostile, "client": hostile, "endpoint": hostile }] },
            "dns": { "names": [{ "name": hostile, "addresses": [hostile], "failed": hostile }] },
            "policy": { "source": hostile, "hits": [{ "text": hostile, "rule": hostile }] },
            "configuration": [{ "key": hostile, "value": hostile, "written": [hostile] }],
            "connections": { "ended": { hostile: { hostile: 1 } } },
        });
        let text = report(&state, PLAIN);
        assert!(!text.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text}");
        assert!(text.matches("a\\u{1b}[31m\\u{202e}\\n\\u{9b}31mb").count() >= 19, "{text}");
    }

    #[test]
    fn lists_have_an_end_and_lines_too() {
        let names: Vec<Value> = (0..5).map(|n| json!({ "name": format!("n{n}.example"), "open": n })).collect();
        let state = json!({ "ready": true, "names": { "by_traffic": names }, "log_lines_lost": 12_345 });
        let text = report(&state, PLAIN);
        assert!(text.contains("\nlog lines lost since the start: 12\u{202f}345\n"), "{text}");
        assert!(
            text.contains("\n  n1.example     1") && !text.contains("n2.example") && text.contains("\n  and 3 more\n"),
            "{text}"
        );
        let narrow = report(&state, Style { width: Some(20), ..PLAIN });
        assert!(narrow.lines().all(|line| line.chars().count() <= 20), "{narrow}");
        let coloured = report(&state, Style { colour: true, ..PLAIN });
        assert!(coloured.starts_with("\x1b[32mlatticegate ") && !text.contains('\x1b'), "{coloured}");
    }

    #[test]
    fn many_values_are_drawn_in_few_columns() {
        let values: Vec<Option<f64>> = (0..100).map(|n| Some(f64::from(n))).collect();
        assert_eq!(bars(&values, 10), "▁▂▃▄▄▅▆▇██");
        assert_eq!(bars(&[Some(0.0), None, Some(8.0)], 5), "  ▁ █");
        assert_eq!(bars(&[], 3), "   ");
    }
}
