//! CONNECT.

use std::time::Duration;

use support::dns::addresses;
use support::lab::{Port, Setup, word};
use support::peer::End;
use support::wire::{Hello, hello, tcp4};

use super::{ESTABLISHED, Proxy, hears, setup};

fn alert(description: u8) -> Vec<u8> {
    vec![21, 3, 3, 0, 2, 2, description]
}

fn any() -> Setup {
    Setup { forward: Some("tunnel: any"), ..setup() }
}

#[test]
fn tls_goes_through_unchanged_and_both_names_are_known() {
    let proxy = Proxy::start();
    let (mut client, mut upstream) = proxy.tunnel();
    upstream.hears_nothing();
    client.say(hello()).say(b"more");
    assert_eq!(upstream.hear(hello().len() + 4), [&hello()[..], b"more"].concat());
    upstream.say(b"the answer").finish();
    assert_eq!(client.hear_all(), (b"the answer".to_vec(), End::Fin));
    client.finish();
    assert_eq!(upstream.hear_all(), (vec![], End::Fin));
    let address = proxy.lab.upstream.address;
    let reported = proxy.lab.end();
    reported.assert_only("relayed", "done");
    let record = reported.record();
    assert_eq!((word(record, "name"), word(record, "upstream")), ("orders.example.com".into(), address.to_string()));
    assert_eq!(word(record, "rule"), "ipcontrol.yaml:2");
    assert_eq!(
        record["forward"],
        serde_json::json!({ "method": "CONNECT", "port": address.port(), "sni": "orders.example.com" })
    );
    // Neither the CONNECT nor its answer.
    assert_eq!((&record["bytes_up"], &record["bytes_down"]), (&(hello().len() + 4).into(), &10.into()));
}

#[test]
fn what_came_with_the_connect_is_passed_on_in_its_order() {
    let proxy = Proxy::start();
    let mut client = proxy.client([proxy.connect().as_bytes(), &hello(), b"early data"].concat());
    hears(&mut client, ESTABLISHED);
    let mut upstream = proxy.lab.upstream.accept();
    client.say(b", and more").finish();
    assert_eq!(upstream.hear_all(), ([&hello()[..], b"early data, and more"].concat(), End::Fin));
}

#[test]
fn a_hello_may_come_in_any_number_of_pieces() {
    let proxy = Proxy::start();
    let bytes = [proxy.connect().as_bytes(), &hello()].concat();
    let (first, rest) = bytes.split_at(proxy.connect().len() + 3);
    let mut client = proxy.client(first);
    hears(&mut client, ESTABLISHED);
    let mut upstream = proxy.lab.upstream.accept();
    for byte in rest {
        client.say([*byte]);
    }
    assert_eq!(upstream.hear(hello().len()), hello());
}

#[test]
fn a_server_may_speak_first_where_any_protocol_may() {
    let proxy = Proxy::with(any());
    let (mut client, mut upstream) = proxy.tunnel();
    upstream.say(b"220 smtp.example.com\r\n");
    hears(&mut client, "220 smtp.example.com\r\n");
    client.say(b"EHLO client\r\n").finish();
    assert_eq!(upstream.hear_all(), (b"EHLO client\r\n".to_vec(), End::Fin));
    // Half-closed, it still gets the answer.
    upstream.say(b"250 bye\r\n").finish();
    assert_eq!(client.hear_all(), (b"250 bye\r\n".to_vec(), End::Fin));
    proxy.lab.end().assert_only("relayed", "done");
}

#[test]
fn no_answer_before_the_upstream_is_there() {
    let proxy = Proxy::start();
    proxy.lab.dns.set("orders.example.com", support::dns::Reply::Silence);
    let mut client = proxy.client(proxy.connect());
    client.hears_nothing();
    let (answer, _) = client.hear_all();
    assert!(answer.starts_with(b"HTTP/1.1 504 "), "{}", answer.escape_ascii());
}

#[test]
fn the_old_version_needs_no_host() {
    let proxy = Proxy::start();
    let mut client = proxy.client(proxy.head("CONNECT NAME HTTP/1.0"));
    hears(&mut client, ESTABLISHED);
    let answer = proxy.refused(proxy.head("CONNECT NAME HTTP/1.0\nHost: NAME\nHost: NAME"));
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("host_ambiguous"), "{answer}");
}

/// Another name, none, no TLS: the upstream has not seen a byte of it.
#[test]
fn what_may_not_come_through_is_not_passed_on() {
    let proxy = Proxy::start();
    let to = |name: &[u8]| Hello::to(name).record();
    let cases = [
        (to(b"evil.example.com"), alert(49), "tunnel_sni_denied"),
        (Hello::default().record(), alert(109), "tunnel_sni_missing"),
        (b"SSH-2.0-x\r\n".to_vec(), vec![], "tunnel_not_tls"),
        (b"GET / HTTP/1.1\r\nHost: orders.example.com\r\n\r\n".to_vec(), vec![], "tunnel_not_tls"),
        (to(b"192.0.2.7"), alert(112), "sni_ip_address"),
        (b"\x16\x03\x01\0\0".to_vec(), alert(50), "hello_malformed"),
    ];
    let reasons = cases.each_ref().map(|(.., reason)| *reason);
    for (bytes, answer, reason) in cases {
        let (mut client, mut upstream) = proxy.tunnel();
        client.say(bytes);
        assert_eq!(client.hear_all(), (answer, End::Fin), "{reason}");
        assert_eq!(upstream.hear_all(), (vec![], End::Fin), "{reason}");
    }
    let reported = proxy.lab.end();
    for (record, reason) in reported.records.iter().zip(reasons) {
        assert_eq!((word(record, "name"), word(record, "reason")), ("orders.example.com".into(), reason.into()));
    }
    let sni: Vec<Option<&str>> = reported.records.iter().map(|record| record["forward"]["sni"].as_str()).collect();
    assert_eq!(sni, [Some("evil.example.com"), None, None, None, Some("192.0.2.7"), None]);
}

#[test]
fn another_name_that_the_client_may_reach_on_this_port_may_be_in_the_hello() {
    let proxy = Proxy::start();
    let (mut client, mut upstream) = proxy.tunnel();
    let other = Hello::to(b"other.example.com").record();
    client.say(&other);
    assert_eq!(upstream.hear(other.len()), other);
    drop(client);
    // On another port it may not.
    let rules = "- allow: all\n  to: orders.example.com\n- allow: all\n  to: other.example.com\n  port: 1\n- deny: all";
    let proxy = Proxy::with(Setup { rules, ..setup() });
    let (mut client, mut upstream) = proxy.tunnel();
    client.say(&other);
    assert_eq!(client.hear_all(), (alert(49), End::Fin));
    assert_eq!(upstream.hear_all(), (vec![], End::Fin));
}

#[test]
fn a_client_that_is_silent_in_its_tunnel_has_the_handshakes_deadline() {
    let timeouts = "handshake: 400ms, connect: 3s, idle: 60s";
    let proxy = Proxy::with(Setup { timeouts, ..setup() });
    let (mut client, mut upstream) = proxy.tunnel();
    assert_eq!(client.hear_all(), (alert(40), End::Fin));
    assert_eq!(upstream.hear_all(), (vec![], End::Fin));
    proxy.lab.end().assert_only("refused", "handshake_timeout");
}

#[test]
fn a_client_that_is_silent_in_its_tunnel_is_half_open_and_makes_room() {
    let proxy = Proxy::with(Setup { limits: "half_open: 1", ..setup() });
    let (mut first, _upstream) = proxy.tunnel();
    let mut second = proxy.lab.connect(Port::Forward);
    second.say(tcp4(&[]));
    assert_eq!(first.hear_all(), (alert(80), End::Fin));
    drop(second);
    proxy.lab.end().record_of("overloaded");
}

#[test]
fn a_slow_hello_in_a_tunnel_is_refused_as_elsewhere() {
    let proxy = Proxy::with(Setup { limits: "handshake_rate: 1000000", ..setup() });
    let (mut client, _upstream) = proxy.tunnel();
    client.say(&hello()[..10]);
    std::thread::sleep(Duration::from_millis(4200));
    let _ = std::io::Write::write_all(&mut client.stream, b"x");
    assert_eq!(client.hear_all(), (alert(40), End::Fin));
    proxy.lab.end().assert_only("refused", "handshake_slow");
}

#[test]
fn a_client_that_leaves_its_tunnel_before_a_hello_has_left() {
    let proxy = Proxy::start();
    let (client, mut upstream) = proxy.tunnel();
    drop(client);
    assert_eq!(upstream.hear_all(), (vec![], End::Fin));
    proxy.lab.end().assert_only("unfinished", "client_left");
}

#[test]
fn nothing_behind_a_refused_connect_is_read_as_a_request() {
    let proxy = Proxy::start();
    let (other, port) = (proxy.other(), proxy.port);
    let behind = format!("GET http://other.example.com:{port}/ HTTP/1.1\r\nHost: other.example.com:{port}\r\n\r\n");
    proxy.lab.dns.set("metadata.example.com", addresses(&["169.254.169.254".parse().unwrap()]));
    for head in [
        "CONNECT denied.example.com:PORT HTTP/1.1\nHost: x",
        "CONNECT orders.example.com:1 HTTP/1.1\nHost: x",
        "CONNECT orders.example.com HTTP/1.1\nHost: x",
        "CONNECT 127.0.0.1:PORT HTTP/1.1\nHost: x",
        "CONNECT NAME HTTP/1.1\nHost: x\nContent-Length: 5",
        "CONNECT NAME HTTP/1.1",
    ] {
        let head = proxy.head(&head.replace("PORT", &port.to_string()));
        let answer = proxy.refused(format!("{head}{behind}"));
        assert!(answer.starts_with("HTTP/1.1 4") && answer.matches("HTTP/1.1 ").count() == 1, "{head}: {answer}");
    }
    other.assert_untouched();
    proxy.lab.upstream.assert_untouched();
}

/// An upstream that is not reached is a refusal too.
#[test]
fn nothing_behind_a_connect_that_failed_is_read_as_a_request() {
    let proxy = Proxy::start();
    let other = proxy.other();
    proxy.lab.dns.set("orders.example.com", addresses(&[proxy.lab.ip(99)]));
    let behind = proxy.head("GET http://OTHER/ HTTP/1.1\nHost: OTHER");
    let answer = proxy.refused(format!("{}{behind}", proxy.connect()));
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.matches("HTTP/1.1 ").count() == 1, "{answer}");
    assert!(
        answer.contains("Proxy-Status: latticegate; error=connection_refused; details=\"connect_refused\""),
        "{answer}"
    );
    other.assert_untouched();
    proxy.lab.end().assert_only("failed", "connect_refused");
}

#[test]
fn a_new_list_ends_a_tunnel_whose_connect_name_or_sni_it_forbids() {
    for forbidden in ["orders.example.com", "other.example.com"] {
        let proxy = Proxy::with(Setup { on_reload: "close", ..setup() });
        let (mut client, mut upstream) = proxy.tunnel();
        let other = Hello::to(b"other.example.com").record();
        client.say(&other);
        assert_eq!(upstream.hear(other.len()), other);
        proxy.reload(&format!("- deny: all\n  to: {forbidden}\n{}", super::RULES));
        assert_eq!(client.hear_all(), (vec![], End::Reset));
        proxy.lab.end().assert_only("relayed", "forbidden");
    }
}

#[test]
fn a_new_list_for_another_port_leaves_a_tunnel_alone() {
    let proxy = Proxy::with(Setup { on_reload: "close", ..setup() });
    let (mut client, mut upstream) = proxy.tunnel();
    client.say(hello());
    upstream.hear(hello().len());
    proxy.reload(&format!("- deny: all\n  to: orders.example.com\n  port: 1\n{}", super::RULES));
    client.say(b"still here");
    assert_eq!(upstream.hear(10), b"still here");
}

#[test]
fn silent_refusals_say_nothing() {
    let proxy = Proxy::with(Setup { policy_refusal: "silent", ..setup() });
    for head in ["CONNECT denied.example.com:PORT HTTP/1.1\nHost: x", "CONNECT orders.example.com:1 HTTP/1.1\nHost: x"]
    {
        assert_eq!(proxy.refused(proxy.head(&head.replace("PORT", &proxy.port.to_string()))), "");
    }
    let (mut client, _upstream) = proxy.tunnel();
    client.say(Hello::to(b"evil.example.com").record());
    assert_eq!(client.hear_all(), (vec![], End::Fin));
}

#[test]
fn a_list_of_ports_may_be_empty() {
    let proxy = Proxy::with(Setup { forward: Some("connect_ports: [], http_ports: [PORT]"), ..setup() });
    let answer = proxy.refused(proxy.connect());
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("port_denied"), "{answer}");
    proxy.lab.upstream.assert_untouched();
}
