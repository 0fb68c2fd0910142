//! Every way in which a connection can end, caused once. The list here, `Outcome::all()` and the table in
//! `docs/reasons.md` are kept in step.
//!
//! The function that causes a reason bears its word.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::forward::causes::{
    body_cut, body_timeout, max_forwards, origin_form, port_denied, port_missing, response_malformed, response_timeout,
    scheme_unsupported, target_invalid, trace_method, tunnel_not_tls, tunnel_sni_denied, tunnel_sni_missing,
    upstream_closed, via_loop,
};
use latticegate::control::gate::StopRequest;
use latticegate::sys::clock::Clock;
use latticegate::telemetry::access_log::AccessLogger;
use latticegate::telemetry::log_writer::{LineKind, Sink, Writer};
use latticegate::telemetry::metrics::Metrics;
use latticegate::telemetry::reporter::Reporter;
use latticegate_core::config::{AccessLog, Listener, LogFormat, LogKeep, LogOutput, Protocol, ProxyProtocol};
use latticegate_core::networks::DestinationNetworks;
use latticegate_core::outcome::{Outcome, Unfinished};
use serde_json::Value;
use support::dns::{Reply, SERVFAIL, addresses};
use support::lab::{Lab, Port, Reported, Setup, word};
use support::malformed::{self, Stage};
use support::peer::{End, Peer};
use support::upstream::BlackHole;
use support::wire::{Hello, SIGNATURE, endpoint_tlv, hello, nlb_health_check, tcp4};

/// One test for each reason, and the list of them.
macro_rules! caused {
    ($($outcome:ident { $($reason:ident)+ })+) => {
        const CAUSED: &[(&str, &str)] = &[$($((stringify!($outcome), stringify!($reason)),)+)+];

        $(mod $outcome {
            $(
                #[test]
                fn $reason() {
                    super::$reason().assert_caused(stringify!($outcome), stringify!($reason));
                }
            )+
        })+
    };
}

/// Reasons that a parser gives: the first row of the malformed corpus which has that word, sent as it is.
macro_rules! bent {
    ($($reason:ident)+) => {
        $(fn $reason() -> Reported {
            send_bent(stringify!($reason))
        })+
    };
}

caused! {
    relayed { done idle client_reset upstream_reset forbidden drained drain_idle }
    refused {
        untrusted_peer proxy_missing proxy_v1 proxy_malformed proxy_unsupported proxy_checksum
        client_denied handshake_timeout handshake_slow overloaded client_half_open client_connections client_rate
        name_connections name_rate lookup_rate not_tls plain_http sslv2 hello_malformed hello_too_long sni_missing sni_invalid
        sni_ip_address sni_ambiguous not_http tls_on_http http09 http2_preface connect_method head_malformed
        head_too_long host_missing host_invalid host_ip_address host_ambiguous host_port host_changed body_malformed
        name_denied name_unknown
        destination_forbidden points_to_self
        origin_form scheme_unsupported port_missing target_invalid trace_method via_loop max_forwards port_denied
        tunnel_not_tls tunnel_sni_missing tunnel_sni_denied body_timeout body_cut
    }
    failed {
        dns_timeout dns_failed connect_timeout connect_refused connect_unreachable no_local_port connect_failed
        response_malformed response_timeout upstream_closed
    }
    probe { empty local }
    unfinished { client_left stopped lost }
}

bent! {
    proxy_missing proxy_v1 proxy_malformed proxy_unsupported proxy_checksum not_tls plain_http sslv2
    hello_malformed hello_too_long sni_missing sni_invalid sni_ip_address sni_ambiguous not_http tls_on_http http09
    http2_preface connect_method head_malformed head_too_long host_missing host_invalid host_ip_address host_ambiguous
    host_port
}

#[test]
fn the_three_lists_are_in_step() {
    let all: Vec<(String, String)> =
        Outcome::all().map(|outcome| (outcome.word().to_owned(), outcome.reason().to_owned())).collect();
    let caused: Vec<(String, String)> = CAUSED.iter().map(|(o, r)| ((*o).to_owned(), (*r).to_owned())).collect();
    let sorted = |list: &[(String, String)]| {
        let mut list = list.to_vec();
        list.sort();
        list
    };
    assert_eq!(sorted(&caused), sorted(&all), "caused by tests, and Outcome::all()");
    assert_eq!(documented(), all, "docs/reasons.md, and Outcome::all() in its order");
}

/// The first two columns of the table; the others must say something.
fn documented() -> Vec<(String, String)> {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reasons.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    cells
        .map(|cells| {
            let [outcome, reason, meaning, remedy] = cells[..] else { panic!("not four columns: {cells:?}") };
            assert!(meaning.len() > 15 && remedy.len() > 5, "{reason}: {meaning} | {remedy}");
            (outcome.trim_matches('`').to_owned(), reason.trim_matches('`').to_owned())
        })
        .collect()
}

fn done() -> Reported {
    let setup = Setup { rules: "\n- deny: 192.0.2.9\n- allow: 192.0.2.0/24", ..Setup::default() };
    let lab = Lab::with(setup);
    let mut client = lab.connect(Port::Tls);
    client.say([tcp4(&endpoint_tlv(b"vpce-0123456789abcdef0")), hello()].concat());
    let mut upstream = lab.upstream.accept();
    assert_eq!(upstream.hear(hello().len()), hello());
    client.say(b"question").finish();
    assert_eq!(upstream.hear_all(), (b"question".to_vec(), End::Fin));
    upstream.say(b"the answer").finish();
    assert_eq!(client.hear_all(), (b"the answer".to_vec(), End::Fin));
    let (peer, behind) = (client.address(), lab.upstream.address);
    let reported = lab.end();
    let record = reported.record();
    assert_eq!(word(record, "listener"), "tls");
    assert_eq!(word(record, "peer"), peer.to_string());
    assert_eq!((word(record, "client").as_str(), &record["client_port"]), ("192.0.2.1", &Value::from(40000)));
    assert_eq!(word(record, "vpce"), "vpce-0123456789abcdef0");
    assert_eq!(word(record, "rule"), "ipcontrol.yaml:4");
    assert_eq!(word(record, "name"), "orders.example.com");
    assert_eq!(word(record, "upstream"), behind.to_string());
    assert_eq!(record["bytes_up"], hello().len() + 8);
    assert_eq!(record["bytes_down"], 10);
    assert_eq!(word(record, "closed_by"), "client");
    assert_eq!(record["hello"]["records"], 1);
    assert_eq!(record.get("dns_stale"), None);
    // The steps follow one another, and none takes longer than the whole.
    let time = |key: &str| record[key].as_f64().unwrap();
    let steps: f64 = ["header_ms", "hello_ms", "dns_ms", "connect_ms"].map(time).iter().sum();
    assert!(steps <= time("total_ms"), "{record}");
    word(record, "time").parse::<jiff::Timestamp>().unwrap();
    assert!(u64::from_str_radix(&word(record, "id"), 16).is_ok());
    reported
}

fn idle() -> Reported {
    let lab = Lab::with(Setup { timeouts: "idle: 300ms", ..Setup::default() });
    let (mut client, mut upstream) = lab.pair();
    upstream.say(b"x");
    assert_eq!(client.hear_all().0, b"x");
    assert_eq!(upstream.hear_all().0, b"");
    let reported = lab.end();
    assert_eq!(reported.record().get("closed_by"), None);
    assert_eq!(reported.record()["bytes_down"], 1);
    assert!(reported.record()["total_ms"].as_f64().unwrap() >= 300.0);
    reported
}

fn client_reset() -> Reported {
    let lab = Lab::start();
    let (mut client, mut upstream) = lab.pair();
    client.say(b"half a que");
    assert_eq!(upstream.hear(10), b"half a que");
    upstream.say(b"early");
    assert_eq!(client.hear(5), b"early");
    client.reset();
    upstream.hear_all();
    let reported = lab.end();
    assert_eq!(word(reported.record(), "closed_by"), "client");
    assert_eq!(reported.record()["bytes_up"], hello().len() + 10);
    assert_eq!(reported.record()["bytes_down"], 5);
    reported
}

fn upstream_reset() -> Reported {
    let lab = Lab::start();
    let (mut client, mut upstream) = lab.pair();
    upstream.say(b"half an ans");
    assert_eq!(client.hear(11), b"half an ans");
    upstream.reset();
    client.hear_all();
    let reported = lab.end();
    assert_eq!(word(reported.record(), "closed_by"), "upstream");
    assert_eq!(reported.record()["bytes_down"], 11);
    reported
}

fn drained() -> Reported {
    let lab = Lab::with(Setup { drain: "delay: 0s, timeout: 200ms", ..Setup::default() });
    let (mut client, mut upstream) = lab.pair();
    upstream.say(b"so far");
    assert_eq!(client.hear(6), b"so far");
    lab.send_stop(StopRequest::Drain);
    client.hear_all();
    let reported = lab.cut();
    assert_eq!(reported.record()["bytes_down"], 6);
    assert_eq!(reported.record()["bytes_up"], hello().len());
    reported
}

fn drain_idle() -> Reported {
    let lab = Lab::start();
    let (request, answer) = (b"GET / HTTP/1.1\r\nHost: orders.example.com\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n");
    let mut client = lab.connect(Port::HttpDirect);
    client.say(request);
    let mut upstream = lab.upstream.accept();
    assert_eq!(upstream.hear(request.len()), request);
    upstream.say(answer);
    assert_eq!(client.hear(answer.len()), answer);
    lab.send_stop(StopRequest::Drain);
    assert_eq!(client.hear_all(), (vec![], End::Fin));
    lab.cut()
}

fn forbidden() -> Reported {
    let lab = Lab::with(Setup { on_reload: "close", ..Setup::default() });
    let (mut client, mut upstream) = lab.pair();
    upstream.say(b"so far");
    assert_eq!(client.hear(6), b"so far");
    fs::write(lab.files.path().join("ipcontrol.yaml"), "rules:\n- deny: all\n").unwrap();
    client.hear_all();
    upstream.hear_all();
    let reported = lab.end();
    assert_eq!(reported.record()["bytes_down"], 6);
    // The rule is the one that had let it in.
    assert_eq!(word(reported.record(), "rule"), "ipcontrol.yaml:2");
    reported
}

fn untrusted_peer() -> Reported {
    let lab = Lab::with(Setup { trusted: "[198.51.100.0/24]", ..Setup::default() });
    assert_eq!(lab.client().hear_all().0, b"");
    // What it has sent is in its record.
    let reported = went_nowhere(lab);
    assert_eq!(word(reported.record(), "name"), "orders.example.com");
    reported
}

fn client_denied() -> Reported {
    let lab = Lab::with(Setup { rules: "- allow: 10.0.0.0/8\n- deny: all", ..Setup::default() });
    // The header is enough: whoever is on the list is not waited for.
    let mut client = lab.connect(Port::Tls);
    client.say(tcp4(&[]));
    client.hear_all();
    drop(client);
    let reported = refused_before_a_name(lab);
    assert_eq!(word(reported.record(), "rule"), "ipcontrol.yaml:3");
    assert_eq!(word(reported.record(), "client"), "192.0.2.1");
    reported
}

fn handshake_timeout() -> Reported {
    let lab = Lab::with(Setup { timeouts: "handshake: 200ms", ..Setup::default() });
    let mut client = lab.connect(Port::Tls);
    client.say(tcp4(&[])).say(&hello()[..50]);
    client.hear_all();
    drop(client);
    refused_before_a_name(lab)
}

fn handshake_slow() -> Reported {
    let lab = Lab::with(Setup { limits: "handshake_rate: 100000", timeouts: "handshake: 15s", ..Setup::default() });
    let mut client = lab.connect(Port::Tls);
    client.say(tcp4(&[]));
    // A byte now and then, until we have had enough of it.
    client.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut hello = hello().into_iter();
    support::until("the slow client is closed", || {
        let _ = client.stream.write(&[hello.next().unwrap()]);
        !matches!(client.stream.read(&mut [0; 512]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    });
    drop(client);
    refused_before_a_name(lab)
}

fn overloaded() -> Reported {
    let lab = Lab::with(Setup { limits: "connections: 1", ..Setup::default() });
    let (client, upstream) = lab.pair();
    assert_eq!(lab.client().hear_all(), (vec![21, 3, 3, 0, 2, 2, 80], End::Fin));
    drop((client, upstream));
    let reported = lab.end();
    assert_eq!(word(reported.record_of("overloaded"), "detail"), "limits.connections");
    reported
}

fn client_half_open() -> Reported {
    let lab = Lab::with(Setup { limits: "half_open_per_client: 1", ..Setup::default() });
    let mut first = lab.connect(Port::Tls);
    first.say([&tcp4(&[])[..], &hello()[..20]].concat());
    until_open(&lab);
    let mut second = lab.connect(Port::Tls);
    second.say([&tcp4(&[])[..], &hello()[..20]].concat());
    second.hear_all();
    drop(second);
    // The first is not the worse for it.
    first.say(&hello()[20..]);
    let mut upstream = lab.upstream.accept();
    upstream.hear(hello().len());
    drop((upstream, first));
    lab.end()
}

fn client_connections() -> Reported {
    second_is_refused("per_client: { connections: 1 }")
}

fn client_rate() -> Reported {
    second_is_refused("per_client: { per_second: 1 }")
}

fn name_connections() -> Reported {
    second_is_refused("per_name: { connections: 1 }")
}

fn name_rate() -> Reported {
    second_is_refused("per_name: { per_second: 1 }")
}

fn second_is_refused(limits: &'static str) -> Reported {
    let lab = Lab::with(Setup { limits, ..Setup::default() });
    let (client, upstream) = lab.pair();
    lab.client().hear_all();
    drop((client, upstream));
    lab.upstream.assert_untouched();
    lab.end()
}

fn lookup_rate() -> Reported {
    // The second one's turn is a second away, and it would wait for 600 ms.
    let lab = Lab::with(Setup { limits: "lookups_per_second: 1", workers: 1, ..Setup::default() });
    let first = lab.client();
    let mut second = lab.client_asking(b"other.example.com");
    let mut upstream = lab.upstream.accept();
    upstream.hear(hello().len());
    assert_eq!(second.hear_all().0, [21, 3, 3, 0, 2, 2, 80]);
    drop((first, upstream));
    assert_eq!(lab.dns.asked("other.example.com", support::dns::A), 0);
    lab.end()
}

fn host_changed() -> Reported {
    let reported = second_request_is_refused(b"GET / HTTP/1.1\r\nHost: Other.example.com\r\n\r\n", b"HTTP/1.1 421 ");
    assert_eq!(word(reported.record(), "name"), "orders.example.com");
    assert_eq!(word(reported.record(), "detail"), "a later request names Other.example.com");
    reported
}

#[test]
fn a_name_refused_in_a_later_request_stands_in_the_detail() {
    for (request, detail) in [
        ("GET / HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n", "a later request names 10.0.0.1"),
        ("GET / HTTP/1.1\r\nHost: a.test\r\nHost: \u{1b}b\r\n\r\n", ""), // not even a head
        ("GET / HTTP/1.1\r\nHost: a.test\r\nHost: b_?\r\n\r\n", "a later request names a.test and b_?"),
    ] {
        let reported = second_request_is_refused(request.as_bytes(), b"HTTP/1.1 4");
        assert_eq!(reported.record().get("detail").map_or("", |detail| detail.as_str().unwrap()), detail, "{request}");
    }
}

fn body_malformed() -> Reported {
    let request = b"POST / HTTP/1.1\r\nHost: orders.example.com\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n";
    second_request_is_refused(request, b"")
}

/// On a connection whose first request was answered. What the client is reported begins so; the bytes of the first
/// request and its answer are counted.
fn second_request_is_refused(request: &[u8], reported_client: &[u8]) -> Reported {
    const FIRST: &[u8] = b"GET /1 HTTP/1.1\r\nHost: orders.example.com\r\n\r\n";
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let lab = Lab::start();
    let mut client = lab.connect(Port::HttpDirect);
    client.say(FIRST);
    let mut upstream = lab.upstream.accept();
    assert_eq!(upstream.hear(FIRST.len()), FIRST);
    upstream.say(ANSWER);
    assert_eq!(client.hear(ANSWER.len()), ANSWER);
    client.say(request);
    let (reported, end) = client.hear_all();
    assert!(reported.starts_with(reported_client), "{}", reported.escape_ascii());
    assert_eq!(end, End::Fin);
    let (forwarded, _) = upstream.hear_all();
    assert!(!forwarded.windows(5).any(|bytes| bytes == b"other" || bytes == b"hello"), "{}", forwarded.escape_ascii());
    drop((client, upstream));
    let reported = lab.end();
    assert_eq!(reported.record()["bytes_up"], FIRST.len() + forwarded.len());
    assert_eq!(reported.record()["bytes_down"], ANSWER.len());
    reported
}

fn name_denied() -> Reported {
    let rules = "- allow: all\n  to: other.example.com";
    let lab = Lab::with(Setup { rules, ..Setup::default() });
    lab.client().hear_all();
    lab.upstream.assert_untouched();
    let reported = lab.end();
    assert_eq!(word(reported.record(), "name"), "orders.example.com");
    reported
}

fn name_unknown() -> Reported {
    let lab = Lab::start();
    lab.client_asking(b"nowhere.example.com").hear_all();
    let reported = lab.end();
    assert_eq!(word(reported.record(), "name"), "nowhere.example.com");
    reported
}

fn destination_forbidden() -> Reported {
    let lab = Lab::start();
    lab.dns.set("orders.example.com", addresses(&[Ipv4Addr::new(169, 254, 170, 2).into()]));
    lab.client().hear_all();
    let port = lab.upstream.address.port();
    let reported = lab.end();
    assert_eq!(word(reported.record(), "upstream"), format!("169.254.170.2:{port}"));
    assert!(word(reported.record(), "detail").contains("task metadata"), "{}", reported.record());
    reported
}

fn points_to_self() -> Reported {
    let lab = Lab::with(Setup { trusted: "[127.0.0.0/8, 198.51.100.0/24]", ..Setup::default() });
    lab.dns.set("orders.example.com", addresses(&[Ipv4Addr::new(198, 51, 100, 7).into()]));
    lab.client().hear_all();
    let reported = lab.end();
    assert!(word(reported.record(), "detail").contains("private hosted zone"), "{}", reported.record());
    reported
}

fn dns_timeout() -> Reported {
    let lab = Lab::with(Setup { dns: "ipv6: off, timeout: 300ms", ..Setup::default() });
    lab.dns.set("orders.example.com", Reply::Silence);
    lab.client().hear_all();
    not_connected(lab)
}

fn dns_failed() -> Reported {
    let lab = Lab::start();
    lab.dns.set("orders.example.com", Reply::Code(SERVFAIL));
    lab.client().hear_all();
    not_connected(lab)
}

fn connect_timeout() -> Reported {
    let lab = Lab::with(Setup { timeouts: "connect: 300ms", ..Setup::default() });
    let hole = SocketAddr::new(lab.ip(11), lab.upstream.address.port());
    let _hole = BlackHole::start(hole);
    lab.dns.set("orders.example.com", addresses(&[hole.ip()]));
    lab.client().hear_all();
    let reported = not_connected(lab);
    assert_eq!(word(reported.record(), "upstream"), hole.to_string());
    reported
}

fn connect_refused() -> Reported {
    let lab = Lab::start();
    lab.dns.set("orders.example.com", addresses(&[lab.ip(12)]));
    lab.client().hear_all();
    not_connected(lab)
}

fn connect_unreachable() -> Reported {
    let lab = Lab::start();
    // The broadcast address of the loopback network: the kernel has no way there for TCP.
    lab.dns.set("orders.example.com", addresses(&[Ipv4Addr::new(127, 255, 255, 255).into()]));
    lab.client().hear_all();
    not_connected(lab)
}

/// In a network namespace with two ports to give, both of them taken.
fn no_local_port() -> Reported {
    let body = || {
        let lab = Lab::with(Setup { bind: "127.0.0.1", ..Setup::default() });
        let (upstream, gate) = (lab.upstream.address, lab.address(Port::Tls));
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", "60000 60001\n").unwrap();
        let taken = [60000, 60001].map(|port| std::net::TcpListener::bind((upstream.ip(), port)).unwrap());
        // The client brings a port of its own from outside the range.
        let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        client.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 50000)).into()).unwrap();
        let wildcard = [60000, 60001].map(|port| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap());
        client.connect(&gate.into()).unwrap();
        let mut client = Peer::new(client.into());
        client.say([tcp4(&[]), hello()].concat());
        client.hear_all();
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 50000\n").unwrap();
        drop((taken, wildcard));
        not_connected(lab)
    };
    support::private_network::run(body)
}

fn connect_failed() -> Reported {
    let lab = Lab::with(Setup { allowed_networks: "[\"fe80::/64\"]", dns: "ipv6: on", ..Setup::default() });
    // Link-local without an interface, which connect calls invalid.
    let nowhere: IpAddr = "fe80::1".parse().unwrap();
    lab.dns.set("orders.example.com", addresses(&[nowhere]));
    lab.client().hear_all();
    not_connected(lab)
}

fn empty() -> Reported {
    let lab = Lab::start();
    drop(lab.connect(Port::Tls));
    one_is_counted(&lab);
    lab.end()
}

fn local() -> Reported {
    let lab = Lab::start();
    let mut check = lab.connect(Port::Tls);
    check.say(nlb_health_check()).finish();
    assert_eq!(check.hear_all(), (vec![], End::Fin));
    lab.end()
}

fn client_left() -> Reported {
    let lab = Lab::start();
    let mut client = lab.connect(Port::Tls);
    client.say(&SIGNATURE[..7]);
    drop(client);
    one_is_counted(&lab);
    refused_before_a_name(lab)
}

fn stopped() -> Reported {
    let lab = Lab::start();
    let mut client = lab.connect(Port::Tls);
    client.say(tcp4(&[]));
    until_open(&lab);
    lab.send_stop(StopRequest::Cut);
    assert_eq!(client.hear_all(), (vec![21, 3, 3, 0, 2, 2, 80], End::Fin));
    lab.cut()
}

/// No client can cause it, so it is caused here: a record is dropped while its worker goes on.
fn lost() -> Reported {
    let metrics = Metrics::default();
    let (sender, lines) = channel();
    let (dropped, blocked) = (metrics.lines_dropped.clone(), metrics.blocked.access_log.clone());
    let (writer, written) = Writer::start(LineKind::AccessLog, Sink::Channel(sender), dropped, blocked).unwrap();
    let config = AccessLog { format: LogFormat::Json, output: LogOutput::Stdout, keep: LogKeep::All, fields: None };
    let log = AccessLogger::new(&config, writer, metrics.lines_omitted.clone(), Clock::default());
    let bind = SocketAddr::from(([127, 0, 0, 1], 8443));
    let (protocol, proxy_protocol) = (Protocol::Tls, ProxyProtocol::Off);
    let listener = Listener {
        name: "tls".into(),
        bind,
        protocol,
        upstream_port: 443,
        public_port: 443,
        proxy_protocol,
        forward: None,
        networks: DestinationNetworks::default(),
    };
    let listener_metrics = metrics.listener(&listener);
    let reporter = Reporter {
        listener,
        log: Rc::clone(&log),
        metrics: listener_metrics,
        recent: Rc::default(),
        stopping: Rc::new(Cell::new(false)),
    };
    drop(Rc::new(reporter).open(7, bind));
    log.finish();
    drop(log);
    written.wait(support::PATIENCE);
    let records: Vec<Value> = lines.iter().map(|line| serde_json::from_slice(&line).unwrap()).collect();
    let counted: Vec<_> = metrics.endings().into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counted, [(Outcome::Unfinished(Unfinished::Lost), 1)]);
    let counted = records.iter().map(|record| ((word(record, "outcome"), word(record, "reason")), 1));
    Reported { counted: BTreeMap::from_iter(counted), records, requests: Vec::new() }
}

#[test]
fn who_asks_for_the_load_balancer_is_shown_how_to_ask_for_a_service() {
    let name = "gate-0123.elb.us-west-2.amazonaws.com";
    for (port, shown) in [(Port::Tls, (443, "https")), (Port::Http, (80, "http"))] {
        let lab = Lab::start();
        lab.dns.set(name, addresses(&[Ipv4Addr::new(192, 0, 2, 7).into()]));
        let mut client = lab.connect(port);
        let asks = match port {
            Port::Tls => Hello::to(name.as_bytes()).record(),
            _ => format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n").into_bytes(),
        };
        client.say([tcp4(&[]), asks].concat());
        client.hear_all();
        drop(client);
        let reported = lab.end();
        let (number, scheme) = shown;
        let command =
            format!("curl --connect-to orders.example.com:{number}:{name}:{number} {scheme}://orders.example.com");
        assert!(word(reported.record(), "detail").ends_with(&command), "{}", reported.record());
    }
}

#[test]
fn a_denial_without_a_rule_says_so() {
    for (rules, reason) in
        [("- allow: 10.0.0.0/8", "client_denied"), ("- allow: all\n  to: other.example.com", "name_denied")]
    {
        let lab = Lab::with(Setup { rules, ..Setup::default() });
        lab.client().hear_all();
        let reported = lab.end();
        assert_eq!(word(reported.record(), "reason"), reason);
        assert_eq!(word(reported.record(), "detail"), "no rule matches; the end of the list denies");
        assert!(reported.record().get("rule").is_none(), "{}", reported.record());
    }
}

/// Rows of the malformed corpus whose names are refused, and what the record tells of them: name and detail.
const WRITTEN: [(&str, &str, Option<&str>); 12] = [
    ("an empty server_name", "", None),
    ("two final dots", "orders.example.com..", None),
    ("NUL in the name", "orders.example.com\0.evil", None),
    ("IPv6 in brackets", "[::1]", None),
    ("two names in a list", "a.example", Some("it also names b.example")),
    ("two server_name extensions", "orders.example.com", Some("it also names evil.example")),
    ("two names in Host", "a.example, b.example", None),
    ("high bytes in Host", "\u{fffd}\u{fffd}", None),
    ("another port", "a.example:8080", None),
    ("two Hosts", "a.example", Some("it also names b.example")),
    ("another host in the target", "a.example", Some("it also names b.example")),
    ("IPv6 Host with port", "[::1]:80", None),
];

#[test]
fn a_refused_name_is_reported_as_it_was_written() {
    let rows = malformed::all();
    for (row, name, detail) in WRITTEN {
        let row = rows.iter().find(|it| it.name == row).unwrap_or_else(|| panic!("no row {row}"));
        let reported = send(row);
        let record = reported.record();
        assert_eq!(word(record, "reason"), row.reason);
        assert_eq!(record.get("name").map_or("", |name| name.as_str().unwrap()), name, "{}", row.name);
        assert_eq!(record.get("detail").map(|detail| detail.as_str().unwrap()), detail, "{}", row.name);
    }
}

/// `http://user:password@host/`, as some clients put it into Host and target.
#[test]
fn of_a_refused_host_with_a_password_only_the_host_is_reported() {
    for (target, host, name, detail) in [
        ("/", "user:hush@a.example", Some("a.example"), None),
        ("/", "user%3Ahush%40a.example", None, None),
        ("http://user:hush@b.example/", "a.example", Some("a.example"), Some("it also names b.example")),
        ("http://user:hush@b.example/", "user:hush@a.example", Some("a.example"), Some("it also names b.example")),
    ] {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
        let row = malformed::Malformed { name: "userinfo", stage: Stage::Http, bytes, reason: "host_invalid" };
        let reported = send(&row);
        let record = reported.record();
        assert!(!record.to_string().contains("hush"), "{record}");
        let text = |key: &str| record.get(key).and_then(|text| text.as_str()).map(str::to_owned);
        let shown = (text("name"), text("detail"));
        assert_eq!((shown.0.as_deref(), shown.1.as_deref()), (name, detail), "{target} {host}: {record}");
    }
    let request = b"GET / HTTP/1.1\r\nHost: user:hush@b.example\r\n\r\n";
    let reported = second_request_is_refused(request, b"HTTP/1.1 4");
    assert_eq!(word(reported.record(), "detail"), "a later request names b.example");
}

#[test]
fn a_refused_name_is_cut_at_255_bytes() {
    let host = format!("{}é{}", "x".repeat(254), "y".repeat(9000));
    let bytes = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
    let row = malformed::Malformed { name: "a long Host", stage: Stage::Http, bytes, reason: "host_invalid" };
    assert_eq!(word(send(&row).record(), "name"), "x".repeat(254));
}

fn send_bent(reason: &str) -> Reported {
    let rows = malformed::all();
    send(rows.iter().find(|row| row.reason == reason).expect("a row in the corpus"))
}

fn send(row: &malformed::Malformed) -> Reported {
    let lab = Lab::start();
    let (port, header) = match row.stage {
        Stage::Proxy => (Port::Tls, vec![]),
        Stage::Tls => (Port::Tls, tcp4(&[])),
        Stage::Http => (Port::Http, tcp4(&[])),
        Stage::Forward => panic!("this lab has no forward listener"),
    };
    let mut client = lab.connect(port);
    client.say([&header[..], &row.bytes].concat());
    client.hear_all();
    drop(client);
    went_nowhere(lab)
}

/// Ends a lab whose client got nowhere and named nobody.
fn refused_before_a_name(lab: Lab) -> Reported {
    let reported = went_nowhere(lab);
    assert_eq!(reported.record().get("name"), None);
    reported
}

/// Ends a lab whose client got nowhere: no question to the resolver, nothing dialled.
fn went_nowhere(lab: Lab) -> Reported {
    lab.upstream.assert_untouched();
    assert_eq!(lab.dns.asked("orders.example.com", support::dns::A), 0);
    let reported = lab.end();
    let record = reported.record();
    assert_eq!(record.get("upstream"), None);
    assert_eq!((&record["bytes_up"], &record["bytes_down"]), (&0.into(), &0.into()));
    reported
}

/// Ends a lab whose client asked for a name that could not be reached.
fn not_connected(lab: Lab) -> Reported {
    lab.upstream.assert_untouched();
    let reported = lab.end();
    let record = reported.record();
    assert_eq!(word(record, "name"), "orders.example.com");
    assert_eq!(record.get("connect_ms"), None);
    assert_eq!((&record["bytes_up"], &record["bytes_down"]), (&0.into(), &0.into()));
    reported
}

fn one_is_counted(lab: &Lab) {
    support::until("one connection is counted", || !lab.counted().is_empty());
}

fn until_open(lab: &Lab) {
    support::until("the connection is accepted", || {
        let active = r#"latticegate_connections_active{listener="tls"}"#;
        lab.metrics()[active] == 1.0
    });
}
