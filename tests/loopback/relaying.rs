//! Bytes: all of them, in order, counted as the peers count them, whatever the pace and whoever ends first.

use std::io::Write;
use std::time::{Duration, Instant};

use socket2::SockRef;
use support::lab::{Lab, Port, Setup, word};
use support::peer::{End, Peer};
use support::wire::{Hello, ORDERS, hello, proxy, records, tcp4, tcp6};

/// Bytes in which a lost, doubled or swapped piece shows.
fn pattern(n: usize) -> Vec<u8> {
    let mut state: u32 = 1;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..n).map(next).collect()
}

#[test]
fn either_side_may_end_first_and_the_other_goes_on() {
    for client_first in [true, false] {
        let lab = Lab::start();
        let (mut client, mut upstream) = lab.pair();
        let (first, second) = if client_first { (&mut client, &mut upstream) } else { (&mut upstream, &mut client) };
        first.say(b"my last words").finish();
        assert_eq!(second.hear_all(), (b"my last words".to_vec(), End::Fin));
        // Long after the other end is over, and in several pieces.
        for _ in 0..20 {
            second.say(b"and mine");
            assert_eq!(first.hear(8), b"and mine");
        }
        second.finish();
        assert_eq!(first.hear_all(), (vec![], End::Fin));
        let reported = lab.end();
        reported.assert_only("relayed", "done");
        let (up, down) = if client_first { (13, 160) } else { (160, 13) };
        assert_eq!(reported.record()["bytes_up"], hello().len() + up);
        assert_eq!(reported.record()["bytes_down"], down);
        assert_eq!(word(reported.record(), "closed_by"), if client_first { "client" } else { "upstream" });
    }
}

#[test]
fn bulk_both_ways_at_once_arrives_whole() {
    const SIZE: usize = 32 << 20;
    let lab = Lab::start();
    let (client, upstream) = lab.pair();
    let sent = pattern(SIZE);
    let exchange = |peer: Peer| {
        let mut writer = Peer::new(peer.stream.try_clone().unwrap());
        let mut reader = peer;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                writer.say(&sent).finish();
            });
            reader.hear_all()
        })
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| exchange(upstream));
        assert!(exchange(client) == (sent.clone(), End::Fin));
        assert!(other.join().unwrap() == (sent.clone(), End::Fin));
    });
    let reported = lab.end();
    reported.assert_only("relayed", "done");
    assert_eq!(reported.record()["bytes_up"], hello().len() + SIZE);
    assert_eq!(reported.record()["bytes_down"], SIZE);
}

#[test]
fn a_reader_that_stops_stops_the_writer_and_not_the_memory() {
    const LIMIT: usize = 64 << 20;
    let lab = Lab::start();
    let (client, mut upstream) = lab.pair();
    // Small buffers at both ends: what is taken beyond them is held by the gate.
    SockRef::from(&client.stream).set_recv_buffer_size(64 << 10).unwrap();
    upstream.stream.set_nonblocking(true).unwrap();
    let sent = pattern(LIMIT);
    let mut taken = 0;
    let mut quiet_since = Instant::now();
    while taken < LIMIT && quiet_since.elapsed().as_millis() < 300 {
        match upstream.stream.write(&sent[taken..]) {
            Ok(n) => (taken, quiet_since) = (taken + n, Instant::now()),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
    }
    // Socket buffers of the kernel (tcp_wmem and tcp_rmem allow 4 and 6 MiB, twice) and at most one pipe.
    assert!(taken < 24 << 20, "{taken} bytes were taken for a client that reads nothing");
    upstream.stream.set_nonblocking(false).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            upstream.say(&sent[taken..]).finish();
        });
        let mut client = client;
        assert!(client.hear_all() == (sent.clone(), End::Fin));
        client.finish();
    });
    drop(upstream);
    let reported = lab.end();
    reported.assert_only("relayed", "done");
    assert_eq!(reported.record()["bytes_down"], LIMIT);
}

#[test]
fn a_reset_is_passed_on_after_all_that_came_before_it() {
    const SIZE: usize = 3 << 20;
    let lab = Lab::start();
    let (mut client, mut upstream) = lab.pair();
    let sent = pattern(SIZE);
    std::thread::scope(|scope| {
        scope.spawn(|| upstream.say(&sent));
        assert!(client.hear(SIZE) == sent);
    });
    upstream.reset();
    assert_eq!(client.hear_all(), (vec![], End::Reset));
    let reported = lab.end();
    reported.assert_only("relayed", "upstream_reset");
    assert_eq!(reported.record()["bytes_down"], SIZE);
}

/// After a FIN it would take what it has for the whole.
#[test]
fn a_late_reader_gets_all_and_then_the_reset() {
    let lab = Lab::start();
    let part = pattern(50_000);
    for client_resets in [false, true] {
        let (client, upstream) = lab.pair();
        let (mut cut, mut reader) = if client_resets { (client, upstream) } else { (upstream, client) };
        cut.say(&part);
        // What lies unread in the relay's own socket would be lost to the reset, as it is to anybody's.
        reader.has_unread(part.len());
        cut.reset();
        std::thread::sleep(Duration::from_millis(100));
        assert!(reader.hear_all() == (part.clone(), End::Reset), "client resets: {client_resets}");
    }
    let reported = lab.end();
    let mut reasons: Vec<_> = reported.records.iter().map(|record| word(record, "reason")).collect();
    reasons.sort();
    assert_eq!(reasons, ["client_reset", "upstream_reset"]);
}

#[test]
fn one_byte_at_a_time() {
    let lab = Lab::start();
    let mut client = lab.connect(Port::Tls);
    let preface = [tcp6(&[]), hello()].concat();
    for byte in &preface {
        client.say([*byte]);
    }
    let mut upstream = lab.upstream.accept();
    assert_eq!(upstream.hear(hello().len()), hello());
    for byte in pattern(100) {
        client.say([byte]);
        assert_eq!(upstream.hear(1), [byte]);
        upstream.say([byte]);
        assert_eq!(client.hear(1), [byte]);
    }
    drop((client, upstream));
    let reported = lab.end();
    assert_eq!(reported.record()["bytes_up"], hello().len() + 100);
    assert_eq!(word(reported.record(), "client"), "2001:db8::1");
}

#[test]
fn header_and_hello_may_be_cut_anywhere() {
    let lab = Lab::start();
    let header = tcp4(&[]);
    let payload = [hello(), b"at once".to_vec()].concat();
    let all = [&header[..], &payload].concat();
    let cuts: Vec<usize> = (1..all.len()).collect();
    for cuts in cuts.chunks(32) {
        let mut clients: Vec<Peer> = cuts.iter().map(|_| lab.connect(Port::Tls)).collect();
        for (client, cut) in clients.iter_mut().zip(cuts) {
            client.say(&all[..*cut]);
        }
        for (client, cut) in clients.iter_mut().zip(cuts) {
            client.say(&all[*cut..]).finish();
        }
        for _ in cuts {
            assert_eq!(lab.upstream.accept().hear_all(), (payload.clone(), End::Fin));
        }
    }
    let reported = lab.end();
    assert_eq!(reported.records.len(), all.len() - 1);
}

#[test]
fn a_hello_over_many_records_goes_on_as_it_came() {
    let lab = Lab::start();
    let hello = records(&Hello::browser(ORDERS).message(), 40);
    let mut client = lab.connect(Port::Tls);
    client.say([tcp4(&[]), hello.clone()].concat()).finish();
    assert_eq!(lab.upstream.accept().hear_all(), (hello, End::Fin));
    drop(client);
    let reported = lab.end();
    assert!(reported.record()["hello"]["records"].as_u64().unwrap() > 30);
    assert_eq!(reported.record()["hello"]["alpn"], "h2");
    assert_eq!(reported.record()["hello"]["ech"], true);
}

#[test]
fn a_second_header_is_payload() {
    let lab = Lab::start();
    // A client of the load balancer forges one after its hello; it has to reach the service like any other bytes.
    let forged = proxy(0x21, 0x11, &[10, 0, 0, 1, 10, 0, 0, 2, 0, 1, 1, 0xbb]);
    let payload = [hello(), forged.clone()].concat();
    let mut client = lab.connect(Port::Tls);
    client.say([tcp4(&[]), payload.clone()].concat()).finish();
    assert_eq!(lab.upstream.accept().hear_all().0, payload);
    drop(client);
    // Before the hello it is no hello.
    let mut client = lab.connect(Port::Tls);
    client.say([tcp4(&[]), forged, hello()].concat());
    client.hear_all();
    drop(client);
    lab.upstream.assert_untouched();
    let reported = lab.end();
    let mut seen: Vec<_> = reported.records.iter().map(|r| (word(r, "reason"), word(r, "client"))).collect();
    seen.sort();
    let client = || "192.0.2.1".to_owned();
    assert_eq!(seen, [("done".to_owned(), client()), ("not_tls".to_owned(), client())]);
}

#[test]
fn a_request_goes_on_byte_for_byte() {
    let lab = Lab::start();
    let request = b"POST /a?b HTTP/1.1\r\nhOST: orders.example.com\r\nX-Odd:   spaces \r\nAuthorization: AWS4-HMAC-SHA256 x\r\nContent-Length: 11\r\n\r\nthe body...";
    for port in [Port::Http, Port::HttpDirect] {
        let header = if port == Port::Http { tcp4(&[]) } else { vec![] };
        let mut client = lab.connect(port);
        client.say([&header[..], request].concat());
        let mut upstream = lab.upstream.accept();
        assert_eq!(upstream.hear(request.len()), request);
        upstream.say(b"HTTP/1.1 204 No Content\r\n\r\n").finish();
        assert_eq!(client.hear_all().0, b"HTTP/1.1 204 No Content\r\n\r\n");
    }
    let reported = lab.end();
    assert_eq!(reported.records.len(), 2);
    for record in &reported.records {
        assert_eq!((&record["bytes_up"], &record["bytes_down"]), (&request.len().into(), &27.into()));
    }
}

#[test]
fn traffic_keeps_an_idle_limit_away() {
    let lab = Lab::with(Setup { timeouts: "idle: 1500ms", ..Setup::default() });
    let (mut client, mut upstream) = lab.pair();
    let start = Instant::now();
    // One direction alone, for twice the limit.
    while start.elapsed().as_millis() < 3000 {
        upstream.say(b".");
        assert_eq!(client.hear(1), b".");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(client.hear_all(), (vec![], End::Fin));
    drop((client, upstream));
    lab.end().assert_only("relayed", "idle");
}
