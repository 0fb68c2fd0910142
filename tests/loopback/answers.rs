//! What a refused client is reported, to the byte, and how it is closed: FIN after the answer, also while it sends on.

use std::time::Duration;

use support::dns::{Reply, SERVFAIL};
use support::lab::{Lab, Port, Setup, word};
use support::peer::{End, Peer};
use support::wire::{Hello, hello, tcp4, tcp6};
use support::within;

/// A fatal alert with this description.
fn alert(description: u8) -> Vec<u8> {
    vec![21, 3, 3, 0, 2, 2, description]
}

fn request(host: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()
}

fn ask(lab: &Lab, port: Port, bytes: &[u8]) -> (Vec<u8>, End) {
    let mut client = lab.connect(port);
    client.say([&tcp4(&[]), bytes].concat());
    client.hear_all()
}

#[test]
fn tls_clients_get_the_fitting_alert() {
    let lab = Lab::start();
    lab.dns.set("broken.example.com", Reply::Code(SERVFAIL));
    lab.dns.set("metadata.example.com", support::dns::addresses(&["169.254.169.254".parse().unwrap()]));
    let to = |name: &[u8]| Hello::to(name).record();
    let cases = [
        (to(b"nowhere.example.com"), alert(112)),
        (to(b"169.254.170.2"), alert(112)),
        (to(b"metadata.example.com"), alert(49)),
        (to(b"broken.example.com"), alert(80)),
        (Hello::default().record(), alert(109)),
        (b"\x16\x03\x01\0\0".to_vec(), alert(50)),
        (b"SSH-2.0-x\r\n".to_vec(), alert(10)),
        (b"\x80\x2e\x01\0\x02\0\x15\0\0\0\x10".to_vec(), alert(70)),
    ];
    let count = cases.len();
    for (bytes, answer) in cases {
        assert_eq!(ask(&lab, Port::Tls, &bytes), (answer, End::Fin), "{}", bytes.escape_ascii());
    }
    assert_eq!(lab.end().records.len(), count);
}

#[test]
fn http_2_without_tls_is_answered_in_its_own_frames() {
    let lab = Lab::start();
    let (answer, end) = ask(&lab, Port::Http, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(end, End::Fin);
    let (settings, goaway) = answer.split_at(9);
    assert_eq!(settings, [0, 0, 0, 4, 0, 0, 0, 0, 0]);
    let (head, text) = goaway.split_at(9 + 8);
    assert_eq!(head[3..], [7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 13], "GOAWAY, HTTP_1_1_REQUIRED");
    assert_eq!(usize::from(head[2]), 8 + text.len());
    assert!(text.starts_with(b"latticegate: HTTP/2 without TLS is not spoken here; use HTTP/1.1 or https://."));
    lab.end();
}

#[test]
fn http_clients_read_a_sentence_and_the_connections_id() {
    let lab = Lab::start();
    lab.dns.set("broken.example.com", Reply::Code(SERVFAIL));
    lab.dns.set("metadata.example.com", support::dns::addresses(&["169.254.169.254".parse().unwrap()]));
    let cases: [(Vec<u8>, &str, &str, &str); 9] = [
        (
            request("nowhere.example.com"),
            "404 Not Found",
            "There is no such host name behind this gateway.",
            "name_unknown",
        ),
        (
            request("metadata.example.com"),
            "403 Forbidden",
            "This host name leads where this gateway may not go.",
            "destination_forbidden",
        ),
        (request("broken.example.com"), "502 Bad Gateway", "The host name could not be resolved.", "dns_failed"),
        (
            request("orders.example.com:8080"),
            "421 Misdirected Request",
            "The port in the Host field is not served here.",
            "host_port",
        ),
        (request("a\r\nHost: b"), "400 Bad Request", "The request names two hosts.", "host_ambiguous"),
        (b"CONNECT orders.example.com:443 HTTP/1.1\r\n\r\n".to_vec(), "405 Method Not Allowed", "", "connect_method"),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n".to_vec(), "505 HTTP Version Not Supported", "", "head_malformed"),
        (vec![b'a'; 20_000], "414 URI Too Long", "The request head is too long.", "head_too_long"),
        (
            [b"GET / HTTP/1.1\r\na: ", &[b'a'; 20_000][..]].concat(),
            "431 Request Header Fields Too Large",
            "The request head is too long.",
            "head_too_long",
        ),
    ];
    let mut lab = lab;
    for (bytes, status, sentence, reason) in cases {
        let (answer, end) = ask(&lab, Port::Http, &bytes);
        assert_eq!(end, End::Fin, "{reason}");
        let record = lab.record();
        assert_eq!(word(&record, "reason"), reason);
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(body.contains(sentence), "{body}");
        let reported = format!("(reason: {reason}, connection: {})\n", word(&record, "id"));
        assert!(body.starts_with("latticegate: ") && body.ends_with(&reported), "{body}");
        let allow = match reason {
            "connect_method" => "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE\r\n",
            _ => "",
        };
        let date = head.lines().find(|line| line.starts_with("Date: ")).unwrap();
        let expected = format!(
            "HTTP/1.1 {status}\r\n{date}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
             {allow}Cache-Control: no-store\r\nConnection: close",
            body.len()
        );
        assert_eq!(head, expected);
    }
    lab.upstream.assert_untouched();
    lab.end();
}

/// RFC 9110 §9.3.2, whatever the request is refused for and however much of it had been read by then.
#[test]
fn a_refused_head_request_is_answered_without_content() {
    let rules = "- allow: 192.0.2.0/24\n  to: [orders.example.com, nowhere.example.com]\n- deny: all";
    let lab = Lab::with(Setup { rules, ..Setup::default() });
    let head = |host: &str| format!("HEAD / HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
    let assert_empty = |(answer, end): (Vec<u8>, End), status: &str| {
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains("\r\nContent-Length: ") && answer.ends_with("\r\n\r\n"), "{answer}");
        assert_eq!(end, End::Fin);
    };
    assert_empty(ask(&lab, Port::Http, &head("nowhere.example.com")), "404");
    assert_empty(ask(&lab, Port::Http, &head("denied.example.com")), "403");
    assert_empty(ask(&lab, Port::Http, &head("10.0.0.1")), "400");
    assert_empty(ask(&lab, Port::Tls, &head("orders.example.com")), "400");
    assert_empty(lab.connect(Port::Http).say(head("orders.example.com")).hear_all(), "400");
    // The list denies before the request is read: it lies in the socket, behind the header or alone.
    assert_empty(lab.connect(Port::Http).say([tcp6(&[]), head("orders.example.com")].concat()).hear_all(), "403");
    // A later request, behind a GET that was answered.
    let mut client = lab.connect(Port::Http);
    client.say([tcp4(&[]), request("orders.example.com")].concat());
    let mut upstream = lab.upstream.accept();
    upstream.hear(request("orders.example.com").len());
    upstream.say(b"HTTP/1.1 204 No Content\r\n\r\n");
    client.hear(27);
    client.say(head("other.example.com"));
    assert_empty(client.hear_all(), "421");
    drop((client, upstream));
    lab.end();
}

#[test]
fn a_client_that_speaks_the_other_protocol_is_answered_in_its_own() {
    let lab = Lab::start();
    let (answer, end) = ask(&lab, Port::Tls, &request("orders.example.com"));
    assert!(answer.starts_with(b"HTTP/1.1 400 Bad Request\r\n"), "{}", answer.escape_ascii());
    assert_eq!(end, End::Fin);
    assert_eq!(ask(&lab, Port::Http, &hello()), (alert(10), End::Fin));
    lab.end();
}

#[test]
fn a_client_on_the_list_is_answered_at_once() {
    let setup = || Setup { rules: "- deny: all", ..Setup::default() };
    let lab = Lab::with(setup());
    let mut tls = lab.connect(Port::Tls);
    tls.say(tcp4(&[]));
    assert_eq!(tls.hear_all(), (alert(49), End::Fin));
    let mut http = lab.connect(Port::Http);
    http.say(tcp4(&[]));
    let (answer, end) = http.hear_all();
    assert!(answer.starts_with(b"HTTP/1.1 403 Forbidden\r\n"), "{}", answer.escape_ascii());
    assert_eq!(end, End::Fin);
    drop((tls, http));
    lab.end();
}

#[test]
fn silent_says_nothing_to_those_the_list_refuses() {
    let rules = "- allow: 192.0.2.0/24\n  to: other.example.com\n- deny: all";
    let lab = Lab::with(Setup { rules, policy_refusal: "silent", ..Setup::default() });
    assert_eq!(ask(&lab, Port::Tls, &hello()), (vec![], End::Fin));
    assert_eq!(ask(&lab, Port::Http, &request("orders.example.com")).0, b"");
    let mut denied = lab.connect(Port::TlsDirect);
    denied.say(hello());
    assert_eq!(denied.hear_all().0, b"");
    // Everyone else still learns why.
    assert_eq!(ask(&lab, Port::Tls, b"SSH-2.0-x\r\n").0, alert(10));
    drop(denied);
    let reported = lab.end();
    let mut reasons: Vec<String> = reported.records.iter().map(|record| word(record, "reason")).collect();
    reasons.sort();
    assert_eq!(reasons, ["client_denied", "name_denied", "name_denied", "not_tls"]);
}

#[test]
fn a_client_that_still_sends_gets_its_answer_and_no_reset() {
    let lab = Lab::start();
    let mut client = lab.connect(Port::Http);
    let body = vec![b'x'; 200_000];
    let head = b"POST / HTTP/1.1\r\nHost: nowhere.example.com\r\nContent-Length: 200000\r\n\r\n";
    client.say([&tcp4(&[]), &head[..], &body].concat());
    let (answer, end) = client.hear_all();
    assert!(answer.starts_with(b"HTTP/1.1 404 Not Found\r\n"), "{}", answer.escape_ascii());
    assert_eq!(end, End::Fin);
    drop(client);
    lab.end().assert_only("refused", "name_unknown");
}

/// A client of TLS that has sent its whole hello waits for the answer: the connection is closed with it. Of one whose early
/// data is still to come that is read first, or a reset would overtake the alert.
#[test]
fn a_client_that_waits_is_closed_with_its_answer() {
    const EARLY_DATA: u16 = 42;
    let lab = Lab::start();
    for (hello, lingers) in
        [(Hello::to(b"nowhere.example.com"), false), (Hello::to(b"nowhere.example.com").with(EARLY_DATA, vec![]), true)]
    {
        let mut client = lab.connect(Port::Tls);
        client.say([tcp4(&[]), hello.record()].concat());
        assert_eq!(client.hear_all(), (alert(112), End::Fin));
        client.say(b"more");
        let patience = if lingers { Duration::from_millis(300) } else { support::PATIENCE };
        let cut = within(patience, || std::io::Write::write(&mut client.stream, b"more").is_err());
        assert_eq!(cut, !lingers);
    }
    lab.end().assert_only("refused", "name_unknown");
}

#[test]
fn a_client_that_never_stops_is_left_after_a_while() {
    let lab = Lab::start();
    let client = lab.connect(Port::Http);
    let mut writer = Peer::new(client.stream.try_clone().unwrap());
    writer.say(tcp4(&[])).say(request("nowhere.example.com"));
    // Far more than is thrown away; at some point we no longer listen.
    let mut sent = 0;
    while sent < 64 << 20 {
        match std::io::Write::write(&mut writer.stream, &[0; 1 << 16]) {
            Ok(n) => sent += n,
            Err(error) => {
                let cut = [std::io::ErrorKind::ConnectionReset, std::io::ErrorKind::BrokenPipe];
                assert!(cut.contains(&error.kind()), "{error}");
                break;
            }
        }
    }
    assert!(sent < 64 << 20, "all of it was read");
    drop((client, writer));
    lab.end().assert_only("refused", "name_unknown");
}

/// The commonest mistake in setting it up: the load balancer sends no header, or somebody comes past it.
#[test]
fn a_client_without_a_proxy_header_is_answered_in_its_own_protocol() {
    let lab = Lab::start();
    let tell = |port, bytes: &[u8]| lab.connect(port).say(bytes).hear_all();
    for port in [Port::Tls, Port::Http] {
        // As large as a hello with a post-quantum key share and tickets: more than is read of a header.
        assert_eq!(
            tell(port, &Hello::to(b"orders.example.com").with(21, vec![0; 3000]).record()),
            (alert(10), End::Fin)
        );
        let (answer, end) = tell(port, &request("orders.example.com"));
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.contains("latticegate: This port expects a PROXY protocol v2 header"), "{answer}");
        assert!(answer.contains("(reason: proxy_missing, connection: "), "{answer}");
        assert_eq!(end, End::Fin);
        // Whatever this is, it would not understand.
        assert_eq!(tell(port, b"SSH-2.0-x\r\n"), (vec![], End::Fin));
    }
    // Behind a header of version 1 there is a client of this listener's protocol.
    let v1 = [b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 80\r\n", &request("orders.example.com")[..], &[b'x'; 4000]];
    let (answer, end) = tell(Port::Http, &v1.concat());
    assert!(answer.starts_with(b"HTTP/1.1 400 Bad Request\r\n"), "{}", answer.escape_ascii());
    assert_eq!(end, End::Fin);
    lab.upstream.assert_untouched();
    let reported = lab.end();
    assert_eq!(reported.counted[&("refused".into(), "proxy_missing".into())], 6);
}

#[test]
fn an_untrusted_peer_is_closed_without_a_word_and_without_a_reset() {
    let lab = Lab::with(Setup { trusted: "[198.51.100.0/24]", ..Setup::default() });
    for bytes in [request("orders.example.com"), [tcp4(&[]), hello()].concat(), vec![b'x'; 20_000]] {
        assert_eq!(lab.connect(Port::Http).say(bytes).hear_all(), (vec![], End::Fin));
    }
    let reported = lab.end();
    assert_eq!(reported.counted[&("refused".into(), "untrusted_peer".into())], 3);
}

#[test]
fn a_broken_header_is_closed_without_a_word_and_without_a_reset() {
    let lab = Lab::start();
    let broken = support::wire::proxy(0x41, support::wire::TCP4, &[0; 12]);
    let too_long = support::wire::proxy(support::wire::PROXY, support::wire::TCP4, &[0; 5000]);
    for bytes in [[&broken[..], &[b'x'; 5000]].concat(), too_long] {
        assert_eq!(lab.connect(Port::Tls).say(bytes).hear_all(), (vec![], End::Fin));
    }
    lab.end();
}
