//! The files in `conf/`, and the tables that the documentation has to have.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub fn root(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

pub fn alerts_file() -> String {
    std::fs::read_to_string(root("conf/prometheus-alerts.yml")).unwrap()
}

/// One alert of the rules.
pub struct Alert {
    pub name: String,
    pub expr: String,
    severity: String,
    duration: String,
    summary: String,
}

impl Alert {
    pub fn row(&self) -> String {
        let Self { name, severity, duration, summary, .. } = self;
        format!("| `{name}` | {severity} | {duration} | {summary} |")
    }
}

/// In their order.
pub fn alerts() -> Vec<Alert> {
    let rules: Value = latticegate_yaml(&alerts_file());
    let groups = rules["groups"].as_array().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().unwrap().clone());
    let text = |value: &Value| value.as_str().unwrap().trim().to_owned();
    rules
        .map(|rule| {
            assert!(rule["annotations"]["action"].is_string(), "{rule}: what is to be done?");
            Alert {
                name: text(&rule["alert"]),
                expr: text(&rule["expr"]),
                severity: text(&rule["labels"]["severity"]),
                duration: rule["for"].as_str().unwrap_or("0").to_owned(),
                summary: text(&rule["annotations"]["summary"]),
            }
        })
        .collect()
}

fn latticegate_yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap()
}

/// Every query of the dashboard.
pub fn dashboard() -> Vec<String> {
    let text = std::fs::read_to_string(root("conf/grafana-dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default());
    let queries = targets.map(|target| target["expr"].as_str().unwrap().to_owned());
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter();
    // `label_values(series, label)` has values if there are such series.
    let variables = variables.filter_map(|variable| {
        let inner = variable["definition"].as_str()?.strip_prefix("label_values(")?.strip_suffix(')')?;
        let (series, label) = inner.rsplit_once(", ").unwrap();
        Some(format!("count by ({label}) ({series})"))
    });
    let all: Vec<String> = queries.chain(variables).collect();
    assert!(all.iter().any(|query| query.contains("count by (listener)")));
    all
}

/// As Grafana sends it when everything is chosen, with a scrape interval of half a second.
pub fn without_variables(query: &str) -> String {
    let query = query.replace("$__rate_interval", "4s");
    let query = ["$job", "$instance", "$listener"].iter().fold(query, |query, name| query.replace(name, ".*"));
    assert!(!query.contains('$'), "{query}");
    query
}

/// The rows of an exposition: one for each family, with the labels that its series have.
pub fn table(text: &str) -> Vec<String> {
    let mut rows = Vec::new();
    for family in text.split("# HELP ").skip(1) {
        let (head, rest) = family.split_once("\n# TYPE ").unwrap();
        let (name, help) = head.split_once(' ').unwrap();
        let (kind, samples) = rest.split_once('\n').unwrap();
        let (_, kind) = kind.split_once(' ').unwrap();
        let labels: BTreeSet<&str> = samples.lines().flat_map(labels).filter(|label| *label != "le").collect();
        let labels: Vec<String> = labels.into_iter().map(|label| format!("`{label}`")).collect();
        rows.push(format!("| `{name}` | {kind} | {} | {help} |", labels.join(", ")));
    }
    rows
}

fn labels(sample: &str) -> impl Iterator<Item = &str> {
    sample.split("=\"").filter_map(|part| part.rsplit(['{', ',']).next()).filter(|label| {
        label.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') && sample.contains(&format!("{label}=\""))
    })
}
