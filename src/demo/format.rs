//! One connection as one coloured line that a person can read.
//!
//! Lines always carry their colours; the stream they go to drops them where it is no terminal or NO_COLOR is set.

use anstyle::{AnsiColor, Style};

use super::log_line::LogLine;
use latticegate_core::outcome::{Outcome, RefuseReason};

pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const BOLD: Style = Style::new().bold();
pub(super) const GREEN: Style = AnsiColor::Green.on_default().bold();
pub(super) const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
pub(super) const RED: Style = AnsiColor::Red.on_default().bold();

/// `10:15:22  relayed  192.168.1.20:51234 → tls orders.example.com → 127.0.171.10:40443  1.9 kB up, …`
pub(super) fn line(line: &LogLine) -> String {
    let outcome = line.outcome();
    let colour = match outcome {
        Outcome::Relayed(_) => GREEN,
        Outcome::Refused(_) => YELLOW,
        Outcome::Failed(_) => RED,
        Outcome::Probe(_) | Outcome::Unfinished(_) => DIM,
    };
    let time = styled(DIM, line.time_of_day());
    let word = styled(colour, &format!("{:<8}", outcome.word()));
    let via = line.vpce.as_deref().map(|id| format!(" via {id}")).unwrap_or_default();
    let name = line.name.as_deref().map(|name| format!(" {}", styled(BOLD, name))).unwrap_or_default();
    let upstream = line.upstream.map(|upstream| format!(" → {upstream}")).unwrap_or_default();
    let way = format!("{}{via} → {}{name}{upstream}", line.client(), line.listener);
    let story = match outcome {
        Outcome::Relayed(_) => format!(
            "{} up, {} down, {}, {}",
            bytes(line.bytes_up),
            bytes(line.bytes_down),
            format_args!("{:.1} ms", line.total_ms),
            outcome.reason()
        ),
        _ => {
            // Elsewhere the rule in the record is the one that let the client in.
            let by_rule = matches!(outcome, Outcome::Refused(RefuseReason::ClientDenied | RefuseReason::NameDenied));
            let rule = line.rule.as_deref().filter(|_| by_rule).map(|rule| format!(" ({rule})")).unwrap_or_default();
            let detail = line.detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default();
            format!("{}{rule}{detail}", styled(colour, outcome.reason()))
        }
    };
    format!("{time}  {word} {way}  {story}")
}

pub(super) fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{}.{} kB", count / 1_000, count % 1_000 / 100),
        _ => format!("{}.{} MB", count / 1_000_000, count % 1_000_000 / 100_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(json: &str) -> String {
        anstream::adapter::strip_str(&line(&LogLine::read(json.as_bytes()).unwrap())).to_string()
    }

    #[test]
    fn relayed_connection_has_way_bytes_and_time() {
        let json = r#"{"time":"2026-11-21T10:15:22.123Z","listener":"tls","peer":"127.0.0.5:1","client":"192.168.1.20",
            "client_port":51234,"vpce":"vpce-0a1b","name":"orders.example.com","upstream":"127.0.171.10:40443",
            "outcome":"relayed","reason":"done","bytes_up":999,"bytes_down":3250,"total_ms":12.74}"#;
        assert_eq!(
            plain(json),
            "10:15:22  relayed  192.168.1.20:51234 via vpce-0a1b → tls orders.example.com → 127.0.171.10:40443  \
             999 B up, 3.2 kB down, 12.7 ms, done"
        );
        let coloured = line(&LogLine::read(json.as_bytes()).unwrap());
        assert!(coloured.contains("\u{1b}[1m\u{1b}[32mrelayed"), "{coloured:?}");
    }

    #[test]
    fn rule_that_let_a_client_in_is_not_blamed() {
        let json = r#"{"time":"2026-11-21T10:15:22.123Z","listener":"tls","peer":"127.0.0.1:9","outcome":"refused",
            "reason":"name_unknown","rule":"ipcontrol.yaml:3","bytes_up":0,"bytes_down":0,"total_ms":1}"#;
        assert_eq!(plain(json), "10:15:22  refused  127.0.0.1:9 → tls  name_unknown");
    }

    #[test]
    fn refused_connection_has_reason_rule_and_detail() {
        let json = r#"{"time":"2026-11-21T10:15:22.123Z","listener":"http","peer":"127.0.0.1:9","outcome":"refused",
            "reason":"client_denied","rule":"ipcontrol.yaml:8","detail":"because","bytes_up":0,"bytes_down":0,"total_ms":1}"#;
        assert_eq!(plain(json), "10:15:22  refused  127.0.0.1:9 → http  client_denied (ipcontrol.yaml:8): because");
    }
}
