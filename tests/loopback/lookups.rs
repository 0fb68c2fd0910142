//! Names as they come in the field: several addresses, one family lost, many new names at once, resolvers that answer
//! oddly.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use support::dns::{A, AAAA, FORMERR, NXDOMAIN, Reply, SERVFAIL, addresses};
use support::lab::{Lab, Port, Setup, word};
use support::peer::Peer;
use support::upstream::{BlackHole, Upstream};
use support::wire::tcp4;

/// Connects, waits for the upstream, and gives the record.
fn pass(lab: &mut Lab) -> serde_json::Value {
    let client = lab.client();
    drop(lab.upstream.accept());
    drop(client);
    lab.record()
}

fn here(lab: &Lab) -> Box<Reply> {
    Box::new(addresses(&[lab.upstream.address.ip()]))
}

#[test]
fn connections_are_spread_over_all_addresses_of_a_name() {
    let mut lab = Lab::start();
    let upstreams = [20, 21, 22, 23].map(|host| Upstream::start(lab.ip(host), lab.upstream.address.port()));
    lab.dns.set("orders.example.com", addresses(&upstreams.each_ref().map(|upstream| upstream.address.ip())));
    let mut count: HashMap<String, usize> = HashMap::new();
    for _ in 0..80 {
        let client = lab.client();
        support::until("it is at one of them", || {
            upstreams.iter().any(|upstream| upstream.accept_within(Duration::ZERO).is_some())
        });
        drop(client);
    }
    // All records at the end: each by itself would wait for the log to be written.
    for _ in 0..80 {
        *count.entry(word(&lab.record(), "upstream")).or_default() += 1;
    }
    // 20 each on average; that one has fewer than 4 is one in a million.
    assert_eq!(count.len(), 4, "{count:?}");
    assert!(count.values().all(|n| *n >= 4), "{count:?}");
    assert_eq!(lab.dns.asked("orders.example.com", A), 1);
    lab.end();
}

/// What came of each address stands in the record, and the word is not that nobody answered.
#[test]
fn of_several_dead_addresses_each_is_named() {
    let lab = Lab::with(Setup { timeouts: "connect: 900ms", workers: 1, ..Setup::default() });
    let port = lab.upstream.address.port();
    let (hole, dead) = (SocketAddr::new(lab.ip(11), port), SocketAddr::new(lab.ip(12), port));
    let _hole = BlackHole::start(hole);
    lab.dns.set("orders.example.com", addresses(&[hole.ip(), dead.ip()]));
    lab.client().hear_all();
    let reported = lab.end();
    reported.assert_only("failed", "connect_refused");
    assert_eq!(word(reported.record(), "upstream"), dead.to_string());
    assert_eq!(word(reported.record(), "detail"), format!("{dead} connect_refused, {hole} connect_timeout"));
}

#[test]
fn the_family_that_is_there_is_dialled_and_the_other_comes_later() {
    // Beside each other: most of the time is spent on waiting for the lost answer.
    thread::scope(|scope| {
        for lost_v4 in [false, true] {
            scope.spawn(move || one_family_is_lost(lost_v4));
        }
    });
}

fn one_family_is_lost(lost_v4: bool) {
    let networks = "[127.0.0.0/8, \"::1/128\"]";
    let dns = "ipv6: on, timeout: 15s, min_ttl: 1s";
    let mut lab = Lab::with(Setup { dns, allowed_networks: networks, ..Setup::default() });
    let v6 = Upstream::start("::1".parse().unwrap(), lab.upstream.address.port());
    let there = addresses(&[lab.upstream.address.ip(), v6.address.ip()]);
    let (there, lost) = (Box::new(there), Box::new(Reply::Silence));
    let half = if lost_v4 { Reply::ByKind(lost, there) } else { Reply::ByKind(there, lost) };
    lab.dns.set("orders.example.com", half);
    let client = lab.client();
    let upstream = if lost_v4 { &v6 } else { &lab.upstream };
    drop(upstream.accept());
    drop(client);
    let dns_ms = lab.record()["dns_ms"].as_f64().unwrap();
    assert!(dns_ms < 4900.0, "not even the second packet was waited for: {dns_ms}");
    // It is asked for on: nobody waits, and as soon as it is there it is used.
    let (kind, wanted) = if lost_v4 { (A, &lab.upstream) } else { (AAAA, &v6) };
    assert!(lab.dns.asked("orders.example.com", kind) >= 1);
    lab.dns.set("orders.example.com", addresses(&[lab.upstream.address.ip(), v6.address.ip()]));
    if lost_v4 {
        let mut arrived = false;
        support::until("the lost family is there", || {
            let client = lab.client();
            support::until("it is at one of them", || {
                arrived = wanted.accept_within(Duration::ZERO).is_some();
                arrived || v6.accept_within(Duration::ZERO).is_some()
            });
            drop(client);
            arrived
        });
    } else {
        let asked = lab.dns.asked("orders.example.com", kind);
        support::until("the lost family is asked for again", || lab.dns.asked("orders.example.com", kind) > asked);
    }
    lab.end();
}

#[test]
fn a_resolver_without_edns_is_understood() {
    for broken in [Reply::Code(FORMERR), Reply::Bare(FORMERR), Reply::Code(4), Reply::Bare(4), Reply::Code(SERVFAIL)] {
        let mut lab = Lab::start();
        lab.dns.set("orders.example.com", Reply::Edns(Box::new(broken), here(&lab)));
        lab.dns.set("other.example.com", Reply::Edns(Box::new(Reply::Silence), here(&lab)));
        pass(&mut lab);
        // The next one costs no packet more.
        let client = lab.client_asking(b"other.example.com");
        drop(lab.upstream.accept());
        drop(client);
        lab.record();
        lab.end();
    }
}

#[test]
fn errors_of_the_resolver_are_no_timeouts() {
    let mut lab = Lab::with(Setup { dns: "ipv6: off, timeout: 60s", ..Setup::default() });
    let replies = [Reply::Bare(SERVFAIL), Reply::Bare(FORMERR), Reply::Bare(0), Reply::Referral, Reply::Garbage];
    for (n, reply) in replies.into_iter().enumerate() {
        let name = format!("n{n}.example.com");
        lab.dns.set(&name, reply.clone());
        lab.client_asking(name.as_bytes()).hear_all();
        assert_eq!(word(&lab.record(), "reason"), "dns_failed", "{reply:?}");
    }
    lab.dns.set("none.example.com", Reply::NoData(60));
    lab.client_asking(b"none.example.com").hear_all();
    assert_eq!(word(&lab.record(), "reason"), "name_unknown");
    lab.end();
}

#[test]
fn a_referral_leaves_a_stale_answer_in_use_and_no_data_does_not() {
    let dns = "ipv6: off, timeout: 5s, min_ttl: 50ms, max_ttl: 50ms, negative_ttl: 100ms";
    let mut lab = Lab::with(Setup { dns, ..Setup::default() });
    pass(&mut lab);
    lab.dns.set("orders.example.com", Reply::Referral);
    let asked = lab.dns.asked("orders.example.com", A);
    support::until("it was asked for several times", || {
        let record = pass(&mut lab);
        assert_eq!(word(&record, "outcome"), "relayed");
        record.get("dns_stale").is_some() && lab.dns.asked("orders.example.com", A) > asked + 3
    });
    lab.dns.set("orders.example.com", Reply::NoData(60));
    support::until("the name has no address any more", || {
        let _client = lab.client();
        let mut record = None;
        support::until("a record", || {
            lab.upstream.close_all();
            record = lab.try_record();
            record.is_some()
        });
        word(&record.unwrap(), "reason") == "name_unknown"
    });
    lab.end();
}

/// As after a start, behind the one address of a company.
#[test]
fn sixty_new_names_at_once_are_all_served() {
    let lab = Lab::with(Setup { dns: "ipv6: off, timeout: 15s", ..Setup::default() });
    lab.dns.set_otherwise(addresses(&[lab.upstream.address.ip()]));
    let clients: Vec<Peer> = (0..60).map(|n| lab.client_asking(format!("n{n}.example.com").as_bytes())).collect();
    for _ in &clients {
        lab.upstream.accept();
    }
    drop(clients);
    let reported = lab.end();
    assert_eq!(reported.records.len(), 60);
    assert!(reported.records.iter().all(|record| word(record, "outcome") == "relayed"));
}

#[test]
fn names_over_the_budget_wait_their_turn() {
    let limits = "lookups_per_second: 10, lookups_per_client: 1";
    let lab = Lab::with(Setup { dns: "ipv6: off, timeout: 15s", limits, ..Setup::default() });
    lab.dns.set_otherwise(addresses(&[lab.upstream.address.ip()]));
    let clients: Vec<Peer> = (0..30).map(|n| lab.client_asking(format!("n{n}.example.com").as_bytes())).collect();
    for _ in &clients {
        lab.upstream.accept();
    }
    drop(clients);
    let reported = lab.end();
    let waited = |record: &&serde_json::Value| record["dns_ms"].as_f64().unwrap() > 500.0;
    // Ten at once, ten in the next second, ten in the one after.
    assert!(reported.records.iter().filter(waited).count() >= 14);
}

/// TLS: a FIN is enough. HTTP: a request with a FIN behind it is one; a reset ends it.
#[test]
fn who_leaves_while_waiting_for_a_turn_is_not_asked_for() {
    let lab = Lab::with(Setup {
        dns: "ipv6: off, timeout: 20s",
        limits: "lookups_per_second: 1",
        workers: 1,
        ..Setup::default()
    });
    lab.dns.set_otherwise(addresses(&[lab.upstream.address.ip()]));
    let request = |name: &str| {
        let mut client = lab.connect(Port::Http);
        client.say([tcp4(&[]), format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n").into_bytes()].concat());
        client
    };
    // One a second: the first goes at once, those who leave are some seconds away from their turn.
    let staying: Vec<Peer> = (0..6).map(|n| lab.client_asking(format!("n{n}.example.com").as_bytes())).collect();
    let leaving = [lab.client_asking(b"fin.example.com"), request("reset.example.com")];
    let mut half_closed = request("half-closed.example.com");
    half_closed.finish();
    let [mut fin, reset] = leaving;
    support::until("all of them are known", || {
        lab.metrics()[r#"latticegate_connections_active{listener="tls"}"#] == 7.0
            && lab.metrics()[r#"latticegate_connections_active{listener="http"}"#] == 2.0
            && lab.metrics()["latticegate_connections_half_open"] == 0.0
    });
    fin.finish();
    reset.reset();
    for _ in 0..7 {
        lab.upstream.accept();
    }
    assert_eq!(lab.dns.asked("fin.example.com", A) + lab.dns.asked("reset.example.com", A), 0);
    assert_eq!(lab.dns.asked("half-closed.example.com", A), 1);
    drop((staying, half_closed, fin));
    let reported = lab.end();
    assert_eq!(reported.counted[&("unfinished".into(), "client_left".into())], 2);
}

/// The end of an outage shows within about a second, though each failure was held longer by then.
#[test]
fn a_resolver_that_comes_back_is_used_at_once() {
    let dns = "ipv6: off, timeout: 300ms, negative_ttl: 10s";
    let lab = Lab::with(Setup { dns, ..Setup::default() });
    lab.dns.set("orders.example.com", Reply::Silence);
    lab.dns.set_otherwise(Reply::Silence);
    support::until("it was asked for often enough to be held for longer", || {
        lab.client().hear_all();
        lab.dns.asked("orders.example.com", A) >= 3 * 3
    });
    lab.dns.set_otherwise(Reply::Code(NXDOMAIN));
    lab.dns.set("orders.example.com", *here(&lab));
    let back = std::time::Instant::now();
    let mut served = false;
    while !served {
        let client = lab.client();
        served = lab.upstream.accept_within(Duration::from_millis(100)).is_some();
        drop(client);
        assert!(back.elapsed() < Duration::from_secs(7), "not found out by itself");
    }
    lab.quiet();
    lab.end();
}
