//! The lines to the byte, hostile values, and which connections have none.

use super::super::timestamps::Timestamps;
use super::*;
use crate::telemetry::record::ForwardFacts;
use latticegate_core::client::Client;
use latticegate_core::outcome::{ByteCounts, Unfinished};

const TIME: u64 = 1_795_258_617_057;

fn record(method: &str, requests: u32) -> Record {
    let mut record = Record::new(1, "10.0.0.9:1234".parse().unwrap());
    record.client = Some(Client::new("10.1.2.3:40000".parse().unwrap(), None));
    record.name = Some("api.example.com".into());
    record.upstream = Some("192.0.2.10:443".parse::<std::net::SocketAddr>().unwrap().into());
    record.bytes = ByteCounts { up: 517, down: 3800 };
    record.forward =
        Some(Box::new(ForwardFacts { method: method.into(), port: 443, requests, ..ForwardFacts::default() }));
    record
}

fn line(record: &Record, outcome: Outcome) -> String {
    let (mut out, timestamps) = (Vec::new(), Timestamps::default());
    let now = Now {
        timestamps: &timestamps,
        time: UNIX_EPOCH + Duration::from_millis(TIME),
        elapsed: Duration::from_micros(12_700),
    };
    connection(&mut out, now, &super::super::line::tests::listener(), record, outcome);
    String::from_utf8(out).unwrap()
}

fn facts<'a>(host: &'a str, status: Option<u16>, cut: Option<Outcome>) -> RequestFacts<'a> {
    RequestFacts {
        id: 1,
        peer: "10.0.0.9:1234".parse::<std::net::SocketAddr>().unwrap().into(),
        client: None,
        rule: None,
        method: "GET",
        host,
        port: 80,
        upstream: None,
        status,
        bytes: ByteCounts { up: 120, down: 467 },
        duration: Duration::from_millis(1_234_567),
        cut,
    }
}

fn request_line(facts: &RequestFacts<'_>) -> String {
    let mut out = Vec::new();
    request(&mut out, UNIX_EPOCH + Duration::from_millis(TIME), facts);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_tunnel_has_squids_line() {
    assert_eq!(
        line(&record("CONNECT", 0), Outcome::Relayed(Close::Done)),
        "1795258617.057     12 10.1.2.3 TCP_TUNNEL/200 3800 CONNECT api.example.com:443 - HIER_DIRECT/192.0.2.10 -\n"
    );
    let mut denied = record("CONNECT", 0);
    (denied.upstream, denied.bytes) = (None, ByteCounts::default());
    assert_eq!(
        line(&denied, Outcome::Refused(RefuseReason::NameDenied)),
        "1795258617.057     12 10.1.2.3 TCP_DENIED/403 0 CONNECT api.example.com:443 - HIER_NONE/- -\n"
    );
    // It was open already.
    assert!(line(&denied, Outcome::Refused(RefuseReason::TunnelSniDenied)).contains(" TCP_DENIED/200 0 CONNECT api."),);
}

#[test]
fn a_request_has_squids_line_without_its_path() {
    assert_eq!(
        request_line(&facts("api.example.com", Some(304), None)),
        "1795258617.057 1234567 10.0.0.9 TCP_MISS/304 467 GET http://api.example.com/ - HIER_NONE/- -\n"
    );
    let refused = facts("api.example.com", Some(403), Some(Outcome::Refused(RefuseReason::NameDenied)));
    let refused = RequestFacts { port: 8080, ..refused };
    assert!(request_line(&refused).contains(" TCP_DENIED/403 467 GET http://api.example.com:8080/ - "));
    let unanswered = facts("api.example.com", None, Some(Outcome::Relayed(Close::ClientReset)));
    assert!(request_line(&unanswered).contains(" TCP_MISS_ABORTED/000 467 "));
    for (outcome, words) in [
        (Outcome::Refused(RefuseReason::BodyTimeout), " TCP_MISS_TIMEDOUT/408 "),
        (Outcome::Refused(RefuseReason::BodyCut), " TCP_MISS_ABORTED/400 "),
        (Outcome::Failed(Failure::ResponseTimeout), " TCP_MISS/504 "),
    ] {
        let written = request_line(&facts("api.example.com", status(outcome), Some(outcome)));
        assert!(written.contains(words), "{written}");
        assert_eq!(line(&record("POST", 1), outcome), "", "the request has its line: {outcome:?}");
    }
}

#[test]
fn a_connection_of_requests_has_no_line_but_for_what_was_none() {
    use Outcome::{Failed, Refused, Relayed};
    let requests = record("GET", 3);
    for outcome in [Relayed(Close::Done), Refused(RefuseReason::NameDenied), Failed(Failure::ConnectRefused)] {
        assert_eq!(line(&requests, outcome), "", "{outcome:?}");
    }
    assert!(line(&requests, Refused(RefuseReason::HeadMalformed)).contains(" NONE_NONE/400 "));
    let mut nothing = Record::new(1, "10.0.0.9:1234".parse().unwrap());
    assert_eq!(
        line(&nothing, Outcome::Unfinished(Unfinished::ClientLeft)),
        "1795258617.057     12 10.0.0.9 NONE_NONE/000 0 NONE error:invalid-request - HIER_NONE/- -\n"
    );
    nothing.name = Some("a b\"\n\u{9b}%\\".into());
    let line = line(&nothing, Outcome::Refused(RefuseReason::SniInvalid));
    assert!(line.contains(" CONNECT a%20b%22%0A%C2%9B%25%5C:443 - "), "{line}");
    assert_eq!(line.split_ascii_whitespace().count(), 10, "{line}");
}
