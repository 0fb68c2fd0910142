//! Many at once: slow hellos, silent connections, and a SIGTERM while hundreds of sessions are open. Crowds live in
//! processes of their own, since 20 000 open files may be all that one is allowed; `tests/reliability` measures
//! latencies beside such floods.

use std::net::SocketAddr;

use nix::sys::signal::Signal;
use support::child::KillOnDrop;
use support::lab::{Parts, Setup, word};
use support::peer::{End, Peer};
use support::wire::{hello, tcp4};

use crate::gate::Gate;
use crate::python::python;

pub const FILES: u32 = 20_000;

const CROWD: usize = 10_000;

/// Connections that say the same and then nothing, in a process of their own; gone when dropped.
pub struct HalfOpenRegistry {
    _process: KillOnDrop,
}

impl HalfOpenRegistry {
    /// All of them stay until they are dropped here.
    fn of(size: usize, address: SocketAddr, bytes: &[u8]) -> Self {
        Self::sending(size, address, bytes, "stay")
    }

    /// Some of them, or all, are closed by the other side.
    pub fn unwelcome(size: usize, address: SocketAddr, bytes: &[u8]) -> Self {
        Self::sending(size, address, bytes, "unwelcome")
    }

    fn sending(size: usize, address: SocketAddr, bytes: &[u8], how: &str) -> Self {
        const PROGRAM: &str = "
import resource, socket, sys
size, host, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
said = sys.stdin.buffer.read(int(sys.argv[4]))
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
crowd = [socket.create_connection((host, port), 60) for _ in range(size)]
for one in crowd:
    try:
        one.sendall(said)
    except OSError:
        if sys.argv[5] == 'stay':
            raise
print('all here', flush=True)
sys.stdin.read()
";
        let [size, port, length] = [size, address.port().into(), bytes.len()].map(|number| number.to_string());
        let arguments = ["-c", PROGRAM, &size, &address.ip().to_string(), &port, &length, how];
        Self { _process: python(&arguments, bytes, "all here") }
    }
}

pub fn start(limits: &'static str) -> Gate {
    let timeouts = "handshake: 120s, connect: 3s, idle: 60s";
    Gate::start(Parts::make(&Setup { limits, timeouts, ..Setup::default() }), FILES, &[])
}

#[test]
fn thousands_of_slow_hellos_keep_no_client_out() {
    let gate = start("half_open_per_client: 20000, half_open: 11000, connections: 12000");
    let (tls, before) = (gate.address("tls"), gate.resident());
    let slow = HalfOpenRegistry::of(CROWD, tls, &[&tcp4(&[])[..], &hello()[..50]].concat());
    let active = r#"latticegate_connections_active{listener="tls"}"#;
    support::until("all of them are accepted", || gate.metric(active) as usize >= CROWD);
    (0..50).for_each(|_| gate.pass());
    let grown = gate.resident() - before;
    eprintln!("{CROWD} slow hellos: {grown} MiB more resident");
    // 20 KiB each is what the configuration promises.
    assert!(grown < CROWD as u64 * 20 / 1024, "{grown} MiB");
    drop(slow);
    support::until("they are gone", || gate.metric(active) == 0.0);
}

#[test]
fn thousands_of_silent_connections_keep_no_client_out() {
    let gate = start("connections: 12000");
    let tls = gate.address("tls");
    let before = gate.open_files();
    let silent = HalfOpenRegistry::of(CROWD, tls, b"");
    (0..50).for_each(|_| gate.pass());
    eprintln!("{CROWD} silent connections: {} more open files", gate.open_files().saturating_sub(before));
    drop(silent);
    (0..10).for_each(|_| gate.pass());
}

#[test]
fn sessions_open_at_sigterm_end_whole() {
    const SESSIONS: usize = 300;
    let setup = Setup { drain: "delay: 300ms, timeout: 20s", ..Setup::default() };
    let mut gate = Gate::start(Parts::make(&setup), FILES, &[]);
    let tls = gate.address("tls");
    let pairs: Vec<(Peer, Peer)> = (0..SESSIONS).map(|_| gate.pair()).collect();
    gate.signal(Signal::SIGTERM);
    support::until("no longer accepting", || std::net::TcpStream::connect(tls).is_err());
    let body = vec![7; 64 * 1024];
    for (mut client, mut upstream) in pairs {
        client.say(b"question").finish();
        assert_eq!(upstream.hear_all(), (b"question".to_vec(), End::Fin));
        upstream.say(&body).finish();
        assert!(client.hear_all() == (body.clone(), End::Fin));
    }
    gate.child.exit_status();
    let records = gate.log();
    // Beside them, those of this test that only looked whether it still accepts.
    let done = records.iter().filter(|record| word(record, "reason") == "done").count();
    assert_eq!(done, SESSIONS);
    assert!(records.iter().all(|record| word(record, "reason") != "drained"));
}

#[test]
fn half_open_clients_are_few_for_each_address() {
    let gate = start("half_open_per_client: 100");
    let slow: Vec<Peer> = (0..400)
        .map(|_| {
            let mut client = Peer::connect(gate.address("tls"));
            client.say([&tcp4(&[])[..], &hello()[..50]].concat());
            client
        })
        .collect();
    let refused = r#"latticegate_connections_total{listener="tls",outcome="refused",reason="client_half_open"}"#;
    support::until("all but a hundred are refused", || gate.metric(refused) == 300.0);
    // The same address with a whole hello is none of them.
    gate.pass();
    drop(slow);
}
