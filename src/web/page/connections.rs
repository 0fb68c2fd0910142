//! The connections that are open, and the names, clients and upstream addresses that have most of them.

use std::fmt::{self, Write};

use super::html::{Column, Escaped, table};
use super::units::{bytes, count, duration, millis};
use crate::telemetry::live::{LiveConnection, Sum};
use crate::web::form::{Form, Show};
use crate::web::snapshot::{Snapshot, Upstream, Usage, first_by, mean};

/// Names and clients of each order.
const BUSIEST: usize = 25;

pub(super) fn open(out: &mut String, now: &Snapshot, form: &Form) -> fmt::Result {
    use Column::{Number, Text};
    const COLUMNS: [Column; 8] = [
        Number("Age"),
        Text("Client"),
        Text("Listener"),
        Text("Name"),
        Text("Upstream"),
        Number("To service"),
        Number("To client"),
        Text("Id"),
    ];
    let (live, show) = (&now.workers.live, form.show());
    out.write_str(
        "<section id=open><h2 id=open-h>Open connections</h2><form action=/#open data-keep id=which>\
         <label>show <select name=show>",
    )?;
    for (one, word, title) in Show::ALL {
        let chosen = if one == show { " selected" } else { "" };
        write!(out, "<option value={word}{chosen}>{title}</option>")?;
    }
    write!(
        out,
        "</select></label><label>find <input type=search name=find maxlength=255 value=\"{}\" \
         placeholder=\"client, name, upstream, id\"></label><button>show</button></form>",
        Escaped(&form.find)
    )?;
    let list = match show {
        Show::Newest => &live.newest,
        Show::Longest => &live.oldest,
        Show::Largest => &live.largest,
    };
    write!(out, "<p>{} have reached their upstream", count(live.all.connections))?;
    if !form.find.is_empty() {
        write!(out, "; {} of them match", count(live.found))?;
    }
    let shown = u64::try_from(list.len()).unwrap_or(u64::MAX);
    if shown < live.found {
        write!(out, "; {} are shown", count(shown))?;
    }
    out.write_str(".</p>")?;
    if !list.is_empty() {
        table(out, "open", &COLUMNS, |out| list.iter().try_for_each(|one| connection(out, one)))?;
    }
    out.write_str("</section>")
}

fn connection(out: &mut String, one: &LiveConnection) -> fmt::Result {
    let LiveConnection { id, listener, client, endpoint, name, upstream, age, bytes: moved } = one;
    let seconds = age.as_secs();
    let (up, down) = (moved.up, moved.down);
    write!(out, "<tr data-k={id:016x}><td class=n data-v={}>{}<td>{client}", age.as_millis(), duration(seconds))?;
    if let Some(endpoint) = endpoint {
        write!(out, "<br><small>{endpoint}</small>")?;
    }
    write!(out, "<td>{}<td><bdi>{}</bdi><td>", Escaped(listener), Escaped(name))?;
    match upstream {
        Some(upstream) => write!(out, "{upstream}")?,
        None => out.write_str("<small>between requests</small>")?,
    }
    write!(
        out,
        "<td class=n data-v={up}>{}<td class=n data-v={down}>{}<td><code>{id:016x}</code>",
        bytes(up),
        bytes(down)
    )
}

pub(super) fn names_and_clients(out: &mut String, now: &Snapshot) -> fmt::Result {
    out.write_str(
        "<section id=names><h2>Names and clients</h2><p>Of connections that are open, or have ended within the last 15 to 30 \
         minutes.</p><div class=pairs>",
    )?;
    let (names, clients) = (now.names(), now.clients());
    let by_traffic: fn(&Usage) -> u64 = Usage::traffic;
    let by_refusals: fn(&Usage) -> u64 = Usage::refusals;
    for (id, title, what, all, key) in [
        ("names-traffic", "Names by traffic", "Name", &names, by_traffic),
        ("names-refusals", "Names by refusals", "Name", &names, by_refusals),
        ("clients-traffic", "Clients by traffic", "Client", &clients, by_traffic),
        ("clients-refusals", "Clients by refusals", "Client", &clients, by_refusals),
    ] {
        busiest(out, id, (title, what), first_by(all, BUSIEST, key))?;
    }
    out.write_str("</div></section>")
}

fn busiest(
    out: &mut String,
    id: &str,
    (title, what): (&str, &'static str),
    rows: Vec<&(String, Usage)>,
) -> fmt::Result {
    use Column::{Number, Text};
    let columns = [
        Text(what),
        Number("Open"),
        Number("Ended"),
        Number("Refused"),
        Number("Failed"),
        Number("To service"),
        Number("To client"),
    ];
    write!(out, "<div><h3 id={id}-h>{title}</h3>")?;
    if rows.is_empty() {
        return out.write_str("<p class=none>None.</p></div>");
    }
    table(out, id, &columns, |out| {
        for (label, Usage { open, ended, bytes: moved }) in rows {
            write!(out, "<tr data-k=\"{label}\"><th scope=row><bdi>{label}</bdi>", label = Escaped(label))?;
            for n in [*open, ended.connections, ended.refused, ended.failed] {
                write!(out, "<td class=n data-v={n}>{}", count(n))?;
            }
            for n in [moved.up, moved.down] {
                write!(out, "<td class=n data-v={n}>{}", bytes(n))?;
            }
        }
        Ok(())
    })?;
    out.write_str("</div>")
}

pub(super) fn upstreams(out: &mut String, now: &Snapshot) -> fmt::Result {
    use Column::{Number, Text};
    const COLUMNS: [Column; 8] = [
        Text("Address"),
        Number("Open"),
        Number("To service"),
        Number("To client"),
        Number("Connects"),
        Number("Mean"),
        Number("Failed"),
        Text("Reasons"),
    ];
    out.write_str("<section id=upstreams><h2 id=upstreams-h>Upstream addresses</h2>")?;
    let all = now.upstreams();
    if all.is_empty() {
        return out.write_str("<p class=none>None was dialled.</p></section>");
    }
    out.write_str("<p>Bytes are those of open connections; connects are counted since the start.</p>")?;
    table(out, "upstreams", &COLUMNS, |out| all.iter().try_for_each(|one| upstream(out, one)))?;
    out.write_str("</section>")
}

fn upstream(out: &mut String, one: &Upstream) -> fmt::Result {
    let Upstream { address, open: Sum { connections, bytes: moved }, dialled } = one;
    let address = address.map_or_else(|| "other".to_owned(), |address| address.to_string());
    let (up, down) = (moved.up, moved.down);
    write!(
        out,
        "<tr data-k=\"{address}\"><th scope=row>{address}<td class=n data-v={connections}>{}\
         <td class=n data-v={up}>{}<td class=n data-v={down}>{}",
        count(*connections),
        bytes(up),
        bytes(down)
    )?;
    let Some(dialled) = dialled else {
        // Among the others.
        return out.write_str("<td class=n data-v=-1>–<td class=n data-v=-1>–<td class=n data-v=-1>–<td>");
    };
    let connected = dialled.connected;
    write!(out, "<td class=n data-v={connected}>{}", count(connected))?;
    match mean(dialled) {
        Some(mean) => write!(out, "<td class=n data-v={}>{}", mean.as_micros(), millis(mean))?,
        None => out.write_str("<td class=n data-v=-1>–")?,
    }
    let failed: u64 = dialled.failed.iter().map(|(_, count)| count).sum();
    let reasons: Vec<String> =
        dialled.failed.iter().map(|(failure, n)| format!("{} {}", failure.word(), count(*n))).collect();
    write!(out, "<td class=n data-v={failed}>{}<td>{}", count(failed), reasons.join(", "))
}
