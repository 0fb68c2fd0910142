//! Requests in absolute form.

use latticegate_core::protocol::forward_response::MAX_INTERIM;
use support::lab::{Port, Setup};
use support::peer::{End, Peer};

use super::{Proxy, hear_head, hears, response, setup};

const GET: &str = "GET http://NAME/ HTTP/1.1\nHost: NAME";

/// What a response is on its way to the client, framed by its length.
fn relayed(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nVia: 1.1 latticegate\r\n\r\n{body}", body.len())
}

/// The response is asked for by a client that reads it.
#[track_caller]
fn exchange(client: &mut Peer, upstream: &mut Peer, body: &str) {
    upstream.say(response("", body));
    hears(client, &relayed(body));
}

#[test]
fn the_head_is_written_anew_and_the_body_passes() {
    let proxy = Proxy::start();
    let head = "POST http://NAME/path?query HTTP/1.1\nHost: something.else\nProxy-Connection: keep-alive\nX-Own: 1\n\
                Proxy-Authorization: Basic c2VjcmV0\nConnection: x-hop\nX-Hop: 1\nContent-Length: 4";
    let (mut client, mut upstream, head) = proxy.request(head);
    let port = proxy.port;
    assert_eq!(
        head,
        format!(
            "POST /path?query HTTP/1.1\r\nHost: orders.example.com:{port}\r\nX-Own: 1\r\nContent-Length: 4\r\n\
             Via: 1.1 latticegate\r\n\r\n"
        )
    );
    client.say(b"body");
    hears(&mut upstream, "body");
    upstream.say("HTTP/1.1 201 Made\r\nConnection: x-hop, keep-alive\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\nok");
    let answer = "HTTP/1.1 201 Made\r\nContent-Length: 2\r\nVia: 1.1 latticegate\r\n\r\nok";
    hears(&mut client, answer);
    client.finish();
    assert_eq!(upstream.hear_all(), (vec![], End::Fin));
    drop(upstream);
    let reported = proxy.lab.end();
    reported.assert_only("relayed", "done");
    let record = reported.record();
    assert_eq!((&record["bytes_up"], &record["bytes_down"]), (&(head.len() + 4).into(), &answer.len().into()));
}

#[test]
fn requests_to_one_host_share_a_connection() {
    let proxy = Proxy::start();
    let (mut client, mut upstream, _) = proxy.request(GET);
    exchange(&mut client, &mut upstream, "one");
    for body in ["two", "", "three"] {
        client.say(proxy.head(GET));
        hear_head(&mut upstream);
        exchange(&mut client, &mut upstream, body);
    }
    proxy.lab.upstream.assert_untouched();
}

#[test]
fn a_connection_may_name_another_host_each_time() {
    let proxy = Proxy::start();
    let other = proxy.other();
    let (mut client, mut upstream, _) = proxy.request(GET);
    exchange(&mut client, &mut upstream, "one");
    client.say(proxy.head("GET http://OTHER/ HTTP/1.1\nHost: OTHER"));
    // It is closed, as nobody else may have it.
    assert_eq!(upstream.hear_all(), (vec![], End::Fin));
    let mut upstream = other.accept();
    assert!(hear_head(&mut upstream).contains("Host: other.example.com"));
    exchange(&mut client, &mut upstream, "two");
    client.say(proxy.head(GET));
    let mut upstream = proxy.lab.upstream.accept();
    hear_head(&mut upstream);
    exchange(&mut client, &mut upstream, "three");
}

#[test]
fn what_is_pipelined_waits_for_the_answer_before_it() {
    let proxy = Proxy::start();
    let other = proxy.other();
    let to_other = proxy.head("GET http://OTHER/ HTTP/1.1\nHost: OTHER");
    let mut client = proxy.client([proxy.head(GET), proxy.head(GET), to_other, proxy.head(GET)].concat());
    let mut upstream = proxy.lab.upstream.accept();
    hear_head(&mut upstream);
    upstream.hears_nothing();
    exchange(&mut client, &mut upstream, "one");
    hear_head(&mut upstream);
    upstream.hears_nothing();
    other.assert_untouched();
    exchange(&mut client, &mut upstream, "two");
    let mut second = other.accept();
    hear_head(&mut second);
    exchange(&mut client, &mut second, "three");
    let mut third = proxy.lab.upstream.accept();
    hear_head(&mut third);
    exchange(&mut client, &mut third, "four");
    client.hears_nothing();
}

#[test]
fn an_origin_that_closes_leaves_the_clients_connection_alone() {
    let proxy = Proxy::start();
    let (mut client, mut upstream, _) = proxy.request(GET);
    // Said before, and not said.
    upstream.say(response("Connection: close\n", "one")).finish();
    hears(&mut client, &relayed("one"));
    client.hears_nothing();
    client.say(proxy.head(GET));
    let mut upstream = proxy.lab.upstream.accept();
    hear_head(&mut upstream);
    exchange(&mut client, &mut upstream, "two");
    drop(upstream);
    client.hears_nothing();
    // In the middle of the head of a request.
    let head = proxy.head(GET);
    let (begin, rest) = head.split_at(20);
    client.say(begin);
    client.hears_nothing();
    client.say(rest);
    let mut upstream = proxy.lab.upstream.accept();
    hear_head(&mut upstream);
    client.hears_nothing();
    exchange(&mut client, &mut upstream, "three");
}

#[test]
fn a_response_without_a_length_ends_both() {
    let proxy = Proxy::start();
    for version in ["1.1", "1.0"] {
        let (mut client, mut upstream, _) = proxy.request(GET);
        upstream.say(format!("HTTP/{version} 200 OK\r\n\r\nwhole")).finish();
        let (answer, end) = client.hear_all();
        let via = format!("HTTP/1.1 200 OK\r\nVia: {version} latticegate\r\nConnection: close\r\n\r\nwhole");
        assert_eq!((String::from_utf8(answer).unwrap(), end), (via, End::Fin));
    }
    let reported = proxy.lab.end();
    assert_eq!(reported.counted[&("relayed".to_owned(), "done".to_owned())], 2);
}

#[test]
fn a_client_of_the_old_version_has_one_request() {
    let proxy = Proxy::start();
    let (mut client, mut upstream, head) = proxy.request("GET http://NAME/ HTTP/1.0");
    assert!(head.starts_with("GET / HTTP/1.0\r\nHost: orders.example.com"), "{head}");
    upstream.say(response("", "one"));
    let (answer, end) = client.hear_all();
    assert!(answer.ends_with(b"\r\nConnection: close\r\n\r\none"), "{}", answer.escape_ascii());
    assert_eq!(end, End::Fin);
    assert_eq!(upstream.hear_all(), (vec![], End::Fin));
}

#[test]
fn a_client_that_says_close_has_no_further_request() {
    let proxy = Proxy::start();
    let head = proxy.head("GET http://NAME/ HTTP/1.1\nHost: NAME\nConnection: close");
    let mut client = proxy.client([head, proxy.head(GET)].concat());
    let mut upstream = proxy.lab.upstream.accept();
    hear_head(&mut upstream);
    upstream.say(response("", "one"));
    let (answer, end) = client.hear_all();
    assert!(answer.ends_with(b"\r\n\r\none"), "{}", answer.escape_ascii());
    assert_eq!(end, End::Fin);
    assert_eq!(upstream.hear_all(), (vec![], End::Fin));
    proxy.lab.upstream.assert_untouched();
    drop(client);
    proxy.lab.end().assert_only("relayed", "done");
}

#[test]
fn a_response_may_have_no_content() {
    let proxy = Proxy::start();
    let (mut client, mut upstream, _) = proxy.request(GET);
    exchange(&mut client, &mut upstream, "one");
    for (method, response) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n"),
    ] {
        client.say(proxy.head(&format!("{method} http://NAME/ HTTP/1.1\nHost: NAME")));
        hear_head(&mut upstream);
        upstream.say(format!("{response}\r\n"));
        hears(&mut client, &format!("{response}Via: 1.1 latticegate\r\n\r\n"));
    }
    client.say(proxy.head(GET));
    hear_head(&mut upstream);
    exchange(&mut client, &mut upstream, "last");
}

#[test]
fn continue_and_trailers_pass_end_to_end() {
    let proxy = Proxy::start();
    let head =
        "PUT http://NAME/ HTTP/1.1\nHost: NAME\nExpect: 100-continue\nTransfer-Encoding: chunked\nTrailer: x-sum";
    let (mut client, mut upstream, head) = proxy.request(head);
    assert!(head.contains("Expect: 100-continue\r\n") && head.contains("Trailer: x-sum\r\n"), "{head}");
    upstream.hears_nothing();
    upstream.say("HTTP/1.1 100 Continue\r\n\r\n");
    assert!(hear_head(&mut client).starts_with("HTTP/1.1 100 Continue\r\n"));
    let body = "4\r\nbody\r\n0\r\nX-Sum: 1\r\n\r\n";
    client.say(body);
    hears(&mut upstream, body);
    let answer = "HTTP/1.1 200 OK\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n";
    upstream.say(format!("{answer}\r\n{body}"));
    hears(&mut client, &format!("{answer}Via: 1.1 latticegate\r\n\r\n{body}"));
    client.say(proxy.head(GET));
    hear_head(&mut upstream);
    exchange(&mut client, &mut upstream, "next");
}

/// The origin answers before it has the body, and closes.
#[test]
fn an_early_answer_arrives_and_ends_the_connection() {
    let proxy = Proxy::start();
    let (mut client, mut upstream, _) =
        proxy.request("POST http://NAME/ HTTP/1.1\nHost: NAME\nContent-Length: 1000000");
    client.say([b'x'; 5000]);
    upstream.hear(5000);
    upstream.say(response("Connection: close\n", "too large")).finish();
    // The client is told that what is left of its body has nowhere to go.
    let expected = relayed("too large").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    hears(&mut client, &expected);
    assert_eq!(client.hear_all(), (vec![], End::Fin));
    drop((client, upstream));
    proxy.lab.end().assert_only("relayed", "done");
}

/// What is left of the body is never taken for a request.
#[test]
fn the_rest_of_a_body_that_was_answered_early_is_still_a_body() {
    let proxy = Proxy::start();
    let (mut client, mut upstream, _) = proxy.request("POST http://NAME/ HTTP/1.1\nHost: NAME\nContent-Length: 500");
    upstream.say(response("", "early"));
    hears(&mut client, &relayed("early"));
    let rest = format!("{:<500}", proxy.head("GET http://NAME/smuggled HTTP/1.1\nHost: NAME"));
    client.say(&rest);
    hears(&mut upstream, &rest);
    upstream.hears_nothing();
    client.say(proxy.head(GET));
    hear_head(&mut upstream);
    exchange(&mut client, &mut upstream, "next");
    proxy.lab.upstream.assert_untouched();
}

#[test]
fn a_request_that_is_denied_is_answered_in_its_turn_and_ends_the_connection() {
    let proxy = Proxy::start();
    let denied =
        proxy.head("GET http://denied.example.com:1/ HTTP/1.1\nHost: x").replace(":1/", &format!(":{}/", proxy.port));
    let mut client = proxy.client([proxy.head(GET), denied, proxy.head(GET)].concat());
    let mut upstream = proxy.lab.upstream.accept();
    hear_head(&mut upstream);
    upstream.hears_nothing();
    upstream.say(response("", "one"));
    let (answer, end) = client.hear_all();
    let answer = String::from_utf8(answer).unwrap();
    let refusal = answer.strip_prefix(&relayed("one")).expect(&answer);
    assert!(refusal.starts_with("HTTP/1.1 403 ") && refusal.matches("HTTP/1.1 ").count() == 1, "{refusal}");
    assert_eq!(end, End::Fin);
    assert_eq!(upstream.hear_all(), (vec![], End::Fin));
    drop(client);
    proxy.lab.end().assert_only("refused", "name_denied");
}

/// The same host, after the list has changed.
#[test]
fn each_request_asks_the_list() {
    let proxy = Proxy::start();
    let (mut client, mut upstream, _) = proxy.request(GET);
    exchange(&mut client, &mut upstream, "one");
    proxy.reload("- deny: all");
    client.say(proxy.head(GET));
    let (answer, end) = client.hear_all();
    assert!(answer.starts_with(b"HTTP/1.1 403 ") && end == End::Fin, "{}", answer.escape_ascii());
    assert_eq!(upstream.hear_all(), (vec![], End::Fin));
}

#[test]
fn an_upstream_that_closes_before_it_answers_is_reported_once() {
    let proxy = Proxy::start();
    for resets in [false, true] {
        let (mut client, upstream, _) = proxy.request("POST http://NAME/ HTTP/1.1\nHost: NAME\nContent-Length: 0");
        if resets {
            upstream.reset()
        } else {
            drop(upstream)
        }
        let (answer, end) = client.hear_all();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("upstream_closed"), "{answer}");
        assert_eq!(end, End::Fin);
    }
    let reported = proxy.lab.end();
    assert_eq!(reported.counted[&("failed".to_owned(), "upstream_closed".to_owned())], 2);
}

/// The upstream closes an idle connection while a request is on its way to it: nobody's fault, so it is sent again if that
/// can do no harm.
#[test]
fn a_request_that_met_a_closing_upstream_is_sent_again() {
    let proxy = Proxy::start();
    let (mut client, mut upstream, _) = proxy.request(GET);
    exchange(&mut client, &mut upstream, "one");
    for head in [
        GET,
        "HEAD http://NAME/ HTTP/1.1\nHost: NAME",
        "OPTIONS http://NAME/ HTTP/1.1\nHost: NAME",
        "DELETE http://NAME/ HTTP/1.1\nHost: NAME",
        "DELETE http://NAME/ HTTP/1.1\nHost: NAME\nContent-Length: 0",
        "PUT http://NAME/ HTTP/1.1\nHost: NAME\nContent-Length: 0",
    ] {
        client.say(proxy.head(head));
        hear_head(&mut upstream);
        drop(upstream);
        upstream = proxy.lab.upstream.accept();
        hear_head(&mut upstream);
        exchange(&mut client, &mut upstream, "");
    }
    drop((client, upstream));
    // Nobody knows what these have done, or they are not at hand any more.
    for (method, body) in [("POST", ""), ("PATCH", ""), ("PUT", "body"), ("DELETE", "body"), ("GET", "body")] {
        let (mut client, mut upstream, _) = proxy.request(GET);
        exchange(&mut client, &mut upstream, "one");
        let head = format!("{method} http://NAME/ HTTP/1.1\nHost: NAME\nContent-Length: {}", body.len());
        client.say([&proxy.head(&head), body].concat());
        hear_head(&mut upstream);
        upstream.hear(body.len());
        drop(upstream);
        let (answer, _) = client.hear_all();
        assert!(answer.starts_with(b"HTTP/1.1 502 "), "{method}: {}", answer.escape_ascii());
        proxy.lab.upstream.assert_untouched();
    }
}

/// One that comes over a new connection is sent once: that one was not expected to close.
#[test]
fn a_first_request_is_not_sent_again() {
    let proxy = Proxy::start();
    let (mut client, upstream, _) = proxy.request(GET);
    drop(upstream);
    assert!(client.hear_all().0.starts_with(b"HTTP/1.1 502 "));
    proxy.lab.upstream.assert_untouched();
}

/// However small each of them is.
#[test]
fn interim_responses_come_to_an_end() {
    let proxy = Proxy::start();
    let (mut client, mut upstream, _) = proxy.request(GET);
    let most = usize::from(MAX_INTERIM);
    upstream.say("HTTP/1.1 102 Processing\r\n\r\n".repeat(most + 1));
    let (answer, end) = client.hear_all();
    let answer = String::from_utf8(answer).unwrap();
    let refusal = answer.strip_prefix(&"HTTP/1.1 102 Processing\r\nVia: 1.1 latticegate\r\n\r\n".repeat(most)).unwrap();
    assert!(refusal.starts_with("HTTP/1.1 502 ") && refusal.contains("response_malformed"), "{refusal}");
    assert_eq!(end, End::Fin);
}

#[test]
fn a_response_that_was_cut_does_not_look_whole() {
    let proxy = Proxy::start();
    let (mut client, mut upstream, _) = proxy.request(GET);
    upstream.say(response("", "one and more").replace("more", ""));
    hears(&mut client, &relayed("one and more").replace("more", ""));
    upstream.reset();
    assert_eq!(client.hear_all(), (vec![], End::Reset));
    proxy.lab.end().assert_only("relayed", "upstream_reset");
}

#[test]
fn a_response_that_becomes_malformed_is_cut_with_a_reset() {
    let proxy = Proxy::start();
    let (mut client, mut upstream, _) = proxy.request(GET);
    upstream.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
    hear_head(&mut client);
    hears(&mut client, "3\r\none\r\n");
    upstream.say("x\r\n");
    assert_eq!(client.hear_all(), (vec![], End::Reset));
    proxy.lab.end().assert_only("failed", "response_malformed");
}

/// A 408 from an idle connection is never the answer to the next request.
#[test]
fn what_the_upstream_says_unasked_is_not_for_the_client() {
    let proxy = Proxy::start();
    let (mut client, mut upstream, _) = proxy.request(GET);
    let unasked = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n";
    upstream.say(format!("{}{unasked}", response("", "one")));
    hears(&mut client, &relayed("one"));
    client.hears_nothing();
    client.say(proxy.head(GET));
    let mut upstream = proxy.lab.upstream.accept();
    hear_head(&mut upstream);
    exchange(&mut client, &mut upstream, "two");
    upstream.say(unasked);
    client.hears_nothing();
    client.say(proxy.head(GET));
    let mut upstream = proxy.lab.upstream.accept();
    hear_head(&mut upstream);
    exchange(&mut client, &mut upstream, "three");
}

#[test]
fn a_client_that_has_sent_fin_gets_its_answer() {
    let proxy = Proxy::start();
    let (mut client, mut upstream, _) = proxy.request(GET);
    client.finish();
    assert_eq!(upstream.hear_all(), (vec![], End::Fin));
    upstream.say(response("", "the answer"));
    // The upstream stays open: it is not waited for.
    let (answer, end) = client.hear_all();
    assert_eq!((String::from_utf8(answer).unwrap(), end), (relayed("the answer"), End::Fin));
    drop(client);
    proxy.lab.end().assert_only("relayed", "done");
}

#[test]
fn bodies_of_any_size_pass_both_ways() {
    const SIZE: usize = 8 << 20;
    let proxy = Proxy::start();
    let (mut client, mut upstream, _) =
        proxy.request(&format!("POST http://NAME/ HTTP/1.1\nHost: NAME\nContent-Length: {SIZE}"));
    let body: Vec<u8> = (0..SIZE).map(|at| (at * 31 + (at >> 8)).to_le_bytes()[0]).collect();
    for round in 0..2 {
        std::thread::scope(|scope| {
            scope.spawn(|| client.say(&body));
            assert!(upstream.hear(SIZE) == body, "round {round}");
        });
        upstream.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
        hear_head(&mut client);
        std::thread::scope(|scope| {
            scope.spawn(|| upstream.say(&body));
            assert!(client.hear(SIZE) == body, "round {round}");
        });
        if round == 0 {
            client.say(proxy.head(&format!("POST http://NAME/ HTTP/1.1\nHost: NAME\nContent-Length: {SIZE}")));
            hear_head(&mut upstream);
        }
    }
}

#[test]
fn a_client_without_a_load_balancer_is_its_own_peer() {
    let proxy = Proxy::start();
    let mut client = proxy.lab.connect(Port::ForwardDirect);
    client.say(proxy.head(GET));
    let mut upstream = proxy.lab.upstream.accept();
    hear_head(&mut upstream);
    exchange(&mut client, &mut upstream, "one");
}

#[test]
fn a_name_that_leads_nowhere_is_no_answer_of_a_site() {
    let proxy = Proxy::with(Setup { rules: "- allow: all\n  to: any", ..setup() });
    let address = |address: &str| support::dns::addresses(&[address.parse().unwrap()]);
    proxy.lab.dns.set("broken.example.com", support::dns::Reply::Code(support::dns::SERVFAIL));
    proxy.lab.dns.set("silent.example.com", support::dns::Reply::Silence);
    proxy.lab.dns.set("metadata.example.com", address("169.254.169.254"));
    proxy.lab.dns.set("self.example.com", support::dns::addresses(&[proxy.lab.ip(1)]));
    proxy.lab.dns.set("refusing.example.com", support::dns::addresses(&[proxy.lab.ip(77)]));
    for (name, status, error, reason) in [
        ("nowhere.example.com", 502, "dns_error", "name_unknown"),
        ("broken.example.com", 502, "dns_error", "dns_failed"),
        ("silent.example.com", 504, "dns_timeout", "dns_timeout"),
        ("metadata.example.com", 502, "destination_ip_prohibited", "destination_forbidden"),
        ("refusing.example.com", 502, "connection_refused", "connect_refused"),
    ] {
        for head in ["CONNECT TO HTTP/1.1\nHost: TO", "GET http://TO/ HTTP/1.1\nHost: TO"] {
            let answer = proxy.refused(proxy.head(&head.replace("TO", &format!("{name}:{}", proxy.port))));
            let status = format!("HTTP/1.1 {status} ");
            let proxy_status = format!("Proxy-Status: latticegate; error={error}; details=\"{reason}\"\r\n");
            assert!(answer.starts_with(&status) && answer.contains(&proxy_status), "{name}: {answer}");
        }
    }
}
