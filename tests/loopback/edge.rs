//! Bytes at the edge that are unusual and right: hellos in tiny records, long PROXY headers, LOCAL with something
//! behind it, clients that are silent for a while.

use std::time::Duration;

use support::http::get_after;
use support::lab::{Lab, Port, Setup, word};
use support::malformed::padded_hello;
use support::peer::{End, Peer};
use support::wire::{Hello, LOCAL, ORDERS, hello, nlb_health_check, proxy, records, tcp4, tcp6, tlv};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: orders.example.com\r\n\r\n";

/// What the client sent reaches the upstream as it was, and the answer comes back.
fn passes(lab: &Lab, client: &mut Peer, sent: &[u8]) {
    let mut upstream = lab.upstream.accept();
    assert!(upstream.hear(sent.len()) == sent, "changed on its way");
    upstream.say(b"the answer").finish();
    assert_eq!(client.finish().hear_all(), (b"the answer".to_vec(), End::Fin));
    assert_eq!(upstream.hear_all(), (vec![], End::Fin));
}

#[test]
fn the_longest_hello_in_one_byte_records_passes_unchanged_however_it_is_cut() {
    let mut lab = Lab::start();
    let sent = records(&padded_hello(16 * 1024), 1);
    for piece in [sent.len(), 5000, 6, 1] {
        // Byte by byte it is a long way: a shorter one, but above the 64 records that once were the bound.
        let sent = if piece == 1 { records(&hello()[5..], 1) } else { sent.clone() };
        let mut client = lab.connect(Port::Tls);
        client.say(tcp4(&[]));
        for piece in sent.chunks(piece) {
            client.say(piece);
        }
        passes(&lab, &mut client, &sent);
        let record = lab.record();
        assert_eq!(record["hello"]["records"], sent.len() / 6, "{record}");
        assert_eq!(record["bytes_up"], sent.len(), "{record}");
    }
    lab.end();
}

#[test]
fn the_version_of_a_record_is_ignored() {
    let lab = Lab::start();
    let mut sent = records(&Hello::to(ORDERS).message(), 100);
    (sent[2], sent[105 + 2]) = (9, 0xff);
    let mut client = lab.connect(Port::TlsDirect);
    client.say(&sent);
    passes(&lab, &mut client, &sent);
    lab.end();
}

#[test]
fn a_proxy_header_may_be_as_long_as_its_length_can_say() {
    let lab = Lab::start();
    let certificate = tlv(0x20, &vec![7; 0xffff - 36 - 3]);
    let headers = [tcp6(&certificate), tcp4(&tlv(4, b"x").repeat(12_000)), proxy(LOCAL, 0, &vec![0; 0xffff])];
    for (n, header) in headers.iter().enumerate() {
        for piece in [header.len(), 1400] {
            let mut client = lab.connect(Port::Tls);
            for piece in header.chunks(piece) {
                client.say(piece);
            }
            client.say(hello());
            passes(&lab, &mut client, &hello());
        }
        assert_eq!(get_after(lab.health, header, "/healthz"), (200, "alive\n".into()), "header {n}");
    }
    let reported = lab.end();
    let mut clients: Vec<String> = reported.records.iter().map(|record| word(record, "client")).collect();
    clients.sort();
    assert_eq!(clients[2..], ["192.0.2.1", "192.0.2.1", "2001:db8::1", "2001:db8::1"]);
    assert!(clients[..2].iter().all(|client| client.starts_with("127.")), "{clients:?}");
}

#[test]
fn what_follows_a_local_header_is_the_balancers_own_and_is_served() {
    let lab = Lab::start();
    for (port, asks) in [(Port::Tls, hello()), (Port::Http, REQUEST.to_vec())] {
        for at_once in [true, false] {
            let mut check = lab.connect(port);
            if at_once {
                check.say([&nlb_health_check(), &asks[..]].concat());
            } else {
                // HAProxy sends the two one after the other.
                check.say(nlb_health_check());
                lab.is_open(port);
                check.say(&asks);
            }
            passes(&lab, &mut check, &asks);
            lab.quiet();
        }
    }
    let reported = lab.end();
    assert_eq!(reported.records.len(), 4);
    for record in &reported.records {
        assert_eq!((word(record, "outcome").as_str(), word(record, "reason").as_str()), ("relayed", "done"));
        let (ip, port) = (word(record, "client"), &record["client_port"]);
        assert_eq!(format!("{ip}:{port}"), word(record, "peer"));
        assert_eq!(word(record, "rule"), "ipcontrol.yaml:2");
    }
}

#[test]
fn the_list_is_asked_about_the_balancer_that_speaks_for_itself() {
    let lab = Lab::with(Setup { rules: "- allow: 192.0.2.0/24\n- deny: 127.0.0.0/8", ..Setup::default() });
    let mut check = lab.connect(Port::Http);
    check.say([&nlb_health_check(), REQUEST].concat());
    let (answer, _) = check.hear_all();
    assert!(answer.starts_with(b"HTTP/1.1 403 "), "{}", answer.escape_ascii());
    // One that asks for nothing is not on anybody's list.
    let mut check = lab.connect(Port::Http);
    check.say(nlb_health_check()).finish();
    assert_eq!(check.hear_all(), (vec![], End::Fin));
    lab.quiet();
    let reported = lab.end();
    assert_eq!(reported.records.len(), 1);
    assert_eq!(word(reported.record_of("client_denied"), "rule"), "ipcontrol.yaml:3");
    assert_eq!(reported.counted[&("probe".into(), "local".into())], 1);
}

#[test]
fn a_local_header_and_nothing_more_is_a_probe_until_the_deadline() {
    let lab = Lab::with(Setup { timeouts: "handshake: 300ms", ..Setup::default() });
    let (mut silent, mut begun) = (lab.connect(Port::Tls), lab.connect(Port::Tls));
    silent.say(nlb_health_check());
    begun.say(nlb_health_check()).say(&hello()[..1]);
    assert_eq!(silent.hear_all(), (vec![], End::Fin));
    begun.hear_all();
    drop((silent, begun));
    let reported = lab.end();
    assert_eq!(reported.counted[&("probe".into(), "local".into())], 1);
    assert_eq!(reported.counted[&("refused".into(), "handshake_timeout".into())], 1);
    assert_eq!(word(reported.record(), "reason"), "handshake_timeout");
}

/// The pace is that of the client's own bytes. With this one, 4 s from accept on would be far too slow.
#[test]
fn silence_before_the_first_byte_is_not_slowness() {
    let lab = Lab::with(Setup { limits: "handshake_rate: 1000000", timeouts: "handshake: 19s", ..Setup::default() });
    let starts =
        [(Port::Tls, tcp4(&[])), (Port::Http, tcp4(&[])), (Port::Http, nlb_health_check()), (Port::Tls, vec![])];
    let mut clients: Vec<(Port, Peer, Vec<u8>)> = Vec::new();
    for (port, header) in starts {
        let mut client = lab.connect(port);
        client.say(&header);
        let rest = if header.is_empty() { tcp4(&[]) } else { vec![] };
        clients.push((port, client, rest));
    }
    std::thread::sleep(Duration::from_millis(4100));
    for (port, client, header) in &mut clients {
        let asks = if *port == Port::Tls { hello() } else { REQUEST.to_vec() };
        client.say(header);
        client.say(&asks[..20]);
        std::thread::sleep(Duration::from_millis(50));
        client.say(&asks[20..]);
        passes(&lab, client, &asks);
    }
    drop(clients);
    assert!(lab.end().counted.keys().all(|key| *key == ("relayed".into(), "done".into())));
}

#[test]
fn later_heads_that_do_not_end_share_the_bound_on_bytes() {
    const CLIENTS: usize = 50;
    let lab = Lab::with(Setup { limits: "half_open_bytes: 1MiB", ..Setup::default() });
    let second = format!("GET /{} HTTP/1.1\r\n", "a".repeat(15_000));
    let mut pairs: Vec<(Peer, Peer)> = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = lab.connect(Port::HttpDirect);
        client.say(REQUEST);
        let mut upstream = lab.upstream.accept();
        assert_eq!(upstream.hear(REQUEST.len()), REQUEST);
        upstream.say(b"HTTP/1.1 204 No Content\r\n\r\n");
        client.hear(27);
        pairs.push((client, upstream));
    }
    for (client, _) in &mut pairs {
        client.say(&second);
    }
    // Twice 15 kB are counted for each: of 50 there is room for 34.
    let overloaded = || lab.counted().get(&("refused".into(), "overloaded".into())).copied().unwrap_or(0);
    support::until("those without room are refused", || overloaded() >= 16);
    let mut served = 0;
    for (mut client, mut upstream) in pairs {
        client.stream.set_nonblocking(true).unwrap();
        let is_open = client.stream.peek(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        client.stream.set_nonblocking(false).unwrap();
        if is_open {
            client.say("Host: orders.example.com\r\n\r\n");
            assert!(upstream.hear(second.len()) == second.as_bytes());
            served += 1;
        }
    }
    assert!(served >= 20, "{served}");
    let reported = lab.end();
    let refused: Vec<_> = reported.records.iter().filter(|record| word(record, "reason") == "overloaded").collect();
    assert!(refused.len() >= 16 && refused.len() + served == CLIENTS, "{} and {served}", refused.len());
    assert!(refused.iter().all(|record| word(record, "detail") == "limits.half_open_bytes"));
}
