//! State, figures, listeners, endings and the last refusals.

use std::fmt::{self, Write};

use super::html::{Column, Escaped, Marked, table};
use super::units::{approximately, bandwidth, bytes, count, duration, millis, rate};
use crate::sys::socket;
use crate::telemetry::history::Sample;
use crate::web::snapshot::{Snapshot, age, time};
use latticegate_core::outcome::Outcome;

/// The table of the documentation, so that the page says the same.
const REASONS: &str = include_str!("../../../docs/reasons.md");

/// Class, word and reason.
pub(super) fn state(now: &Snapshot) -> (&'static str, &'static str, String) {
    match now.ready {
        Ok(()) if !now.warnings().is_empty() => ("warn", "Ready", "with warnings".to_owned()),
        Ok(()) => ("good", "Ready", "accepting connections".to_owned()),
        Err(unready) => ("bad", "Not ready", unready.to_string()),
    }
}

pub(super) fn header(out: &mut String, now: &Snapshot) -> fmt::Result {
    const SECTIONS: [(&str, &str); 9] = [
        ("history", "History"),
        ("endings", "Endings"),
        ("refusals", "Refusals"),
        ("open", "Connections"),
        ("names", "Names and clients"),
        ("dns", "DNS"),
        ("rules", "Access list"),
        ("explain", "Explain"),
        ("settings", "Configuration"),
    ];
    let (class, word, why) = state(now);
    let listeners: Vec<String> = now.shared.config.listeners.iter().map(|one| one.bind.to_string()).collect();
    write!(
        out,
        "<header class={class}><h1><span id=state>{word}</span> <small>{}</small></h1>\
         <dl><div><dt>latticegate</dt><dd>{}</dd></div><div><dt>up</dt><dd>{}</dd></div>\
         <div><dt>at</dt><dd><time>{}</time></dd></div><div><dt>on</dt><dd>{}</dd></div></dl>\
         <div id=refresh data-keep></div><nav aria-label=Sections>",
        Escaped(why),
        env!("CARGO_PKG_VERSION"),
        duration(now.uptime.as_secs()),
        time(now.now),
        Escaped(listeners.join(", ")),
    )?;
    for (id, title) in SECTIONS {
        write!(out, "<a href=#{id}>{title}</a>")?;
    }
    out.write_str("</nav>")?;
    let silent = now.workers.silent;
    let warnings = now.warnings();
    if warnings.is_empty() && silent == 0 {
        return out.write_str("</header>");
    }
    out.write_str("<ul class=warnings>")?;
    for warning in warnings {
        write!(out, "<li>{}", Escaped(warning))?;
    }
    if silent > 0 {
        write!(out, "<li>{silent} of the workers did not reply in time: their open connections are not shown")?;
    }
    out.write_str("</ul></header>")
}

pub(super) fn figures(out: &mut String, now: &Snapshot) -> fmt::Result {
    let metrics = &now.shared.metrics;
    let relayed = metrics.bytes();
    let (open, most) = now.shared.limits.open();
    let (half_open, most_half_open) = (now.shared.limits.half_open.count(), now.shared.config.limits.half_open.get());
    let (fds, max_fds) = (socket::open_fds(), socket::fd_soft_limit());
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let history = now.history.borrow();
    let last = history.minutes.samples.back();
    let each_second = |of: fn(&Sample) -> u64| last.map(|last| approximately(of(last)) / last.span.as_secs_f64());
    let or_none = |shown: Option<String>| shown.unwrap_or_else(|| "–".to_owned());
    let refused = each_second(|last| last.refused.saturating_add(last.failed));
    let ended = now.endings();
    let of =
        |kind: &str| ended.iter().filter(|(outcome, _)| outcome.word() == kind).map(|(_, count)| count).sum::<u64>();
    let p99 = last.and_then(|last| last.connect_p99).map(millis);
    out.write_str("<section id=figures aria-label=Figures><dl>")?;
    let lost = metrics.lines_lost();
    let lost = (lost > 0).then(|| ("Log lines lost", count(lost), "since the start".to_owned(), None));
    let figures = [
        ("Open", count(number(open)), format!("of {}", count(number(most))), Some((number(open), number(most)))),
        (
            "In handshake",
            count(half_open),
            format!("of {}", count(number(most_half_open))),
            Some((half_open, number(most_half_open))),
        ),
        (
            "New",
            or_none(each_second(|last| last.opened).map(rate)),
            format!("{} in all", count(metrics.opened())),
            None,
        ),
        (
            "Refused, failed",
            or_none(refused.map(rate)),
            format!("{} and {}", count(of("refused")), count(of("failed"))),
            None,
        ),
        (
            "To services",
            or_none(each_second(|last| last.up).map(bandwidth)),
            format!("{} in all", bytes(relayed.up)),
            None,
        ),
        (
            "To clients",
            or_none(each_second(|last| last.down).map(bandwidth)),
            format!("{} in all", bytes(relayed.down)),
            None,
        ),
        (
            "Connect",
            or_none(last.and_then(|last| last.connect_p50).map(millis)),
            p99.map_or_else(|| "no connects".to_owned(), |p99| format!("99 %: {p99}")),
            None,
        ),
        ("Open files", count(fds), format!("of {}", count(max_fds)), Some((fds, max_fds))),
    ];
    for (what, value, detail, meter) in figures.into_iter().chain(lost) {
        write!(out, "<div><dt>{what}</dt><dd><b>{value}</b> <small>{detail}</small>")?;
        if let Some((taken, limit)) = meter {
            let (high, limit) = (limit / 10 * 8, limit.max(1));
            write!(out, "<meter min=0 max={limit} high={high} optimum=0 value={taken} aria-label=\"{what}\"></meter>")?;
        }
        out.write_str("</dd></div>")?;
    }
    out.write_str("</dl></section>")
}

pub(super) fn listeners(out: &mut String, now: &Snapshot) -> fmt::Result {
    use Column::{Number, Text};
    const COLUMNS: [Column; 8] = [
        Text("Listener"),
        Text("Protocol"),
        Text("Address"),
        Number("Open"),
        Number("Relayed"),
        Number("Refused"),
        Number("Failed"),
        Number("Unfinished"),
    ];
    out.write_str("<section id=listeners><h2 id=listeners-h>Listeners</h2>")?;
    let metrics = now.shared.metrics.listeners();
    table(out, "listeners", &COLUMNS, |out| {
        for listener in &now.shared.config.listeners {
            let mut counts = [0_u64; 5];
            if let Some(metrics) = metrics.get(&listener.name) {
                let [open, relayed, refused, failed, unfinished] = &mut counts;
                *open = metrics.active();
                for (outcome, count) in metrics.endings() {
                    match outcome {
                        Outcome::Relayed(_) => *relayed += count,
                        Outcome::Refused(_) => *refused += count,
                        Outcome::Failed(_) => *failed += count,
                        Outcome::Unfinished(_) => *unfinished += count,
                        Outcome::Probe(_) => {}
                    }
                }
            }
            let (name, bind, protocol) = (&listener.name, listener.bind, listener.protocol.word());
            write!(out, "<tr data-k=\"{name}\"><td>{name}<td>{protocol}<td>{bind}", name = Escaped(name))?;
            counts.iter().try_for_each(|&n| write!(out, "<td class=n data-v={n}>{}", count(n)))?;
        }
        Ok(())
    })?;
    out.write_str("</section>")
}

pub(super) fn endings(out: &mut String, now: &Snapshot) -> fmt::Result {
    use Column::{Number, Text};
    const COLUMNS: [Column; 5] =
        [Text("Reason"), Text("Outcome"), Number("Count"), Text("What it means"), Text("What to do")];
    out.write_str("<section id=endings><h2 id=endings-h>How connections ended</h2>")?;
    let endings = now.endings();
    if endings.is_empty() {
        return out.write_str("<p class=none>No connection has ended yet.</p></section>");
    }
    table(out, "endings", &COLUMNS, |out| {
        endings.iter().try_for_each(|&(outcome, n)| {
            let (meaning, action) = advice(outcome);
            let (class, word) = (outcome.word(), outcome.reason());
            write!(
                out,
                "<tr class={class} data-k={class}-{word}><th scope=row><code>{word}</code><td>{class}\
                 <td class=n data-v={n}>{}<td class=prose>{}<td class=prose>{}",
                count(n),
                Marked(meaning),
                Marked(action)
            )
        })
    })?;
    out.write_str("</section>")
}

pub(super) fn refusals(out: &mut String, now: &Snapshot) -> fmt::Result {
    use Column::{Number, Text};
    const COLUMNS: [Column; 7] = [
        Number("Ago"),
        Text("Client"),
        Text("Listener"),
        Text("Asked for"),
        Text("Reason"),
        Text("Rule"),
        Text("Detail"),
    ];
    out.write_str("<section id=refusals><h2 id=refusals-h>Last refusals and failures</h2>")?;
    if now.workers.refusals.is_empty() {
        return out.write_str("<p class=none>None since the start.</p></section>");
    }
    table(out, "refusals", &COLUMNS, |out| {
        now.workers.refusals.iter().try_for_each(|refusal| {
            let ago = age(now.now, refusal.at);
            write!(
                out,
                "<tr class={}><td class=n data-v={ago}>{}<td>{}<td>{}<td><bdi>{}</bdi><td><code>{}</code><td>{}<td class=prose><bdi>{}</bdi>",
                refusal.outcome.word(),
                duration(ago),
                refusal.client,
                Escaped(&refusal.listener),
                Escaped(refusal.name.as_deref().unwrap_or("–")),
                refusal.outcome.reason(),
                Escaped(refusal.rule.as_deref().unwrap_or("–")),
                Escaped(refusal.detail.as_deref().unwrap_or("")),
            )
        })
    })?;
    out.write_str("</section>")
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
