//! The operator's port: what it shows, to whom, and that nothing a client sent can do harm there.

use std::io::{Read, Write};

use serde_json::Value;
use support::lab::{Lab, Parts, Port, Setup, word};
use support::peer::Peer;
use support::until;
use support::wire::{Hello, tcp4};

use crate::forward::hear_head;

/// Status, head and body.
fn ask(lab: &Lab, request: &str, host: &str) -> (u16, String, String) {
    let mut peer = Peer::connect(lab.admin);
    write!(peer.stream, "{request} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    peer.stream.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_ascii_lowercase(), body.to_owned())
}

fn status(lab: &Lab) -> Value {
    let (status, _, body) = ask(lab, "GET /status.json", "127.0.0.1");
    assert_eq!(status, 200);
    serde_json::from_str(&body).unwrap()
}

#[test]
fn it_shows_what_is_going_on() {
    let lab = Lab::with(Setup { rules: "- allow: 192.0.2.0/24\n  name: offices\n- deny: all", ..Setup::default() });
    let (client, upstream) = lab.pair();
    lab.client_asking(b"unknown.example.com").hear_all();
    let mut stranger = lab.connect(Port::TlsDirect);
    stranger.say(Hello::to(b"orders.example.com").record()).hear_all();
    until("both refusals are counted", || lab.counted().values().sum::<u64>() >= 2);
    let shown = status(&lab);
    assert_eq!((&shown["ready"], &shown["not_ready_because"]), (&Value::Bool(true), &Value::Null));
    assert_eq!(shown["connections"]["active"], 1);
    assert_eq!(shown["connections"]["opened"], 3);
    assert_eq!(shown["connections"]["ended"]["refused"], serde_json::json!({ "name_unknown": 1, "client_denied": 1 }));
    let tls = &shown["listeners"].as_array().unwrap()[0];
    assert_eq!((word(tls, "name").as_str(), &tls["active"]), ("tls", &Value::from(1)));
    assert_eq!(word(tls, "bind"), lab.address(Port::Tls).to_string());
    let hits = shown["policy"]["hits"].as_array().unwrap();
    assert_eq!((word(&hits[0], "rule").as_str(), &hits[0]["hits"]), ("ipcontrol.yaml:2", &Value::from(2)));
    assert_eq!((word(&hits[0], "name").as_str(), &hits[1]["hits"]), ("offices", &Value::from(1)));
    assert!(hits[0]["last"].is_string());
    assert_eq!(shown["policy"]["rules"], 2);
    let recent = shown["recent"].as_array().unwrap();
    assert_eq!(recent.len(), 2);
    let unknown = recent.iter().find(|refusal| refusal["reason"] == "name_unknown").unwrap();
    assert_eq!(word(unknown, "client"), "192.0.2.1");
    assert_eq!(word(unknown, "name"), "unknown.example.com");
    let denied = recent.iter().find(|refusal| refusal["reason"] == "client_denied").unwrap();
    assert_eq!(word(denied, "rule"), "ipcontrol.yaml:4");
    let names = shown["dns"]["names"].as_array().unwrap();
    let orders = names.iter().find(|name| name["name"] == "orders.example.com").unwrap();
    assert_eq!(orders["addresses"][0], lab.upstream.address.ip().to_string());
    assert!(shown["limits"]["fds"]["taken"].as_u64().unwrap() > 10);
    let metrics = lab.metrics();
    assert_eq!(metrics["latticegate_rule_hits_total{rule=\"ipcontrol.yaml:2\",name=\"offices\"}"], 2.0);
    assert_eq!(metrics["latticegate_rule_hits_total{rule=\"ipcontrol.yaml:4\"}"], 1.0);
    let last = metrics["latticegate_rule_last_hit_timestamp_seconds{rule=\"ipcontrol.yaml:4\"}"];
    assert!((seconds_of_now() - last).abs() < 300.0, "{last}");
    let info = format!("latticegate_policy_info{{hash={},version=\"\"}}", shown["policy"]["hash"]);
    assert_eq!(metrics[&info], 1.0);
    assert_eq!(metrics["latticegate_connections_half_open"], 0.0);
    // One has an upstream, another had a name alone, and the third neither.
    assert_eq!(metrics["latticegate_handshake_seconds_count"], 2.0);
    assert_eq!(metrics["latticegate_handshake_seconds_bucket{le=\"+Inf\"}"], 2.0);
    assert_eq!(metrics["latticegate_connect_seconds_count"], 1.0);
    drop((client, upstream));
    lab.end();
}

fn seconds_of_now() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
}

#[test]
fn half_open_connections_are_counted_while_they_last() {
    let lab = Lab::start();
    let mut client = lab.connect(Port::Tls);
    client.say(tcp4(&[]));
    until("it waits", || lab.metrics()["latticegate_connections_half_open"] == 1.0);
    assert_eq!(status(&lab)["limits"]["half_open"]["taken"], 1);
    drop(client);
    until("it is gone", || lab.metrics()["latticegate_connections_half_open"] == 0.0);
    lab.end();
}

#[test]
fn it_explains_by_the_list_in_force_and_the_resolver() {
    let lab = Lab::with(Setup { rules: "- allow: 192.0.2.0/24\n- deny: all", ..Setup::default() });
    let explain = |query: &str| ask(&lab, &format!("GET /explain?{query}"), "localhost:9900");
    let (status, _, story) = explain("from=192.0.2.7&to=orders.example.com");
    assert_eq!(status, 200);
    for part in ["ipcontrol.yaml:2", "matches", "may be dialled", "verdict   allowed"] {
        assert!(story.contains(part), "{part}: {story}");
    }
    assert!(explain("from=203.0.113.9&to=orders.example.com").2.contains("refused: client_denied"));
    assert!(explain("from=192.0.2.7&to=unknown.example.com").2.contains("refused: name_unknown"));
    assert!(explain("from=192.0.2.7&to=orders.example.com&listener=http").2.contains("http (http"));
    for (query, says) in [
        ("", "from: not an IP address"),
        ("from=192.0.2.7&to=..", "to: not a DNS name"),
        ("from=192.0.2.7&to=a.example.com&port=25", "listener: no listener is for port 25; there are tls (443)"),
        ("from=192.0.2.7&to=a.example.com&via=%00", "via:"),
    ] {
        let (status, _, body) = explain(query);
        assert!(status == 400 && body.contains(says), "{status} {body}");
    }
    lab.end();
}

#[test]
fn it_explains_what_is_asked_of_a_forward_listener() {
    let rules = "- allow: 192.0.2.0/24\n  to: orders.example.com\n- allow: 198.51.100.0/24";
    let lab = Lab::with(Setup { forward: Some(""), rules, ..Setup::default() });
    let port = lab.upstream.address.port();
    let explain = |from: &str, to: &str| {
        let (status, _, story) =
            ask(&lab, &format!("GET /explain?listener=forward&from={from}&to={to}"), "localhost:9900");
        assert_eq!(status, 200, "{story}");
        story
    };
    let story = explain("192.0.2.7", &format!("orders.example.com:{port}"));
    let dialled = format!("address   {} may be dialled\n", lab.upstream.address);
    for part in ["forward (forward", "ipcontrol.yaml:2", &format!("port      {port}, by CONNECT or http://"), &dialled]
    {
        assert!(story.contains(part) && story.ends_with("verdict   allowed\n"), "{part}: {story}");
    }
    for (from, to, verdict) in [
        ("192.0.2.7", "orders.example.com:22".to_owned(), "refused: port_denied"),
        ("192.0.2.7", format!("other.example.com:{port}"), "refused: name_denied"),
        // It has no `to:`.
        ("198.51.100.7", format!("orders.example.com:{port}"), "refused: client_denied"),
        ("192.0.2.7", "orders.example.com".to_owned(), "undecided: no port: write the name as NAME:PORT"),
    ] {
        let story = explain(from, &to);
        assert!(story.ends_with(&format!("verdict   {verdict}\n")), "{to}: {story}");
    }
    let listeners = status(&lab)["listeners"].clone();
    let protocols: Vec<&str> =
        listeners.as_array().unwrap().iter().map(|one| one["protocol"].as_str().unwrap()).collect();
    assert_eq!(protocols, ["tls", "http", "tls", "http", "forward", "forward"]);
    lab.end();
}

#[test]
fn only_an_address_or_localhost_is_answered_and_only_reading() {
    let lab = Lab::start();
    let port = lab.admin.port();
    for host in ["localhost", "LOCALHOST:9900", "127.0.0.1", "[::1]", "[::1]:9900", &format!("10.0.0.1:{port}")] {
        assert_eq!(ask(&lab, "GET /status.json", host).0, 200, "{host}");
    }
    for host in ["evil.example", "evil.example:9900", "localhost.evil.example", "127.0.0.1.evil.example", ""] {
        for path in ["/", "/live", "/status.json", "/explain?from=192.0.2.1&to=a.example", "/metrics", "/no"] {
            let (status, _, why) = ask(&lab, &format!("GET {path}"), host);
            assert!(status == 421 && why.contains("admin.hosts"), "{host}: {status} {why}");
        }
    }
    // The host of an absolute target is the one that counts.
    assert_eq!(ask(&lab, "GET http://evil.example/status.json", "localhost").0, 421);
    assert_eq!(ask(&lab, "GET http://localhost/status.json", "evil.example").0, 200);
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        assert_eq!(ask(&lab, &format!("{method} /"), "localhost").0, 405, "{method}");
    }
    assert_eq!(ask(&lab, "GET /etc/passwd", "localhost").0, 404);
    lab.end();
}

/// A scraper comes by a service's name.
#[test]
fn it_answers_under_the_names_that_it_is_told() {
    let lab = Lab::with(Setup { admin: "hosts: [gate.internal, Other.Internal]", ..Setup::default() });
    for host in ["gate.internal", "gate.internal:9900", "GATE.internal.", "other.internal", "127.0.0.1"] {
        assert_eq!(ask(&lab, "GET /metrics", host).0, 200, "{host}");
    }
    for host in ["internal", "a.gate.internal", "gate.internal.evil.example", "gate.internal@evil.example"] {
        assert_ne!(ask(&lab, "GET /metrics", host).0, 200, "{host}");
    }
    lab.end();
}

#[test]
fn with_a_token_nothing_is_read_without_it() {
    let parts = Parts::make(&Setup { admin: "token_file: token", ..Setup::default() });
    std::fs::write(parts.files.path().join("token"), "0123456789abcdef0123\n").unwrap();
    let lab = Lab::of(parts);
    let with = |path: &str, field: &str| ask(&lab, &format!("GET {path}"), &format!("127.0.0.1{field}"));
    // base64 of `me:0123456789abcdef0123`.
    let right = ["Authorization: Bearer 0123456789abcdef0123", "Authorization: Basic bWU6MDEyMzQ1Njc4OWFiY2RlZjAxMjM="];
    let wrong = [
        "",
        "Authorization: Bearer 0123456789abcdef012",
        "Authorization: Bearer 0123456789abcdef0124",
        "Authorization: Basic MDEyMzQ1Njc4OWFiY2RlZjAxMjM6",
        "Cookie: token=0123456789abcdef0123",
    ];
    for path in ["/", "/live", "/status.json", "/explain?from=192.0.2.1&to=a.example", "/metrics"] {
        for field in right {
            assert_eq!(with(path, &format!("\r\n{field}")).0, 200, "{path} {field}");
        }
        for field in wrong {
            let field = if field.is_empty() { String::new() } else { format!("\r\n{field}") };
            let (status, head, body) = with(path, &field);
            assert_eq!(status, 401, "{path} {field}");
            assert!(
                head.contains("www-authenticate: basic realm=") && head.contains("www-authenticate: bearer"),
                "{head}"
            );
            assert!(body.contains("admin.token_file") && !body.contains("0123"), "{body}");
        }
    }
    // A browser is not asked for it under a foreign name.
    let (status, head, _) = ask(&lab, "GET /", "evil.example");
    assert!(status == 421 && !head.contains("www-authenticate"), "{head}");
    assert_eq!(ask(&lab, "GET /", &format!("evil.example\r\n{}", right[0])).0, 421);
    // The load balancer and ECS have none.
    assert_eq!(support::http::get(lab.health, "/readyz").0, 200);
    lab.end();
}

#[test]
fn open_connections_are_shown_with_what_they_have_moved_so_far() {
    let lab = Lab::with(Setup { names: "{ a.example: orders.example.com }", ..Setup::default() });
    let live = |query: &str| {
        let (code, _, body) = ask(&lab, &format!("GET /status.json?{query}"), "127.0.0.1");
        assert_eq!(code, 200);
        serde_json::from_str::<Value>(&body).unwrap()["live"].clone()
    };
    let (mut client, mut upstream) = lab.pair();
    let mut other = lab.client_asking(b"a.example");
    let mut other_upstream = lab.upstream.accept();
    upstream.say(b"12345");
    client.hear(5);
    other.say(b"x");
    other_upstream.hear(Hello::to(b"a.example").record().len() + 1);
    let mut shown = Value::Null;
    // The reply may be that of a moment ago.
    until("both are open", || {
        shown = live("");
        shown["relaying"] == 2 && shown["newest"][1]["bytes_down"] == 5
    });
    let newest = shown["newest"].as_array().unwrap();
    assert_eq!(
        (word(&newest[0], "name").as_str(), word(&newest[1], "name").as_str()),
        ("a.example", "orders.example.com")
    );
    assert_eq!(word(&newest[1], "client"), "192.0.2.1:40000");
    assert_eq!(word(&newest[1], "upstream"), lab.upstream.address.to_string());
    assert_eq!(newest[1]["bytes_up"], Hello::to(b"orders.example.com").record().len());
    assert_eq!(word(&shown["longest"][0], "name"), "orders.example.com");
    assert_eq!(shown["largest"].as_array().unwrap().len(), 2);
    let found = live("find=A.EXAMPLE");
    assert_eq!((&found["found"], found["newest"].as_array().unwrap().len()), (&Value::from(1), 1));
    assert_eq!(live("find=nothing")["found"], 0);
    let (_, _, page) = ask(&lab, "GET /live?show=longest&find=a.example", "127.0.0.1");
    assert!(page.contains("1 of them match") && page.contains(&word(&newest[0], "id")), "{page}");
    let all = status(&lab);
    let upstreams = all["upstreams"].as_array().unwrap();
    assert_eq!((upstreams.len(), &upstreams[0]["open"]), (1, &Value::from(2)));
    assert_eq!(all["names"]["by_traffic"].as_array().unwrap().len(), 2);
    drop((client, upstream, other, other_upstream));
    until("they are gone", || live("")["relaying"] == 0);
    let all = status(&lab);
    assert_eq!(all["names"]["by_traffic"][0]["ended"], 1);
    assert_eq!(
        (&all["clients"]["by_traffic"][0]["client"], &all["clients"]["by_traffic"][0]["ended"]),
        (&"192.0.2.1".into(), &2.into())
    );
    lab.end();
}

#[test]
fn a_client_between_two_requests_is_an_open_connection_too() {
    let rules = "- allow: 127.0.0.0/8\n  to: orders.example.com";
    let lab = Lab::with(Setup { forward: Some(""), rules, ..Setup::default() });
    let mut client = lab.connect(Port::ForwardDirect);
    let port = lab.upstream.address.port();
    let host = format!("orders.example.com:{port}");
    client.say(format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    let mut upstream = lab.upstream.accept();
    hear_head(&mut upstream);
    upstream.say(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    drop(upstream);
    hear_head(&mut client);
    until("it is between requests", || {
        let live = &status(&lab)["live"]["newest"];
        live[0]["name"] == "orders.example.com" && live[0]["upstream"].is_null()
    });
    drop(client);
    lab.end();
}

#[test]
fn the_configuration_in_force_says_where_it_was_written() {
    let lab = Lab::start();
    let all = status(&lab)["configuration"].as_array().unwrap().clone();
    let setting =
        |key: &str| all.iter().find(|setting| setting["key"] == key).unwrap_or_else(|| panic!("{key}")).clone();
    let handshake = setting("timeouts.handshake");
    assert_eq!(handshake["value"], "5s");
    let written = handshake["written"][0].as_str().unwrap();
    assert!(written.contains("latticegate.yaml:"), "{written}");
    let stale = setting("dns.max_stale");
    assert_eq!((stale["value"].as_str().unwrap(), stale["written"].as_array().unwrap().len()), ("3600s", 0));
    lab.end();
}

#[test]
fn the_page_is_one_document_in_which_nothing_of_a_client_is_alive() {
    let lab = Lab::start();
    lab.client_asking(b"unknown.example.com").hear_all();
    until("it is counted", || lab.counted().values().sum::<u64>() >= 1);
    let query = "from=192.0.2.1%22%3E%3Cscript%3Ealert(1)%3C/script%3E&to=%3Cimg%20src=x%3E";
    let (status, head, body) = ask(&lab, &format!("GET /?{query}"), "localhost");
    assert_eq!(status, 200);
    let policy = head.lines().find(|line| line.starts_with("content-security-policy: ")).unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    for header in ["cache-control: no-store", "x-content-type-options: nosniff", "content-type: text/html"] {
        assert!(head.contains(header), "{header}: {head}");
    }
    let lower = body.to_ascii_lowercase();
    for part in
        ["<img", "<link", "<iframe", "http://", "https://", "src=\"", "url(", " style=\"", "javascript:", "import("]
    {
        assert!(!lower.contains(part), "{part}: {body}");
    }
    // One script and one style, which the response's policy names; no handler in an attribute.
    let nonce = policy.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap();
    for element in ["script", "style"] {
        assert_eq!(lower.matches(&format!("<{element}")).count(), 1, "{element}");
        assert!(lower.contains(&format!("<{element} nonce={nonce}>")), "{element}");
    }
    let (markup, _) = lower.split_once("<script ").unwrap();
    let handlers: Vec<&str> = markup
        .split(" on")
        .skip(1)
        .filter(|rest| rest.split_once('=').is_some_and(|(name, _)| name.bytes().all(|b| b.is_ascii_alphabetic())))
        .collect();
    assert!(handlers.is_empty(), "{handlers:?}");
    let (_, other, _) = ask(&lab, "GET /", "localhost");
    assert!(!other.contains(nonce), "another nonce each time");
    assert!(lower.contains("&lt;img src=x&gt;") && lower.contains("&quot;&gt;&lt;script&gt;"), "{body}");
    // What was refused stands there with its help from docs/reasons.md.
    assert!(body.contains("name_unknown") && body.contains("unknown.example.com") && body.contains("What to do"));
    let (_, _, body) = ask(&lab, "GET /?from=192.0.2.1&to=orders.example.com", "localhost");
    assert!(body.contains("verdict   allowed"), "{body}");
    lab.end();
}

#[test]
fn a_flood_of_refusals_leaves_fifty() {
    let lab = Lab::with(Setup { rules: "- deny: all", ..Setup::default() });
    for _ in 0..130 {
        lab.client().hear_all();
    }
    until("all are counted", || lab.counted().values().sum::<u64>() == 130);
    let recent = status(&lab)["recent"].as_array().unwrap().clone();
    assert_eq!(recent.len(), 50);
    let times: Vec<String> = recent.iter().map(|refusal| word(refusal, "time")).collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "the newest first: {times:?}");
    lab.end();
}
