//! The connection around requests in absolute form: its limits, its end, its record.

use latticegate::control::gate::StopRequest;
use support::lab::{Setup, word};
use support::peer::End;
use support::wire::hello;

use super::{ESTABLISHED, Proxy, hear_head, hears, response, setup};

const GET: &str = "GET http://NAME/ HTTP/1.1\nHost: NAME";

#[test]
fn an_idle_connection_ends_whether_or_not_it_has_an_upstream() {
    let timeouts = "handshake: 5s, connect: 3s, idle: 500ms";
    for closes in [false, true] {
        let proxy = Proxy::with(Setup { timeouts, ..setup() });
        let (mut client, mut upstream, _) = proxy.request(GET);
        upstream.say(response("", "one"));
        hear_head(&mut client);
        client.hear(3);
        let upstream = (!closes).then_some(upstream);
        assert_eq!(client.hear_all(), (vec![], End::Fin));
        drop(upstream);
        proxy.lab.end().assert_only("relayed", "idle");
    }
}

/// Once it has begun, the head of a later request has a first one's deadline, whether there is an upstream or none.
#[test]
fn a_later_head_that_never_ends_is_refused_like_a_first_one() {
    for closes in [false, true] {
        let proxy = Proxy::with(Setup { timeouts: "handshake: 600ms, connect: 3s, idle: 60s", ..setup() });
        let (mut client, mut upstream, _) = proxy.request(GET);
        upstream.say(response(if closes { "Connection: close\n" } else { "" }, "one"));
        hear_head(&mut client);
        client.hear(3);
        client.say("GET http://");
        let (answer, end) = client.hear_all();
        assert!(answer.starts_with(b"HTTP/1.1 408 ") && end == End::Fin, "{}", answer.escape_ascii());
        drop((client, upstream));
        proxy.lab.end().assert_only("refused", "handshake_timeout");
    }
}

/// It counts for its client, who may have so many of them.
#[test]
fn a_later_head_that_has_begun_is_half_open() {
    for closes in [false, true] {
        let proxy = Proxy::with(Setup { limits: "half_open_per_client: 1", ..setup() });
        let (mut client, mut upstream, _) = proxy.request(GET);
        upstream.say(response(if closes { "Connection: close\n" } else { "" }, "one"));
        hear_head(&mut client);
        client.hear(3);
        client.say("GET http://");
        support::until("it is half-open", || proxy.lab.metrics()["latticegate_connections_half_open"] == 1.0);
        let answer = proxy.refused("GET http://");
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("client_half_open"), "{answer}");
        // The rest of it is as good as ever.
        let head = proxy.head(GET);
        client.say(&head["GET http://".len()..]);
        let mut upstream = if closes { proxy.lab.upstream.accept() } else { upstream };
        hear_head(&mut upstream);
        upstream.say(response("", "two"));
        hear_head(&mut client);
        client.hear(3);
        assert_eq!(proxy.lab.metrics()["latticegate_connections_half_open"], 0.0);
    }
}

/// Old clients send one behind a body: nothing has begun with it.
#[test]
fn an_empty_line_is_no_head() {
    for closes in [false, true] {
        let proxy = Proxy::with(Setup { timeouts: "handshake: 600ms, connect: 3s, idle: 1200ms", ..setup() });
        let (mut client, mut upstream, _) = proxy.request(GET);
        upstream.say(response(if closes { "Connection: close\n" } else { "" }, "one"));
        hear_head(&mut client);
        client.hear(3);
        client.say("\r\n");
        assert_eq!(client.hear_all(), (vec![], End::Fin));
        drop((client, upstream));
        proxy.lab.end().assert_only("relayed", "idle");
    }
}

/// What has come of the next head when an answer is on its way waits for it, and is read to its end behind it.
#[test]
fn a_part_of_a_pipelined_head_waits() {
    let proxy = Proxy::start();
    let head = proxy.head(GET);
    let (begin, rest) = head.split_at(30);
    let mut client = proxy.client([&head, begin].concat());
    let mut upstream = proxy.lab.upstream.accept();
    hear_head(&mut upstream);
    upstream.hears_nothing();
    for body in ["one", "two"] {
        upstream.say(response("", body));
        hear_head(&mut client);
        assert_eq!(client.hear(3), body.as_bytes());
        if body == "one" {
            client.say(rest);
            hear_head(&mut upstream);
        }
    }
    proxy.lab.upstream.assert_untouched();
}

#[test]
fn a_drain_ends_a_connection_between_two_requests() {
    for closes in [false, true] {
        let proxy = Proxy::start();
        let (mut client, mut upstream, _) = proxy.request(GET);
        upstream.say(response(if closes { "Connection: close\n" } else { "" }, "one"));
        hear_head(&mut client);
        client.hear(3);
        proxy.lab.send_stop(StopRequest::Drain);
        assert_eq!(client.hear_all(), (vec![], End::Fin));
        assert_eq!(upstream.hear_all().0, b"");
        drop((client, upstream));
        let reported = proxy.lab.cut();
        assert_eq!(word(reported.record(), "reason"), "drain_idle");
    }
}

#[test]
fn a_drain_lets_a_response_arrive() {
    let proxy = Proxy::start();
    let (mut client, mut upstream, _) = proxy.request(GET);
    proxy.lab.send_stop(StopRequest::Drain);
    client.hears_nothing();
    upstream.say(response("", "one"));
    let (answer, end) = client.hear_all();
    // The client knows that the connection ends, and loses no request on it.
    assert!(answer.ends_with(b"\r\nConnection: close\r\n\r\none") && end == End::Fin, "{}", answer.escape_ascii());
    drop((client, upstream));
    assert_eq!(word(proxy.lab.cut().record(), "reason"), "done");
}

#[test]
fn a_new_list_ends_what_it_forbids_of_the_present_request() {
    let proxy = Proxy::with(Setup { on_reload: "close", ..setup() });
    let other = proxy.other();
    let (mut client, mut upstream, _) = proxy.request(GET);
    upstream.say(response("", "one"));
    hear_head(&mut client);
    client.hear(3);
    client.say(proxy.head("GET http://OTHER/ HTTP/1.1\nHost: OTHER"));
    let mut upstream = other.accept();
    hear_head(&mut upstream);
    let forbid = |name: &str| proxy.reload(&format!("- deny: all\n  to: {name}\n{}", super::RULES));
    // The first request's host is of no interest any more.
    forbid("orders.example.com");
    upstream.say(response("", "two"));
    hear_head(&mut client);
    client.hear(3);
    client.hears_nothing();
    forbid("other.example.com");
    assert_eq!(client.hear_all(), (vec![], End::Fin));
    drop(client);
    proxy.lab.end().assert_only("relayed", "forbidden");
}

/// A limit of connections to a name: this connection has one at a time, to the host of its present request.
#[test]
fn a_name_has_so_many_connections() {
    let proxy = Proxy::with(Setup { limits: "per_name: { connections: 1 }", ..setup() });
    let other = proxy.other();
    let (mut client, mut upstream, _) = proxy.request(GET);
    upstream.say(response("Connection: close\n", "one")).finish();
    hear_head(&mut client);
    client.hear(3);
    // Again to the same name, over another connection.
    client.say(proxy.head(GET));
    let mut upstream = proxy.lab.upstream.accept();
    hear_head(&mut upstream);
    let answer = proxy.refused(proxy.head(GET));
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("name_connections"), "{answer}");
    upstream.say(response("", "two"));
    hear_head(&mut client);
    client.hear(3);
    client.say(proxy.head("GET http://OTHER/ HTTP/1.1\nHost: OTHER"));
    hear_head(&mut other.accept());
    // Given back.
    let (_client, _upstream, _) = proxy.request(GET);
    drop(client);
}

#[test]
fn a_client_has_so_many_connections() {
    let proxy = Proxy::with(Setup { limits: "per_client: { connections: 1 }", ..setup() });
    let (_client, _upstream) = proxy.tunnel();
    let answer = proxy.refused(proxy.head(GET));
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("client_connections"), "{answer}");
}

#[test]
fn a_tunnel_may_follow_a_request() {
    let proxy = Proxy::start();
    let (mut client, mut upstream, _) = proxy.request(GET);
    upstream.say(response("", "one"));
    hear_head(&mut client);
    client.hear(3);
    client.say([proxy.connect().as_bytes(), &hello()].concat());
    hears(&mut client, ESTABLISHED);
    // Not the connection of the request.
    assert_eq!(upstream.hear_all(), (vec![], End::Fin));
    let mut upstream = proxy.lab.upstream.accept();
    assert_eq!(upstream.hear(hello().len()), hello());
    upstream.say(b"answer").finish();
    assert_eq!(client.hear_all(), (b"answer".to_vec(), End::Fin));
}

/// Every refusal behind a request that was answered: the client is told, and the connection is over.
#[test]
fn a_later_request_that_fails_is_answered() {
    let proxy = Proxy::start();
    proxy.lab.dns.set("other.example.com", support::dns::addresses(&[proxy.lab.ip(99)]));
    let cases = [
        ("GET http://OTHER/ HTTP/1.1\nHost: OTHER", 502, "connect_refused"),
        ("GET http://orders.example.com:1/ HTTP/1.1\nHost: x", 403, "port_denied"),
        ("CONNECT orders.example.com:1 HTTP/1.1\nHost: x", 403, "port_denied"),
        ("GET / HTTP/1.1\nHost: NAME", 400, "origin_form"),
        ("GET http://NAME/ HTTP/1.1\nHost: NAME\nVia: 1.0 latticegate", 502, "via_loop"),
    ];
    for (head, status, reason) in cases {
        for closes in [false, true] {
            let (mut client, mut upstream, _) = proxy.request(GET);
            upstream.say(response(if closes { "Connection: close\n" } else { "" }, "one"));
            hear_head(&mut client);
            client.hear(3);
            client.say(proxy.head(head));
            let (answer, end) = client.hear_all();
            let answer = String::from_utf8(answer).unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(reason), "{head}: {answer}");
            assert_eq!(end, End::Fin);
        }
    }
    let reported = proxy.lab.end();
    assert_eq!(reported.records.len(), 2 * cases.len());
}

#[test]
fn a_client_that_resets_resets_its_upstream() {
    let proxy = Proxy::start();
    let (mut client, mut upstream, _) = proxy.request("POST http://NAME/ HTTP/1.1\nHost: NAME\nContent-Length: 1000");
    client.say([b'x'; 10]);
    upstream.hear(10);
    client.reset();
    assert_eq!(upstream.hear_all(), (vec![], End::Reset));
    proxy.lab.end().assert_only("relayed", "client_reset");
}

#[test]
fn a_process_that_stops_answers_who_waits_for_an_upstream() {
    let proxy = Proxy::with(Setup { dns: "ipv6: off, timeout: 60s", ..setup() });
    proxy.lab.dns.set("orders.example.com", support::dns::Reply::Silence);
    let mut client = proxy.client(proxy.head(GET));
    support::until("the name is looked up", || proxy.lab.dns.asked("orders.example.com", 1) > 0);
    proxy.lab.send_stop(StopRequest::Cut);
    let (answer, end) = client.hear_all();
    assert!(answer.starts_with(b"HTTP/1.1 503 ") && end == End::Fin, "{}", answer.escape_ascii());
}

/// One line for each request whose head was read, with what the client was sent and why, if it is not the upstream's.
#[test]
fn each_request_has_its_line() {
    let proxy = Proxy::start();
    let (mut client, mut upstream, _) = proxy.request("GET http://NAME/secret?token HTTP/1.1\nHost: NAME");
    upstream.say(response("", "one"));
    hear_head(&mut client);
    client.hear(3);
    client.say(proxy.head("HEAD http://NAME/ HTTP/1.1\nHost: NAME"));
    hear_head(&mut upstream);
    upstream.say("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 404 Not Found\r\n\r\n");
    hear_head(&mut client);
    hear_head(&mut client);
    client.say(proxy.head("POST http://denied.example.com:1/ HTTP/1.1\nHost: x"));
    client.hear_all();
    let (mut client, upstream, _) = proxy.request("PUT http://NAME/ HTTP/1.1\nHost: NAME\nContent-Length: 0");
    drop(upstream);
    client.hear_all();
    let (mut client, mut upstream, _) = proxy.request(GET);
    upstream.say(response("", "cut off").replace(" off", ""));
    drop(upstream);
    client.hear_all();
    let port = proxy.port;
    let reported = proxy.lab.end();
    assert!(reported.requests.iter().all(|request| !request.to_string().contains("secret")));
    let mut lines: Vec<_> = reported
        .requests
        .iter()
        .map(|request| {
            let text = |key: &str| request[key].as_str().unwrap_or_default().to_owned();
            let number = |key: &str| request[key].as_u64();
            (text("method"), text("host"), number("port").unwrap(), number("status"), text("reason"))
        })
        .collect();
    let line = |method: &str, status, reason: &str| {
        (method.to_owned(), "orders.example.com".to_owned(), u64::from(port), Some(status), reason.to_owned())
    };
    // The connections are served by several workers.
    lines.sort();
    let mut expected = [
        line("GET", 200, ""),
        line("HEAD", 404, ""),
        ("POST".into(), "denied.example.com".into(), 1, Some(403), "port_denied".into()),
        line("PUT", 502, "upstream_closed"),
        line("GET", 200, "upstream_closed"),
    ];
    expected.sort();
    assert_eq!(lines, expected);
    let refused = reported.requests.iter().find(|request| request["method"] == "POST").unwrap();
    assert_eq!((&refused["bytes_down"], refused.get("upstream")), (&0.into(), None));
    let mut requests: Vec<_> = reported.records.iter().map(|record| record["forward"]["requests"].as_u64()).collect();
    requests.sort();
    assert_eq!(requests, [Some(1), Some(1), Some(3)]);
}

/// What the client has not taken it has not been sent.
#[test]
fn the_bytes_of_a_request_are_those_that_were_sent() {
    let proxy = Proxy::start();
    let (mut client, mut upstream, _) = proxy.request(GET);
    let size = 64 << 20;
    upstream.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n"));
    let sending = std::thread::spawn(move || {
        upstream.say(vec![b'x'; size]);
        upstream
    });
    client.hear(1 << 20);
    client.reset();
    let _upstream = sending.join();
    let reported = proxy.lab.end();
    let (record, request) = (reported.record(), &reported.requests[0]);
    assert_eq!((&record["reason"], &request["reason"]), (&"client_reset".into(), &"client_reset".into()));
    assert_eq!((&record["bytes_down"], &record["bytes_up"]), (&request["bytes_down"], &request["bytes_up"]));
    assert_eq!(reported.requests.len(), 1);
}

/// A list that forbids what is waited for is the answer to it.
#[test]
fn a_request_that_waits_is_answered_when_a_new_list_forbids_it() {
    let proxy = Proxy::with(Setup { on_reload: "close", ..setup() });
    let (mut client, mut upstream, _) = proxy.request(GET);
    proxy.reload("- allow: all\n  to: other.example.com");
    let (answer, end) = client.hear_all();
    assert!(answer.starts_with(b"HTTP/1.1 403 ") && end == End::Fin, "{}", answer.escape_ascii());
    assert!(upstream.hear_all().0.is_empty());
}

/// What is refused behind a request is not what has ended it.
#[test]
fn a_request_is_not_ended_by_what_is_refused_behind_it() {
    let proxy = Proxy::with(Setup { timeouts: "handshake: 5s, connect: 3s, idle: 300ms", ..setup() });
    let mut client = proxy.client([proxy.head(GET), proxy.head("GET / HTTP/1.1\nHost: NAME")].concat());
    let mut upstream = proxy.lab.upstream.accept();
    hear_head(&mut upstream);
    upstream.say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart");
    let (answer, end) = client.hear_all();
    assert!(answer.ends_with(b"part") && end == End::Reset, "{}", answer.escape_ascii());
    let reported = proxy.lab.end();
    assert_eq!((&reported.requests[0]["status"], &reported.requests[0]["reason"]), (&200.into(), &"idle".into()));
    assert_eq!(word(reported.record(), "reason"), "idle");
}
