//! The lines to the byte, hostile values, and which connections have none.

use super::super::timestamps::Timestamps;
use super::*;
use crate::telemetry::record::{ForwardFacts, OpenRequest};
use latticegate_core::client::Client;
use latticegate_core::outcome::{ByteCounts, Unfinished};
use latticegate_core::protocol::forward_head::RefusedRequest;

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
    if has_line(record, outcome) {
        connection(&mut out, now, &super::super::line::tests::listener(), record, outcome);
    }
    String::from_utf8(out).unwrap()
}

fn facts<'a>(host: &'a str, status: Option<u16>, cut: Option<Outcome>) -> RequestFacts<'a> {
    RequestFacts {
        id: 1,
        peer: "10.0.0.9:1234".parse::<std::net::SocketAddr>().unwrap().into(),
        client: None,
        rule: None,
        method: "GET",
        scheme: None,
        host,
        port: 80,
        upstream: None,
        status,
        bytes: ByteCounts { up: 120, down: 467 },
        answered: 0,
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
        "1795258617.057     12 10.1.2.3 TCP_DENIED/403 0 CONNECT api.example.com:443 - HIER_NONE/- \
         application/x-latticegate;reason=name_denied\n"
    );
}

/// What Squid has no field for is where its parsers take anything.
#[test]
fn reason_rule_and_server_name_are_in_the_last_field() {
    let mut tunnel = record("CONNECT", 0);
    (tunnel.rule, tunnel.bytes.down) = (Some("a b.yaml:3".into()), 0);
    let forward = tunnel.forward.as_mut().unwrap();
    (forward.sni, forward.answered) = (Some("x;y.example.com".into()), 46);
    // It was open already, and its upstream dialled.
    forward.answer_status = Some(200);
    assert_eq!(
        line(&tunnel, Outcome::Refused(RefuseReason::TunnelSniDenied)),
        "1795258617.057     12 10.1.2.3 TCP_DENIED/200 46 CONNECT api.example.com:443 - HIER_DIRECT/192.0.2.10 \
         application/x-latticegate;reason=tunnel_sni_denied;rule=a%20b.yaml:3;sni=x%3By.example.com\n"
    );
    let relayed = |record: &Record| line(record, Outcome::Relayed(Close::Done));
    assert!(relayed(&tunnel).ends_with(" application/x-latticegate;sni=x%3By.example.com\n"));
    tunnel.forward.as_mut().unwrap().sni = tunnel.name.clone();
    assert!(relayed(&tunnel).ends_with(" HIER_DIRECT/192.0.2.10 -\n"));
    let cut = request_line(&facts("api.example.com", Some(200), Some(Outcome::Relayed(Close::ClientReset))));
    assert!(cut.ends_with(" application/x-latticegate;reason=client_reset\n"), "{cut}");
}

/// An address that was refused was not dialled: whoever watches the log for the metadata service would be alarmed.
#[test]
fn only_an_address_that_was_dialled_is_in_the_line() {
    use RefuseReason::{DestinationForbidden, NameDenied, PointsToSelf};
    for reason in [DestinationForbidden, PointsToSelf] {
        let refused = line(&record("CONNECT", 0), Outcome::Refused(reason));
        assert!(refused.contains(" NONE_NONE/502 ") && refused.contains(" HIER_NONE/- "), "{refused}");
    }
    let failed = line(&record("CONNECT", 0), Outcome::Failed(Failure::ConnectRefused));
    assert!(failed.contains(" HIER_DIRECT/192.0.2.10 "), "{failed}");
    let upstream = record("GET", 1).upstream;
    for (cut, up, direct) in [
        (Some(Outcome::Refused(DestinationForbidden)), 0, false),
        // Over the connection of the request before it.
        (Some(Outcome::Refused(NameDenied)), 0, false),
        // It was on its way when a new list came.
        (Some(Outcome::Refused(NameDenied)), 1, true),
        (Some(Outcome::Failed(Failure::ConnectTimeout)), 0, true),
        (None, 1, true),
    ] {
        let bytes = ByteCounts { up, down: 0 };
        let line = request_line(&RequestFacts { upstream, bytes, ..facts("api.example.com", Some(403), cut) });
        assert_eq!(line.contains(" HIER_DIRECT/192.0.2.10 "), direct, "{line}");
    }
}

/// Squid counts all bytes that the client was sent.
#[test]
fn our_own_answers_count() {
    let mut tunnel = record("CONNECT", 0);
    tunnel.count_answer(39, Some(200));
    assert!(line(&tunnel, Outcome::Relayed(Close::Done)).contains(" TCP_TUNNEL/200 3839 CONNECT "));
    let refused = facts("api.example.com", Some(403), Some(Outcome::Refused(RefuseReason::NameDenied)));
    let refused = RequestFacts { answered: 300, bytes: ByteCounts::default(), ..refused };
    assert!(request_line(&refused).contains(" TCP_DENIED/403 300 GET "));
    // Behind requests that have lines of their own.
    let mut behind = record("CONNECT", 2);
    behind.forward.as_mut().unwrap().reported.down = 3000;
    behind.count_answer(39, Some(200));
    assert!(line(&behind, Outcome::Relayed(Close::Done)).contains(" TCP_TUNNEL/200 839 CONNECT "));
}

#[test]
fn what_was_refused_is_written_as_it_was_asked_for() {
    let refused = |head: &str, reason| {
        let mut record = record("GET", 1);
        (record.upstream, record.bytes) = (None, ByteCounts::default());
        record.begin_refused(RefusedRequest::of(reason, format!("{head} HTTP/1.1\r\n").as_bytes()));
        let outcome = Outcome::Refused(reason);
        let own = line(&record, outcome);
        match record.open_request(Some(outcome)) {
            Some(facts) => {
                assert_eq!(own, "", "{head}");
                request_line(&facts)
            }
            None => own,
        }
    };
    use RefuseReason as R;
    for (head, reason, written) in [
        ("CONNECT 93.184.216.34:443", R::HostIpAddress, "CONNECT 93.184.216.34:443"),
        ("CONNECT [2001:db8::1]:443", R::HostIpAddress, "CONNECT [2001:db8::1]:443"),
        ("CONNECT ok.test", R::PortMissing, "CONNECT ok.test"),
        ("GET https://ok.test/x", R::SchemeUnsupported, "GET https://ok.test/"),
        ("GET ftp://ok.test:21/x", R::SchemeUnsupported, "GET ftp://ok.test:21/"),
        ("GET http://10.0.0.1/x", R::HostIpAddress, "GET http://10.0.0.1/"),
        ("TRACE http://ok.test:8080/x", R::TraceMethod, "TRACE http://ok.test:8080/"),
        ("GET http://ok.test/?secret", R::ViaLoop, "GET http://ok.test/"),
        ("GET http://u:secret/x@ok.test/", R::TargetInvalid, "GET error:invalid-request"),
        ("GET /secret", R::OriginForm, "GET error:invalid-request"),
        ("\u{16}\u{3}", R::TlsOnHttp, "NONE error:invalid-request"),
    ] {
        let line = refused(head, reason);
        assert!(line.contains(&format!(" 0 {written} - HIER_NONE/- ")), "{head}: {line}");
        assert_eq!(line.split_ascii_whitespace().count(), 10, "{line}");
    }
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
    }
}

#[test]
fn a_connection_of_requests_has_no_line_but_for_what_was_none() {
    use Outcome::{Failed, Refused, Relayed};
    let with = |open_request: bool| {
        let mut record = record("GET", 3);
        let open = open_request.then(|| OpenRequest { began: crate::runtime::Instant::now(), status: None });
        record.forward.as_mut().unwrap().open = open;
        record
    };
    for outcome in [Relayed(Close::Done), Failed(Failure::ConnectRefused), Refused(RefuseReason::NameDenied)] {
        assert_eq!(line(&with(true), outcome), "", "{outcome:?}");
    }
    assert_eq!(line(&with(false), Relayed(Close::Done)), "");
    assert!(line(&with(false), Refused(RefuseReason::HeadMalformed)).contains(" NONE_NONE/400 "));
    // A tunnel may follow requests.
    assert!(line(&record("CONNECT", 3), Relayed(Close::Done)).contains(" TCP_TUNNEL/200 "));
    let mut nothing = Record::new(1, "10.0.0.9:1234".parse().unwrap());
    assert_eq!(
        line(&nothing, Outcome::Unfinished(Unfinished::ClientLeft)),
        "1795258617.057     12 10.0.0.9 NONE_NONE/000 0 NONE error:invalid-request - HIER_NONE/- \
         application/x-latticegate;reason=client_left\n"
    );
    nothing.name = Some("a b\"\n\u{9b}%\\".into());
    let line = line(&nothing, Outcome::Refused(RefuseReason::SniInvalid));
    assert!(line.contains(" CONNECT a%20b%22%0A%C2%9B%25%5C:443 - "), "{line}");
    assert_eq!(line.split_ascii_whitespace().count(), 10, "{line}");
}

/// Whatever a tunnel was refused for after it was opened: the client was told that it is open.
#[test]
fn the_status_is_the_one_that_was_sent() {
    let mut tunnel = record("CONNECT", 0);
    tunnel.count_answer(39, Some(200));
    tunnel.count_answer(7, None);
    for reason in [RefuseReason::HandshakeTimeout, RefuseReason::HelloMalformed, RefuseReason::TunnelSniDenied] {
        let refused = line(&tunnel, Outcome::Refused(reason));
        assert!(refused.contains(" TCP_DENIED/200 3846 CONNECT "), "{refused}");
    }
    let mut long = record("", 0);
    long.count_answer(300, Some(414));
    assert!(line(&long, Outcome::Refused(RefuseReason::HeadTooLong)).contains(" NONE_NONE/414 "));
}
