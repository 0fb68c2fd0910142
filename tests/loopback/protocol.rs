//! RFC 9110 and 9112 on the health port and the admin port: what is to be answered, and with which fields.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use support::lab::Lab;
use support::peer::{End, Peer};

/// Head and body of the one response to these bytes, and that the connection then ends with FIN.
fn converse(address: SocketAddr, bytes: &str) -> (String, String) {
    let mut peer = Peer::connect(address);
    peer.say(bytes).finish();
    let (answer, end) = peer.hear_all();
    assert_eq!(end, End::Fin, "{bytes}");
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{bytes}: {answer:?}"));
    (head.to_owned(), body.to_owned())
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

#[test]
fn every_request_gets_the_status_and_the_fields_that_it_should() {
    let lab = Lab::start();
    support::http::until_ready(lab.health);
    let mut asked = 0;
    for (address, page) in [(lab.health, "/readyz"), (lab.admin, "/status.json")] {
        let encoded = page.replacen('s', "%73", 1).replacen('r', "%72", 1);
        for (request, status) in [
            (format!("GET {page} HTTP/1.1\r\nHost: localhost"), 200),
            (format!("GET {page} HTTP/1.1\r\nhOST: 127.0.0.1:9901"), 200),
            (format!("GET {encoded} HTTP/1.1\r\nHost: localhost"), 200),
            (format!("GET {page}?a=b HTTP/1.1\r\nHost: localhost"), 200),
            (format!("GET http://localhost{page} HTTP/1.1\r\nHost: localhost"), 200),
            (format!("GET {page} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 3"), 200),
            (format!("GET {page}/ HTTP/1.1\r\nHost: localhost"), 404),
            (format!("GET {page} HTTP/1.1\r\nAccept: */*"), 400),
            (format!("GET {page} HTTP/1.1\r\nHost: localhost\r\nHost: localhost"), 400),
            (format!("GET {page} HTTP/1.0\r\nHost: localhost\r\nHost: localhost"), 400),
            (format!("GET {page} HTTP/1.1\r\nHost: ::1]"), 400),
            (format!("GET {page} HTTP/1.1\r\nHost: a@localhost"), 400),
            (format!("GET {page} HTTP/1.1\r\nHost : localhost"), 400),
            ("GET * HTTP/1.1\r\nHost: localhost".into(), 400),
            ("GET\r\nHost: localhost".into(), 400),
            ("OPTIONS * HTTP/1.1\r\nHost: localhost".into(), 405),
            (format!("POST {page} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0"), 405),
            (format!("TRACE {page} HTTP/1.1\r\nHost: localhost"), 405),
            (format!("PATCH {page} HTTP/1.1\r\nHost: localhost"), 405),
            ("CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443".into(), 405),
            (format!("BREW {page} HTTP/1.1\r\nHost: localhost"), 501),
            (format!("get {page} HTTP/1.1\r\nHost: localhost"), 501),
            ("PRI * HTTP/2.0".into(), 505),
            (format!("GET {page} HTTP/1.1\r\nHost: localhost\r\nA: {}", "a".repeat(20_000)), 431),
        ] {
            let (head, body) = converse(address, &format!("{request}\r\n\r\n"));
            assert!(
                head.starts_with(&format!("HTTP/1.1 {status} ")) || head.starts_with("HTTP/1.0 400 "),
                "{request}\n{head}"
            );
            assert_eq!(field(&head, "content-length"), Some(&*body.len().to_string()), "{request}\n{head}");
            assert!(
                status >= 500 || field(&head, "date").is_some_and(|date| date.ends_with(" GMT")),
                "{request}\n{head}"
            );
            assert_eq!(field(&head, "allow"), (status == 405).then_some("GET, HEAD"), "{request}\n{head}");
            assert_eq!(field(&head, "transfer-encoding"), None, "{request}\n{head}");
            asked += 1;
        }
    }
    assert_eq!(asked, 48);
    lab.end();
}

/// What is not read must not become a reset, which could overtake the answer.
#[test]
fn a_client_that_sends_too_much_gets_its_answer() {
    let lab = Lab::start();
    support::http::until_ready(lab.health);
    for (address, beginning, status) in [
        (lab.health, "GET /readyz HTTP/1.1\r\nHost: localhost\r\nA: ", "431"),
        (lab.admin, "GET / HTTP/1.1\r\nHost: localhost\r\nA: ", "431"),
        (lab.health, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"),
        (lab.admin, "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n", "405"),
    ] {
        let mut peer = Peer::connect(address);
        peer.say(beginning).say([b'a'; 50_000]);
        sleep(Duration::from_millis(20));
        let (answer, end) = peer.say([b'a'; 50_000]).finish().hear_all();
        assert_eq!(end, End::Fin, "{beginning}");
        assert!(answer.starts_with(format!("HTTP/1.1 {status} ").as_bytes()), "{}", answer.escape_ascii());
    }
    lab.end();
}

/// RFC 9110 §9.3.2.
#[test]
fn head_is_get_without_its_content() {
    let lab = Lab::start();
    support::http::until_ready(lab.health);
    // What a page says changes between two requests; what these say does not, but for the date.
    let without_date =
        |head: &str| head.lines().filter(|line| !line.starts_with("date")).collect::<Vec<_>>().join("\n");
    for (address, path) in [
        (lab.health, "/healthz"),
        (lab.health, "/readyz"),
        (lab.health, "/no"),
        (lab.admin, "/explain"),
        (lab.admin, "/no"),
    ] {
        let ask = |method| converse(address, &format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let ((get, content), (head, nothing)) = (ask("GET"), ask("HEAD"));
        assert_eq!(without_date(&head), without_date(&get), "{path}");
        assert!(!content.is_empty() && nothing.is_empty(), "{path}: {nothing}");
    }
    for path in ["/", "/metrics", "/status.json"] {
        let (head, nothing) = converse(lab.admin, &format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert!(head.starts_with("HTTP/1.1 200 OK") && nothing.is_empty(), "{head}");
    }
    lab.end();
}

/// A client that keeps its connection is not confused by an answer that had no content.
#[test]
fn a_kept_connection_goes_on_behind_each_answer() {
    let lab = Lab::start();
    let request = |method: &str| format!("{method} /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (head, rest) = converse(lab.health, &[request("HEAD"), request("BREW"), request("GET")].concat());
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(rest.starts_with("HTTP/1.1 501 Not Implemented\r\n") && rest.ends_with("\r\n\r\nalive\n"), "{rest}");
    lab.end();
}
