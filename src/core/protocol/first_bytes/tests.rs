//! What is read of bytes that end too early or are not valid. That a complete hello or head gives the name that its parser
//! finds, and a prefix of it that name or none, holds for every capture: `tests/invariants`.

use super::*;

fn vec16(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// A ClientHello with these extensions.
fn message(extensions: &[(u16, &[u8])]) -> Vec<u8> {
    let list: Vec<u8> =
        extensions.iter().flat_map(|(kind, data)| [&kind.to_be_bytes()[..], &vec16(data)].concat()).collect();
    let body = [&[3, 3][..], &[0; 32], &[0], &[0, 2, 0x13, 1], &[1, 0], &vec16(&list)].concat();
    [&[1, 0][..], &vec16(&body)].concat()
}

fn record(fragment: &[u8]) -> Vec<u8> {
    [&[22, 3, 1][..], &vec16(fragment)].concat()
}

fn sni(name: &[u8]) -> Vec<u8> {
    vec16(&[&[0][..], &vec16(name)].concat())
}

fn named(bytes: &[u8]) -> Option<String> {
    name(bytes).map(|name| String::from_utf8_lossy(&name).into_owned())
}

#[test]
fn the_name_of_a_hello_is_known_once_its_extension_has_come() {
    let hello = record(&message(&[(10, b"groups"), (0, &sni(b"a.example")), (43, &[0; 500])]));
    let complete = hello.windows(9).position(|window| window == b"a.example").unwrap() + 9;
    for cut in 0..=hello.len() {
        let expected = (cut >= complete).then(|| "a.example".to_owned());
        assert_eq!(named(&hello[..cut]), expected, "{cut} of {}", hello.len());
    }
    // In records of each size, and broken behind the name.
    let whole = message(&[(0, &sni(b"A.Example")), (43, &[0; 500])]);
    for size in 1..100 {
        let records: Vec<u8> = whole.chunks(size).flat_map(record).collect();
        assert_eq!(named(&records).as_deref(), Some("A.Example"), "{size}");
        let broken = [&records[..records.len() / 2 + 64], b"\0\0\0\0"].concat();
        assert_eq!(named(&broken).as_deref(), Some("A.Example"), "{size}");
    }
}

#[test]
fn what_is_no_name_is_none() {
    assert_eq!(named(&record(&message(&[]))), None);
    for (kind, data) in [(0, &b""[..]), (0, &[0, 0]), (0, &[0, 3, 0, 0, 9]), (1, &sni(b"a.example"))] {
        assert_eq!(named(&record(&message(&[(kind, data)]))), None, "{data:?}");
    }
    let hello_done = [&[14][..], message(&[(0, &sni(b"a.example"))]).get(1..).unwrap()].concat();
    assert_eq!(named(&record(&hello_done)), None, "not a ClientHello");
    assert_eq!(named(b"\x80\x2e\x01\0\x02"), None);
    assert_eq!(named(b""), None);
}

/// A byte in each record, without an end: a bounded part of it is looked at.
#[test]
fn no_more_than_the_longest_hello_is_joined() {
    let records = record(&[1]).repeat(100_000);
    assert_eq!(handshake(&records).len(), MAX_HELLO);
}

#[test]
fn the_host_of_a_head_is_known_once_its_line_has_come() {
    for (head, expected) in [
        (&b"GET /secret HTTP/1.1\r\nAccept: */*\r\nhOsT:  A.Example \r\nCookie: sec"[..], Some("A.Example")),
        (b"GET / HTTP/1.1\r\nHost: a.example:8080\r\n", Some("a.example")),
        (b"\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n", Some("a.example")),
        (b"GET / HTTP/1.1\nHost: a.example\n", Some("a.example")),
        (b"GET / HTTP/1.1\r\nHost: a.example", None),
        (b"GET / HTTP/1.1\r\n\r\nHost: in-the-body.example\r\n", None),
        (b"Host: a.example\r\n", None),
        (b"GET / HTTP/1.1\r\nHost: user:secret@a.example\r\n", Some("a.example")),
        (b"GET / HTTP/1.1\r\nHost: a.example/secret\r\n", Some("a.example")),
        (b"GET / HTTP/1.1\r\nHost: \r\n", None),
        (b"GET / HTTP/1.1\r\nHost: 192.0.2.1:80\r\n", Some("192.0.2.1")),
        (b"GET / HTTP/1.1\r\nHost: [2001:db8::1]\r\n", Some("[2001:db8::1]")),
        (b"\xff\xfe /\r\nHost: a.example\r\n", None),
        (b"GET / HTTP/1.1\r\nHost: :8080\r\n", None),
        (b"GET http://:8080/ HTTP/1.1\r\nHost: a.example\r\n", None),
    ] {
        assert_eq!(named(head).as_deref(), expected, "{}", head.escape_ascii());
    }
}

/// A listener for Host lets a method of any length through, so that its name belongs into the record, too. Nothing else of it
/// may go into the log.
#[test]
fn a_method_too_long_to_log_hides_no_host() {
    let method = "M".repeat(MAX_METHOD + 1);
    let request = format!("{method} / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(named(request.as_bytes()).as_deref(), Some("a.example"));
    assert_eq!(FirstBytes::of(request.as_bytes()), FirstBytes::Other(&[b'M'; 16]));
    let absolute = format!("{method} http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n");
    assert_eq!(named(absolute.as_bytes()).as_deref(), Some("a.example"));
}

#[test]
fn a_header_is_split_off_whatever_is_in_it() {
    let v2 = |rest: &[u8]| [v2::PROTOCOL_PREFIX, &[0x99, 0x99], &vec16(rest)].concat();
    for (header, rest) in [
        (v2(b"anything"), &b"behind"[..]),
        (v2(b""), b""),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(), b"behind"),
        (Vec::new(), b"GET / HTTP/1.1\r\n"),
        (Vec::new(), b""),
        // One that has no end belongs to none.
        (Vec::new(), &[b'P', b'R', b'O', b'X', b'Y', b' '].repeat(30)),
    ] {
        assert_eq!(split_header(&[&header, rest].concat()), (&header[..], rest));
    }
    let cut = v2(b"anything");
    for len in v2::PROTOCOL_PREFIX.len()..cut.len() {
        assert_eq!(split_header(&cut[..len]), (&cut[..len], &b""[..]));
    }
}

#[test]
fn of_what_may_be_secret_only_the_kind_is_kept() {
    let request =
        FirstBytes::of(b"POST /token?secret HTTP/1.1\r\nAuthorization: secret\r\nHost: a.example\r\n\r\nsecret");
    assert_eq!(request, FirstBytes::Request { method: "POST", host: Some(b"a.example") });
    assert_eq!(
        FirstBytes::of(b"\x05\x01\x00 and then a secret of some kind"),
        FirstBytes::Other(b"\x05\x01\x00 and then a s")
    );
    assert_eq!(FirstBytes::of(&[b'a'; 40]), FirstBytes::Other(&[b'a'; 16]));
    let hello = record(&message(&[]));
    assert_eq!(FirstBytes::of(&hello), FirstBytes::Hello(&hello));
    assert_eq!(FirstBytes::of(b"\x80\x2e\x01\0\x02rest"), FirstBytes::Hello(b"\x80\x2e\x01\0\x02rest"));
}

/// A client must not be able to hide behind a Host that its request is not for.
#[test]
fn the_host_of_the_target_takes_precedence() {
    for (request, expected) in [
        (&b"GET http://a.example:8080/x HTTP/1.1\r\nHost: b.example\r\n\r\n"[..], Some(&b"a.example"[..])),
        (b"GET http://user:pw@a.example/x HTTP/1.1\r\nHost: b.example\r\n\r\n", Some(b"a.example")),
        (b"CONNECT a.example:443 HTTP/1.1\r\nHost: b.example\r\n\r\n", Some(b"a.example")),
        (b"CONNECT a.example:443 HTTP/1.1\r\n", Some(b"a.example")),
        (b"GET /http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n", Some(b"b.example")),
        (b"GET http://a.exam", None),
    ] {
        assert_eq!(name(request).as_deref(), expected, "{}", String::from_utf8_lossy(request));
    }
}
