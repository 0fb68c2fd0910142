//! Samples about the access list and its rules, written at each scrape: labels of a recorder would outlive the list.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use latticegate_core::policy::hits::RuleHits;

use crate::reload::{Loaded, ShadowList};

/// Rules told of one list at most; rules that were never hit are not told.
const MAX_RULES: usize = 10_000;

pub(super) fn write(text: &mut String, list: &Loaded, shadow: Option<&ShadowList>) {
    info(text, list);
    let hits = by_label(list);
    let help = "Times that a rule of the list in force decided.";
    family(text, "latticegate_rule_hits_total", "counter", help, hits.iter().map(|(label, hits)| (label, hits.count)));
    let help = "When the rule decided last, in seconds since 1970.";
    let last = hits.iter().map(|(label, hits)| (label, hits.last.map_or(0, seconds)));
    family(text, "latticegate_rule_last_hit_timestamp_seconds", "gauge", help, last);
    let Some(shadow) = shadow else { return };
    let mut disagreements = by_label(&shadow.loaded);
    let unmatched = shadow.denied_at_the_end.load(Ordering::Relaxed);
    if unmatched > 0 {
        disagreements.insert("rule=\"none\"".to_owned(), RuleHits { count: unmatched, last: None });
    }
    let help = "Times that a rule of the shadow list would have decided otherwise.";
    let counts = disagreements.iter().map(|(label, hits)| (label, hits.count));
    family(text, "latticegate_shadow_disagreements_total", "counter", help, counts);
}

/// The list in force: its hash, and what its source calls it.
fn info(text: &mut String, list: &Loaded) {
    let (hash, version) = (format!("{:08x}", list.version.hash), escaped(&list.version.label));
    let labels = format!("hash=\"{hash}\",version=\"{version}\"");
    family(text, "latticegate_policy_info", "gauge", "The list in force.", std::iter::once((&labels, 1)));
}

/// The hits of each line that has a rule which was hit: two rules may share a line.
fn by_label(list: &Loaded) -> BTreeMap<String, RuleHits> {
    let mut found: BTreeMap<String, RuleHits> = BTreeMap::new();
    let hit = list.policy.rules().map(|(id, rule)| (id, rule, list.hits.of(id))).filter(|(_, _, hits)| hits.count > 0);
    for (id, rule, hits) in hit.take(MAX_RULES) {
        let mut label = format!("rule=\"{}\"", escaped(&list.policy.label(id).to_string()));
        if let Some(name) = &rule.name {
            // Writing to a String cannot fail.
            let _ = write!(label, ",name=\"{}\"", escaped(name));
        }
        let entry = found.entry(label).or_default();
        *entry = RuleHits { count: entry.count + hits.count, last: entry.last.max(hits.last) };
    }
    found
}

/// Since 1970.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn family<'a>(text: &mut String, name: &str, kind: &str, help: &str, samples: impl Iterator<Item = (&'a String, u64)>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, value) in samples {
        let _ = writeln!(text, "{name}{{{labels}}} {value}");
    }
}

/// A label's value, as the text format wants it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
