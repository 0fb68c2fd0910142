//! Many at once: slow hellos, silent connections, and a SIGTERM while hundreds of sessions are open. The limit of
//! open files on small machines bounds the numbers here; `tests/reliability` measures latencies beside these floods.

use nix::sys::signal::Signal;

use crate::gate::Gate;
use crate::lab::{Parts, Setup, hello, word};
use crate::peer::{End, Peer};
use crate::wire::tcp4;

const FILES: u32 = 20_000;

/// As many as this process may hold, 10 000 at most.
fn crowd() -> usize {
    let (_, files) = latticegate::socket::raise_fd_limit().unwrap();
    let crowd = usize::try_from(files).unwrap().saturating_sub(2000).min(9500);
    assert!(crowd >= 1000, "{files} open files are too few for this test");
    crowd
}

fn start(limits: &'static str) -> Gate {
    let timeouts = "handshake: 120s, connect: 3s, idle: 60s";
    Gate::start(Parts::make(&Setup { limits, timeouts, ..Setup::default() }), FILES, &[])
}

/// One connection from hello to end, while the others wait.
fn pass(gate: &Gate) {
    let mut client = Peer::connect(gate.address("tls"));
    client.say([tcp4(&[]), hello()].concat());
    let mut upstream = gate.parts.upstream.accept();
    assert_eq!(upstream.hear(hello().len()), hello());
    upstream.say(b"ok").finish();
    assert_eq!(client.hear_all(), (b"ok".to_vec(), End::Fin));
}

#[test]
fn thousands_of_slow_hellos_keep_nobody_out() {
    let crowd = crowd();
    let gate = start("half_open_per_client: 20000");
    let (tls, before) = (gate.address("tls"), gate.resident());
    let slow: Vec<Peer> = (0..crowd)
        .map(|_| {
            let mut client = Peer::connect(tls);
            client.say([&tcp4(&[])[..], &hello()[..50]].concat());
            client
        })
        .collect();
    let active = r#"latticegate_connections_active{listener="tls"}"#;
    crate::until("all of them are accepted", || gate.metric(active) as usize >= crowd);
    (0..50).for_each(|_| pass(&gate));
    let grown = gate.resident() - before;
    eprintln!("{crowd} slow hellos: {grown} MiB more resident");
    // 20 KiB each is what the configuration promises.
    assert!(grown < crowd as u64 * 20 / 1024, "{grown} MiB");
    drop(slow);
    crate::until("they are gone", || gate.metric(active) == 0.0);
}

#[test]
fn thousands_of_silent_connections_keep_nobody_out() {
    let crowd = crowd();
    let gate = start("");
    let tls = gate.address("tls");
    let before = gate.open_files();
    let silent: Vec<Peer> = (0..crowd).map(|_| Peer::connect(tls)).collect();
    (0..50).for_each(|_| pass(&gate));
    eprintln!("{crowd} silent connections: {} more open files", gate.open_files().saturating_sub(before));
    drop(silent);
    (0..10).for_each(|_| pass(&gate));
}

#[test]
fn sessions_open_at_sigterm_end_whole() {
    const SESSIONS: usize = 300;
    let setup = Setup { drain: "delay: 300ms, timeout: 20s", ..Setup::default() };
    let mut gate = Gate::start(Parts::make(&setup), FILES, &[]);
    let tls = gate.address("tls");
    let pairs: Vec<(Peer, Peer)> = (0..SESSIONS)
        .map(|_| {
            let mut client = Peer::connect(tls);
            client.say([tcp4(&[]), hello()].concat());
            let mut upstream = gate.parts.upstream.accept();
            assert_eq!(upstream.hear(hello().len()), hello());
            (client, upstream)
        })
        .collect();
    gate.signal(Signal::SIGTERM);
    crate::until("no longer accepting", || std::net::TcpStream::connect(tls).is_err());
    let body = vec![7; 64 * 1024];
    for (mut client, mut upstream) in pairs {
        client.say(b"question").finish();
        assert_eq!(upstream.hear_all(), (b"question".to_vec(), End::Fin));
        upstream.say(&body).finish();
        assert!(client.hear_all() == (body.clone(), End::Fin));
    }
    crate::until("it has ended", || gate.child.try_wait().unwrap().is_some());
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
    crate::until("all but a hundred are refused", || gate.metric(refused) == 300.0);
    // The same address with a whole hello is none of them.
    pass(&gate);
    drop(slow);
}
