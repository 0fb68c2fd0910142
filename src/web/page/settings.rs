//! The configuration in force, and where each value was written.

use std::fmt::{self, Write};

use super::html::{Column, Escaped, table};
use crate::web::snapshot::Snapshot;
use latticegate_core::config::Setting;

pub(super) fn write(out: &mut String, now: &Snapshot) -> fmt::Result {
    const COLUMNS: [Column; 3] = [Column::Text("Key"), Column::Text("Value"), Column::Text("From")];
    out.write_str("<section id=settings><h2 id=settings-h>Configuration in force</h2>")?;
    table(out, "settings", &COLUMNS, |out| {
        for Setting { key, value, written } in &now.shared.config.settings {
            let from: Vec<String> = written.iter().map(ToString::to_string).collect();
            let (class, from) = match from.is_empty() {
                true => ("unused", "default".to_owned()),
                false => ("used", from.join(", ")),
            };
            write!(
                out,
                "<tr class={class}><th scope=row><code>{}</code><td class=prose><bdi>{}</bdi><td>{}",
                Escaped(key),
                Escaped(value),
                Escaped(from)
            )?;
        }
        Ok(())
    })?;
    out.write_str("</section>")
}
