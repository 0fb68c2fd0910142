//! A running latticegate with some of every trouble, and clients that cause it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use support::dns::{Reply, SERVFAIL, addresses};
use support::lab::{Parts, Setup};
use support::peer::Peer;
use support::process::Process;
use support::upstream::BlackHole;
use support::wire::{Hello, tcp4};

pub struct Traffic {
    process: Process,
    _hole: BlackHole,
}

/// Ends the clients when it is dropped.
pub struct KeptGoing {
    stop: Arc<AtomicBool>,
    clients: Option<JoinHandle<()>>,
}

const RULES: &str = "- { allow: 192.0.2.0/24, to: [orders.example.com, hole.example.com, broken.example.com] }\n\
                     - { allow: 127.0.0.0/8, to: orders.example.com, name: hosts }";

impl Traffic {
    pub fn start() -> Self {
        let setup = Setup {
            rules: RULES,
            forward: Some(""),
            limits: "half_open: 8",
            timeouts: "handshake: 60s, connect: 200ms, idle: 60s",
            names: "{ mapped.example.com: orders.example.com }",
            dns: "ipv6: off, timeout: 600ms, min_ttl: 50ms, negative_ttl: 50ms",
            ..Setup::default()
        };
        let parts = Parts::make(&setup);
        let [high, low] = parts.network.to_be_bytes();
        let [service, hole] =
            [98, 99].map(|host| SocketAddr::from(([127, high, low, host], parts.upstream.address.port())));
        serve(service);
        parts.dns.set("orders.example.com", addresses(&[service.ip()]));
        parts.dns.set("hole.example.com", addresses(&[hole.ip()]));
        parts.dns.set("broken.example.com", Reply::Code(SERVFAIL));
        fs::write(parts.files.path().join("shadow.yaml"), "rules:\n- deny: all\n").unwrap();
        let hole = BlackHole::start(hole);
        let process = Process::start(crate::LATTICEGATE, parts, &[("LATTICEGATE_SHADOW", "shadow.yaml")]);
        support::http::until_ready(process.address("health"));
        support::until("the shadow list is loaded", || process.said().contains("shadow list loaded"));
        Self { process, _hole: hole }
    }

    pub fn admin(&self) -> SocketAddr {
        self.process.address("admin")
    }

    /// A client of each kind, one after the other.
    pub fn some_of_everything(&self) {
        Clients::of(&self.process).all(0);
    }

    /// Until what is returned is dropped.
    pub fn keep_going(&self) -> KeptGoing {
        let stop = Arc::<AtomicBool>::default();
        let (clients, stopped) = (Clients::of(&self.process), Arc::clone(&stop));
        let clients = thread::spawn(move || {
            // Half-open for as long as it lasts.
            let waiting: Vec<Peer> = (0..7).map(|_| clients.half_open()).collect();
            for turn in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                clients.all(turn);
            }
            drop(waiting);
        });
        KeptGoing { stop, clients: Some(clients) }
    }

    pub fn break_list(&self) {
        fs::write(self.process.parts().files.path().join("ipcontrol.yaml"), "rules:\n- allow: everybody\n").unwrap();
    }

    pub fn silence_dns(&self) {
        self.process.parts().dns.set_otherwise(Reply::Silence);
        self.process.parts().dns.set("broken.example.com", Reply::Silence);
        Clients::of(&self.process).asking("broken.example.com").hear_all();
    }
}

/// Reads what each client sends, and answers at its end.
fn serve(address: SocketAddr) {
    let listener = TcpListener::bind(address).unwrap();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            thread::spawn(move || {
                let _ = client.read_to_end(&mut Vec::new());
                let _ = client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
            });
        }
    });
}

impl Drop for KeptGoing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.clients.take().map(JoinHandle::join);
    }
}

struct Clients {
    tls: SocketAddr,
    forward: SocketAddr,
    port: u16,
}

impl Clients {
    fn of(process: &Process) -> Self {
        let port = process.parts().upstream.address.port();
        Self { tls: process.address("tls"), forward: process.address("forward-direct"), port }
    }

    fn half_open(&self) -> Peer {
        let mut client = Peer::connect(self.tls);
        client.say(tcp4(&[]));
        client
    }

    fn asking(&self, name: &str) -> Peer {
        let mut client = Peer::connect(self.tls);
        // At once: a client that had to be waited for would be half-open, and the oldest of those has to go.
        client.say([tcp4(&[]), Hello::to(name.as_bytes()).record()].concat());
        client
    }

    /// One that is served, several that are refused, and some that fail.
    fn all(&self, turn: u32) {
        let mut served = Peer::client(self.tls);
        served.finish().hear_all();
        // More than half are refused, and more than three in ten cannot reach their upstream.
        let mut waiting: Vec<Peer> = (0..16).map(|_| self.asking("hole.example.com")).collect();
        for _ in 0..24 {
            self.asking("denied.example.com").hear_all();
        }
        waiting.iter_mut().for_each(|client| drop(client.hear_all()));
        self.asking("broken.example.com").hear_all();
        let mut request = Peer::connect(self.forward);
        request.say(format!("GET http://orders.example.com:{}/ HTTP/1.0\r\n\r\n", self.port)).finish().hear_all();
        let mut request = Peer::connect(self.forward);
        let name = if turn.is_multiple_of(2) { "denied.example.com" } else { "other.example.com" };
        request.say(format!("GET http://{name}:{}/ HTTP/1.1\r\nHost: {name}\r\n\r\n", self.port));
        request.finish().hear_all();
    }
}
