//! `docs/operations.md` and the program name the same things: every reason word, alarm and warning has an entry there, no
//! entry is about something that does not exist, and every link and metric leads somewhere.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use latticegate::telemetry::status::Warning;
use latticegate_core::outcome::Outcome;

const PAGE: &str = "docs/operations.md";

/// Warnings that are not made by a call with the word `warn` in it: the file, and the message.
const OTHER_WARNINGS: [(&str, &str); 5] = [
    ("src/cli/log.rs", "is not a log filter: {why}"),
    ("src/core/config/injected.rs", "is ignored: Kubernetes or docker sets it for a Service or link of that name{are}"),
    ("src/core/policy/lint.rs", "has no rules, so everyone is denied"),
    ("src/core/policy/read.rs", "ends in the middle of a line, as a file does that was cut short"),
    ("src/core/policy/read.rs", "is used by no rule"),
];

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the first column of the tables in a section has, without backticks; `<br>` separates several.
fn entries(section: &str) -> BTreeSet<String> {
    let page = read(PAGE);
    let (_, after) = page.split_once(&format!("\n## {section}\n")).unwrap_or_else(|| panic!("no section {section}"));
    let rows = after.split("\n## ").next().unwrap().lines().filter(|line| line.starts_with("| "));
    let cells = rows.map(|row| row.split('|').nth(1).unwrap().replace('`', ""));
    let mut found = BTreeSet::new();
    for cell in cells.filter(|cell| !cell.trim().starts_with("About")) {
        for entry in cell.split("<br>") {
            assert!(found.insert(entry.trim().to_owned()), "{entry} has two entries in {section}");
        }
    }
    found
}

fn same(section: &str, expected: impl IntoIterator<Item = impl Into<String>>) {
    let expected: BTreeSet<String> = expected.into_iter().map(Into::into).collect();
    let found = entries(section);
    let missing: Vec<_> = expected.difference(&found).collect();
    let gone: Vec<_> = found.difference(&expected).collect();
    assert!(
        !expected.is_empty() && missing.is_empty() && gone.is_empty(),
        "{section}: no entry for {missing:#?}; nothing is called {gone:#?}"
    );
}

/// Rust files of the program below a directory, without their tests and the demo.
fn sources(below: &str) -> Vec<PathBuf> {
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(below)];
    let mut files = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            if !path.ends_with("src/demo") {
                open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            }
        } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
    files
}

/// The strings in a piece of source, with the lines that `\` continues joined.
fn literals(source: &str) -> Vec<String> {
    let (mut found, mut chars) = (Vec::new(), source.chars().peekable());
    while let Some(c) = chars.next() {
        if c != '"' {
            continue;
        }
        let mut text = String::new();
        while let Some(c) = chars.next().filter(|c| *c != '"') {
            match c {
                '\\' => match chars.next().unwrap() {
                    '\n' => while chars.next_if(|c| c.is_whitespace()).is_some() {},
                    'n' => text.push(' '),
                    other => text.push(other),
                },
                c => text.push(c),
            }
        }
        found.push(text);
    }
    found
}

/// As an operator sees it: what is filled in is `…`.
fn message(literal: &str) -> String {
    let (mut text, mut depth) = (String::new(), 0);
    for c in literal.chars().filter(|c| *c != '`') {
        match c {
            '{' => {
                depth += 1;
                text.push('…');
            }
            '}' => depth -= 1,
            c if depth == 0 => text.push(c),
            _ => {}
        }
    }
    text.trim().to_owned()
}

/// The arguments of each call, with the source before it.
fn calls<'a>(source: &'a str, name: &str) -> Vec<(&'a str, &'a str)> {
    let program = source.split("#[cfg(test)]\nmod tests").next().unwrap();
    let mut found = Vec::new();
    for (at, _) in program.match_indices(name) {
        let rest = &program[at + name.len()..];
        let (mut depth, mut quoted, mut escaped) = (1, false, false);
        let end = rest.char_indices().find(|(_, c)| {
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                '(' | '[' | '{' if !quoted => depth += 1,
                ')' | ']' | '}' if !quoted => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        found.push((&program[..at], &rest[..end.unwrap().0]));
    }
    found
}

#[test]
fn every_reason_word_has_an_entry() {
    same("Reason words", Outcome::all().map(Outcome::reason));
}

#[test]
fn every_warning_of_the_state_has_an_entry() {
    same("Warnings in the state", Warning::ALL.map(Warning::word));
}

#[test]
fn every_alert_of_prometheus_has_an_entry() {
    let rules = read("conf/prometheus-alerts.yml");
    same("Alerts of Prometheus", rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")));
}

#[test]
fn every_alarm_of_cloudwatch_has_an_entry() {
    let mut alarms = BTreeSet::new();
    for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("cfn")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|it| it != "yaml") {
            continue;
        }
        let text = read(&path);
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.windows(2).filter(|pair| pair[1].trim() == "Type: AWS::CloudWatch::Alarm") {
            alarms.insert(pair[0].trim().trim_end_matches(':').to_owned());
        }
    }
    same("Alarms of CloudWatch", alarms);
}

#[test]
fn every_warning_of_the_process_log_has_an_entry() {
    let mut lines = BTreeSet::new();
    for file in sources("src") {
        let source = read(&file);
        for name in ["tracing::warn!(", "tracing::error!("] {
            for (_, arguments) in calls(&source, name) {
                lines.insert(message(literals(arguments).first().unwrap()));
            }
        }
    }
    same("Lines of the process log", lines);
}

#[test]
fn every_warning_of_check_has_an_entry() {
    let mut warnings: BTreeSet<String> = OTHER_WARNINGS
        .iter()
        .map(|(file, text)| {
            assert!(read(file).contains(&format!("\"{text}\"")), "{file} has no {text:?}");
            message(text)
        })
        .collect();
    for file in sources("src/core") {
        let source = read(&file);
        for name in ["self.warn(", "self.warning(", "self.key_warning("] {
            for (before, arguments) in calls(&source, name) {
                // Made by the call, or by the statement before it.
                let made = match arguments.contains("message") {
                    true => &before[before.rfind("let message").unwrap()..],
                    false => arguments,
                };
                warnings.insert(message(literals(made).first().unwrap()));
            }
        }
    }
    same("Warnings of `check`", warnings);
}

/// As GitHub makes it of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .collect::<String>();
    kept.trim().replace(' ', "-")
}

#[test]
fn every_link_and_every_metric_leads_somewhere() {
    let page = read(PAGE);
    let mut links = 0;
    for link in page.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
        let (file, section) = link.split_once('#').unwrap_or((link, ""));
        let file = if file.is_empty() { PAGE.to_owned() } else { format!("docs/{file}") };
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join(&file);
        assert!(target.exists(), "{link}: no {file}");
        links += 1;
        if !section.is_empty() {
            let headings = read(&file);
            let headings =
                headings.lines().filter(|line| line.starts_with('#')).map(|line| anchor(line.trim_start_matches('#')));
            assert!(headings.into_iter().any(|one| one == section), "{link}: no such section");
        }
    }
    assert!(links >= 20, "{links}");
    let metrics = read("docs/metrics.md");
    let words = page.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    for name in words.filter(|word| word.starts_with("latticegate_") || word.starts_with("process_")) {
        assert!(metrics.contains(&format!("`{name}`")), "no metric is called {name}");
    }
}

#[test]
fn what_is_filled_in_is_an_ellipsis() {
    assert_eq!(message("{what}: line {line} ({text}) `decides`"), "…: line … (…) decides");
    assert_eq!(literals("a(\"x \\\n   y\", 'c', \"\\\"z\")"), ["x y", "\"z"]);
    assert_eq!(calls("warn(a(\")\", b), c); d", "warn("), [("", "a(\")\", b), c")]);
    assert_eq!(anchor("# What it costs: `a`, b?"), "what-it-costs-a-b");
}
