//! Every answer to every ending, read by parsers that are not ours.

use std::time::{Duration, UNIX_EPOCH};

use super::*;

fn of_http(outcome: Outcome, request: &[u8]) -> String {
    let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
    String::from_utf8(answer(outcome, Protocol::Http, 7, Request::of(request), now).unwrap()).unwrap()
}

#[test]
fn every_answer_is_well_formed() {
    for outcome in Outcome::all() {
        for protocol in [Protocol::Tls, Protocol::Http] {
            let Some(bytes) = answer(outcome, protocol, 7, Request::default(), SystemTime::now()) else { continue };
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
                assert_eq!(field("Allow").is_some(), status == 405, "{outcome:?}");
                assert_eq!(field("Retry-After").is_some(), status == 503, "{outcome:?}");
                assert!((400..=599).contains(&status), "{outcome:?}");
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
        if answer(outcome, Protocol::Http, 7, Request::default(), UNIX_EPOCH).is_none_or(|a| !a.starts_with(b"HTTP")) {
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
