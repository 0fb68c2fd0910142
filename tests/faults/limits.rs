//! What a limit does when it is reached, beyond the word that `tests/loopback/reasons.rs` causes for each.

use std::time::{Duration, Instant};

use support::dns::{A, addresses};
use support::lab::{Lab, Port, Setup, word};
use support::peer::{End, Peer};
use support::wire::{hello, tcp4};

/// The TLS alert internal_error.
const ALERT: &[u8] = &[21, 3, 3, 0, 2, 2, 80];

/// A hello that is not over yet.
fn begin(lab: &Lab) -> Peer {
    let mut client = lab.connect(Port::Tls);
    client.say([&tcp4(&[])[..], &hello()[..20]].concat());
    client
}

#[test]
fn at_the_limit_a_connection_waits_and_is_served_when_there_is_room() {
    let lab = Lab::with(Setup { limits: "connections: 1", workers: 1, ..Setup::default() });
    // On a machine that stands still for a second the patience is over first: then once more.
    support::until("one that had to wait is served", || {
        let (first, upstream) = lab.pair();
        let second = lab.client();
        let waited = lab.upstream.accept_within(Duration::from_millis(50)).is_none();
        drop((first, upstream));
        let served = lab.upstream.accept_within(Duration::from_millis(900)).is_some();
        drop(second);
        lab.quiet();
        assert!(waited, "two at a time");
        served
    });
    lab.end();
}

#[test]
fn after_a_second_at_the_limit_connections_are_closed_until_there_is_room() {
    let lab = Lab::with(Setup { limits: "connections: 1", workers: 1, ..Setup::default() });
    let (first, upstream) = lab.pair();
    let full = Instant::now();
    assert_eq!(lab.client().hear_all(), (ALERT.to_vec(), End::Fin));
    assert!(full.elapsed() >= Duration::from_millis(900), "{:?}", full.elapsed());
    // And the next at once: whoever retries is not made to wait again.
    assert_eq!(lab.client().hear_all(), (ALERT.to_vec(), End::Fin));
    drop((first, upstream));
    lab.quiet();
    drop(lab.pair());
    let reported = lab.end();
    assert_eq!(reported.counted[&("refused".into(), "overloaded".into())], 2);
    let refused = reported.records.iter().filter(|record| word(record, "reason") == "overloaded");
    assert!(refused.clone().all(|record| word(record, "detail") == "limits.connections"));
}

#[test]
fn the_patience_at_the_limit_begins_when_accepting_pauses() {
    let lab = Lab::with(Setup { limits: "connections: 1", workers: 1, ..Setup::default() });
    let (first, upstream) = lab.pair();
    // Nobody has waited so far; the limit was reached through another listener, long ago.
    std::thread::sleep(Duration::from_millis(1100));
    let came = Instant::now();
    let mut second = lab.connect(Port::Http);
    second.say([&tcp4(&[])[..], b"GET / HTTP/1.1\r\nHost: orders.example.com\r\n\r\n"].concat());
    let (answer, end) = second.hear_all();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n") && answer.contains("overloaded"), "{answer}");
    assert_eq!(end, End::Fin);
    assert!(came.elapsed() >= Duration::from_millis(900), "{:?}", came.elapsed());
    drop((first, upstream));
    lab.end();
}

#[test]
fn no_client_waits_behind_a_queue_that_hardly_moves() {
    let lab = Lab::with(Setup { limits: "connections: 1", workers: 1, ..Setup::default() });
    let first = lab.pair();
    let mut queue: Vec<Peer> = (0..4).map(|_| lab.client()).collect();
    std::thread::sleep(Duration::from_millis(600));
    drop(first);
    // The first of the queue is served, and stays until the others' second is over.
    let served = lab.upstream.accept_within(Duration::from_millis(5000)).expect("one is served");
    std::thread::sleep(Duration::from_millis(600));
    let first = queue.remove(0);
    drop((first, served));
    for mut client in queue {
        assert_eq!(client.hear_all(), (ALERT.to_vec(), End::Fin));
    }
    lab.end();
}

#[test]
fn of_too_many_half_open_connections_the_longest_waiting_goes() {
    let lab = Lab::with(Setup { limits: "half_open: 3", workers: 1, ..Setup::default() });
    let mut waiting: Vec<Peer> = Vec::new();
    for open in 1..=3 {
        waiting.push(begin(&lab));
        support::until("it is accepted", || {
            lab.metrics()[r#"latticegate_connections_active{listener="tls"}"#] == f64::from(open)
        });
    }
    waiting.push(begin(&lab));
    // TLS clients are reported, even half-way through a hello.
    assert_eq!(waiting.remove(0).hear_all().1, End::Fin);
    for client in &mut waiting {
        client.hears_nothing();
        client.say(&hello()[20..]);
        assert_eq!(lab.upstream.accept().hear(hello().len()), hello());
    }
    drop(waiting);
    lab.upstream.close_all();
    let reported = lab.end();
    assert_eq!(reported.counted[&("refused".into(), "overloaded".into())], 1);
}

#[test]
fn invented_names_do_not_keep_a_name_in_use_from_being_renewed() {
    let limits = "lookups_per_second: 2, lookups_per_client: 2";
    let dns = "ipv6: off, timeout: 2s, min_ttl: 50ms, max_ttl: 50ms";
    let mut lab = Lab::with(Setup { limits, dns, ..Setup::default() });
    drop(lab.pair());
    let mut invented: Vec<Peer> = Vec::new();
    for round in 0..4 {
        // Two a second, and as many more as can wait for 2 s: the others are refused.
        invented.extend((0..20).map(|n| lab.client_asking(format!("invented-{round}-{n}.example.com").as_bytes())));
        let asked = lab.dns.asked("orders.example.com", A);
        support::until("renewed in the middle of it", || {
            drop(lab.pair());
            lab.dns.asked("orders.example.com", A) > asked
        });
    }
    for client in &mut invented {
        client.hear_all();
    }
    lab.quiet();
    let mut refused = 0;
    while let Some(record) = lab.try_record() {
        refused += u32::from(word(&record, "reason") == "lookup_rate");
    }
    assert!(refused >= 40, "{refused} of 80");
    // Nothing of what was in use failed.
    let reported = lab.end();
    let orders = reported.records.iter().filter(|record| word(record, "name") == "orders.example.com");
    assert!(orders.clone().all(|record| word(record, "outcome") == "relayed"));
}

#[test]
fn a_ttl_of_136_years_is_not_believed() {
    let mut lab = Lab::with(Setup { dns: "ipv6: off, min_ttl: 50ms, max_ttl: 100ms", ..Setup::default() });
    lab.dns.set("orders.example.com", support::dns::Reply::Addresses(vec![lab.upstream.address.ip()], u32::MAX));
    drop(lab.pair());
    word(&lab.record(), "reason");
    let moved = support::upstream::Upstream::start(lab.ip(12), lab.upstream.address.port());
    lab.dns.set("orders.example.com", addresses(&[moved.address.ip()]));
    support::until("the move is followed", || {
        let _client = lab.client();
        lab.upstream.close_all();
        moved.accept_within(Duration::from_millis(20)).is_some()
    });
}
