//! Rules as YAML.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::compile::{Region, Rule};
use super::sets::{Names, Pattern};

use crate::policy::import::printable;

/// Values that are written on the line of their key.
const ON_ONE_LINE: usize = 6;

pub(super) struct Writer<'a> {
    pub(super) yaml: String,
    pub(super) rules: usize,
    /// Written into each rule.
    pub(super) listener: Option<&'a str>,
    /// Comments beside names, by pattern.
    pub(super) comments: &'a BTreeMap<String, String>,
    /// The ports of the listener: a rule that denies all of them needs no condition.
    pub(super) ports: Option<BTreeSet<u16>>,
}

impl Writer<'_> {
    pub(super) fn comment(&mut self, text: &str) {
        let _ = writeln!(self.yaml, "  {}", printable(&format!("# {text}")).trim_end());
    }

    pub(super) fn blank(&mut self) {
        if !self.yaml.ends_with("\n\n") && !self.yaml.ends_with("rules:\n") {
            self.yaml.push('\n');
        }
    }

    pub(super) fn rule(&mut self, rule: &Rule) {
        self.rules += 1;
        let Region { clients, names, .. } = &rule.region;
        let clients = clients.networks().map_or_else(
            || vec!["all".to_owned()],
            |networks| networks.iter().map(|network| quoted(&short(&network.to_string()))).collect(),
        );
        let action = if rule.allow { "allow" } else { "deny" };
        self.values(&format!("- {action}"), clients.into_iter().map(|client| (client, None)).collect());
        match names {
            // On a forward listener an allow rule without names allows nothing.
            None if rule.allow => self.line("  to: any"),
            None => {}
            Some(names) => self.values("  to", self.named(names)),
        }
        if let Some(ports) = rule.ports_beside(self.ports.as_ref()) {
            self.values("  port", ports.iter().map(|port| (port.to_string(), None)).collect());
        }
        self.conditions();
    }

    /// A rule for one name, with the comment that stood beside it.
    pub(super) fn name(&mut self, patterns: &[Pattern], comment: Option<&str>) {
        self.rules += 1;
        self.line("- allow: all");
        let values: Vec<String> = patterns.iter().map(written).collect();
        let comment = comment.map(|comment| printable(&format!("   # {comment}"))).unwrap_or_default();
        match &values[..] {
            [one] => self.line(&format!("  to: {one}{comment}")),
            more => self.line(&format!("  to: [{}]{comment}", more.join(", "))),
        }
        self.conditions();
    }

    pub(super) fn deny_all(&mut self) {
        self.rules += 1;
        self.line("- deny: all");
        self.conditions();
    }

    fn conditions(&mut self) {
        if let Some(listener) = self.listener {
            self.line(&format!("  listener: {listener}"));
        }
    }

    /// Each name with its comment.
    fn named(&self, names: &Names) -> Vec<(String, Option<String>)> {
        let with = |pattern| (written(pattern), self.comments.get(&pattern.to_string()).cloned());
        names.patterns().iter().map(with).collect()
    }

    fn values(&mut self, key: &str, values: Vec<(String, Option<String>)>) {
        let commented = values.iter().any(|(_, comment)| comment.is_some());
        match &values[..] {
            [(one, None)] => self.line(&format!("{key}: {one}")),
            few if few.len() <= ON_ONE_LINE && !commented => {
                let few: Vec<&str> = few.iter().map(|(value, _)| value.as_str()).collect();
                self.line(&format!("{key}: [{}]", few.join(", ")));
            }
            many => {
                self.line(&format!("{key}:"));
                for (value, comment) in many {
                    let comment = comment.as_ref().map(|comment| format!("   # {comment}")).unwrap_or_default();
                    self.line(&format!("    - {value}{}", printable(&comment)));
                }
            }
        }
    }

    fn line(&mut self, text: &str) {
        let _ = writeln!(self.yaml, "  {}", text.trim_end());
    }
}

/// A network of one address is written as that address.
fn short(network: &str) -> String {
    let bare = network.strip_suffix("/32").filter(|address| address.contains('.'));
    bare.or_else(|| network.strip_suffix("/128")).unwrap_or(network).to_owned()
}

fn quoted(text: &str) -> String {
    if text.contains(':') { format!("\"{text}\"") } else { text.to_owned() }
}

fn written(pattern: &Pattern) -> String {
    match pattern {
        // A word such as `any` could mean every name; with its final dot it is a name.
        Pattern::Exact(name) if !name.as_str().contains('.') => format!("{name}."),
        Pattern::Exact(name) => name.to_string(),
        Pattern::Below(_) => format!("\"{pattern}\""),
    }
}
