//! What the log says of requests that were refused, and Squid's format of it.

use serde_json::{Value, json};
use support::lab::{Port, Reported, Setup};
use support::wire::{Hello, hello, tcp4};

use super::{Proxy, hear_head, response, setup};

const GET: &str = "GET http://NAME/ HTTP/1.1\nHost: NAME";
/// A reason for which a request is refused, whatever it asks for.
const LOOP: &str = "GET http://OTHER/secret HTTP/1.1\nHost: x\nVia: 1.1 latticegate";

/// The lines of requests, without what differs from run to run.
fn lines(reported: &Reported) -> Vec<Value> {
    let mut lines = reported.requests.clone();
    for line in lines.iter_mut().filter_map(Value::as_object_mut) {
        line.retain(|key, _| key != "id" && key != "ms");
    }
    lines
}

/// However little of it was read: an operator has to see who asks for what in vain.
#[test]
fn a_request_that_is_refused_for_its_head_has_its_line() {
    let proxy = Proxy::with(Setup { workers: 1, ..setup() });
    let port = proxy.port;
    let name = "orders.example.com";
    let cases = [
        ("TRACE http://NAME/secret HTTP/1.1\nHost: NAME", 405, "trace_method", json!({ "host": name, "port": port })),
        (
            "OPTIONS http://NAME HTTP/1.1\nHost: x\nMax-Forwards: 0",
            200,
            "max_forwards",
            json!({ "host": name, "port": port }),
        ),
        (LOOP, 502, "via_loop", json!({ "host": "other.example.com", "port": port })),
        (
            "POST http://NAME/ HTTP/1.1\nHost: NAME\nContent-Length: 1\nTransfer-Encoding: chunked",
            400,
            "head_malformed",
            json!({ "host": name, "port": port }),
        ),
        ("GET http://NAME/ HTTP/1.1", 400, "host_missing", json!({ "host": name, "port": port })),
        (
            "GET https://a.test/secret HTTP/1.1\nHost: x",
            400,
            "scheme_unsupported",
            json!({ "host": "a.test", "scheme": "https" }),
        ),
        ("GET http://10.0.0.1:81/secret HTTP/1.1\nHost: x", 400, "host_ip_address", json!({ "host": "10.0.0.1:81" })),
        ("GET http://u:secret/x@a.test/ HTTP/1.1\nHost: x", 400, "target_invalid", json!({})),
    ];
    let mut expected = Vec::new();
    for (head, status, reason, target) in &cases {
        let answer = proxy.refused(proxy.head(head));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {answer}");
        proxy.lab.quiet();
        let method = head.split(' ').next();
        let mut line = json!({ "method": method, "status": status, "reason": reason, "bytes_up": 0, "bytes_down": 0 });
        line.as_object_mut().unwrap().extend(target.as_object().unwrap().clone());
        expected.push(line);
    }
    let refused = proxy.lab.metrics()["latticegate_requests_total{listener=\"forward\",status=\"4xx\"}"];
    assert_eq!(refused, 6.0);
    let reported = proxy.lab.end();
    assert!(reported.records.iter().chain(&reported.requests).all(|line| !line.to_string().contains("secret")));
    assert_eq!(lines(&reported), expected);
    for (record, line) in reported.records.iter().zip(&expected) {
        assert_eq!(record["forward"]["method"], line["method"], "{record}");
        assert_eq!(
            (record.get("name"), record["forward"].get("port")),
            (line.get("host"), line.get("port")),
            "{record}"
        );
    }
}

/// Its first line says what it asks for, whatever becomes of the rest.
#[test]
fn a_request_whose_head_never_ends_has_its_line() {
    let proxy = Proxy::with(Setup { timeouts: "handshake: 600ms, connect: 3s, idle: 60s", ..setup() });
    let answer = proxy.refused(format!("GET http://a.test:{}/secret HTTP/1.1\r\nHost:", proxy.port));
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let port = proxy.port;
    let line = json!({
        "method": "GET", "host": "a.test", "port": port, "status": 408, "reason": "handshake_timeout",
        "bytes_up": 0, "bytes_down": 0,
    });
    assert_eq!(lines(&proxy.lab.end()), [line]);
}

/// A tunnel that is refused has the connection's line alone.
#[test]
fn a_connect_that_is_refused_for_its_target_says_what_it_was() {
    let proxy = Proxy::with(Setup { workers: 1, ..setup() });
    for head in
        ["CONNECT 10.0.0.1:443 HTTP/1.1\nHost: x", "CONNECT a.test HTTP/1.1\nHost: x", "GET /secret HTTP/1.1\nHost: x"]
    {
        proxy.refused(proxy.head(head));
        proxy.lab.quiet();
    }
    let reported = proxy.lab.end();
    let said: Vec<_> = reported.records.iter().map(|record| (record.get("name"), &record["forward"])).collect();
    let (connect, get) = (json!({ "method": "CONNECT" }), json!({ "method": "GET" }));
    assert_eq!(said, [(Some(&json!("10.0.0.1:443")), &connect), (Some(&json!("a.test")), &connect), (None, &get)]);
}

/// What is refused behind a request that was answered is not recorded as that request.
#[test]
fn a_later_request_that_is_refused_is_not_taken_for_the_one_before() {
    for closes in [false, true] {
        for (head, name, forward) in [
            ("GET /secret HTTP/1.1\nHost: NAME", None, json!({ "method": "GET", "requests": 1 })),
            ("\u{1}\nX: y", None, json!({ "requests": 1 })),
            (
                "CONNECT 10.0.0.1:443 HTTP/1.1\nHost: x",
                Some("10.0.0.1:443"),
                json!({ "method": "CONNECT", "requests": 1 }),
            ),
            (LOOP, Some("other.example.com"), json!({ "method": "GET", "port": 0, "requests": 2 })),
        ] {
            let proxy = Proxy::start();
            let (mut client, mut upstream, _) = proxy.request(GET);
            upstream.say(response(if closes { "Connection: close\n" } else { "" }, "one"));
            hear_head(&mut client);
            client.hear(3);
            client.say(proxy.head(head)).hear_all();
            drop((client, upstream));
            let port = proxy.port;
            let reported = proxy.lab.end();
            let record = reported.record();
            let mut forward = forward.clone();
            if forward.get("port").is_some() {
                forward["port"] = port.into();
            }
            assert_eq!(record["forward"], forward, "{head:?}");
            assert_eq!(record.get("name").and_then(Value::as_str), name, "{head:?}");
            assert_eq!((record.get("rule"), record.get("upstream")), (None, None), "{head:?}");
            assert_eq!(reported.requests[0]["host"], "orders.example.com");
        }
    }
}

/// A client that the list denies outright is refused at once; what it had sent by then is known.
#[test]
fn a_denied_client_is_recorded_with_what_it_has_asked_for() {
    let proxy = Proxy::with(Setup { rules: "- deny: all", workers: 1, ..setup() });
    let port = proxy.port;
    let head = proxy.head(GET);
    for bytes in [head.clone(), proxy.connect(), proxy.head("PUT https://a.test/secret HTTP/1.1")] {
        assert!(proxy.refused(bytes).starts_with("HTTP/1.1 403 "));
        proxy.lab.quiet();
    }
    // Without a PROXY header nothing is read, and what is there is enough.
    let mut direct = proxy.lab.connect(Port::ForwardDirect);
    assert!(direct.say(&head).hear_all().0.starts_with(b"HTTP/1.1 403 "));
    proxy.lab.quiet();
    // Nothing has come, and nothing is waited for.
    let mut silent = proxy.lab.connect(Port::Forward);
    assert!(silent.say(tcp4(&[])).hear_all().0.starts_with(b"HTTP/1.1 403 "));
    drop((direct, silent));
    let reported = proxy.lab.end();
    assert_eq!(reported.counted[&("refused".to_owned(), "client_denied".to_owned())], 5);
    let said: Vec<_> = reported.records.iter().map(|record| (record.get("name"), record.get("forward"))).collect();
    let (name, other) = (json!("orders.example.com"), json!("a.test"));
    let get = json!({ "method": "GET", "port": port, "requests": 1 });
    let connect = json!({ "method": "CONNECT", "port": port });
    let put = json!({ "method": "PUT", "scheme": "https", "requests": 1 });
    let (name, other) = (Some(&name), Some(&other));
    let expected = [(name, Some(&get)), (name, Some(&connect)), (other, Some(&put)), (name, Some(&get)), (None, None)];
    assert_eq!(said, expected);
    let statuses: Vec<_> = reported.requests.iter().map(|request| (&request["status"], &request["reason"])).collect();
    assert_eq!(statuses, [(&json!(403), &json!("client_denied")); 3]);
}

/// `%<st`: all that the client was sent, and what Squid has no field for in the last one.
#[test]
fn squids_line_has_the_bytes_that_the_client_was_sent() {
    let proxy = Proxy::with(Setup { log: "format: squid", workers: 1, ..setup() });
    proxy.lab.dns.set("metadata.example.com", support::dns::addresses(&["169.254.169.254".parse().unwrap()]));
    let mut heard = Vec::new();
    let mut hear = |sent: &[u8]| {
        proxy.lab.quiet();
        heard.push(sent.len());
    };
    let (mut client, mut upstream) = proxy.tunnel();
    let established = super::ESTABLISHED.len();
    client.say(hello());
    upstream.hear(hello().len());
    upstream.say("answer").finish();
    let (rest, _) = client.hear_all();
    drop((client, upstream));
    hear(&[&vec![0; established], &rest[..]].concat());
    let (mut client, upstream) = proxy.tunnel();
    let (alert, _) = client.say(Hello::to(b"elsewhere.example.com").record()).hear_all();
    drop((client, upstream));
    hear(&[&vec![0; established], &alert[..]].concat());
    let denied = "GET http://denied.example.com:PORT/ HTTP/1.1\nHost: x".replace("PORT", &proxy.port.to_string());
    hear(proxy.refused(proxy.head(&denied)).as_bytes());
    let metadata = denied.replace("denied", "metadata");
    proxy.reload(&format!("{}\n- allow: all\n  to: metadata.example.com", super::RULES.replace("\n- deny: all", "")));
    hear(proxy.refused(proxy.head(&metadata)).as_bytes());
    let (mut client, mut upstream, _) = proxy.request("GET http://NAME/secret HTTP/1.1\nHost: NAME\nConnection: close");
    upstream.say(response("", "one"));
    hear(&client.hear_all().0);
    drop((client, upstream));
    let port = proxy.port;
    let lines = proxy.lab.text();
    let words: Vec<Vec<&str>> = lines.iter().map(|line| line.split_ascii_whitespace().collect()).collect();
    assert!(words.iter().all(|words| words.len() == 10), "{lines:#?}");
    let bytes: Vec<usize> = words.iter().map(|words| words[4].parse().unwrap()).collect();
    assert_eq!(bytes, heard, "{lines:#?}");
    let mine = "application/x-latticegate;reason";
    let said: Vec<String> = words.iter().map(|words| [words[3], words[6], words[8], words[9]].join(" ")).collect();
    assert_eq!(
        said,
        [
            format!("TCP_TUNNEL/200 orders.example.com:{port} HIER_DIRECT/{} -", upstream_ip(&words[0])),
            format!(
                "TCP_DENIED/200 orders.example.com:{port} {} {mine}=tunnel_sni_denied;rule=ipcontrol.yaml:4;sni=elsewhere.example.com",
                words[0][8]
            ),
            format!(
                "TCP_DENIED/403 http://denied.example.com:{port}/ HIER_NONE/- {mine}=name_denied;rule=ipcontrol.yaml:4"
            ),
            format!(
                "NONE_NONE/502 http://metadata.example.com:{port}/ HIER_NONE/- {mine}=destination_forbidden;rule=ipcontrol.yaml:4"
            ),
            format!("TCP_MISS/200 http://orders.example.com:{port}/ {} -", words[0][8]),
        ]
    );
}

/// An address, and not the dash of what was not dialled.
fn upstream_ip(words: &[&str]) -> std::net::IpAddr {
    words[8].strip_prefix("HIER_DIRECT/").unwrap().parse().unwrap()
}
