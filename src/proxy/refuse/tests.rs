//! Every answer to every ending, read by parsers that are not ours.

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use latticegate_core::outcome::Failure;

const FORWARD: Spoken<'_> = Spoken::Forward { name: "egress" };

fn of_http(outcome: Outcome, request: &[u8]) -> String {
    written(outcome, Spoken::Http, request)
}

fn written(outcome: Outcome, spoken: Spoken<'_>, request: &[u8]) -> String {
    let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
    String::from_utf8(answer(outcome, spoken, 7, Request::of(request), now).unwrap()).unwrap()
}

#[test]
fn every_answer_is_well_formed() {
    for outcome in Outcome::all() {
        for spoken in [Spoken::Tls, Spoken::Http, FORWARD] {
            let Some(bytes) = answer(outcome, spoken, 7, Request::default(), SystemTime::now()) else { continue };
            if bytes.starts_with(b"HTTP") {
                let mut headers = [httparse::EMPTY_HEADER; 8];
                let mut response = httparse::Response::new(&mut headers);
                let httparse::Status::Complete(head) = response.parse(&bytes).unwrap() else { panic!("{outcome:?}") };
                let status = response.code.unwrap();
                let field = |name: &str| {
                    let mut found = response.headers.iter().filter(|field| field.name == name);
                    let value = found.next().map(|field| std::str::from_utf8(field.value).unwrap());
                    assert!(found.next().is_none(), "{name} stands twice");
                    value
                };
                assert_eq!(field("Content-Length"), Some(&*(bytes.len() - head).to_string()));
                assert_eq!(field("Connection"), Some("close"));
                assert!(field("Date").is_some_and(|date| date.ends_with(" GMT")), "{outcome:?}");
                let is_answered = outcome == Outcome::Refused(RefuseReason::MaxForwards);
                let has_allow = status == 405 || is_answered && spoken == FORWARD;
                assert_eq!(field("Allow").is_some(), has_allow, "{outcome:?}");
                assert_eq!(field("Retry-After").is_some(), status == 503, "{outcome:?}");
                assert!((400..=599).contains(&status) || is_answered && status == 200, "{outcome:?}");
                assert_eq!(field("Proxy-Status").is_some(), spoken == FORWARD, "{outcome:?}");
                let body = std::str::from_utf8(&bytes[head..]).unwrap();
                assert!(body.contains(outcome.reason()) && body.contains("0000000000000007"), "{body}");
            } else if bytes.starts_with(&[0, 0, 0, 4]) {
                assert_eq!(outcome.reason(), "http2_preface");
                assert_eq!(bytes.len(), 9 + 9 + usize::from(bytes[11]));
                assert!(bytes.ends_with(b"(reason: http2_preface, connection: 0000000000000007)\n"));
            } else {
                let (rest, record) = tls_parser::parse_tls_plaintext(&bytes).unwrap();
                assert!(rest.is_empty());
                assert!(matches!(record.msg[..], [tls_parser::TlsMessage::Alert(_)]));
            }
        }
    }
}

#[test]
fn the_answer_to_head_is_that_to_get_without_its_content() {
    let mut compared = 0;
    for outcome in Outcome::all() {
        if answer(outcome, Spoken::Http, 7, Request::default(), UNIX_EPOCH).is_none_or(|a| !a.starts_with(b"HTTP")) {
            continue;
        }
        let get = of_http(outcome, b"GET / HTTP/1.1\r\n\r\n");
        let head = of_http(outcome, b"HEAD / HTTP/1.1\r\n\r\n");
        let (fields, body) = get.split_once("\r\n\r\n").unwrap();
        assert_eq!(head, format!("{fields}\r\n\r\n"));
        assert!(!body.is_empty());
        compared += 1;
    }
    assert!(compared > 30, "{compared}");
}

#[test]
fn the_status_fits_what_is_too_long_and_the_version() {
    let refused = Outcome::Refused;
    for (reason, request, status) in [
        (RefuseReason::HeadTooLong, &b"GET /aaaaaaaa"[..], "414 URI Too Long"),
        (RefuseReason::HeadTooLong, b"GET / HTTP/1.1\r\na: b", "431 Request Header Fields Too Large"),
        (RefuseReason::HeadMalformed, b"GET / HTTP/2.0\r\n", "505 HTTP Version Not Supported"),
        (RefuseReason::HeadMalformed, b"GET  / HTTP/1.1\r\n", "400 Bad Request"),
        (RefuseReason::HostMissing, b"GET / HTTP/2.0\r\n", "400 Bad Request"),
    ] {
        let answer = of_http(refused(reason), request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n")),
            "{answer}"
        );
    }
}

#[test]
fn a_forward_proxy_speaks_of_itself_and_not_of_a_site() {
    use Outcome::{Failed, Refused};
    for (outcome, status, error) in [
        (Refused(RefuseReason::ClientDenied), "403 Forbidden", "http_request_denied"),
        (Refused(RefuseReason::NameDenied), "403 Forbidden", "http_request_denied"),
        (Refused(RefuseReason::PortDenied), "403 Forbidden", "http_request_denied"),
        (Refused(RefuseReason::NameUnknown), "502 Bad Gateway", "dns_error"),
        (Refused(RefuseReason::DestinationForbidden), "502 Bad Gateway", "destination_ip_prohibited"),
        (Refused(RefuseReason::PointsToSelf), "502 Bad Gateway", "proxy_loop_detected"),
        (Refused(RefuseReason::ViaLoop), "502 Bad Gateway", "proxy_loop_detected"),
        (Refused(RefuseReason::ClientConnections), "503 Service Unavailable", "proxy_internal_response"),
        (Refused(RefuseReason::NameConnections), "503 Service Unavailable", "connection_limit_reached"),
        (Refused(RefuseReason::OriginForm), "400 Bad Request", "http_request_error"),
        (Refused(RefuseReason::SchemeUnsupported), "400 Bad Request", "http_request_error"),
        (Refused(RefuseReason::TraceMethod), "405 Method Not Allowed", "http_request_error"),
        (Refused(RefuseReason::HandshakeTimeout), "408 Request Timeout", "http_request_error"),
        (Refused(RefuseReason::HeadTooLong), "431 Request Header Fields Too Large", "http_request_error"),
        (Failed(Failure::DnsFailed), "502 Bad Gateway", "dns_error"),
        (Failed(Failure::DnsTimeout), "504 Gateway Timeout", "dns_timeout"),
        (Failed(Failure::ConnectRefused), "502 Bad Gateway", "connection_refused"),
        (Failed(Failure::ConnectTimeout), "504 Gateway Timeout", "connection_timeout"),
        (Failed(Failure::ConnectUnreachable), "502 Bad Gateway", "destination_ip_unroutable"),
        (Failed(Failure::ResponseMalformed), "502 Bad Gateway", "http_protocol_error"),
        (Failed(Failure::UpstreamClosed), "502 Bad Gateway", "connection_terminated"),
        (Failed(Failure::ResponseTimeout), "504 Gateway Timeout", "http_response_timeout"),
        (Refused(RefuseReason::BodyTimeout), "408 Request Timeout", "http_request_error"),
        (Refused(RefuseReason::BodyCut), "400 Bad Request", "http_request_error"),
    ] {
        let answer = written(outcome, FORWARD, b"GET http://a.example/ HTTP/1.1\r\n");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{outcome:?}: {answer}");
        let line = format!("\r\nProxy-Status: egress; error={error}; details=\"{}\"\r\n", outcome.reason());
        assert!(answer.contains(&line), "{outcome:?}: {answer}");
        assert!(!answer.contains("gateway."), "{outcome:?}: {answer}");
    }
    let answer = written(Refused(RefuseReason::MaxForwards), FORWARD, b"OPTIONS http://a.example/ HTTP/1.1\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\r\nProxy-Status: egress; details=\"max_forwards\"\r\n"), "{answer}");
    assert!(answer.contains("OPTIONS, CONNECT\r\n") && !answer.contains("TRACE"), "{answer}");
}

#[test]
fn the_statuses_of_a_forward_proxy_are_never_those_of_a_site() {
    for outcome in Outcome::all() {
        let answer = answer(outcome, FORWARD, 7, Request::default(), UNIX_EPOCH).unwrap_or_default();
        for status in ["404", "421", "508"] {
            assert!(!answer.starts_with(format!("HTTP/1.1 {status}").as_bytes()), "{outcome:?}");
        }
    }
}

#[test]
fn a_name_that_is_no_token_of_a_structured_field_is_quoted() {
    let status = |name| forward::proxy_status(Outcome::Refused(RefuseReason::NameDenied), name);
    assert_eq!(status("*a.1"), "*a.1; error=http_request_denied; details=\"name_denied\"");
    assert_eq!(status("1a"), "\"1a\"; error=http_request_denied; details=\"name_denied\"");
    assert_eq!(status("'a"), "\"'a\"; error=http_request_denied; details=\"name_denied\"");
}

#[test]
fn what_is_refused_inside_a_tunnel_is_answered_in_tls_or_not_at_all() {
    for spoken in [Spoken::Tls, Spoken::Http, FORWARD] {
        let of = |reason| answer(Outcome::Refused(reason), spoken, 7, Request::default(), UNIX_EPOCH);
        assert_eq!(of(RefuseReason::TunnelSniMissing), Some(vec![21, 3, 3, 0, 2, 2, 109]));
        assert_eq!(of(RefuseReason::TunnelSniDenied), Some(vec![21, 3, 3, 0, 2, 2, 49]));
        assert_eq!(of(RefuseReason::TunnelNotTls), None);
    }
}
