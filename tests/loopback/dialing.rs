//! From a name to a connection: dead addresses, the guard on each attempt, the resolver at its worst.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use support::dns::{A, AAAA, NXDOMAIN, REFUSED, Reply, SERVFAIL, addresses};
use support::lab::{Lab, Setup, word};
use support::peer::Peer;
use support::upstream::{BlackHole, Upstream};
use support::wire::hello;

const FORBIDDEN: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));

/// One connection from hello to end.
fn pass(lab: &Lab, upstream: &Upstream) {
    let client = lab.client();
    assert_eq!(upstream.accept().hear(hello().len()), hello());
    drop(client);
}

/// How a connection ends now; an upstream, if reached, closes it.
fn reason_now(lab: &mut Lab) -> String {
    let _client = lab.client();
    let mut record = None;
    support::until("a record", || {
        lab.upstream.close_all();
        record = lab.try_record();
        record.is_some()
    });
    word(&record.unwrap(), "reason")
}

/// How long connecting took, in milliseconds.
fn connecting(lab: &mut Lab) -> f64 {
    pass(lab, &lab.upstream);
    let record = lab.record();
    assert_eq!(word(&record, "upstream"), lab.upstream.address.to_string());
    record["connect_ms"].as_f64().unwrap()
}

#[test]
fn a_dead_first_address_costs_a_moment_once() {
    // One worker: each remembers for itself.
    let mut lab = Lab::with(Setup { workers: 1, ..Setup::default() });
    let port = lab.upstream.address.port();
    let hole = SocketAddr::new(lab.ip(11), port);
    let _hole = BlackHole::start(hole);
    // Silent, refused at once, and good, in an order that is drawn anew each time.
    lab.dns.set("orders.example.com", addresses(&[hole.ip(), lab.ip(12), lab.upstream.address.ip()]));
    support::until("the silent one was first", || {
        let connect = connecting(&mut lab);
        assert!(connect < 2900.0, "one head start, not the whole deadline: {connect} ms");
        connect >= 240.0
    });
    // A third of them would be slow if that were forgotten; some may be on a machine that is busy.
    let slow = (0..30).filter(|_| connecting(&mut lab) >= 240.0).count();
    assert!(slow <= 4, "{slow}");
    lab.end();
}

#[test]
fn a_refused_first_address_costs_nothing() {
    let mut lab = Lab::start();
    lab.dns.set("orders.example.com", addresses(&[lab.ip(12), lab.upstream.address.ip()]));
    let quick = (0..12).filter(|_| connecting(&mut lab) < 240.0).count();
    assert!(quick >= 8, "{quick} of 12");
    lab.end();
}

#[test]
fn an_address_that_failed_is_tried_last_for_a_while() {
    let mut lab = Lab::with(Setup { workers: 1, ..Setup::default() });
    let second = lab.ip(12);
    lab.dns.set("orders.example.com", addresses(&[second, lab.upstream.address.ip()]));
    // Each is first every other time: by now the dead one has been.
    for _ in 0..24 {
        connecting(&mut lab);
    }
    // It is back, but not first any more.
    let revived = Upstream::start(second, lab.upstream.address.port());
    for _ in 0..12 {
        connecting(&mut lab);
    }
    revived.assert_untouched();
    lab.end();
}

#[test]
fn every_address_dead_is_reported_within_the_deadline() {
    let lab = Lab::with(Setup { timeouts: "connect: 700ms", ..Setup::default() });
    let port = lab.upstream.address.port();
    let holes = [lab.ip(11), lab.ip(12), lab.ip(13)];
    let _holes = holes.map(|ip| BlackHole::start(SocketAddr::new(ip, port)));
    lab.dns.set("orders.example.com", addresses(&holes));
    assert_eq!(lab.client().hear_all().0, [21, 3, 3, 0, 2, 2, 80]);
    let reported = lab.end();
    reported.assert_only("failed", "connect_timeout");
    let total = reported.record()["total_ms"].as_f64().unwrap();
    assert!((690.0..2000.0).contains(&total), "{total} ms");
}

#[test]
fn a_forbidden_address_among_good_ones_is_passed_over() {
    let lab = Lab::start();
    lab.dns.set("orders.example.com", addresses(&[FORBIDDEN, lab.upstream.address.ip()]));
    pass(&lab, &lab.upstream);
    let good = lab.upstream.address.to_string();
    let reported = lab.end();
    reported.assert_only("relayed", "done");
    assert_eq!(word(reported.record(), "upstream"), good);
}

#[test]
fn a_name_that_is_bound_anew_is_guarded_anew() {
    let mut lab = Lab::with(Setup { dns: "ipv6: off, min_ttl: 50ms, max_ttl: 50ms", ..Setup::default() });
    let good = addresses(&[lab.upstream.address.ip()]);
    let bad = addresses(&[FORBIDDEN]);
    lab.dns.set("orders.example.com", Reply::InTurn(vec![good, bad]));
    pass(&lab, &lab.upstream);
    assert_eq!(word(&lab.record(), "reason"), "done");
    // Answers in use are renewed in the background: at some point the new one is there.
    support::until("the answer has changed", || reason_now(&mut lab) == "destination_forbidden");
    lab.end();
}

#[test]
fn addresses_in_disguise_are_seen_through() {
    let lab = Lab::with(Setup { dns: "ipv6: on", allowed_networks: "[\"::/0\", 0.0.0.0/0]", ..Setup::default() });
    let disguised = ["::ffff:169.254.170.2", "64:ff9b::a9fe:aa02", "2002:a9fe:aa02::1", "::ffff:127.0.0.1", "::1"];
    for ip in disguised {
        let name = format!("x{}.example.com", ip.replace(['.', ':'], "-"));
        lab.dns.set(&name, addresses(&[ip.parse().unwrap()]));
        assert_eq!(lab.client_asking(name.as_bytes()).hear_all().0, [21, 3, 3, 0, 2, 2, 49], "{ip}");
    }
    lab.upstream.assert_untouched();
    assert_eq!(lab.end().counted.len(), 1);
}

#[test]
fn a_name_may_be_resolved_by_another() {
    let lab = Lab::with(Setup { names: "{ shop.example.com: orders.example.com }", ..Setup::default() });
    let client = lab.client_asking(b"Shop.Example.Com.");
    lab.upstream.accept();
    drop(client);
    assert_eq!(lab.dns.asked("shop.example.com", A), 0);
    let reported = lab.end();
    assert_eq!(word(reported.record(), "name"), "shop.example.com");
}

#[test]
fn odd_but_lawful_names_are_asked_for() {
    let lab = Lab::start();
    let names = [
        "_orders.a_b.example.com",
        "xn--bcher-kva.example.com",
        "0.example.com",
        "a-.example.com",
        "-foo.example.com",
        "-",
        "a",
    ];
    for name in names {
        lab.dns.set(name, addresses(&[lab.upstream.address.ip()]));
        let client = lab.client_asking(name.as_bytes());
        lab.upstream.accept();
        drop(client);
    }
    assert_eq!(lab.end().records.len(), 7);
}

#[test]
fn a_truncated_answer_is_asked_for_over_tcp() {
    let lab = Lab::start();
    // Those that may not be dialled take no turn.
    let others = (100..180).map(|n| Ipv4Addr::new(192, 0, 2, n).into());
    let many: Vec<IpAddr> = [lab.upstream.address.ip()].into_iter().chain(others).collect();
    lab.dns.set("orders.example.com", Reply::Truncated(Box::new(addresses(&many))));
    pass(&lab, &lab.upstream);
    assert_eq!(lab.dns.asked_over_tcp(), 1);
    lab.end().assert_only("relayed", "done");
}

#[test]
fn an_alias_is_followed_and_its_ttl_counts() {
    let lab = Lab::with(Setup { dns: "ipv6: off, min_ttl: 50ms", ..Setup::default() });
    let list = vec![lab.upstream.address.ip()];
    lab.dns.set("orders.example.com", Reply::Alias("svc-0123.example.net", 0, list, 300));
    pass(&lab, &lab.upstream);
    support::until("the alias has expired", || {
        pass(&lab, &lab.upstream);
        lab.dns.asked("orders.example.com", A) >= 2
    });
    lab.end();
}

#[test]
fn a_slow_resolver_is_waited_for() {
    // The second is slower than the first repetition of the question, the third than the last one.
    for slow in [400_u32, 1200, 2200] {
        let lab = Lab::with(Setup { dns: "ipv6: off, timeout: 3s", ..Setup::default() });
        let late = Reply::Late(Duration::from_millis(slow.into()), Box::new(addresses(&[lab.upstream.address.ip()])));
        lab.dns.set("orders.example.com", late);
        pass(&lab, &lab.upstream);
        let reported = lab.end();
        reported.assert_only("relayed", "done");
        let took = reported.record()["dns_ms"].as_f64().unwrap();
        assert!(took >= f64::from(slow), "{took}");
    }
}

#[test]
fn a_lost_question_is_asked_again() {
    let lab = Lab::start();
    let found = addresses(&[lab.upstream.address.ip()]);
    lab.dns.set("orders.example.com", Reply::InTurn(vec![Reply::Silence, found]));
    pass(&lab, &lab.upstream);
    assert_eq!(lab.dns.asked("orders.example.com", A), 2);
    lab.end().assert_only("relayed", "done");
}

#[test]
fn what_is_no_answer_fails_the_connection_and_nothing_else() {
    let lab = Lab::start();
    let spoofed = vec![lab.upstream.address.ip()];
    let cases: [(&str, Reply, &[&str]); 4] = [
        ("garbage.example.com", Reply::Garbage, &["dns_failed", "dns_timeout"]),
        ("spoofed.example.com", Reply::Spoofed(spoofed, None), &["dns_failed", "dns_timeout"]),
        ("refused.example.com", Reply::Code(REFUSED), &["dns_failed"]),
        ("empty.example.com", Reply::Addresses(vec![], 60), &["name_unknown"]),
    ];
    let mut lab = lab;
    for (name, reply, reasons) in cases {
        lab.dns.set(name, reply);
        lab.client_asking(name.as_bytes()).hear_all();
        let reason = word(&lab.record(), "reason");
        assert!(reasons.contains(&reason.as_str()), "{name}: {reason}");
    }
    lab.upstream.assert_untouched();
    pass(&lab, &lab.upstream);
    lab.end();
}

#[test]
fn a_spoofed_answer_does_not_hide_the_true_one() {
    let lab = Lab::start();
    let decoy = Upstream::start(lab.ip(66), lab.upstream.address.port());
    let truth = Some(Box::new(addresses(&[lab.upstream.address.ip()])));
    lab.dns.set("orders.example.com", Reply::Spoofed(vec![lab.ip(66)], truth));
    pass(&lab, &lab.upstream);
    decoy.assert_untouched();
    lab.end().assert_only("relayed", "done");
}

#[test]
fn many_clients_of_one_name_ask_once() {
    // No retry, however busy the machine is.
    let lab = Lab::with(Setup { dns: "ipv6: off, timeout: 30s", ..Setup::default() });
    let late = Reply::Late(Duration::from_millis(200), Box::new(addresses(&[lab.upstream.address.ip()])));
    lab.dns.set("orders.example.com", late);
    let clients: Vec<Peer> = (0..50).map(|_| lab.client()).collect();
    for _ in &clients {
        lab.upstream.accept();
    }
    drop(clients);
    assert_eq!(lab.dns.asked("orders.example.com", A), 1);
    assert_eq!(lab.dns.asked("orders.example.com", AAAA), 0);
    assert_eq!(lab.end().records.len(), 50);
}

#[test]
fn stale_answers_serve_while_the_resolver_fails_and_are_marked() {
    for broken in [Reply::Silence, Reply::Code(SERVFAIL)] {
        let mut lab = Lab::with(Setup {
            dns: "ipv6: off, timeout: 300ms, min_ttl: 50ms, max_ttl: 50ms, negative_ttl: 200ms",
            ..Setup::default()
        });
        pass(&lab, &lab.upstream);
        assert_eq!(lab.record().get("dns_stale"), None);
        lab.dns.set("orders.example.com", broken);
        let mut stale = false;
        support::until("a stale answer is used", || {
            pass(&lab, &lab.upstream);
            stale = lab.record().get("dns_stale").is_some();
            stale
        });
        assert!(lab.metrics()["latticegate_dns_stale_answers_total"] >= 1.0);
        // That the name is gone is an answer.
        lab.dns.set("orders.example.com", Reply::Code(NXDOMAIN));
        support::until("the name is gone", || reason_now(&mut lab) == "name_unknown");
        lab.end();
    }
}

#[test]
fn an_unknown_name_is_remembered_briefly() {
    let lab = Lab::with(Setup { dns: "ipv6: off, negative_ttl: 10s", ..Setup::default() });
    for _ in 0..5 {
        lab.client_asking(b"nowhere.example.com").hear_all();
    }
    assert_eq!(lab.dns.asked("nowhere.example.com", A), 1);
    assert_eq!(lab.end().records.len(), 5);
}

#[test]
fn ipv6_is_asked_for_and_dialled_where_it_is_on() {
    let lab = Lab::with(Setup { dns: "ipv6: on", allowed_networks: "[127.0.0.0/8, \"::1/128\"]", ..Setup::default() });
    let v6 = Upstream::start("::1".parse().unwrap(), lab.upstream.address.port());
    lab.dns.set("orders.example.com", addresses(&["::1".parse().unwrap()]));
    pass(&lab, &v6);
    assert_eq!(lab.dns.asked("orders.example.com", AAAA), 1);
    // IPv4 goes first where both are there.
    let both = addresses(&["::1".parse().unwrap(), lab.upstream.address.ip()]);
    lab.dns.set("both.example.com", both);
    let client = lab.client_asking(b"both.example.com");
    lab.upstream.accept();
    drop(client);
    v6.assert_untouched();
    lab.end();
}
