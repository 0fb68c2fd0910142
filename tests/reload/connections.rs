//! What a reload does to connections: those that are open, and those that come while it happens.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use nix::sys::signal::Signal;
use support::lab::{Parts, Setup, word};
use support::peer::{End, Peer};
use support::until;
use support::wire::hello;

use crate::gate::{DENY, Gate, echo};

#[test]
fn forbidden_connections_are_counted_and_kept() {
    let gate = Gate::start(&[]);
    let mut pairs: Vec<_> = (0..3).map(|_| gate.pair()).collect();
    gate.write(DENY);
    let line = gate.reloaded(1);
    assert!(line.contains("live_connections_forbidden=3") && line.contains("kept"), "{line}");
    gate.denies();
    for (client, upstream) in &mut pairs {
        client.say(b"still here");
        assert_eq!(upstream.hear(10), b"still here");
    }
}

#[test]
fn forbidden_connections_are_counted_and_closed() {
    let gate = Gate::start(&[("LATTICEGATE_ON_RELOAD", "close")]);
    let mut pairs: Vec<_> = (0..3).map(|_| gate.pair()).collect();
    // One that the new list allows too.
    let mut other = Peer::connect(gate.process.address("tls"));
    let header = support::wire::proxy(0x21, 0x11, &[192, 0, 2, 9, 198, 51, 100, 2, 0x9c, 0x40, 0x01, 0xbb]);
    other.say([header, hello()].concat());
    let mut other_upstream = gate.process.parts().upstream.accept();
    other_upstream.hear(hello().len());
    gate.write(DENY);
    let line = gate.reloaded(1);
    assert!(line.contains("live_connections_forbidden=3") && line.contains("closed"), "{line}");
    for (client, upstream) in &mut pairs {
        assert_ne!((client.hear_all().0.len(), upstream.hear_all().0.len()), (1, 1));
    }
    other.say(b"still here").finish();
    assert_eq!(other_upstream.hear_all(), (b"still here".to_vec(), End::Fin));
    drop((other, other_upstream));
    gate.process.signal(Signal::SIGTERM);
    let (status, records) = gate.process.wait();
    assert_eq!(status.code(), Some(0));
    let forbidden = records.iter().filter(|record| word(record, "reason") == "forbidden").count();
    assert_eq!((records.len(), forbidden), (4, 3), "{records:#?}");
}

/// Both let 192.0.2.1 in, each by another rule, and say different things about others.
const ONE: &str = "rules:\n- allow: 10.0.0.0/8\n- allow: 192.0.2.0/24\n- deny: all\n";
const OTHER: &str = "rules:\n- deny: 192.0.2.9\n- deny: 10.0.0.0/8\n- allow: 192.0.2.1\n";

#[test]
fn two_hundred_reloads_cost_no_connection_that_both_lists_allow() {
    let parts = Parts::make(&Setup::default());
    fs::write(parts.files.path().join("ipcontrol.yaml"), ONE).unwrap();
    let environment = [("LATTICEGATE_POLICY_POLL", "10ms"), ("LATTICEGATE_ON_RELOAD", "close")];
    let gate = Arc::new(Gate::of(parts, &environment));
    let tls = gate.process.address("tls");
    // The upstream outlives its last caller.
    let (over, unheard) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let echoes = {
        let (gate, unheard) = (Arc::clone(&gate), Arc::clone(&unheard));
        thread::spawn(move || {
            while !unheard.load(Ordering::Relaxed) {
                let patience = std::time::Duration::from_millis(50);
                if let Some(peer) = gate.process.parts().upstream.accept_within(patience) {
                    thread::spawn(move || echo(peer.stream));
                }
            }
        })
    };
    let call = move || {
        let mut client = Peer::client(tls);
        assert_eq!(client.hear(hello().len()), hello());
        client
    };
    let (calls, messages) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut clients = Vec::new();
    for _ in 0..2 {
        let (over, calls) = (Arc::clone(&over), Arc::clone(&calls));
        clients.push(thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                drop(call());
                calls.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    let mut long: Vec<TcpStream> = (0..40).map(|_| call().stream).collect();
    clients.push({
        let (over, messages) = (Arc::clone(&over), Arc::clone(&messages));
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                for stream in &mut long {
                    let mut answer = [0; 4];
                    stream.write_all(b"ping").unwrap();
                    stream.read_exact(&mut answer).unwrap();
                    assert_eq!(&answer, b"ping");
                    messages.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    });
    let loaded = || gate.metrics()["latticegate_policy_reload_total{result=\"loaded\"}"];
    for round in 0..200 {
        gate.write(if round % 2 == 0 { OTHER } else { ONE });
        // The list at start is the first.
        until("the list is in force", || loaded() >= f64::from(round + 2));
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("no connection failed");
    }
    unheard.store(true, Ordering::Relaxed);
    echoes.join().unwrap();
    let (calls, messages) = (calls.load(Ordering::Relaxed), messages.load(Ordering::Relaxed));
    assert!(calls > 200 && messages > 200, "{calls} calls, {messages} messages: that is no load");
    assert_eq!((loaded(), gate.failed_reloads()), (201.0, 0.0));
    gate.process.signal(Signal::SIGTERM);
    let (status, records) = Arc::into_inner(gate).unwrap().process.wait();
    assert_eq!(status.code(), Some(0));
    let refused: Vec<_> = records.iter().filter(|record| word(record, "outcome") != "relayed").collect();
    assert!(refused.is_empty(), "{refused:#?}");
    assert!(records.iter().all(|record| word(record, "reason") != "forbidden"));
    assert!(records.len() > calls, "{} records of {calls} calls and 40 long connections", records.len());
}
