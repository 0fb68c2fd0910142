//! A line of the access log as one coloured line that a person can read.
//!
//! Lines always carry their colours; the stream they go to drops them where it is no terminal or NO_COLOR is set.

use anstyle::{AnsiColor, Style};

use super::log_line::{ConnectionLine, LogLine, Origin, RequestLine};
use latticegate_core::outcome::{Outcome, RefuseReason};

pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const BOLD: Style = Style::new().bold();
pub(super) const GREEN: Style = AnsiColor::Green.on_default().bold();
pub(super) const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
pub(super) const RED: Style = AnsiColor::Red.on_default().bold();

pub(super) fn line(line: &LogLine) -> String {
    match line {
        LogLine::Connection(line) => connection(line),
        LogLine::Request(line) => request(line),
    }
}

/// `10:15:22  relayed  192.168.1.20:51234 → tls orders.example.com → 127.0.171.10:40443  1.9 kB up, …`
pub(super) fn connection(line: &ConnectionLine) -> String {
    let outcome = line.outcome();
    let way = way(&line.origin, destination(line));
    let story = match outcome {
        Outcome::Relayed(_) => {
            let cost = cost(line.bytes_up, line.bytes_down, line.total_ms);
            let requests = match line.forward.as_ref().map_or(0, |forward| forward.requests) {
                0 => String::new(),
                1 => ", 1 request".to_owned(),
                many => format!(", {many} requests"),
            };
            format!("{cost}{requests}, {}", outcome.reason())
        }
        _ => refusal(outcome, &line.origin, line.detail.as_deref()),
    };
    format!("{} {way}  {story}", begin(&line.origin, outcome.word(), colour(outcome)))
}

/// `10:15:22  request  10.50.0.9:51234 → egress GET packages.example.org:80 → 127.0.172.20:80  200, 142 B up, …`
pub(super) fn request(line: &RequestLine) -> String {
    let request = &line.request;
    let target = format!(" {} {}:{}", request.method, styled(BOLD, &request.host), request.port);
    let status = request.status.map_or("-".to_owned(), |status| status.to_string());
    let story = match request.cut() {
        None => format!("{status}, {}", cost(request.bytes_up, request.bytes_down, request.ms)),
        Some(cut) => format!("{status}, {}", refusal(cut, &line.origin, None)),
    };
    format!("{} {}  {story}", begin(&line.origin, "request", DIM), way(&line.origin, target))
}

fn begin(origin: &Origin, word: &str, colour: Style) -> String {
    format!("{}  {}", styled(DIM, origin.time_of_day()), styled(colour, &format!("{word:<8}")))
}

fn way(origin: &Origin, destination: String) -> String {
    let via = origin.vpce.as_deref().map(|id| format!(" via {id}")).unwrap_or_default();
    let upstream = origin.upstream.map(|upstream| format!(" → {upstream}")).unwrap_or_default();
    format!("{}{via} → {}{destination}{upstream}", origin.client(), origin.listener)
}

/// The name; at the explicit proxy what was asked for, and what the ClientHello in the tunnel says if it is another name.
fn destination(line: &ConnectionLine) -> String {
    let Some(name) = line.name.as_deref() else { return String::new() };
    let bold = styled(BOLD, name);
    let Some(forward) = &line.forward else { return format!(" {bold}") };
    let sni = forward.sni.as_deref().filter(|sni| *sni != name);
    let sni = sni.map(|sni| format!(" with SNI {}", styled(BOLD, sni))).unwrap_or_default();
    format!(" {} {bold}:{}{sni}", forward.method, forward.port)
}

fn cost(up: u64, down: u64, ms: f64) -> String {
    format!("{} up, {} down, {ms:.1} ms", bytes(up), bytes(down))
}

fn refusal(outcome: Outcome, origin: &Origin, detail: Option<&str>) -> String {
    use RefuseReason::{ClientDenied, NameDenied, TunnelSniDenied};
    // Elsewhere the rule in the record is the one that let the client in.
    let by_rule = matches!(outcome, Outcome::Refused(ClientDenied | NameDenied | TunnelSniDenied));
    let rule = origin.rule.as_deref().filter(|_| by_rule).map(|rule| format!(" ({rule})")).unwrap_or_default();
    let detail = detail.map(|detail| format!(": {detail}")).unwrap_or_default();
    format!("{}{rule}{detail}", styled(colour(outcome), outcome.reason()))
}

fn colour(outcome: Outcome) -> Style {
    match outcome {
        Outcome::Relayed(_) => GREEN,
        Outcome::Refused(_) => YELLOW,
        Outcome::Failed(_) => RED,
        Outcome::Probe(_) | Outcome::Unfinished(_) => DIM,
    }
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
        let json = r#"{"time":"2026-11-21T10:15:22.123Z","id":"1","listener":"tls","peer":"127.0.0.5:1","client":"192.168.1.20",
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
        let json = r#"{"time":"2026-11-21T10:15:22.123Z","id":"1","listener":"tls","peer":"127.0.0.1:9","outcome":"refused",
            "reason":"name_unknown","rule":"ipcontrol.yaml:3","bytes_up":0,"bytes_down":0,"total_ms":1}"#;
        assert_eq!(plain(json), "10:15:22  refused  127.0.0.1:9 → tls  name_unknown");
    }

    #[test]
    fn refused_connection_has_reason_rule_and_detail() {
        let json = r#"{"time":"2026-11-21T10:15:22.123Z","id":"1","listener":"http","peer":"127.0.0.1:9","outcome":"refused",
            "reason":"client_denied","rule":"ipcontrol.yaml:8","detail":"because","bytes_up":0,"bytes_down":0,"total_ms":1}"#;
        assert_eq!(plain(json), "10:15:22  refused  127.0.0.1:9 → http  client_denied (ipcontrol.yaml:8): because");
    }

    #[test]
    fn tunnel_has_the_name_of_connect_and_another_one_in_it() {
        let json = |sni: &str| {
            format!(
                r#"{{"time":"2026-11-21T10:15:22.123Z","id":"1","listener":"egress","peer":"127.0.0.1:9",
                "name":"packages.example.org","outcome":"refused","reason":"tunnel_sni_denied","rule":"ipcontrol.yaml:13",
                "bytes_up":0,"bytes_down":0,"total_ms":1,"forward":{{"method":"CONNECT","port":443,"sni":"{sni}"}}}}"#
            )
        };
        assert_eq!(
            plain(&json("blocked.example.org")),
            "10:15:22  refused  127.0.0.1:9 → egress CONNECT packages.example.org:443 with SNI blocked.example.org  \
             tunnel_sni_denied (ipcontrol.yaml:13)"
        );
        assert!(!plain(&json("packages.example.org")).contains("SNI"));
    }

    #[test]
    fn requests_of_a_connection_are_counted() {
        let json = |requests: u32| {
            format!(
                r#"{{"time":"2026-11-21T10:15:22.123Z","id":"1","listener":"egress","peer":"127.0.0.1:9",
                "name":"packages.example.org","outcome":"relayed","reason":"done","bytes_up":1,"bytes_down":2,"total_ms":1,
                "forward":{{"method":"GET","port":80,"requests":{requests}}}}}"#
            )
        };
        assert!(plain(&json(1)).ends_with("1 B up, 2 B down, 1.0 ms, 1 request, done"), "{}", plain(&json(1)));
        assert!(plain(&json(2)).ends_with(", 2 requests, done"));
    }

    #[test]
    fn request_on_a_connection_has_its_own_line() {
        let json = |facts: &str| {
            format!(
                r#"{{"time":"2026-11-21T10:15:22.123Z","id":"1","listener":"egress","peer":"127.0.0.5:1","client":"10.50.0.9",
                "client_port":51234,"rule":"ipcontrol.yaml:13","request":{{"method":"GET","host":"packages.example.org",
                "port":80,"bytes_up":142,"bytes_down":1234,"ms":3.21,{facts}}}}}"#
            )
        };
        assert_eq!(
            plain(&json(r#""status":200"#)),
            "10:15:22  request  10.50.0.9:51234 → egress GET packages.example.org:80  200, 142 B up, 1.2 kB down, 3.2 ms"
        );
        assert_eq!(
            plain(&json(r#""status":403,"reason":"name_denied""#)),
            "10:15:22  request  10.50.0.9:51234 → egress GET packages.example.org:80  403, name_denied (ipcontrol.yaml:13)"
        );
        assert!(plain(&json(r#""reason":"client_reset""#)).ends_with(":80  -, client_reset"));
    }
}
