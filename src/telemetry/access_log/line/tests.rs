//! Both formats: every field, hostile values, and absent values.

use std::net::SocketAddr;

use jiff::Timestamp;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::telemetry::record::{ForwardFacts, HelloFacts, RequestFacts};

use latticegate_core::client::{Client, EndpointId};
use latticegate_core::config::{Listener, Protocol, ProxyProtocol};
use latticegate_core::networks::DestinationNetworks;
use latticegate_core::outcome::{ByteCounts, Unfinished};
use latticegate_core::protocol::client_hello::Group;
use latticegate_core::protocol::forward_head::RefusedRequest;

pub(in super::super) fn listener() -> Listener {
    Listener {
        name: "tls".into(),
        bind: "[::]:8443".parse().unwrap(),
        protocol: Protocol::Tls,
        upstream_port: 443,
        public_port: 443,
        proxy_protocol: ProxyProtocol::Required,
        forward: None,
        networks: DestinationNetworks::default(),
    }
}

fn record() -> Record {
    Record::new(0xabc, "10.0.0.9:1234".parse().unwrap())
}

/// With everything that can be known.
fn full_record() -> Record {
    let mut record = record();
    let endpoint = EndpointId::parse(b"vpce-0123456789abcdef0");
    record.client = Some(Client::new("[2001:db8::1]:40000".parse().unwrap(), endpoint));
    record.rule = Some("ipcontrol.yaml:12".into());
    record.name = Some("orders.example.com".into());
    record.upstream = Some("169.254.171.10:443".parse::<SocketAddr>().unwrap().into());
    record.detail = Some("a word to the wise".into());
    record.bytes = ByteCounts { up: 517, down: 1 << 40 };
    record.closed_by = Some(Side::Upstream);
    record.stale = true;
    record.hello =
        Some(HelloFacts { size: 1700, records: 2, alpn: Some(Alpn::H2), ech: true, key_share: Some(Group(0x11ec)) });
    let step = |ms| Some(Duration::from_millis(ms).into());
    (record.times.header, record.times.hello) = (step(1), step(3));
    (record.times.dns, record.times.connect) = (step(6), step(10));
    record
}

fn now(timestamps: &Timestamps) -> Now<'_> {
    Now { timestamps, time: SystemTime::now(), elapsed: Duration::from_millis(12) }
}

fn json_to(out: &mut Vec<u8>, now: Now<'_>, listener: &Listener, record: &Record, outcome: Outcome) {
    json(out, &Connection { now, listener, record, outcome }, None);
}

fn json_of(record: &Record, outcome: Outcome) -> Value {
    let mut out = Vec::new();
    json_to(&mut out, now(&Timestamps::default()), &listener(), record, outcome);
    assert_eq!(memchr::memchr_iter(b'\n', &out).count(), 1, "one line");
    assert!(out.ends_with(b"}\n"));
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn json_has_every_field() {
    let mut line = json_of(&full_record(), Outcome::Relayed(Close::Done));
    let line = line.as_object_mut().unwrap();
    line.remove("time").unwrap().as_str().unwrap().parse::<Timestamp>().unwrap();
    let expected = json!({
        "id": "0000000000000abc", "listener": "tls", "peer": "10.0.0.9:1234",
        "client": "2001:db8::1", "client_port": 40000, "vpce": "vpce-0123456789abcdef0", "rule": "ipcontrol.yaml:12",
        "name": "orders.example.com", "upstream": "169.254.171.10:443", "outcome": "relayed", "reason": "done",
        "detail": "a word to the wise", "bytes_up": 517, "bytes_down": 1_u64 << 40,
        "header_ms": 1.0, "hello_ms": 2.0, "dns_ms": 3.0, "connect_ms": 4.0, "total_ms": 12.0, "closed_by": "upstream",
        "dns_stale": true,
        "hello": { "bytes": 1700, "records": 2, "alpn": "h2", "group": "x25519mlkem768", "ech": true },
    });
    assert_eq!(Value::Object(line.clone()), expected);
}

/// Parsers of the log may depend on the order of the fields and on each character.
#[test]
fn the_lines_are_these_to_the_byte() {
    let clock = Timestamps::default();
    let now = || Now {
        timestamps: &clock,
        time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_258_617_057),
        elapsed: Duration::from_secs(90_000) + Duration::from_nanos(1_500),
    };
    let text = |write: fn(&mut Vec<u8>, Now<'_>, &Listener, &Record, Outcome), record: &Record, outcome| {
        let mut out = Vec::new();
        write(&mut out, now(), &listener(), record, outcome);
        String::from_utf8(out).unwrap()
    };
    let (full, done) = (full_record(), Outcome::Relayed(Close::Done));
    let (empty, left) = (record(), Outcome::Unfinished(Unfinished::ClientLeft));
    assert_eq!(
        text(json_to, &full, done),
        concat!(
            r#"{"time":"2026-11-21T10:56:57.057Z","id":"0000000000000abc","listener":"tls","peer":"10.0.0.9:1234","#,
            r#""client":"2001:db8::1","client_port":40000,"vpce":"vpce-0123456789abcdef0","rule":"ipcontrol.yaml:12","#,
            r#""name":"orders.example.com","upstream":"169.254.171.10:443","outcome":"relayed","reason":"done","#,
            r#""detail":"a word to the wise","bytes_up":517,"bytes_down":1099511627776,"header_ms":1.000,"#,
            r#""hello_ms":2.000,"dns_ms":3.000,"connect_ms":4.000,"total_ms":90000000.002,"closed_by":"upstream","#,
            r#""dns_stale":true,"hello":{"bytes":1700,"records":2,"alpn":"h2","group":"x25519mlkem768","ech":true}}"#,
            "\n",
        )
    );
    assert_eq!(
        text(json_to, &empty, left),
        concat!(
            r#"{"time":"2026-11-21T10:56:57.057Z","id":"0000000000000abc","listener":"tls","peer":"10.0.0.9:1234","#,
            r#""outcome":"unfinished","reason":"client_left","bytes_up":0,"bytes_down":0,"total_ms":90000000.002}"#,
            "\n",
        )
    );
    assert_eq!(
        text(nginx, &full, done),
        "2026-11-21T10:56:57+00:00 10.0.0.9 2001:db8::1 40000 TCP 8443 200 169.254.171.10:443 517 1099511627776 \
         90000.000 0.004\n"
    );
    assert_eq!(text(nginx, &empty, left), "2026-11-21T10:56:57+00:00 10.0.0.9 - - TCP 8443 400 - 0 0 90000.000 -\n");
}

#[test]
fn a_forward_connection_has_what_was_asked_for_and_a_request_a_line_of_its_own() {
    let mut record = full_record();
    record.forward = Some(Box::new(ForwardFacts {
        method: "CONNECT".into(),
        port: 443,
        sni: Some("other.example.com".into()),
        ..ForwardFacts::default()
    }));
    let line = json_of(&record, Outcome::Refused(RefuseReason::TunnelSniDenied));
    assert_eq!(line["forward"], json!({ "method": "CONNECT", "port": 443, "sni": "other.example.com" }));
    record.forward =
        Some(Box::new(ForwardFacts { method: "GET".into(), port: 80, requests: 7, ..ForwardFacts::default() }));
    let line = json_of(&record, Outcome::Relayed(Close::Done));
    assert_eq!(line["forward"], json!({ "method": "GET", "port": 80, "requests": 7 }));

    let facts = RequestFacts {
        id: 0xabc,
        peer: record.peer,
        client: record.client.as_ref(),
        rule: record.rule.as_deref(),
        method: "GET",
        scheme: None,
        host: "orders.example.com",
        port: 80,
        upstream: record.upstream,
        status: Some(403),
        bytes: ByteCounts { up: 0, down: 0 },
        answered: 300,
        duration: Duration::from_micros(1_500),
        cut: Some(Outcome::Refused(RefuseReason::NameDenied)),
    };
    let mut out = Vec::new();
    let (timestamps, time, listener) = (&Timestamps::default(), SystemTime::UNIX_EPOCH, &listener());
    request_json(&mut out, &Request { timestamps, time, listener, facts: &facts }, None);
    assert!(out.ends_with(b"}\n"));
    let line: Value = serde_json::from_slice(&out).unwrap();
    let expected = json!({
        "time": "1970-01-01T00:00:00.000Z", "id": "0000000000000abc", "listener": "tls", "peer": "10.0.0.9:1234",
        "client": "2001:db8::1", "client_port": 40000, "vpce": "vpce-0123456789abcdef0", "rule": "ipcontrol.yaml:12",
        "upstream": "169.254.171.10:443",
        "request": { "method": "GET", "host": "orders.example.com", "port": 80, "status": 403, "reason": "name_denied",
            "bytes_up": 0, "bytes_down": 0, "ms": 1.5 },
    });
    assert_eq!(line, expected);
    let fields = |fields: &[LogField]| {
        let mut out = Vec::new();
        request_json(&mut out, &Request { timestamps, time, listener, facts: &facts }, Some(fields));
        serde_json::from_slice::<Value>(&out).unwrap()
    };
    let all: Vec<LogField> = LogField::ALL.iter().map(|(_, field)| *field).collect();
    assert_eq!(fields(&all), expected);
    let some = fields(&[LogField::Request, LogField::Id, LogField::Outcome]);
    assert_eq!(some, json!({ "request": expected["request"], "id": expected["id"] }));
}

/// Of a target that is not valid there is what can be read, and no port that nobody has asked for.
#[test]
fn a_request_with_a_bad_target_has_what_is_known_of_it() {
    let mut record = record();
    let refused =
        |text: &str| RefusedRequest::of(RefuseReason::HeadMalformed, format!("{text} HTTP/1.1\r\n").as_bytes());
    for (line, name, expected, requests) in [
        ("CONNECT 192.0.2.1:443", json!("192.0.2.1:443"), json!({ "method": "CONNECT" }), 0),
        ("GET https://a.test/x", json!("a.test"), json!({ "method": "GET", "scheme": "https", "requests": 1 }), 1),
        ("GET http://u:s/x@a.test/", json!(null), json!({ "method": "GET", "requests": 2 }), 2),
        ("PUT http://A.test:81/x", json!("a.test"), json!({ "method": "PUT", "port": 81, "requests": 3 }), 3),
        ("GET /x", json!(null), json!({ "method": "GET", "requests": 3 }), 3),
        ("\x16\x03", json!(null), json!({ "requests": 3 }), 3),
    ] {
        record.begin_refused(refused(line));
        assert_eq!(record.forward.as_ref().unwrap().requests, requests, "{line}");
        let open = record.forward.as_mut().unwrap().open.take();
        assert_eq!(open.is_some(), line.contains("://"), "{line}");
        let written = json_of(&record, Outcome::Refused(RefuseReason::HeadMalformed));
        assert_eq!((&written["name"], &written["forward"]), (&name, &expected), "{line}");
    }
    let mut silent = self::record();
    silent.begin_refused(refused("\x16"));
    assert_eq!(json_of(&silent, Outcome::Refused(RefuseReason::HandshakeTimeout)).get("forward"), None);
}

/// Listed one by one they are what is written without a list, and in any order that of the list.
#[test]
fn the_fields_are_those_that_are_listed_in_their_order() {
    let mut record = full_record();
    record.forward = Some(Box::new(ForwardFacts { method: "GET".into(), requests: 1, ..ForwardFacts::default() }));
    let (clock, listener) = (Timestamps::default(), listener());
    let now = || Now { timestamps: &clock, time: SystemTime::UNIX_EPOCH, elapsed: Duration::from_millis(12) };
    let write = |fields: Option<&[LogField]>| {
        let mut out = Vec::new();
        let outcome = Outcome::Relayed(Close::Done);
        json(&mut out, &Connection { now: now(), listener: &listener, record: &record, outcome }, fields);
        String::from_utf8(out).unwrap()
    };
    let all: Vec<LogField> = LogField::ALL.iter().map(|(_, field)| *field).collect();
    assert_eq!(write(Some(&all)), write(None));
    let line: Value = serde_json::from_str(&write(None)).unwrap();
    for (word, field) in LogField::ALL {
        let alone: Value = serde_json::from_str(&write(Some(&[*field]))).unwrap();
        let expected = if *field == LogField::Request { json!({}) } else { json!({ *word: line[*word] }) };
        assert_eq!(alone, expected);
        assert!(*field == LogField::Request || !line[*word].is_null(), "{word} is in no line");
    }
    let some = [LogField::Reason, LogField::Vpce, LogField::Name];
    assert_eq!(
        write(Some(&some)),
        r#"{"reason":"done","vpce":"vpce-0123456789abcdef0","name":"orders.example.com"}"#.to_owned() + "\n"
    );
}

#[test]
fn json_leaves_out_unknown_values() {
    let line = json_of(&record(), Outcome::Unfinished(Unfinished::ClientLeft));
    let keys: Vec<&String> = line.as_object().unwrap().keys().collect();
    let expected = ["bytes_down", "bytes_up", "id", "listener", "outcome", "peer", "reason", "time", "total_ms"];
    let mut keys = keys;
    keys.sort();
    assert_eq!(keys, expected.iter().collect::<Vec<_>>());
}

proptest! {
    /// Whatever a name or a detail contains: one line, valid JSON, the same text.
    #[test]
    fn hostile_text_cannot_break_the_line(name in any::<String>(), detail in "\\PC*|[\"\\\\\r\n\0\u{2028}]*") {
        let mut record = record();
        record.name = Some(name.as_str().into());
        record.detail = Some(detail.as_str().into());
        let line = json_of(&record, Outcome::Relayed(Close::Done));
        prop_assert_eq!(line["name"].as_str().unwrap(), name);
        prop_assert_eq!(line["detail"].as_str().unwrap(), detail);
    }
}

fn nginx_of(record: &Record, outcome: Outcome) -> Vec<String> {
    let mut out = Vec::new();
    nginx(&mut out, now(&Timestamps::default()), &listener(), record, outcome);
    let line = String::from_utf8(out).unwrap();
    assert_eq!(line.matches('\n').count(), 1);
    line.trim_end().split(' ').map(str::to_owned).collect()
}

#[test]
fn nginx_has_the_incumbents_fields_in_its_order() {
    let fields = nginx_of(&full_record(), Outcome::Relayed(Close::Done));
    assert_eq!(fields.len(), 12);
    // $time_iso8601 with its zone.
    assert!(fields[0].ends_with("+00:00") && fields[0].len() == 25, "{}", fields[0]);
    assert_eq!(
        fields[1..10],
        ["10.0.0.9", "2001:db8::1", "40000", "TCP", "8443", "200", "169.254.171.10:443", "517", "1099511627776"]
    );
    assert!(fields[10].parse::<f64>().is_ok());
    assert_eq!(fields[11], "0.004");
}

#[test]
fn nginx_has_a_dash_for_unknown_values() {
    let fields = nginx_of(&record(), Outcome::Refused(RefuseReason::ProxyMissing));
    let unknown = [&fields[2], &fields[3], &fields[7], &fields[11]];
    assert_eq!(unknown, ["-"; 4]);
    assert_eq!((fields[6].as_str(), fields.len()), ("400", 12));
}

#[test]
fn nginx_has_a_status_that_nginx_could_give_for_every_outcome() {
    for outcome in Outcome::all() {
        assert!([200, 400, 403, 500, 502].contains(&nginx_status(outcome)), "{outcome:?}");
    }
    assert_eq!(nginx_status(Outcome::Refused(RefuseReason::ClientDenied)), 403);
    assert_eq!(nginx_status(Outcome::Failed(Failure::ConnectRefused)), 502);
}

/// A connection of a browser with a name of 29 characters, whose lines `docs/access-log.md` gives a price for.
fn typical_record() -> Record {
    let mut record = Record::new(0xf7c4_108d_b483_f973, "10.0.1.9:36536".parse().unwrap());
    record.client = Some(Client::new("10.1.2.3:51034".parse().unwrap(), None));
    record.rule = Some("ipcontrol.yaml:4".into());
    record.name = Some("n00000.orders.lattice.example".into());
    record.upstream = Some("169.254.171.10:443".parse::<SocketAddr>().unwrap().into());
    record.bytes = ByteCounts { up: 2731, down: 7074 };
    record.closed_by = Some(Side::Upstream);
    record.hello =
        Some(HelloFacts { size: 1787, records: 1, alpn: Some(Alpn::H2), ech: true, key_share: Some(Group(0x11ec)) });
    let step = |micros| Some(Duration::from_micros(micros).into());
    (record.times.header, record.times.hello) = (step(93), step(197));
    (record.times.dns, record.times.connect) = (step(244), step(866));
    record
}

/// The column "bytes a line" of the table of prices.
#[test]
fn the_lines_that_have_a_price_are_as_long_as_the_page_says() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/access-log.md")).unwrap();
    let (_, table) = page.split_once("| `keep`, `format`, `fields` | bytes a line |").unwrap();
    let (example, _) = page.split_once("  fields: [").unwrap().1.split_once(']').unwrap();
    let listed = |text: &str| -> Vec<LogField> {
        let word =
            |word: &str| LogField::ALL.iter().find(|(one, _)| *one == word).unwrap_or_else(|| panic!("{word}")).1;
        text.split(", ").map(word).collect()
    };
    let (record, outcome, clock, listener) =
        (typical_record(), Outcome::Relayed(Close::Done), Timestamps::default(), listener());
    let mut rows = 0;
    for row in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let now = Now { timestamps: &clock, time: SystemTime::now(), elapsed: Duration::from_micros(5_295) };
        let fields = match cells[0].split_once("`fields: [") {
            Some((_, fields)) => Some(listed(fields.split_once(']').unwrap().0)),
            None => cells[0].contains("the fields above").then(|| listed(example)),
        };
        let mut out = Vec::new();
        if cells[0].contains("`nginx`") {
            nginx(&mut out, now, &listener, &record, outcome);
        } else {
            json(&mut out, &Connection { now, listener: &listener, record: &record, outcome }, fields.as_deref());
        }
        // The end of the line is not sent to CloudWatch.
        assert_eq!(cells[1], (out.len() - 1).to_string(), "{row}: {}", String::from_utf8_lossy(&out));
        rows += 1;
    }
    assert!(rows >= 8, "{rows}");
}
