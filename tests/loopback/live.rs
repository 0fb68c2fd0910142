//! What is counted is true while a connection lives: bytes, names, addresses, and how long each step took.

use std::collections::HashMap;
use std::net::SocketAddr;

use support::dns::addresses;
use support::http::get;
use support::lab::{Lab, Port, Setup};
use support::peer::Peer;
use support::until;
use support::upstream::BlackHole;
use support::wire::{Hello, hello, tcp4};

fn relayed(lab: &Lab) -> (u64, u64) {
    let metrics = lab.metrics();
    let [up, down] = ["up", "down"].map(|way| metrics[&format!("latticegate_bytes_total{{direction=\"{way}\"}}")]);
    (up as u64, down as u64)
}

/// The samples of one family, by their labels.
fn family(lab: &Lab, name: &str) -> HashMap<String, f64> {
    let samples = lab.metrics().into_iter();
    let own = samples.filter_map(|(sample, value)| {
        let (family, labels) = sample.split_once('{').unwrap_or((&sample, "}"));
        (family == name).then(|| (labels.trim_end_matches('}').to_owned(), value))
    });
    own.collect()
}

#[test]
fn bytes_are_counted_as_they_move_and_once() {
    const BULK: usize = 24 << 20;
    let lab = Lab::start();
    let (mut client, mut upstream) = lab.pair();
    let mut expected = (hello().len() as u64, 0);
    // A peer may have them before the worker has counted them.
    let are_counted = |expected| until("they are counted", || relayed(&lab) == expected);
    are_counted(expected);
    for _ in 0..10 {
        client.say(b"question");
        upstream.hear(8);
        upstream.say(b"the answer");
        client.hear(10);
        expected = (expected.0 + 8, expected.1 + 10);
        are_counted(expected);
    }
    // So much goes through a pipe.
    let mut sender = Peer::new(upstream.stream.try_clone().unwrap());
    let sending = std::thread::spawn(move || drop(sender.say(vec![7; BULK])));
    let (mut heard, mut before) = (0, expected.1);
    while heard < BULK {
        let piece = client.hear((1 << 20).min(BULK - heard));
        heard += piece.len();
        until("what has arrived is counted", || {
            let (_, down) = relayed(&lab);
            assert!(down >= before && down <= expected.1 + BULK as u64, "{before} {down}");
            before = down;
            down >= expected.1 + heard as u64
        });
    }
    sending.join().unwrap();
    expected.1 += BULK as u64;
    are_counted(expected);
    assert_eq!(lab.metrics()["latticegate_connections_active{listener=\"tls\"}"], 1.0);
    drop((client, upstream));
    lab.quiet();
    assert_eq!(relayed(&lab), expected);
    // Which holds the counters against the records.
    lab.end();
}

#[test]
fn open_connections_are_counted_by_the_names_that_the_operator_has_written() {
    const ACTIVE: &str = "latticegate_name_connections_active";
    let rules = "- { allow: 192.0.2.0/24, to: [orders.example.com, unused.example.com] }\n\
                 - { allow: 192.0.2.0/24, to: \"*.wild.example.com\" }";
    let names = "{ mapped.wild.example.com: orders.example.com }";
    let lab = Lab::with(Setup { rules, names, ..Setup::default() });
    lab.dns.set("a.wild.example.com", addresses(&[lab.upstream.address.ip()]));
    let shown = || {
        let mut shown: Vec<_> = family(&lab, ACTIVE).into_iter().collect();
        shown.sort_by(|a, b| a.0.cmp(&b.0));
        shown.into_iter().map(|(labels, value)| format!("{labels} {value}")).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(shown(), "name=\"mapped.wild.example.com\" 0, name=\"other\" 0");
    let open = |name: &[u8]| {
        let client = lab.client_asking(name);
        (client, lab.upstream.accept())
    };
    let orders = [open(b"orders.example.com"), open(b"ORDERS.example.com")];
    let (mapped, wild) = (open(b"mapped.wild.example.com"), open(b"a.wild.example.com"));
    // Refused, and not counted.
    lab.client_asking(b"denied.example.com").hear_all();
    assert_eq!(shown(), "name=\"mapped.wild.example.com\" 1, name=\"orders.example.com\" 2, name=\"other\" 1");
    // The name is taken out of the list while connections to it are open.
    std::fs::write(lab.files.path().join("ipcontrol.yaml"), "rules:\n- { allow: 192.0.2.0/24, to: new.example.com }\n")
        .unwrap();
    until("the list is loaded", || lab.metrics()["latticegate_policy_rules"] == 1.0);
    assert_eq!(shown(), "name=\"mapped.wild.example.com\" 1, name=\"orders.example.com\" 2, name=\"other\" 1");
    drop((orders, mapped, wild));
    until("it is forgotten", || shown() == "name=\"mapped.wild.example.com\" 0, name=\"other\" 0");
    lab.end();
}

#[test]
fn connects_are_counted_by_address_and_failures_by_reason() {
    let lab = Lab::start();
    let (here, port) = (lab.upstream.address, lab.upstream.address.port());
    let [refusing, silent] = [20, 21].map(|host| SocketAddr::new(lab.ip(host), port));
    let _hole = BlackHole::start(silent);
    lab.dns.set("half.example.com", addresses(&[silent.ip(), here.ip()]));
    lab.dns.set("dead.example.com", addresses(&[refusing.ip()]));
    let mut open = vec![lab.pair()];
    lab.client_asking(b"dead.example.com").hear_all();
    // Which address is first is drawn; in the end the silent one has been.
    let count = |labels: &str| family(&lab, "latticegate_upstream_connect_failures_total").remove(labels);
    let overtaken = format!("address=\"{silent}\",reason=\"connect_timeout\"");
    for tries in 0.. {
        let client = lab.client_asking(b"half.example.com");
        open.push((client, lab.upstream.accept()));
        if count(&overtaken).is_some_and(|count| count > 0.0) {
            break;
        }
        assert!(tries < 60, "never first");
    }
    assert_eq!(count(&format!("address=\"{refusing}\",reason=\"connect_refused\"")), Some(1.0));
    assert_eq!(count(&format!("address=\"{here}\",reason=\"connect_refused\"")), Some(0.0));
    let connected = family(&lab, "latticegate_upstream_connect_seconds_count");
    assert_eq!(connected[&format!("address=\"{here}\"")], open.len() as f64);
    assert_eq!((connected[&format!("address=\"{refusing}\"")], connected["address=\"other\""]), (0.0, 0.0));
    // All of them are open: these were not waited for either.
    let metrics = lab.metrics();
    assert_eq!(metrics["latticegate_connect_seconds_count"], open.len() as f64);
    assert_eq!(metrics["latticegate_handshake_seconds_count"], 1.0 + open.len() as f64);
    assert_eq!(metrics["latticegate_resolve_seconds_count"], 1.0 + open.len() as f64);
    assert_eq!(metrics["latticegate_hello_bytes_count"], 1.0 + open.len() as f64);
    let lookups: f64 = family(&lab, "latticegate_dns_lookups_total").values().sum();
    assert!(lookups >= 3.0 && metrics["latticegate_dns_lookup_seconds_count"] == lookups, "{lookups}");
    // The silent address took 250 ms until another one was tried; no lookup did.
    assert!(metrics["latticegate_connect_seconds_sum"] >= 0.25);
    drop(open);
    lab.end();
}

#[test]
fn hello_sizes_are_those_of_hellos_in_tunnels_too() {
    let rules = "- { allow: 127.0.0.0/8, to: orders.example.com }";
    let lab = Lab::with(Setup { forward: Some(""), rules, ..Setup::default() });
    let mut client = lab.connect(Port::ForwardDirect);
    let port = lab.upstream.address.port();
    client.say(format!("CONNECT orders.example.com:{port} HTTP/1.1\r\nHost: orders.example.com:{port}\r\n\r\n"));
    client.hear("HTTP/1.1 200 Connection established\r\n\r\n".len());
    let hello = Hello::to(b"orders.example.com").record();
    client.say(&hello);
    let mut upstream = lab.upstream.accept();
    upstream.hear(hello.len());
    let metrics = lab.metrics();
    assert_eq!(metrics["latticegate_hello_bytes_count"], 1.0);
    let sum = metrics["latticegate_hello_bytes_sum"];
    assert!(sum > 40.0 && sum <= hello.len() as f64, "{sum}");
    drop((client, upstream));
    lab.end();
}

/// Names with labels, values left out.
fn series(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| if line.starts_with('#') { line } else { line.rsplit_once(' ').unwrap().0 }.to_owned())
        .collect()
}

#[test]
fn each_scrape_has_the_same_order_and_no_series_of_what_cannot_occur() {
    let lab = Lab::with(Setup { forward: Some("tunnel: any"), ..Setup::default() });
    let (_, first) = get(lab.admin, "/metrics");
    let (client, upstream) = lab.pair();
    lab.connect(Port::HttpDirect).say(b"nonsense\r\n\r\n").hear_all();
    let (_, second) = get(lab.admin, "/metrics");
    let (first, second) = (series(&first), series(&second));
    let mut of_both = second.clone();
    of_both.retain(|line| first.contains(line));
    assert_eq!(of_both, first);
    assert_eq!(series(&get(lab.admin, "/metrics").1), second);
    let ending = |listener: &str, reason: &str| {
        let found = |line: &&String| {
            line.starts_with("latticegate_connections_total{")
                && line.contains(&format!("listener=\"{listener}\""))
                && line.contains(&format!("reason=\"{reason}\""))
        };
        second.iter().filter(found).count()
    };
    for (listener, there, not_there) in [
        ("tls", ["sni_missing", "proxy_missing", "local"], ["not_http", "host_missing", "drain_idle"]),
        ("http", ["host_port", "drain_idle", "untrusted_peer"], ["sni_missing", "origin_form", "port_denied"]),
        ("http-direct", ["not_http", "empty", "done"], ["proxy_missing", "local", "hello_malformed"]),
        ("forward", ["port_denied", "body_cut", "local"], ["tunnel_not_tls", "sni_invalid", "host_changed"]),
    ] {
        for reason in there {
            assert_eq!(ending(listener, reason), 1, "{listener} {reason}");
        }
        for reason in not_there {
            assert_eq!(ending(listener, reason), 0, "{listener} {reason}");
        }
    }
    drop((client, upstream));
    lab.end();
}

#[test]
fn workers_and_process_are_as_busy_as_they_are() {
    let lab = Lab::start();
    let metrics = lab.metrics();
    let busy = family(&lab, "latticegate_worker_busy_seconds_total");
    assert_eq!(busy.len(), 2);
    let (mut client, mut upstream) = lab.pair();
    // Only one of them has anything to do, and it is seen while the connection is open.
    until("a worker was busy", || {
        for _ in 0..200 {
            client.say(b"question");
            upstream.hear(8);
        }
        let now = family(&lab, "latticegate_worker_busy_seconds_total");
        now.iter().any(|(worker, seconds)| *seconds >= busy[worker] + 0.01)
    });
    let now = lab.metrics();
    assert!(now["process_cpu_seconds_total"] > metrics["process_cpu_seconds_total"]);
    assert_eq!(now["process_start_time_seconds"], metrics["process_start_time_seconds"]);
    assert!(now["process_resident_memory_bytes"] > 1e6);
    assert!(now["process_open_fds"] > 10.0 && now["process_max_fds"] >= now["process_open_fds"]);
    drop((client, upstream));
    lab.end();
}

#[test]
fn a_drain_is_shown_while_it_lasts() {
    let lab = Lab::with(Setup { drain: "delay: 20s, timeout: 40s", ..Setup::default() });
    let (client, upstream) = lab.pair();
    let metrics = lab.metrics();
    assert_eq!((metrics["latticegate_drain_seconds"], metrics["latticegate_drain_limit_seconds"]), (0.0, 60.0));
    lab.send_stop(latticegate::control::gate::StopRequest::Drain);
    until("it drains", || lab.metrics()["latticegate_drain_seconds"] > 0.0);
    assert_eq!(lab.metrics()["latticegate_ready"], 0.0);
    drop((client, upstream));
    lab.cut();
}

#[test]
fn a_client_that_sends_nothing_has_no_name() {
    let lab = Lab::start();
    let mut client = lab.connect(Port::Tls);
    client.say(tcp4(&[]));
    lab.is_open(Port::Tls);
    assert_eq!(
        family(&lab, "latticegate_name_connections_active"),
        HashMap::from([("name=\"other\"".to_owned(), 0.0)])
    );
    assert_eq!(lab.metrics()["latticegate_connections_accepted_total{listener=\"tls\"}"], 1.0);
    drop(client);
    lab.end();
}
