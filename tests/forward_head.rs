//! The pure reader of heads for a forward proxy: where a request goes, and the head that is sent instead of it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::cell::Cell;

use latticegate_core::outcome::RefuseReason;
use latticegate_core::protocol::Verdict;
use latticegate_core::protocol::forward_head::{Asked, ForwardExpected, ForwardHead, ForwardParser, RefusedRequest};
use latticegate_core::protocol::http_head::BodyFraming;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

fn parse(text: &str) -> Verdict<ForwardHead> {
    ForwardParser::default().parse(text.as_bytes(), "egress")
}

fn head(text: &str) -> ForwardHead {
    match parse(text) {
        Verdict::Found { value, len } if len == text.len() => value,
        other => panic!("{other:?}: {text}"),
    }
}

fn refused(text: &str) -> RefuseReason {
    match parse(text) {
        Verdict::Refuse(reason) => reason,
        other => panic!("{other:?}: {text}"),
    }
}

/// A GET of this URL with these fields, each ended by CR LF, and what is sent instead.
fn sent(request_line: &str, fields: &str) -> String {
    String::from_utf8(head(&format!("{request_line}\r\n{fields}\r\n")).rewritten).unwrap()
}

#[test]
fn connect_says_where_the_tunnel_goes() {
    for (target, name, port) in [
        ("a.example:443", "a.example", 443),
        ("A.Example.:8443", "a.example", 8443),
        ("xn--bcher-kva.example:1", "xn--bcher-kva.example", 1),
        ("a.example:65535", "a.example", 65535),
    ] {
        // RFC 9112 §3.2: HTTP/1.0 knows no Host, and what it says is of no account.
        for rest in [
            "HTTP/1.0\r\n",
            "HTTP/1.0\r\nContent-Length: 0\r\n",
            "HTTP/1.1\r\nHost: other.example:443\r\nUser-Agent: x\r\nProxy-Connection: close\r\n",
        ] {
            let head = head(&format!("CONNECT {target} {rest}\r\n"));
            assert_eq!((head.name.as_str(), head.port), (name, port));
            assert!(head.is_connect() && head.rewritten.is_empty());
            assert_eq!(head.body, BodyFraming::None);
        }
    }
}

#[test]
fn the_target_is_written_in_the_form_for_the_origin() {
    for (line, name, port, expected, host) in [
        ("GET http://a.example/x?y=/%20 HTTP/1.1", "a.example", 80, "GET /x?y=/%20 HTTP/1.1", "a.example"),
        ("GET HTTP://A.Example.:8080/ HTTP/1.1", "a.example", 8080, "GET / HTTP/1.1", "a.example:8080"),
        ("GET http://a.example:80 HTTP/1.1", "a.example", 80, "GET / HTTP/1.1", "a.example"),
        ("GET http://a.example?q HTTP/1.1", "a.example", 80, "GET /?q HTTP/1.1", "a.example"),
        ("GET http://a.example//b//c HTTP/1.1", "a.example", 80, "GET //b//c HTTP/1.1", "a.example"),
        (
            "GET http://a.example/http://b.example/@ HTTP/1.1",
            "a.example",
            80,
            "GET /http://b.example/@ HTTP/1.1",
            "a.example",
        ),
        // RFC 9112 §3.2.4.
        ("OPTIONS http://a.example HTTP/1.1", "a.example", 80, "OPTIONS * HTTP/1.1", "a.example"),
        ("OPTIONS http://a.example:81 HTTP/1.1", "a.example", 81, "OPTIONS * HTTP/1.1", "a.example:81"),
        ("OPTIONS http://a.example/ HTTP/1.1", "a.example", 80, "OPTIONS / HTTP/1.1", "a.example"),
        ("OPTIONS http://a.example?q HTTP/1.1", "a.example", 80, "OPTIONS /?q HTTP/1.1", "a.example"),
        ("PROPFIND http://a.example/ HTTP/1.1", "a.example", 80, "PROPFIND / HTTP/1.1", "a.example"),
    ] {
        let text = format!("{line}\r\nHost: a.example\r\n\r\n");
        let head = head(&text);
        assert_eq!((head.name.as_str(), head.port, head.is_connect()), (name, port, false), "{line}");
        let expected = format!("{expected}\r\nHost: {host}\r\nVia: 1.1 egress\r\n\r\n");
        assert_eq!(String::from_utf8(head.rewritten).unwrap(), expected, "{line}");
    }
}

#[test]
fn host_is_that_of_the_target_whatever_the_client_sent() {
    for host in ["b.example", "a.example:81", "127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:8080", "B.EXAMPLE."] {
        let sent = sent("GET http://a.example/ HTTP/1.1", &format!("Accept: */*\r\nHOST: {host}\r\n"));
        assert_eq!(sent, "GET / HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\nVia: 1.1 egress\r\n\r\n");
    }
    assert_eq!(
        sent("GET http://a.example/ HTTP/1.0", ""),
        "GET / HTTP/1.0\r\nHost: a.example\r\nVia: 1.0 egress\r\nConnection: close\r\n\r\n"
    );
}

#[test]
fn fields_of_this_hop_are_not_passed_on_and_all_others_are_in_their_order() {
    let gone = "Connection: keep-alive, X-One , x-two,TE\r\nProxy-Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n\
        TE: trailers\r\nUpgrade: websocket\r\nProxy-Authorization: Basic c2VjcmV0\r\nProxy-Authenticate: Basic\r\n\
        Proxy-Authentication-Info: x\r\nX-One: 1\r\nX-TWO: 2\r\nConnection: HTTP2-Settings\r\nHTTP2-Settings: AAMA\r\n";
    let stays = "Accept: */*\r\nCookie: a=b\r\ncookie: c=d\r\nX-Three:  three \r\nAuthorization: Bearer t\r\n\
        Expect: 100-continue\r\nTrailer: Digest\r\nEmpty:\r\nVia: 1.1 other (a, b)\r\nMax-Forwards: 7\r\nX-Four: \u{fc}\r\n";
    let mixed: String = gone
        .split_inclusive("\r\n")
        .zip(stays.split_inclusive("\r\n").chain(["", ""]))
        .map(|(a, b)| format!("{a}{b}"))
        .collect();
    let expected = "GET / HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\nCookie: a=b\r\ncookie: c=d\r\nX-Three: three\r\n\
        Authorization: Bearer t\r\nExpect: 100-continue\r\nTrailer: Digest\r\nEmpty: \r\nVia: 1.1 other (a, b)\r\nMax-Forwards: 7\r\n\
        X-Four: \u{fc}\r\nVia: 1.1 egress\r\n\r\n";
    assert_eq!(sent("GET http://a.example/ HTTP/1.1", &format!("Host: a.example\r\n{mixed}")), expected);
    assert_eq!(sent("GET http://a.example/ HTTP/1.1", &format!("{stays}{gone}Host: a.example\r\n")), expected);
}

/// `Connection: content-length` would make the origin server read the body as a second request.
#[test]
fn what_frames_and_routes_a_message_stays_although_connection_names_it() {
    let fields = "Host: a.example\r\nConnection: Content-Length, host, via, expect, Trailer, Transfer-Encoding\r\nContent-Length: 5\r\n\
        Via: 1.0 other\r\nExpect: 100-continue\r\nTrailer: x\r\n";
    assert_eq!(
        sent("POST http://a.example/ HTTP/1.1", fields),
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nVia: 1.0 other\r\nExpect: 100-continue\r\nTrailer: x\r\n\
         Via: 1.1 egress\r\n\r\n"
    );
}

#[test]
fn framing_is_written_as_it_was_read() {
    let post = |fields: &str| {
        let head = head(&format!("POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n"));
        let rewritten = String::from_utf8(head.rewritten).unwrap();
        let fields = rewritten.strip_prefix("POST / HTTP/1.1\r\nHost: a.example\r\n").unwrap();
        (head.body, fields.strip_suffix("Via: 1.1 egress\r\n\r\n").unwrap().to_owned())
    };
    assert_eq!(post(""), (BodyFraming::None, String::new()));
    assert_eq!(post("Content-Length: 0\r\n"), (BodyFraming::Length(0), "Content-Length: 0\r\n".into()));
    // Some servers read it as an octal number.
    assert_eq!(post("content-length: 0010\r\n"), (BodyFraming::Length(10), "content-length: 10\r\n".into()));
    assert_eq!(post("Content-Length: 9223372036854775807\r\n").0, BodyFraming::Length(i64::MAX.unsigned_abs()));
    assert_eq!(
        post("Transfer-Encoding:  CHUNKED\r\n"),
        (BodyFraming::Chunked, "Transfer-Encoding: chunked\r\n".into())
    );
}

#[test]
fn the_last_request_of_a_connection_is_known() {
    let expected = |line: &str, fields: &str| head(&format!("{line}\r\nHost: a.example\r\n{fields}\r\n")).expected;
    let last = |fields| expected("GET http://a.example/ HTTP/1.1", fields).last;
    assert!(!last(""));
    assert!(!last("Connection: keep-alive\r\nProxy-Connection: keep-alive\r\n"));
    assert!(last("Connection: foo, Close\r\n"));
    assert!(last("Proxy-Connection: Close\r\n"));
    let close = sent("GET http://a.example/ HTTP/1.1", "Host: a.example\r\nProxy-Connection: Close\r\n");
    assert_eq!(close, "GET / HTTP/1.1\r\nHost: a.example\r\nVia: 1.1 egress\r\nConnection: close\r\n\r\n");
    // RFC 9112 §C.2.2: not even with keep-alive.
    assert_eq!(
        expected("HEAD http://a.example/ HTTP/1.0", "Connection: keep-alive\r\nProxy-Connection: keep-alive\r\n"),
        ForwardExpected { head: true, http10: true, last: true }
    );
    assert_eq!(
        expected("GET http://a.example/ HTTP/1.1", ""),
        ForwardExpected { head: false, http10: false, last: false }
    );
}

#[test]
fn max_forwards_is_counted_down_for_the_one_method_that_has_it() {
    let sent = |method: &str, hops: &str| {
        let sent = sent(
            &format!("{method} http://a.example/ HTTP/1.1"),
            &format!("Host: a.example\r\nMax-Forwards: {hops}\r\n"),
        );
        sent.split("\r\n").find_map(|line| line.strip_prefix("Max-Forwards: ")).unwrap().to_owned()
    };
    for (hops, left) in
        [("1", "0"), ("10", "9"), ("010", "9"), ("4294967295", "4294967294"), ("99999999999999999999999", "4294967294")]
    {
        assert_eq!(sent("OPTIONS", hops), left);
        assert_eq!(sent("GET", hops), hops);
    }
    let zero = "OPTIONS http://a.example HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 0\r\n\r\n";
    assert_eq!(refused(zero), RefuseReason::MaxForwards);
}

#[test]
fn a_loop_is_seen_in_any_via() {
    let with = |via: &str| parse(&format!("GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n{via}\r\n"));
    for via in [
        "Via: 1.1 egress\r\n",
        "via: 1.0 other, HTTP/1.1 EGRESS (latticegate), 1.1 third\r\n",
        "Via: 1.1 other\r\nVia: 1.1  egress\r\n",
        "Via: 1.1\tegress\r\n",
        "Connection: via\r\nVia: 1.1 egress\r\n",
        // RFC 9110 §7.6.3: a pseudonym may have a port. A comment is set off by a blank, but not by everybody.
        "Via: 1.1 egress:3128\r\n",
        "Via: 1.1 other, 1.1 Egress: (x)\r\n",
        "Via: 1.1 egress(x)\r\n",
        // An open parenthesis hides nothing.
        "Via: 1.1 other (x, 1.1 egress\r\n",
    ] {
        assert_eq!(with(via), Verdict::Refuse(RefuseReason::ViaLoop), "{via}");
    }
    for via in [
        "Via: 1.1 egress2\r\n",
        "Via: 1.1 egress.x:3128\r\n",
        "Via: 1.1 x:egress\r\n",
        "Via: egress other\r\n",
        "Via: 1.1 other (1.1 egress)\r\n",
        "Via: ,\r\n",
        "Via:\r\n",
    ] {
        assert!(matches!(with(via), Verdict::Found { .. }), "{via}");
    }
    let connect = "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\nVia: 1.1 egress\r\n\r\n";
    assert_eq!(refused(connect), RefuseReason::ViaLoop);
}

#[test]
fn as_many_connection_options_as_a_message_has_fields() {
    let with = |count: usize| {
        let names: Vec<String> = (0..count).map(|n| format!("x{n}")).collect();
        parse(&format!("GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nConnection: {}\r\n\r\n", names.join(",")))
    };
    assert!(matches!(with(100), Verdict::Found { .. }));
    assert_eq!(with(101), Verdict::Refuse(RefuseReason::HeadMalformed));
}

/// For the log: what was asked for, without what may be a secret.
#[test]
fn refused_hosts_are_reported_without_secrets() {
    let names = |reason, text: &str| -> Vec<String> {
        let refused = RefusedRequest::of(reason, text.as_bytes());
        refused.names.into_iter().map(|name| String::from_utf8(name).unwrap()).collect()
    };
    use RefuseReason as R;
    for (reason, line, expected) in [
        (R::TargetInvalid, "GET http://user:secret@a.example/path?token HTTP/1.1", &["a.example"][..]),
        (R::TargetInvalid, "GET http:secret HTTP/1.1", &[]),
        (R::SchemeUnsupported, "GET https://user:secret@a.example:444/path HTTP/1.1", &["a.example:444"]),
        (R::HostIpAddress, "CONNECT 127.0.0.1:443 HTTP/1.1", &["127.0.0.1:443"]),
        (R::PortMissing, "CONNECT a.example HTTP/1.1", &["a.example"]),
        (R::TargetInvalid, "CONNECT a.example:443/secret HTTP/1.1", &["a.example:443"]),
        (R::OriginForm, "GET /secret HTTP/1.1", &[]),
        // Whatever is wrong with the rest.
        (R::HeadMalformed, "GET http://A.example.:81/secret HTTP/1.1", &["a.example"]),
        (R::ViaLoop, "CONNECT a.example:443 HTTP/1.1", &["a.example"]),
        (R::TraceMethod, "TRACE http://a.example/secret HTTP/1.1", &["a.example"]),
        (R::MaxForwards, "OPTIONS http://a.example HTTP/1.1", &["a.example"]),
        (R::HostMissing, "GET http://a.example?secret HTTP/1.1", &["a.example"]),
        (R::HandshakeTimeout, "GET http://a.example/users/@secret HTTP/1.1", &["a.example"]),
        (R::HeadMalformed, "GET  http://a.example/ HTTP/1.1", &[]),
        (R::HeadMalformed, "connect a.example:443 HTTP/1.1", &[]),
        // Userinfo and path cannot be told apart.
        (R::TargetInvalid, "GET http://user:pa?ss@a.example/ HTTP/1.1", &[]),
        (R::SchemeUnsupported, "GET https://user:secret/pass@a.example/x HTTP/1.1", &[]),
        (R::SchemeUnsupported, "GET https://a.example/users/@secret HTTP/1.1", &[]),
        (R::HostInvalid, "GET http://user%3Asecret%40a.example/ HTTP/1.1", &[]),
        (R::TargetInvalid, "GET http://a.example:80\\@secret/ HTTP/1.1", &[]),
        (R::TargetInvalid, "GET http://user:secret/ HTTP/1.1", &["user"]),
        (R::TargetInvalid, "GET a.example/?u=https://secret/ HTTP/1.1", &[]),
        (R::HostIpAddress, "CONNECT [2001:db8::1%25eth0]:443 HTTP/1.1", &["[2001:db8::1"]),
        (R::HostIpAddress, "CONNECT [2001:db8::1]:443 HTTP/1.1", &["[2001:db8::1]:443"]),
        (R::HostIpAddress, "CONNECT 2001:db8::1:443 HTTP/1.1", &["2001:db8::1:443"]),
    ] {
        assert_eq!(names(reason, &format!("{line}\r\nHost: b.example\r\n\r\n")), expected, "{line}");
    }
    let two = "\r\nGET http://a.example/ HTTP/1.1\r\nHost: b.example\r\nHost: c.example\r\n\r\n";
    assert_eq!(names(R::HostAmbiguous, two), ["b.example", "c.example"]);
    let bad = "GET http://a.example/ HTTP/1.1\r\nHost: b_/x\r\n\r\n";
    assert_eq!(names(R::HostInvalid, bad), ["b_", "a.example"]);
    for (host, logged) in [
        ("user:secret@a.example", &["a.example", "b.example"][..]),
        ("b/secret?token=1", &["b", "b.example"]),
        ("http://user:secret@a.example/x", &["a.example", "b.example"]),
        ("/secret", &["b.example"]),
        ("user:secret/x@a.example", &["b.example"]),
        ("a.example, c.example", &["a.example, c.example", "b.example"]),
    ] {
        let head = format!("GET http://b.example/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(refused(&head), R::HostInvalid, "{host}");
        assert_eq!(names(R::HostInvalid, &head), logged, "{host}");
    }
    let two = "GET http://a.example/ HTTP/1.1\r\nHost: x@y\r\nHost: b/secret?token=1\r\n\r\n";
    assert_eq!(names(R::HostAmbiguous, two), ["y", "b"]);
    // The line is all that has to be there.
    assert_eq!(names(R::HeadTooLong, "GET http://a.example/ HTTP/1.1\r\nX: "), ["a.example"]);
    assert!(names(R::HandshakeTimeout, "GET http://a.example/ HTTP/1.1").is_empty());
}

#[test]
fn what_a_refused_request_asks_for_is_known_from_its_first_line() {
    let asked = |line: &str| Asked::of(format!("\r\n{line}\r\nbroken\0").as_bytes());
    let of = |method: &str, scheme: Option<&str>, host: Option<&str>, port| {
        let (scheme, host) = (scheme.map(Into::into), host.map(|host| host.as_bytes().to_vec()));
        Some(Asked { method: method.into(), scheme, host, port })
    };
    let host = Some("a.example");
    for (line, expected) in [
        ("TRACE http://A.example./x HTTP/1.1", of("TRACE", Some("http"), host, Some(80))),
        ("CONNECT a.example:8443 HTTP/1.0", of("CONNECT", None, host, Some(8443))),
        ("GET HTTPS://a.example/ HTTP/1.1", of("GET", Some("https"), host, None)),
        ("CONNECT 192.0.2.1:443 HTTP/1.1", of("CONNECT", None, Some("192.0.2.1:443"), None)),
        ("CONNECT https://a.example/ HTTP/1.1", of("CONNECT", None, host, None)),
        ("GET http://user:pa?ss@a.example/ HTTP/1.1", of("GET", Some("http"), None, None)),
        ("GET /secret HTTP/1.1", of("GET", None, None, None)),
        ("GET http://a.example/ HTTP/1.1 x", None),
    ] {
        assert_eq!(asked(line), expected, "{line}");
    }
    assert_eq!(asked(&format!("{} http://a.example/ HTTP/1.1", "M".repeat(33))), None);
    let long = asked(&format!("GET {}://a.example/ HTTP/1.1", "s".repeat(33))).unwrap();
    assert_eq!((long.scheme, long.host.is_some()), (None, true));
}

/// Wherever userinfo, path and query stand, and whatever is wrong with the request: what they say is not logged.
#[test]
fn no_secret_is_ever_named() {
    let delimiter = || prop::sample::select(&["/", "?", "#", "\\", ":", "%2F", "%3A", ";", "@"][..]);
    let host = || prop::sample::select(&["a.example", "a_b", "", "127.0.0.1", "[::1]", "*.example", "a.example:0"][..]);
    let scheme = prop::sample::select(&["http://", "HTTP://", "https://", "ftp://", ""][..]);
    let at = prop::sample::select(&["@", "%40"][..]);
    // `user:SECRET@host/SECRET`, where the password has delimiters in it too.
    let place =
        (prop::option::of((prop::collection::vec(delimiter(), 0..3), at)), host(), prop::option::of(delimiter()));
    let written = (scheme, place).prop_map(|(scheme, (userinfo, host, path))| {
        let userinfo = userinfo.map(|(parts, at)| {
            let password: String = parts.iter().map(|part| format!("SECRET{part}")).collect();
            format!("user:{password}SECRET{at}")
        });
        // Behind a `;` or a `%` it is part of the name.
        let path = path.filter(|path| b"/?#\\:".contains(&path.as_bytes()[0])).map(|path| format!("{path}SECRET"));
        format!("{scheme}{}{host}{}", userinfo.unwrap_or_default(), path.unwrap_or_default())
    });
    let method = prop::sample::select(&["GET", "CONNECT", "TRACE", "OPTIONS"][..]);
    let inputs = (method, written.clone(), prop::collection::vec(written, 0..3));
    let named = Cell::new(0);
    let config = ProptestConfig { failure_persistence: None, cases: 5000, ..ProptestConfig::default() };
    let result = TestRunner::new(config).run(&inputs, |(method, target, hosts)| {
        let hosts: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
        let head = format!("{method} {target} HTTP/1.1\r\n{hosts}Via: 1.1 egress\r\n\r\n");
        let reason = refused(&head);
        for name in RefusedRequest::of(reason, head.as_bytes()).names {
            let name = String::from_utf8(name).unwrap();
            prop_assert!(!name.contains("SECRET") && !name.contains("user") && !name.is_empty(), "{name}: {head}");
            named.set(named.get() + 1);
        }
        Ok(())
    });
    result.unwrap();
    assert!(named.get() > 1000, "only {} names", named.get());
}

/// What smuggling is made of: each reader of a pair that disagrees understands one of these otherwise than the other.
const PIECES: [&str; 52] = [
    "Host: a.example",
    "Host: b.example:81",
    "Content-Length: 5",
    "content-length:0",
    "Content-Length: 05",
    "Content-Length: 5, 5",
    "Content-Length: +5",
    "Content-Length:\t5 ",
    "Content-Length : 5",
    "Content_Length: 7",
    "Transfer-Encoding: chunked",
    "transfer-encoding:CHUNKED",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: \x0bchunked",
    "Transfer-Encoding:",
    "Transfer-Encoding\t: chunked",
    "X-Transfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r",
    "Connection: close",
    "Connection: content-length, transfer-encoding, host",
    "Connection: x-one,,  X-Two ,",
    "Connection:",
    "X-One: 1",
    "x-two: 2",
    "Proxy-Connection: Content-Length, close",
    "Keep-Alive: timeout=5",
    "TE: trailers, chunked",
    "Trailer: Content-Length",
    "Upgrade: h2c",
    "HTTP2-Settings: AAMA",
    "Expect: 100-continue",
    "Via: 1.1 latticegate",
    "Via: 1.0 other (, 1.1 x)",
    "Max-Forwards: 3",
    "Max-Forwards: 0",
    "Proxy-Authorization: Basic eA==",
    "X: a: b",
    "X:",
    " folded",
    "\tContent-Length: 5",
    "X: \u{fc}",
    "X: a\rContent-Length: 5",
    "X: a\nContent-Length: 5",
    "X: a\0b",
    ": nameless",
    "GET / HTTP/1.1",
    "",
    "0",
    "5",
    "hello",
    "\r",
    "\n",
];

/// Whatever a head is made of: it is refused, or what is sent instead is one request and no more, which our strict parser
/// of gateways, a simple reader and httparse alone understand alike.
#[test]
fn what_is_sent_is_one_request_to_every_reader() {
    let end = prop_oneof![40 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r"), 1 => Just("\r\r\n")];
    let heads = (
        prop::sample::select(&LINES[..]),
        prop::collection::vec(prop::sample::select(&PIECES[..]), 0..5),
        prop::collection::vec(end, 7),
        prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>())),
    );
    let accepted = Cell::new(0);
    let config = ProptestConfig { failure_persistence: None, cases: 3000, ..ProptestConfig::default() };
    let result = TestRunner::new(config).run(&heads, |(line, pieces, ends, edit)| {
        let lines = [line, "Host: c.example"].into_iter().chain(pieces);
        let mut bytes: Vec<u8> = lines.zip(ends).flat_map(|(line, end)| [line, end].concat().into_bytes()).collect();
        bytes.extend(b"\r\n");
        if let Some((at, value)) = edit {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if matches!(ForwardParser::default().parse(&bytes, "latticegate"), Verdict::Found { .. })
            && let Verdict::Found { value: head, .. } = invariants::forward_head::check(&bytes)
        {
            accepted.set(accepted.get() + 1);
            is_understood_alike(&head);
        }
        Ok(())
    });
    result.unwrap();
    assert!(accepted.get() > 300, "only {} were accepted", accepted.get());
}

/// By httparse, which decides nothing about framing.
fn is_understood_alike(head: &ForwardHead) {
    if head.is_connect() {
        return;
    }
    let mut fields = [httparse::EMPTY_HEADER; 110];
    let mut request = httparse::Request::new(&mut fields);
    assert_eq!(request.parse(&head.rewritten), Ok(httparse::Status::Complete(head.rewritten.len())));
    assert_eq!(request.method, Some(&*head.method));
    assert!(request.path.unwrap().starts_with(['/', '*']));
    let expected = match head.body {
        BodyFraming::None => None,
        BodyFraming::Length(length) => Some(("content-length", length.to_string())),
        BodyFraming::Chunked => Some(("transfer-encoding", "chunked".to_owned())),
    };
    let framing = request.headers.iter().filter_map(|field| {
        let name = field.name.to_ascii_lowercase();
        let name = ["content-length", "transfer-encoding"].into_iter().find(|framing| *framing == name)?;
        Some((name, String::from_utf8_lossy(field.value).into_owned()))
    });
    assert_eq!(framing.collect::<Vec<_>>(), expected.into_iter().collect::<Vec<_>>());
}

const LINES: [&str; 8] = [
    "GET http://a.example/ HTTP/1.1",
    "POST http://a.example:81/x?y HTTP/1.1",
    "POST http://a.example HTTP/1.0",
    "OPTIONS http://a.example HTTP/1.1",
    "HEAD HTTP://A.EXAMPLE.?x HTTP/1.1",
    "CONNECT a.example:443 HTTP/1.1",
    "CONNECT a.example:443 HTTP/1.0",
    "PUT http://a.example//b.example/ HTTP/1.1",
];
