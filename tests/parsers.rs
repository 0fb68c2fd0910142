//! The pure parsers of network bytes: header, hello and head. Whatever comes, and however it is split, each says
//! NeedMore until it can tell, and from then on always the same.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions)]

use std::collections::HashSet;
use std::fmt::Debug;

use latticegate_core::client::{Client, EndpointId};
use latticegate_core::hostname::Hostname;
use latticegate_core::outcome::RefuseReason;
use latticegate_core::protocol::Verdict;
use latticegate_core::protocol::client_hello::{self, Alpn, Group};
use latticegate_core::protocol::forward_head::ForwardParser;
use latticegate_core::protocol::http_head::{self, BodyFraming, Head};
use latticegate_core::protocol::proxy_header::{self, Header};
use proptest::prelude::*;
use support::malformed::{self, Malformed, Stage};
use support::wire::{self, Hello, ORDERS};

/// What the test needs of any parser's verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Found { value: String, len: usize, name: Option<Hostname> },
    NeedMore,
    Refuse(RefuseReason),
}

fn parse(stage: Stage, bytes: &[u8]) -> Seen {
    match stage {
        Stage::Proxy => see(proxy_header::parse(bytes), |_| None),
        Stage::Tls => see(client_hello::parse(bytes), |hello| Some(hello.name.clone())),
        Stage::Http => see(http_head::parse(bytes, 80), |head| Some(head.name.clone())),
        Stage::Forward => Resumed::default().parse(stage, bytes),
    }
}

/// The longest input about which the parser may still be undecided.
fn bound(stage: Stage) -> usize {
    match stage {
        Stage::Proxy => proxy_header::MAX_HEADER,
        Stage::Tls => client_hello::MAX_BYTES,
        Stage::Http | Stage::Forward => http_head::MAX_HEAD,
    }
}

/// A parser that is shown ever more of the same bytes.
#[derive(Default)]
struct Resumed {
    tls: client_hello::HelloParser,
    http: http_head::HeadParser,
    forward: ForwardParser,
}

impl Resumed {
    fn parse(&mut self, stage: Stage, bytes: &[u8]) -> Seen {
        match stage {
            Stage::Proxy => parse(stage, bytes),
            Stage::Tls => see(self.tls.parse(bytes), |hello| Some(hello.name.clone())),
            Stage::Http => see(self.http.parse(bytes, 80), |head| Some(head.name.clone())),
            Stage::Forward => see(self.forward.parse(bytes, "latticegate"), |head| Some(head.name.clone())),
        }
    }
}

fn see<T: Debug>(verdict: Verdict<T>, name: fn(&T) -> Option<Hostname>) -> Seen {
    match verdict {
        Verdict::Found { value, len } => Seen::Found { name: name(&value), value: format!("{value:?}"), len },
        Verdict::NeedMore => Seen::NeedMore,
        Verdict::Refuse(reason) => Seen::Refuse(reason),
    }
}

/// NeedMore up to some byte, then one verdict for ever, which the last byte that it needs brings. A parser that
/// remembers how far it has come says the same as one that begins anew.
fn decides_once(stage: Stage, bytes: &[u8]) -> Seen {
    let mut decided: Option<Seen> = None;
    let mut resumed = Resumed::default();
    // Of long inputs every prefix near the ends, and a sample of those between.
    let telling = |len: &usize| *len < 2048 || len.is_multiple_of(97) || len + 64 > bytes.len();
    for len in (0..=bytes.len()).filter(telling) {
        let seen = parse(stage, &bytes[..len]);
        assert_eq!(resumed.parse(stage, &bytes[..len]), seen, "resumed after {len} bytes of {}", bytes.escape_ascii());
        match &decided {
            Some(decided) => assert_eq!(&seen, decided, "after {len} bytes of {}", bytes.escape_ascii()),
            None if seen != Seen::NeedMore => decided = Some(seen),
            None => assert!(len < bound(stage), "undecided after {len} bytes"),
        }
    }
    if let Some(Seen::Found { len, .. }) = decided {
        assert!(len <= bytes.len());
        assert_eq!(parse(stage, &bytes[..len - 1]), Seen::NeedMore, "{}", bytes.escape_ascii());
    }
    decided.unwrap_or(Seen::NeedMore)
}

#[test]
fn a_client_waits_behind_one_whole_hello() {
    let browser = Hello::browser(ORDERS);
    let message = browser.message();
    for whole in [browser.record(), wire::records(&message, 100), wire::hello()] {
        assert!(client_hello::awaits_answer(&whole), "{}", whole.escape_ascii());
        assert!(!client_hello::awaits_answer(&whole[..whole.len() - 1]));
        assert!(!client_hello::awaits_answer(&[&whole[..], b"x"].concat()));
    }
    let early_data = Hello::to(ORDERS).with(42, vec![]).record();
    for other in [&early_data[..], b"", b"\x16", b"GET / HTTP/1.1\r\n\r\n"] {
        assert!(!client_hello::awaits_answer(other), "{}", other.escape_ascii());
    }
}

/// Everything that must be accepted.
fn valid() -> Vec<(Stage, Vec<u8>)> {
    let hello = Hello::to(ORDERS);
    let browser = Hello::browser(ORDERS);
    let mut all = vec![
        (Stage::Proxy, wire::captured_nlb()),
        (Stage::Proxy, wire::nlb_health_check()),
        (Stage::Proxy, wire::proxy(wire::LOCAL, 0x00, &[])),
        (Stage::Proxy, wire::proxy(wire::LOCAL, 0xff, b"not even TLVs")),
        (Stage::Proxy, wire::tcp4(&[])),
        (Stage::Proxy, wire::tcp6(&[])),
        (Stage::Proxy, wire::tcp4(&wire::tlv(4, &[0; 0xffff - 12 - 3]))),
        (Stage::Proxy, wire::tcp6(&wire::tlv(0xee, b"x").repeat(10_000))),
        (Stage::Proxy, wire::proxy(wire::LOCAL, 0x00, &[0; 0xffff])),
        (Stage::Proxy, wire::with_checksum(wire::tcp6(&wire::tlv(3, &[0; 4])))),
        (Stage::Proxy, wire::tcp4(&[wire::tlv(0xea, &[]), wire::tlv(0xea, b"\x02other")].concat())),
        (Stage::Tls, hello.record()),
        (Stage::Tls, browser.record()),
        (Stage::Tls, wire::records(&hello.message(), 3)),
        (Stage::Tls, wire::records(&browser.message(), 512)),
        (Stage::Tls, wire::records(&browser.message(), 1000)),
        (Stage::Tls, [wire::records(&browser.message()[..4], 1), wire::record(&browser.message()[4..])].concat()),
        (Stage::Tls, wire::records(&hello.message(), 1)),
        (Stage::Tls, wire::records(&malformed::padded_hello(65 * 10), 10)),
    ];
    // The version of a record is to be ignored.
    for version in [[3, 0], [3, 1], [3, 2], [3, 3], [3, 4], [3, 5], [3, 0xff]] {
        let mut record = Hello { version, ..hello.clone() }.record();
        record[1..3].copy_from_slice(&version);
        all.push((Stage::Tls, record));
    }
    for name in [&b"ORDERS.Example.Com."[..], b"_dmarc.a-b.example", b"a", b"xn--bcher-kva.example"] {
        all.push((Stage::Tls, Hello::to(name).record()));
    }
    let heads: [&str; 16] = [
        "GET / HTTP/1.1\r\nHost: orders.example.com\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: orders.example.com\r\n\r\n",
        "GET / HTTP/1.1\r\nhOsT:ORDERS.example.COM.\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: \t orders.example.com:80 \t\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: orders.example.com\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: orders.example.com\r\nConnection: Keep-Alive\r\n\r\n",
        "GET http://orders.example.com/x?y#z HTTP/1.1\r\nHost: Orders.Example.com\r\n\r\n",
        "GET HTTP://ORDERS.example.com:80 HTTP/1.1\r\nHost: orders.example.com\r\n\r\n",
        "GET http://orders.example.com?x HTTP/1.1\r\nHost: orders.example.com:80\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: orders.example.com\r\n\r\n",
        "GET //evil.example/x HTTP/1.1\r\nHost: orders.example.com\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: orders.example.com\r\nContent-Length: 9223372036854775807\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: orders.example.com\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n",
        "TRACE / HTTP/1.1\r\nHost: orders.example.com\r\nContent-Length: 0\r\n\r\n",
        "PRIVATE / HTTP/1.1\r\nHost: orders.example.com\r\nX:\r\nY: \u{fc}\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: orders.example.com\r\nConnection: a, Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ];
    all.extend(heads.map(|head| (Stage::Http, head.into())));
    all.extend(FORWARDED.map(|head| (Stage::Forward, head.into())));
    all.push((
        Stage::Http,
        format!("{}Host: a.example\r\n\r\n", "GET / HTTP/1.1\r\n".to_owned() + &"X: y\r\n".repeat(99)).into(),
    ));
    all
}

/// Requests to a forward proxy that are accepted.
const FORWARDED: [&str; 15] = [
    // As Windows (WinHTTP) asks.
    "CONNECT a.example:443 HTTP/1.0\r\nUser-Agent: Microsoft-WNS/10.0\r\nHost: a.example:443\r\nContent-Length: 0\r\nProxy-Connection: Keep-Alive\r\nPragma: no-cache\r\n\r\n",
    "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n",
    "CONNECT a.example:443 HTTP/1.0\r\n\r\n",
    "\r\nCONNECT A.Example.:65535 HTTP/1.1\r\nhOsT:10.0.0.1:3128\r\nUser-Agent: x\r\nVia: 1.1 other\r\n\r\n",
    "GET http://orders.example.com/x?y HTTP/1.1\r\nHost: orders.example.com\r\n\r\n",
    "GET HTTP://ORDERS.example.com.:8080 HTTP/1.1\r\nHost: other.example\r\n\r\n",
    "GET http://orders.example.com?x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "OPTIONS http://orders.example.com HTTP/1.1\r\nHost: [::1]:80\r\nMax-Forwards: 12\r\n\r\n",
    "HEAD http://orders.example.com/ HTTP/1.1\r\nHost: 127.0.0.1\r\nMax-Forwards: 0\r\n\r\n",
    "POST http://orders.example.com/ HTTP/1.1\r\nHost: x\r\nContent-Length: 9223372036854775807\r\n\r\n",
    "POST http://orders.example.com/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\nExpect: 100-continue\r\n\r\n",
    "GET http://orders.example.com/ HTTP/1.1\r\nHost: x\r\nConnection: close, Upgrade, x-y\r\nX-Y: z\r\nUpgrade: h2c\r\n\r\n",
    "GET http://orders.example.com/ HTTP/1.1\r\nHost: x\r\nConnection: content-length\r\nContent-Length: 3\r\n\r\n",
    "GET http://orders.example.com/\u{fc}{}|^ HTTP/1.1\r\nHost: x\r\nX:\r\nY: \u{fc}\r\nVia: 1.0 a (b), 1.1 c\r\n\r\n",
    "M-SEARCH http://a_b.example:1/ HTTP/1.1\r\nHost: x\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\n\r\n",
];

#[test]
fn every_prefix_of_a_valid_input_needs_more_and_then_nothing_changes_it() {
    for (stage, bytes) in valid() {
        let taken = bytes.len();
        for after in
            [&b""[..], b"\0", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", b"\x17\x03\x03\0\x01x", b"GET / HTTP/1.1\r\n\r\n"]
        {
            match decides_once(stage, &[&bytes, after].concat()) {
                Seen::Found { len, .. } => assert_eq!(len, taken, "{}", bytes.escape_ascii()),
                other => panic!("{stage:?} {other:?}: {}", bytes.escape_ascii()),
            }
        }
    }
}

#[test]
fn every_malformed_input_is_refused_with_its_word() {
    let all = malformed::all();
    let mut names = HashSet::new();
    for Malformed { name, stage, bytes, reason } in &all {
        assert!(names.insert((format!("{stage:?}"), name)), "{name} stands twice");
        match decides_once(*stage, bytes) {
            Seen::Refuse(refused) => assert_eq!(refused.word(), *reason, "{stage:?}: {name}"),
            other => panic!("{stage:?}: {name}: {other:?}"),
        }
    }
    assert!(all.len() >= 150, "{}", all.len());
    for stage in Stage::ALL {
        let least = if stage == Stage::Forward { 200 } else { 50 };
        let rows = all.iter().filter(|row| row.stage == stage).count();
        assert!(rows >= least, "{stage:?}: {rows}");
    }
}

/// Every reason that the parsers import is one that the table causes.
#[test]
fn every_reason_of_the_parsers_is_in_the_table() {
    let sources = [
        include_str!("../src/core/protocol/proxy_header.rs"),
        include_str!("../src/core/protocol/client_hello.rs"),
        include_str!("../src/core/protocol/http_head.rs"),
        include_str!("../src/core/protocol/http_lines.rs"),
        include_str!("../src/core/protocol/http_fields.rs"),
        include_str!("../src/core/protocol/http_authority.rs"),
        include_str!("../src/core/protocol/forward_head.rs"),
        include_str!("../src/core/protocol/forward_target.rs"),
    ];
    let imported = |source: &'static str| source.split("RefuseReason::{").nth(1).unwrap().split("};").next().unwrap();
    let used: HashSet<_> = sources.into_iter().flat_map(|source| imported(source).split(',')).map(str::trim).collect();
    let caused: HashSet<_> = malformed::all().iter().map(|row| row.reason).collect();
    let mut ran = 0;
    for reason in RefuseReason::ALL.iter().filter(|reason| used.contains(format!("{reason:?}").as_str())) {
        assert!(caused.contains(reason.word()), "{reason:?} is caused by no row");
        ran += 1;
    }
    assert!(ran >= 26, "{ran}");
}

#[test]
fn no_changed_byte_makes_a_bad_name() {
    let mut ran = 0;
    for (stage, bytes) in valid().into_iter().filter(|(_, bytes)| bytes.len() < 2500) {
        for at in 0..bytes.len() {
            for value in
                [0, b'\n', b'\r', b' ', b'.', b':', b'A', 0x7f, 0x80, 0xff, bytes[at] ^ 1, bytes[at].wrapping_add(1)]
            {
                let mut changed = bytes.clone();
                changed[at] = value;
                no_bad_name(&parse(stage, &changed));
                ran += 1;
            }
        }
    }
    assert!(ran > 100_000, "{ran}");
}

fn no_bad_name(seen: &Seen) {
    if let Seen::Found { name: Some(name), .. } = seen {
        assert_eq!(Hostname::parse(name.as_str().as_bytes()).as_ref(), Ok(name));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_decided_once(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for stage in Stage::ALL {
            no_bad_name(&decides_once(stage, &bytes));
        }
    }

    /// Bytes near to valid ones reach deeper than any bytes.
    #[test]
    fn mangled_input_is_decided_once(
        fixture in any::<prop::sample::Index>(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..6),
    ) {
        let all = valid();
        let (stage, mut bytes) = all[fixture.index(all.len())].clone();
        for (at, value, edit) in edits {
            let at = at.index(bytes.len());
            match edit {
                0 => bytes[at] = value,
                1 => bytes.insert(at, value),
                2 if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => bytes.extend_from_within(at..),
            }
        }
        no_bad_name(&decides_once(stage, &bytes));
    }
}

#[test]
fn header_tells_addresses_and_endpoint() {
    let Verdict::Found { value, len: 100 } = proxy_header::parse(&wire::captured_nlb()) else { panic!() };
    let endpoint = EndpointId::parse(b"vpce-08d2bf15fac5001c9");
    assert!(endpoint.is_some());
    assert_eq!(value, Header::Proxy(Client::new("172.31.7.113:51442".parse().unwrap(), endpoint)));

    let Verdict::Found { value, .. } = proxy_header::parse(&wire::tcp6(&[])) else { panic!() };
    assert_eq!(value, Header::Proxy(Client::new("[2001:db8::1]:40000".parse().unwrap(), None)));
}

#[test]
fn header_tells_a_mapped_address_as_ipv4() {
    let mut header = wire::tcp6(&[]);
    header[16..32].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3]);
    let Verdict::Found { value: Header::Proxy(client), .. } = proxy_header::parse(&header) else { panic!() };
    assert_eq!((client.ip.to_string(), client.port), ("10.1.2.3".to_owned(), 40_000));
}

#[test]
fn local_header_is_skipped_by_its_length_alone() {
    for header in [
        wire::nlb_health_check(),
        wire::proxy(wire::LOCAL, wire::TCP6, b"xyz"),
        wire::proxy(wire::LOCAL, 0x00, &wire::tlv(3, b"bad!")),
    ] {
        assert_eq!(proxy_header::parse(&header), Verdict::Found { value: Header::Local, len: header.len() });
    }
}

fn hello(bytes: &[u8]) -> client_hello::Hello {
    match client_hello::parse(bytes) {
        Verdict::Found { value, .. } => value,
        other => panic!("{other:?}"),
    }
}

#[test]
fn hello_tells_what_the_log_wants() {
    let message = Hello::browser(b"Orders.Example.COM.").message();
    let reported = hello(&wire::records(&message, 600));
    assert_eq!(reported.name.as_str(), "orders.example.com");
    assert_eq!(usize::from(reported.size), message.len());
    assert_eq!(usize::from(reported.records), message.len().div_ceil(600));
    assert_eq!(reported.alpn, Some(Alpn::H2));
    assert!(reported.ech);
    assert_eq!(reported.key_share.unwrap().to_string(), "x25519mlkem768");

    let plain = hello(&Hello::default().with(0, wire::sni(ORDERS)).record());
    assert_eq!((plain.records, plain.alpn, plain.ech, plain.key_share), (1, None, false, None));
    let other = hello(&Hello::to(ORDERS).with(16, wire::alpn(&[b"acme-tls/1", b"h2"])).record());
    assert_eq!((other.alpn, other.key_share), (Some(Alpn::Other), Some(Group(0x1d))));
}

/// What is only for the log never refuses a client.
#[test]
fn broken_facts_are_left_to_the_server() {
    for data in [&b""[..], b"\0", b"\xff\xff\x02h2", b"\0\x03\xffh2"] {
        let reported =
            hello(&Hello::default().with(16, data.into()).with(51, data.into()).with(0, wire::sni(ORDERS)).record());
        assert_eq!((reported.alpn, reported.key_share), (None, None), "{data:?}");
    }
}

#[test]
fn name_is_found_wherever_its_extension_stands() {
    let list = Hello::browser(ORDERS).extensions.unwrap();
    for turn in 0..list.len() {
        let mut extensions = list.clone();
        extensions.rotate_left(turn);
        for each in [1 << 14, 512, 100] {
            let message = Hello { extensions: Some(extensions.clone()), ..Hello::default() }.message();
            assert_eq!(hello(&wire::records(&message, each)).name.as_str(), "orders.example.com");
        }
    }
}

#[test]
fn longest_hello_fits_the_bound_and_no_longer_one() {
    let message = malformed::padded_hello(client_hello::MAX_HELLO);
    let one_by_one = wire::records(&message, 1);
    assert_eq!(one_by_one.len(), client_hello::MAX_BYTES);
    for bytes in [wire::record(&message), wire::records(&message, 300), one_by_one] {
        let hello = hello(&bytes);
        assert_eq!(usize::from(hello.size), client_hello::MAX_HELLO);
        assert_eq!(usize::from(hello.records) * 5, bytes.len() - message.len());
    }
}

/// However a hello or a head is cut, a byte is looked at once or twice: what has been passed may be overwritten.
#[test]
fn what_has_been_looked_at_is_not_looked_at_again() {
    let hello = wire::records(&Hello::browser(ORDERS).message(), 7);
    let mut parser = client_hello::HelloParser::default();
    let mut seen = Vec::new();
    // All but the last record.
    for record in hello[..hello.len() - 12].chunks(12) {
        seen.extend_from_slice(record);
        assert_eq!(parser.parse(&seen), Verdict::NeedMore);
        // The first byte alone says that it is TLS.
        seen[1..].fill(0);
    }
    let head = format!("GET /{} HTTP/1.1\r\n{}", "a".repeat(500), "X: y\r\n".repeat(50));
    let mut parser = http_head::HeadParser::default();
    let mut seen = Vec::new();
    for byte in head.bytes() {
        seen.push(byte);
        assert_eq!(parser.parse(&seen, 80), Verdict::NeedMore);
        // The request line is read when it is complete, of a field only what ends it; what must stay is the method.
        if let Some(line) = seen.len().checked_sub(2).filter(|_| seen.contains(&b'\n')) {
            seen[4..line].fill(b'\n');
        }
    }
    let method = vec![b'A'; 1000];
    let mut parser = http_head::HeadParser::default();
    let mut seen = Vec::new();
    for byte in method {
        seen.push(byte);
        assert_eq!(parser.parse(&seen, 80), Verdict::NeedMore);
        seen[1..].fill(b'\n');
    }
}

fn head(text: &str) -> Head {
    match http_head::parse(text.as_bytes(), 80) {
        Verdict::Found { value, .. } => value,
        other => panic!("{other:?}: {text}"),
    }
}

#[test]
fn head_tells_the_body_and_whether_more_may_follow() {
    let post = |version: &str, fields: &str| head(&format!("POST / HTTP/{version}\r\nHost: a.example\r\n{fields}\r\n"));
    assert_eq!(post("1.1", "").body, BodyFraming::None);
    assert_eq!(post("1.1", "Content-Length: 0\r\n").body, BodyFraming::Length(0));
    assert_eq!(post("1.0", "Content-Length: 007\r\n").body, BodyFraming::Length(7));
    assert_eq!(post("1.1", "transfer-encoding: CHUNKED\r\n").body, BodyFraming::Chunked);

    assert!(!post("1.1", "").last);
    assert!(post("1.1", "Connection: Foo, Close\r\n").last);
    assert!(post("1.1", "Connection: keep-alive\r\nConnection: close\r\n").last);
    assert!(post("1.0", "").last);
    assert!(!post("1.0", "Connection: keep-alive\r\n").last);
    assert!(post("1.1", "Connection: upgrade\r\nUpgrade: h2c\r\n").upgrade);
    assert!(!post("1.1", "").upgrade);
}

#[test]
fn head_may_name_only_the_public_port() {
    let bytes = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let parse = |host: &str, port| see(http_head::parse(bytes(host).as_bytes(), port), |_| None);
    assert!(matches!(parse("a.example:8080", 8080), Seen::Found { .. }));
    assert!(matches!(parse("a.example", 8080), Seen::Found { .. }));
    assert_eq!(parse("a.example:80", 8080), Seen::Refuse(RefuseReason::HostPort));
    assert_eq!(parse("a.example:8080", 80), Seen::Refuse(RefuseReason::HostPort));
}
