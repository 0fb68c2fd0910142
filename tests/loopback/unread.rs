//! A client that is refused before its hello or head was read: what it has sent by then is in its record, and nothing waits
//! for more.

use support::dns::addresses;
use support::lab::{Lab, Port, Setup, word};
use support::wire::{Hello, hello, nlb_health_check, proxy, tcp4, with_checksum};

const DENIES: &str = "- deny: all";
const HEAD: &[u8] = b"GET /secret HTTP/1.1\r\nHost: Orders.Example.com\r\nCookie: secret\r\n\r\n";

/// What the record says of the name, of the only connection of a gate that refused it for this reason.
#[track_caller]
fn named(lab: Lab, reason: &str) -> Option<String> {
    let reported = lab.end();
    reported.assert_only("refused", reason);
    let record = reported.record();
    assert!(!record.to_string().contains("secret"), "{record}");
    record["name"].as_str().map(str::to_owned)
}

fn denying() -> Lab {
    Lab::with(Setup { rules: DENIES, ..Setup::default() })
}

#[test]
fn a_client_that_the_list_denies_has_the_name_that_it_asked_for() {
    for (port, bytes) in [
        (Port::Tls, [tcp4(&[]), hello()].concat()),
        (Port::TlsDirect, hello()),
        (Port::Http, [tcp4(&[]), HEAD.to_vec()].concat()),
        (Port::HttpDirect, HEAD.to_vec()),
        // One that speaks the other protocol is told that it is denied, and nothing else.
        (Port::TlsDirect, HEAD.to_vec()),
        (Port::HttpDirect, hello()),
    ] {
        let lab = denying();
        lab.connect(port).say(bytes).hear_all();
        assert_eq!(named(lab, "client_denied").as_deref(), Some("orders.example.com"), "{port:?}");
    }
}

/// What is not there yet is not waited for: the answer comes although the client sends nothing more.
#[test]
fn what_has_not_come_is_not_waited_for() {
    let whole = [tcp4(&[]), hello()].concat();
    let name_ends = whole.windows(11).position(|window| window == b"example.com").unwrap() + 11;
    for (sent, expected) in [
        (tcp4(&[]).len(), None),
        (tcp4(&[]).len() + 60, None),
        (name_ends - 1, None),
        (name_ends, Some("orders.example.com")),
    ] {
        let lab = denying();
        let mut client = lab.connect(Port::Tls);
        client.say(&whole[..sent]);
        let (answer, _) = client.hear_all();
        assert_eq!(answer, [21, 3, 3, 0, 2, 2, 49], "access_denied");
        assert_eq!(named(lab, "client_denied").as_deref(), expected, "{sent} bytes");
    }
}

/// A name is shown as it is in every other record: in its normal form, or as the client wrote it where it is none.
#[test]
fn a_hostile_name_is_written_as_any_other() {
    for (name, expected) in [
        (&b"ORDERS.example.com."[..], "orders.example.com"),
        (b"a\"b\\c\r\n{}", "a\"b\\c\r\n{}"),
        (b"\xff\xc2\x9b31m", "\u{fffd}\u{fffd}31m"),
        (b"192.0.2.1", "192.0.2.1"),
    ] {
        let lab = denying();
        lab.connect(Port::TlsDirect).say(Hello::to(name).record()).hear_all();
        assert_eq!(named(lab, "client_denied").as_deref(), Some(expected));
    }
    let lab = denying();
    lab.connect(Port::TlsDirect).say(Hello::to(&[b'x'; 9000]).record()).hear_all();
    assert_eq!(named(lab, "client_denied").map(|name| name.len()), Some(255));
}

#[test]
fn the_header_may_be_refused_and_the_name_behind_it_is_known() {
    let mut wrong_sum = with_checksum(tcp4(&[3, 0, 4, 0, 0, 0, 0]));
    wrong_sum[31] ^= 1;
    for (reason, header) in [
        ("proxy_missing", Vec::new()),
        ("proxy_v1", b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 443\r\n".to_vec()),
        ("proxy_malformed", proxy(0x2f, 0x11, &[0; 12])),
        ("proxy_unsupported", proxy(0x21, 0x12, &[0; 12])),
        ("proxy_checksum", wrong_sum),
    ] {
        for (port, rest) in [(Port::Tls, hello()), (Port::Http, HEAD.to_vec())] {
            let lab = Lab::start();
            lab.connect(port).say([header.clone(), rest].concat()).hear_all();
            assert_eq!(named(lab, reason).as_deref(), Some("orders.example.com"), "{reason} {port:?}");
        }
    }
    let lab = Lab::with(Setup { trusted: "[192.0.2.0/24]", ..Setup::default() });
    lab.connect(Port::Tls).say([tcp4(&[]), hello()].concat()).hear_all();
    assert_eq!(named(lab, "untrusted_peer").as_deref(), Some("orders.example.com"));
}

#[test]
fn limits_on_clients_and_connections_leave_the_name() {
    for (limits, reason, port) in [
        ("per_client: { connections: 1 }", "client_connections", Port::Tls),
        ("per_client: { per_second: 1 }", "client_rate", Port::Http),
        ("connections: 1", "overloaded", Port::Tls),
        ("connections: 1", "overloaded", Port::Http),
    ] {
        let lab = Lab::with(Setup { limits, workers: 1, ..Setup::default() });
        let (first, upstream) = lab.pair();
        let rest = if port == Port::Tls { hello() } else { HEAD.to_vec() };
        lab.connect(port).say([tcp4(&[]), rest].concat()).hear_all();
        drop((first, upstream));
        let reported = lab.end();
        let record = reported.record_of(reason);
        assert_eq!(word(record, "name"), "orders.example.com", "{limits}");
        assert_eq!(word(record, "client"), "192.0.2.1", "{limits}: {record}");
        assert!(!record.to_string().contains("secret"), "{record}");
    }
}

/// A hello that does not become complete: too late, too slow, one of too many, or broken off.
#[test]
fn of_a_hello_that_is_never_whole_the_name_is_known_if_it_has_come() {
    let long = Hello::to(b"orders.example.com").with(21, vec![0; 8000]).record();
    let begun = |len: usize| [tcp4(&[]), long[..len].to_vec()].concat();
    for (timeouts, limits, reason) in [
        ("handshake: 300ms, connect: 3s, idle: 60s", "", "handshake_timeout"),
        ("handshake: 30s, connect: 3s, idle: 60s", "handshake_rate: 4000000", "handshake_slow"),
    ] {
        let lab = Lab::with(Setup { timeouts, limits, ..Setup::default() });
        let mut client = lab.connect(Port::Tls);
        client.say(begun(1000));
        if reason == "handshake_slow" {
            lab.is_open(Port::Tls);
            // The rate counts from the fourth second on, when something more has come.
            std::thread::sleep(std::time::Duration::from_millis(4100));
            client.say(b"\0");
        }
        client.hear_all();
        assert_eq!(named(lab, reason).as_deref(), Some("orders.example.com"), "{reason}");
    }
    let lab = Lab::with(Setup { limits: "half_open: 1", workers: 1, ..Setup::default() });
    let mut first = lab.connect(Port::Tls);
    first.say(begun(1000));
    support::until("it waits", || lab.metrics()["latticegate_connections_half_open"] == 1.0);
    let mut second = lab.connect(Port::Tls);
    second.say(begun(1000));
    first.hear_all();
    drop(second);
    let reported = lab.end();
    assert_eq!(word(reported.record_of("overloaded"), "name"), "orders.example.com");
    // Nobody refused it: it left.
    assert_eq!(word(reported.record_of("client_left"), "name"), "orders.example.com");
}

/// On a `forward` listener only what may be logged of a request: see `forward`.
#[test]
fn a_forward_listener_that_is_sent_a_hello_has_its_name_and_of_a_request_no_secret() {
    for (bytes, reason, expected) in [
        (hello(), "client_denied", Some("orders.example.com")),
        (b"GET http://user:secret@other.example/secret HTTP/1.1\r\n".to_vec(), "client_denied", Some("other.example")),
        (b"GET /secret HTTP/1.1\r\nHost: orders.example.com\r\n\r\n".to_vec(), "client_denied", None),
    ] {
        let lab = Lab::with(Setup { rules: DENIES, forward: Some(""), ..Setup::default() });
        lab.connect(Port::ForwardDirect).say(bytes).hear_all();
        let reported = lab.end();
        let record = reported.record_of(reason);
        assert_eq!(record["name"].as_str(), expected, "{record}");
        assert!(!record.to_string().contains("secret"), "{record}");
    }
}

/// The decision does not depend on it: a name that another rule would let in changes nothing.
#[test]
fn the_name_decides_nothing() {
    let rules = "- deny: 192.0.2.0/24\n- allow: 192.0.2.0/24\n  to: orders.example.com";
    for sent in [Vec::new(), hello(), Hello::to(b"other.example.com").record(), vec![0xff; 100]] {
        let lab = Lab::with(Setup { rules, ..Setup::default() });
        lab.dns.set("other.example.com", addresses(&[lab.upstream.address.ip()]));
        lab.connect(Port::Tls).say([tcp4(&[]), sent].concat()).hear_all();
        let _ = named(lab, "client_denied");
    }
    let lab = denying();
    lab.connect(Port::Tls).say(nlb_health_check());
    lab.quiet();
    assert_eq!(lab.end().records.len(), 0, "a health check is none");
}
