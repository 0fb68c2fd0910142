//! What DNS has said, and what the access list does.

use std::fmt::{self, Write};
use std::sync::atomic::Ordering;

use super::html::{Column, Escaped, table};
use super::units::{count, duration};
use crate::web::snapshot::{Snapshot, age};
use latticegate_core::policy::hits::RuleHits;

pub(super) fn dns(out: &mut String, now: &Snapshot) -> fmt::Result {
    use Column::{Number, Text};
    const COLUMNS: [Column; 5] = [Text("Name"), Text("Addresses"), Number("Age"), Number("Valid for"), Text("State")];
    let known = u64::try_from(now.dns.names).unwrap_or(u64::MAX);
    let shown = u64::try_from(now.dns.shown.len()).unwrap_or(u64::MAX);
    write!(
        out,
        "<section id=dns><h2 id=dns-h>DNS cache</h2><p>{} names, resolved by {}",
        count(known),
        now.shared.config.dns.server
    )?;
    if shown < known {
        write!(out, "; the {} used last are shown", count(shown))?;
    }
    out.write_str(".</p>")?;
    if !now.dns.shown.is_empty() {
        table(out, "dns", &COLUMNS, |out| {
            for name in &now.dns.shown {
                let addresses: Vec<String> = name.addresses.iter().map(ToString::to_string).collect();
                let (class, state) = match (name.stale, name.failed) {
                    (true, Some(failed)) => ("failed", format!("expired; {failed}")),
                    (false, Some(failed)) => ("failed", failed.to_owned()),
                    (true, None) => ("unused", "expired".to_owned()),
                    (false, None) if addresses.is_empty() => ("unused", "not known now".to_owned()),
                    (false, None) => ("relayed", "fresh".to_owned()),
                };
                let label = Escaped(&name.name);
                write!(out, "<tr class={class} data-k=\"{label}\"><th scope=row><bdi>{label}</bdi>")?;
                write!(out, "<td>{}", addresses.join(", "))?;
                match addresses.is_empty() {
                    true => out.write_str("<td class=n data-v=-1>–<td class=n data-v=-1>–")?,
                    false => [name.age, name.left].iter().try_for_each(|time| {
                        let seconds = time.as_secs();
                        write!(out, "<td class=n data-v={seconds}>{}", duration(seconds))
                    })?,
                }
                write!(out, "<td>{state}")?;
            }
            Ok(())
        })?;
    }
    out.write_str("</section>")
}

pub(super) fn rules(out: &mut String, now: &Snapshot) -> fmt::Result {
    use Column::{Number, Text};
    const COLUMNS: [Column; 5] = [Text("Rule"), Text("Name"), Text("Text"), Number("Decided"), Number("Last")];
    let all = now.loaded.policy.rules().len();
    write!(
        out,
        "<section id=rules><h2 id=rules-h>Access list</h2>\
         <p>{} · {all} rules · version <code>{}</code> · in force for {} · {} reloads</p>",
        Escaped(&now.shared.config.policy),
        Escaped(&now.loaded.version),
        duration(now.loaded.since_instant.elapsed().as_secs()),
        now.loaded.number,
    )?;
    table(out, "rules", &COLUMNS, |out| {
        for (id, rule, RuleHits { count: hits, last }) in now.rules() {
            let last = last.map(|last| age(now.now, last));
            // A rule that was never hit is the one that was not hit for the longest time.
            let (order, last) =
                last.map_or((u64::MAX, "never".to_owned()), |last| (last, format!("{} ago", duration(last))));
            write!(
                out,
                "<tr class={}><td>{}<td>{}<td class=prose><code>{}</code><td class=n data-v={hits}>{}\
                 <td class=n data-v={order}>{last}",
                if hits == 0 { "unused" } else { "used" },
                Escaped(now.loaded.policy.label(id)),
                Escaped(rule.name.as_deref().unwrap_or("")),
                Escaped(&rule.text),
                count(hits),
            )?;
        }
        Ok(())
    })?;
    let shown = now.rules().count();
    if all > shown {
        write!(out, "<p class=none>and {} more rules</p>", all - shown)?;
    }
    out.write_str("</section>")
}

pub(super) fn shadow(out: &mut String, now: &Snapshot) -> fmt::Result {
    use Column::{Number, Text};
    const COLUMNS: [Column; 3] = [Text("Rule"), Text("Text"), Number("Differences")];
    let Some(shadow) = &now.shadow else { return Ok(()) };
    out.write_str("<section id=shadow><h2 id=shadow-h>Shadow list: decisions that would differ</h2>")?;
    let policy = &shadow.loaded.policy;
    let hit =
        policy.rules().map(|(id, rule)| (id, rule, shadow.loaded.hits.of(id).count)).filter(|(_, _, count)| *count > 0);
    let end = shadow.denied_at_the_end.load(Ordering::Relaxed);
    let might = shadow.might_admit.load(Ordering::Relaxed);
    table(out, "shadow", &COLUMNS, |out| {
        for (id, rule, n) in hit.take(100) {
            let (label, text) = (Escaped(policy.label(id)), Escaped(&rule.text));
            write!(out, "<tr><td>{label}<td class=prose><code>{text}</code><td class=n data-v={n}>{}", count(n))?;
        }
        for (rule, text, n) in [
            ("none", "denied because no rule matches", end),
            ("any", "refused before the name was known; might have been allowed", might),
        ] {
            write!(out, "<tr><td>{rule}<td class=prose>{text}<td class=n data-v={n}>{}", count(n))?;
        }
        Ok(())
    })?;
    out.write_str("</section>")
}
