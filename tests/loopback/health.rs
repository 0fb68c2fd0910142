//! `/healthz` and `/readyz`: with and without a PROXY header, ready when DNS has answered, and then for good.

use support::dns::{A, NXDOMAIN, Reply};
use support::http::{get, get_after, until_ready};
use support::lab::{Lab, Parts, Port, Setup};
use support::peer::{End, Peer};
use support::wire::{captured_nlb, nlb_health_check, tcp4, tcp6};

#[test]
fn it_takes_plain_checks_and_those_behind_a_header() {
    let lab = Lab::start();
    until_ready(lab.health);
    for header in [vec![], nlb_health_check(), tcp4(&[]), tcp6(&[]), captured_nlb()] {
        assert_eq!(get_after(lab.health, &header, "/healthz"), (200, "alive\n".into()));
        assert_eq!(get_after(lab.health, &header, "/readyz"), (200, "ready\n".into()));
        assert_eq!(get_after(lab.health, &header, "/metrics").0, 404);
    }
    assert_eq!(lab.metrics()["latticegate_ready"], 1.0);
    assert_eq!(lab.end().records.len(), 0);
}

#[test]
fn a_header_may_come_in_pieces_and_a_broken_one_is_closed() {
    let lab = Lab::start();
    let mut check = Peer::connect(lab.health);
    for byte in nlb_health_check() {
        check.say([byte]);
    }
    check.say(b"GET /healthz HTTP/1.0\r\n\r\n");
    let (answer, end) = check.hear_all();
    assert!(answer.starts_with(b"HTTP/1.0 200 OK\r\n"), "{}", answer.escape_ascii());
    assert_eq!(end, End::Fin);
    let mut broken = Peer::connect(lab.health);
    broken.say(b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c");
    assert_eq!(broken.hear_all().0, b"");
    lab.end();
}

#[test]
fn it_is_alive_but_not_ready_before_dns_has_answered() {
    let parts = Parts::make(&Setup { dns: "ipv6: off, timeout: 200ms, negative_ttl: 50ms", ..Setup::default() });
    parts.dns.set_otherwise(Reply::Silence);
    let lab = Lab::of(parts);
    assert_eq!(get(lab.health, "/healthz").0, 200);
    let (status, body) = get(lab.health, "/readyz");
    assert_eq!((status, body.as_str()), (503, "not ready: dns.server has not answered yet\n"));
    assert_eq!(lab.metrics()["latticegate_ready"], 0.0);
    support::until("it goes on asking", || lab.dns.asked("readiness.latticegate.internal", A) > 3);
    assert_eq!(get(lab.health, "/readyz").0, 503);
    lab.dns.set_otherwise(Reply::Code(NXDOMAIN));
    until_ready(lab.health);
    lab.end();
}

#[test]
fn it_stays_ready_when_dns_dies() {
    let lab = Lab::start();
    until_ready(lab.health);
    lab.dns.set_otherwise(Reply::Silence);
    lab.client_asking(b"other.example.com").hear_all();
    assert_eq!(get(lab.health, "/readyz").0, 200);
    lab.end().assert_only("failed", "dns_timeout");
}

#[test]
fn slow_clients_on_the_health_port_hold_up_no_check_for_long() {
    let lab = Lab::start();
    until_ready(lab.health);
    // More than are served at a time: those that never send a whole header, or a whole request.
    let mut slow: Vec<Peer> = (0..80).map(|_| Peer::connect(lab.health)).collect();
    for (n, client) in slow.iter_mut().enumerate() {
        client.say(if n % 2 == 0 { b"\r\n\r\n\0" } else { b"GET /" });
    }
    // They are cut, and checks are answered while more of them wait than are let in.
    assert_eq!(get_patiently(lab.health), 200);
    for client in &mut slow {
        client.stream.set_read_timeout(Some(2 * support::PATIENCE)).unwrap();
        // A request that did not come in time is reported so, or not.
        client.hear_all();
    }
    assert_eq!(get(lab.health, "/readyz").0, 200);
    assert_eq!(lab.end().records.len(), 0);
}

#[test]
fn idle_connections_to_the_health_port_do_not_keep_a_check_from_its_answer() {
    let lab = Lab::start();
    until_ready(lab.health);
    let idle: Vec<Peer> = (0..200).map(|_| Peer::connect(lab.health)).collect();
    let mut check = Peer::connect(lab.health);
    // As long as a load balancer waits at the least.
    check.stream.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
    check.say(b"GET /readyz HTTP/1.0\r\n\r\n");
    assert!(check.hear_all().0.starts_with(b"HTTP/1.0 200 OK\r\n"));
    drop(idle);
    // Many checks at a time are not taken for idle ones.
    let mut checks: Vec<Peer> = (0..200).map(|_| Peer::connect(lab.health)).collect();
    for check in &mut checks {
        check.say(b"GET /readyz HTTP/1.0\r\n\r\n");
    }
    for check in &mut checks {
        assert!(check.hear_all().0.starts_with(b"HTTP/1.0 200 OK\r\n"));
    }
    lab.end();
}

/// As `nc -N` does it.
#[test]
fn who_says_at_once_that_there_is_no_more_is_answered() {
    let lab = Lab::start();
    for (address, path) in [(lab.health, "/healthz"), (lab.admin, "/"), (lab.admin, "/status.json")] {
        for _ in 0..20 {
            let mut client = Peer::connect(address);
            client.say(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).finish();
            let (answer, _) = client.hear_all();
            assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{path}: {}", answer.escape_ascii());
        }
    }
    lab.end();
}

/// A check that waits as long as a load balancer's does not have to.
fn get_patiently(health: std::net::SocketAddr) -> u16 {
    let mut check = Peer::connect(health);
    check.stream.set_read_timeout(Some(2 * support::PATIENCE)).unwrap();
    check.say(b"GET /readyz HTTP/1.0\r\n\r\n");
    let (answer, _) = check.hear_all();
    String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn the_traffic_ports_answer_the_balancers_own_check_with_a_close() {
    let lab = Lab::start();
    for port in [Port::Tls, Port::Http] {
        for _ in 0..20 {
            drop(lab.connect(port));
            let mut check = lab.connect(port);
            check.say(nlb_health_check()).finish();
            assert_eq!(check.hear_all(), (vec![], End::Fin));
        }
    }
    support::until("all are counted", || lab.counted().values().sum::<u64>() == 80);
    let reported = lab.end();
    assert_eq!(reported.records.len(), 0);
    assert_eq!(reported.counted.values().collect::<Vec<_>>(), [&40, &40]);
}
