//! The page for people: whether it is ready, the traffic, what is refused and what to do about it, which rules are hit.
//!
//! One document without script, image or anything from elsewhere; whatever came from a client is escaped.

mod html;
mod units;

use std::collections::hash_map::RandomState;
use std::fmt::{self, Write};
use std::hash::BuildHasher;
use std::sync::atomic::Ordering;

use hyper::StatusCode;
use hyper::header::{CONTENT_SECURITY_POLICY, HeaderValue};

use self::html::{Escaped, Marked};
use self::units::{bytes, duration};
use super::explain::Form;
use super::response::{FullResponse, with_type};
use super::snapshot::{Snapshot, age, time};
use latticegate_core::outcome::Outcome;
use latticegate_core::policy::hits::RuleHits;

/// The table of the documentation, so that the page says the same.
const REASONS: &str = include_str!("../../docs/reasons.md");
const STYLE: &str = include_str!("page.css");

pub(super) fn respond(now: &Snapshot, form: &Form, explained: Option<Result<String, String>>) -> FullResponse {
    // Random keys, so that no client can predict it.
    let nonce = format!("{:016x}{:016x}", RandomState::new().hash_one(1), RandomState::new().hash_one(2));
    let mut html = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut html, now, form, explained, &nonce);
    let mut response = with_type(StatusCode::OK, "text/html; charset=utf-8", html);
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn write(
    out: &mut String,
    now: &Snapshot,
    form: &Form,
    explained: Option<Result<String, String>>,
    nonce: &str,
) -> fmt::Result {
    let (class, word, why) = match now.ready {
        Ok(()) => ("good", "Ready", "accepting connections".to_owned()),
        Err(unready) => ("bad", "Not ready", unready.to_string()),
    };
    write!(
        out,
        "<!doctype html><html lang=en><meta charset=utf-8><title>latticegate: {word}</title>\
         <meta name=viewport content=\"width=device-width\"><style nonce={nonce}>{STYLE}</style>\
         <header class={class}><h1>{word}</h1><p>{} · latticegate {} · up {} · {}</header><main>",
        Escaped(why),
        env!("CARGO_PKG_VERSION"),
        duration(now.uptime.as_secs()),
        time(now.now),
    )?;
    flow(out, now)?;
    endings(out, now)?;
    recent(out, now)?;
    explain(out, now, form, explained)?;
    rules(out, now)?;
    shadow(out, now)?;
    names(out, now)?;
    out.write_str("</main><footer><a href=/>reload</a> · <a href=/status.json>status.json</a> · <a href=/metrics>metrics</a></footer>")
}

fn flow(out: &mut String, now: &Snapshot) -> fmt::Result {
    let metrics = &now.shared.metrics;
    let relayed = metrics.bytes();
    let (open, most) = now.shared.limits.open();
    let figures = [
        ("open now", open.to_string(), format!("of {most}")),
        (
            "in handshake",
            now.shared.limits.half_open.count().to_string(),
            format!("of {}", now.shared.config.limits.half_open),
        ),
        ("accepted", metrics.opened().to_string(), "since the start".to_owned()),
        ("to services", bytes(relayed.up), "since the start".to_owned()),
        ("to clients", bytes(relayed.down), "since the start".to_owned()),
    ];
    out.write_str("<section class=figures>")?;
    for (what, value, of) in figures {
        write!(out, "<div><b>{value}</b><span>{what}</span><small>{of}</small></div>")?;
    }
    out.write_str("</section><p class=listeners>")?;
    let active = metrics.listeners();
    for listener in &now.shared.config.listeners {
        let open = active.get(&listener.name).map_or(0, |listener| listener.active());
        write!(out, "<span><b>{}</b> on {}: {open} open</span>", Escaped(&listener.name), listener.bind)?;
    }
    Ok(())
}

fn endings(out: &mut String, now: &Snapshot) -> fmt::Result {
    out.write_str("<h2>How connections ended</h2>")?;
    let endings = now.endings();
    if endings.is_empty() {
        return out.write_str("<p class=none>No connection has ended yet.");
    }
    out.write_str("<table><tr><th>Reason<th class=n>Count<th>What it means<th>What to do</tr>")?;
    for (outcome, count) in endings {
        let (meaning, action) = advice(outcome);
        let (class, word) = (outcome.word(), outcome.reason());
        write!(
            out,
            "<tr class={class}><td><code>{word}</code> <small>{class}</small><td class=n>{count}<td>{}<td>{}</tr>",
            Marked(meaning),
            Marked(action)
        )?;
    }
    out.write_str("</table>")
}

fn recent(out: &mut String, now: &Snapshot) -> fmt::Result {
    out.write_str("<h2>Last refusals and failures</h2>")?;
    if now.recent.is_empty() {
        return out.write_str("<p class=none>None since the start.");
    }
    out.write_str("<table><tr><th>When<th>Client<th>Asked for<th>Reason<th>Rule<th>Detail</tr>")?;
    for refusal in &now.recent {
        write!(
            out,
            "<tr class={}><td class=t>{} ago<td class=t>{}<td>{}<td class=t><code>{}</code><td class=t>{}<td>{}</tr>",
            refusal.outcome.word(),
            duration(age(now.now, refusal.at)),
            refusal.client,
            Escaped(refusal.name.as_deref().unwrap_or("–")),
            refusal.outcome.reason(),
            Escaped(refusal.rule.as_deref().unwrap_or("–")),
            Escaped(refusal.detail.as_deref().unwrap_or("")),
        )?;
    }
    out.write_str("</table>")
}

fn explain(out: &mut String, now: &Snapshot, form: &Form, explained: Option<Result<String, String>>) -> fmt::Result {
    out.write_str("<h2 id=explain>What would happen to …</h2><form action=/#explain>")?;
    let forward = now.shared.config.listeners.iter().any(|listener| listener.forward.is_some());
    let name = if forward { "name (forward: NAME:PORT)" } else { "name" };
    for (name, label, value, example) in [
        ("from", "client", &form.from, "203.0.113.9"),
        ("to", name, &form.to, "orders.example.com"),
        ("via", "VPC endpoint (optional)", &form.via, "vpce-…"),
    ] {
        write!(
            out,
            "<label>{label} <input name={name} value=\"{}\" placeholder=\"{example}\"></label>",
            Escaped(value)
        )?;
    }
    out.write_str("<label>listener <select name=listener>")?;
    for listener in &now.shared.config.listeners {
        let chosen = if listener.name == form.listener { " selected" } else { "" };
        write!(out, "<option{chosen}>{}</option>", Escaped(&listener.name))?;
    }
    out.write_str("</select></label><button>explain</button></form>")?;
    match explained {
        None => Ok(()),
        Some(Ok(steps)) => write!(out, "<pre>{}</pre>", Escaped(steps)),
        Some(Err(why)) => write!(out, "<p class=wrong>{}", Escaped(why)),
    }
}

fn rules(out: &mut String, now: &Snapshot) -> fmt::Result {
    let all = now.loaded.policy.rules().len();
    write!(
        out,
        "<h2>Access list</h2><p>{} · {all} rules · version <code>{}</code> · in force for {} · {} reloads",
        Escaped(&now.shared.config.policy),
        Escaped(&now.loaded.version),
        duration(now.loaded.since_instant.elapsed().as_secs()),
        now.loaded.number,
    )?;
    out.write_str("<table><tr><th>Rule<th>Text<th class=n>Decided<th>Last</tr>")?;
    for (id, rule, RuleHits { count, last }) in now.rules() {
        let last = last.map_or_else(|| "never".to_owned(), |last| format!("{} ago", duration(age(now.now, last))));
        let name = rule.name.as_deref().map_or_else(String::new, |name| format!(" [{name}]"));
        write!(
            out,
            "<tr class={}><td>{}{}<td><code>{}</code><td class=n>{count}<td class=t>{last}</tr>",
            if count == 0 { "unused" } else { "used" },
            Escaped(now.loaded.policy.label(id)),
            Escaped(name),
            Escaped(&rule.text),
        )?;
    }
    out.write_str("</table>")?;
    let shown = now.rules().count();
    if all > shown {
        write!(out, "<p class=none>and {} more rules", all - shown)?;
    }
    Ok(())
}

fn shadow(out: &mut String, now: &Snapshot) -> fmt::Result {
    let Some(shadow) = &now.shadow else { return Ok(()) };
    out.write_str("<h2>Shadow list: decisions that would differ</h2>")?;
    out.write_str("<table><tr><th>Rule<th>Text<th class=n>Disagreements</tr>")?;
    let policy = &shadow.loaded.policy;
    let hit =
        policy.rules().map(|(id, rule)| (id, rule, shadow.loaded.hits.of(id).count)).filter(|(_, _, count)| *count > 0);
    for (id, rule, count) in hit.take(100) {
        let (label, text) = (Escaped(policy.label(id)), Escaped(&rule.text));
        write!(out, "<tr><td>{label}<td><code>{text}</code><td class=n>{count}</tr>")?;
    }
    let end = shadow.denied_at_the_end.load(Ordering::Relaxed);
    let might = shadow.might_admit.load(Ordering::Relaxed);
    write!(
        out,
        "<tr><td>none<td>denied because no rule matches<td class=n>{end}</tr>\
         <tr><td>any<td>refused before the name was known; might have been allowed<td class=n>{might}</tr></table>"
    )
}

fn names(out: &mut String, now: &Snapshot) -> fmt::Result {
    write!(out, "<h2>Names in use</h2><p>{} known, resolved by {}", now.dns.names, now.shared.config.dns.server)?;
    if now.dns.shown.is_empty() {
        return Ok(());
    }
    out.write_str("<table><tr><th>Name<th>Addresses<th>Valid for</tr>")?;
    for name in &now.dns.shown {
        let addresses: Vec<String> = name.addresses.iter().map(ToString::to_string).collect();
        let state = match (name.stale, name.failed) {
            (_, Some(failed)) => failed.to_owned(),
            (true, None) => "stale".to_owned(),
            (false, None) => duration(name.left.as_secs()),
        };
        write!(out, "<tr><td>{}<td>{}<td>{state}</tr>", Escaped(&name.name), addresses.join(", "))?;
    }
    out.write_str("</table>")
}

/// Meaning and help, from the table of docs/reasons.md.
fn advice(outcome: Outcome) -> (&'static str, &'static str) {
    let start = format!("| `{}` | `{}` | ", outcome.word(), outcome.reason());
    let row = REASONS.lines().find_map(|line| line.strip_prefix(&*start));
    let cells = row.and_then(|row| row.trim_end_matches([' ', '|']).split_once(" | "));
    cells.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_that_is_documented_has_help() {
        let (meaning, action) = advice(Outcome::Refused(latticegate_core::outcome::RefuseReason::ClientDenied));
        assert!(meaning.contains("access list") && action.contains("allow"), "{meaning}|{action}");
        let missing: Vec<_> =
            Outcome::all().filter(|o| !matches!(o, Outcome::Probe(_)) && advice(*o).1.is_empty()).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
