//! Samples about the access list and its rules, written at each scrape: labels in the recorder would outlive the list.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use latticegate_core::policy::hits::RuleHits;

use crate::reload::{Loaded, ShadowList};
use crate::telemetry::metrics::exposition::{Exposition, Kind};

/// Rules written for one list at most; rules that were never hit are not written.
const MAX_RULES: usize = 10_000;

/// The label of a rule, and its name if it has one.
type RuleLabels = (String, Option<Box<str>>);

pub(super) fn write(text: &mut Exposition, list: &Loaded, shadow: Option<&ShadowList>) {
    let (hash, version) = (format!("{:08x}", list.version.hash), &*list.version.label);
    let mut info = text.family("latticegate_policy_info", Kind::Gauge, "The list in force.");
    info.sample(&[("hash", &hash), ("version", version)], 1);
    let hits = by_label(list);
    let help = "Times that a rule of the list in force decided.";
    let counts = hits.iter().map(|(labels, hits)| (labels, hits.count));
    family(text, "latticegate_rule_hits_total", Kind::Counter, help, counts);
    let help = "When the rule decided last, in seconds since 1970.";
    let last = hits.iter().map(|(labels, hits)| (labels, hits.last.map_or(0, seconds)));
    family(text, "latticegate_rule_last_hit_timestamp_seconds", Kind::Gauge, help, last);
    let Some(shadow) = shadow else { return };
    let mut disagreements = by_label(&shadow.loaded);
    let unmatched = shadow.denied_at_the_end.load(Ordering::Relaxed);
    disagreements.insert(("none".to_owned(), None), RuleHits { count: unmatched, last: None });
    let help = "Times that a rule of the shadow list would have decided otherwise; none: no rule matches.";
    let counts = disagreements.iter().map(|(labels, hits)| (labels, hits.count));
    family(text, "latticegate_shadow_disagreements_total", Kind::Counter, help, counts);
}

/// The hits of each line with a rule that was hit: two rules may share a line.
fn by_label(list: &Loaded) -> BTreeMap<RuleLabels, RuleHits> {
    let mut found: BTreeMap<RuleLabels, RuleHits> = BTreeMap::new();
    let hit = list.policy.rules().map(|(id, rule)| (id, rule, list.hits.of(id))).filter(|(_, _, hits)| hits.count > 0);
    for (id, rule, hits) in hit.take(MAX_RULES) {
        let entry = found.entry((list.policy.label(id).to_string(), rule.name.clone())).or_default();
        *entry = RuleHits { count: entry.count + hits.count, last: entry.last.max(hits.last) };
    }
    found
}

/// Since 1970.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn family<'a>(
    text: &mut Exposition,
    name: &str,
    kind: Kind,
    help: &str,
    samples: impl Iterator<Item = (&'a RuleLabels, u64)>,
) {
    let mut family = text.family(name, kind, help);
    for ((rule, name), value) in samples {
        let labels = [("rule", &**rule), ("name", name.as_deref().unwrap_or_default())];
        let used = if name.is_some() { labels.len() } else { 1 };
        family.sample(labels.get(..used).unwrap_or_default(), value);
    }
}
