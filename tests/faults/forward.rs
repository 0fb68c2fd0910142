//! A flood of requests to a `forward` listener: it is the workers' to serve, and what the control thread does (health, DNS) is
//! not delayed by it.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use support::PATIENCE;
use support::http::get;
use support::lab::{Parts, Setup};
use support::peer::Peer;
use support::upstream::Upstream;
use support::wire::{Hello, tcp4};

use crate::flood::FILES;
use crate::gate::Gate;

const CLIENTS: usize = 8;
/// Looked up and asked for in the middle of the flood, each a name that no cache has.
const NAMES: usize = 40;

/// CPU time that the threads with this name have taken, in ticks of 10 ms.
fn cpu_of(gate: &Gate, is: impl Fn(&str) -> bool) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", gate.child.id())).unwrap();
    let ticks = tasks.filter_map(|task| {
        let task = task.unwrap().path();
        let name = std::fs::read_to_string(task.join("comm")).ok()?;
        let stat = std::fs::read_to_string(task.join("stat")).ok().filter(|_| is(name.trim()))?;
        let (_, fields) = stat.rsplit_once(") ")?;
        Some(fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum::<u64>())
    });
    ticks.sum()
}

/// Requests that are refused, requests that are answered, tunnels that are refused: as many as go, until told to stop.
fn flood(address: SocketAddr, port: u16, over: &AtomicBool, served: &AtomicUsize) {
    let get = format!("GET http://orders.example.com:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n");
    let refused = [
        format!("CONNECT denied.example.com:{port} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!(
            "GET http://orders.example.com:{port}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: x\r\n\r\n"
        ),
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        format!("GET http://orders.example.com:{port}/ HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(90)),
    ];
    while !over.load(Ordering::Relaxed) {
        for refused in &refused {
            let Ok(mut client) = TcpStream::connect(address) else { continue };
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            let _ = client.write_all(&[&get.repeat(20), refused.as_str()].concat().into_bytes());
            let mut answers = Vec::new();
            let _ = client.read_to_end(&mut answers);
            served.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// An origin server that answers every request at once.
fn answer_all(parts: &Parts, over: &AtomicBool) {
    while let Some(mut upstream) =
        (!over.load(Ordering::Relaxed)).then(|| parts.upstream.accept_within(PATIENCE)).flatten()
    {
        thread::spawn(move || {
            let mut seen = Vec::new();
            let mut piece = [0; 4096];
            while let Ok(n @ 1..) = upstream.stream.read(&mut piece) {
                seen.extend_from_slice(&piece[..n]);
                while let Some(end) = seen.windows(4).position(|end| end == b"\r\n\r\n") {
                    seen.drain(..end + 4);
                    let _ = upstream.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                }
            }
        });
    }
}

#[test]
fn a_flood_of_requests_delays_neither_health_nor_a_lookup() {
    let rules = "- allow: all\n  listener: [tls]\n- allow: all\n  to: orders.example.com\n- deny: all";
    let setup = Setup { forward: Some(""), rules, ..Setup::default() };
    let gate = Gate::start(Parts::make(&setup), FILES, &[]);
    let (forward, tls, health) = (gate.address("forward-direct"), gate.address("tls"), gate.address("health"));
    let port = gate.parts.upstream.address.port();
    // Those of the lookups are for another address, where nobody listens to the flood.
    let IpAddr::V4(ip) = gate.parts.upstream.address.ip() else { panic!("IPv6") };
    let [a, b, c, _] = ip.octets();
    let other = Upstream::start(Ipv4Addr::new(a, b, c, 11).into(), port);
    let names: Vec<String> = (0..NAMES).map(|n| format!("name-{n}.example.com")).collect();
    for name in &names {
        gate.parts.dns.set(name, support::dns::addresses(&[other.address.ip()]));
    }
    let (over, answered, served) = (AtomicBool::new(false), AtomicBool::new(false), AtomicUsize::new(0));
    let cpu = || [cpu_of(&gate, |name| name == "latticegate"), cpu_of(&gate, |name| name.starts_with("worker"))];
    let before = cpu();
    thread::scope(|scope| {
        scope.spawn(|| answer_all(&gate.parts, &answered));
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| flood(forward, port, &over, &served));
            }
            support::until("the flood has begun", || served.load(Ordering::Relaxed) > 4 * CLIENTS);
            for name in &names {
                assert_eq!(get(health, "/healthz").0, 200);
                let hello = Hello::to(name.as_bytes()).record();
                let mut client = Peer::connect(tls);
                client.say([tcp4(&[]), hello.clone()].concat());
                assert_eq!(other.accept().hear(hello.len()), hello);
            }
            let so_far = served.load(Ordering::Relaxed);
            support::until("the flood goes on", || served.load(Ordering::Relaxed) > so_far + 10 * CLIENTS);
            over.store(true, Ordering::Relaxed);
        });
        answered.store(true, Ordering::Relaxed);
        // Nothing else wakes the one that accepts.
        drop(TcpStream::connect(gate.parts.upstream.address));
    });
    let after = cpu();
    let [control, workers] = [after[0] - before[0], after[1] - before[1]];
    eprintln!(
        "{} connections refused after 20 requests each; {workers} ticks of the workers, {control} of the control thread",
        served.load(Ordering::Relaxed)
    );
    assert!(workers > 20, "{workers}: no flood");
    assert!(control * 4 < workers, "{control} of {workers}");
}
