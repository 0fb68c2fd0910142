//! A full table of open files: nothing spins, nobody is forgotten, and it is over when there is room.

use std::time::{Duration, Instant};

use support::http::get;
use support::lab::{Parts, Setup, word};
use support::peer::{End, Peer};
use support::wire::tcp4;

use crate::gate::Gate;

const FILES: u32 = 96;

fn start() -> Gate {
    // As if somebody had set the limit of connections too high.
    Gate::start(Parts::make(&Setup { limits: "connections: 10000", ..Setup::default() }), FILES, &[])
}

#[test]
fn a_full_fd_table_does_not_spin_and_recovers() {
    let mut gate = start();
    let mut clients = Vec::new();
    // Established connections cannot be made to go, so the table fills for good. A worker's spare file and a pair that has no second
    // one come and go at its edge.
    support::until("the table is full", || {
        clients.push(gate.client());
        gate.open_files() >= FILES as usize - 3 && gate.said().contains("accept fails")
    });
    let (cpu, start) = (gate.cpu(), Instant::now());
    // It has been full for no second yet, or for longer: these are reported in a second at the latest, all the same.
    let mut reported = 0;
    while reported < 20 {
        let mut turned_away = gate.client();
        turned_away.stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        if turned_away.stream.peek(&mut [0]).is_err() {
            // While a worker's spare file is free, another worker may let somebody in with it.
            clients.push(turned_away);
            assert!(start.elapsed() < Duration::from_secs(40), "{reported} told");
            continue;
        }
        assert_eq!(turned_away.hear_all(), (vec![21, 3, 3, 0, 2, 2, 80], End::Fin));
        reported += 1;
    }
    std::thread::sleep(Duration::from_secs(2));
    let (ticks, wall) = (gate.cpu() - cpu, start.elapsed().as_millis() / 10);
    // A spinning loop takes all of it; ours tries 20 times a second on each listener.
    assert!(u128::from(ticks) < wall / 5, "{ticks} of {wall} ticks");
    assert!(gate.child.is_running());
    // Those that were let in before are none the worse for it.
    assert!(gate.open_files() >= FILES as usize - 4, "{}", gate.open_files());
    drop(clients);
    gate.parts.upstream.close_all();
    support::until("served again", || {
        let _client = gate.client();
        gate.parts.upstream.accept_within(Duration::from_millis(500)).is_some()
    });
    support::until("the log says so", || {
        drop(gate.client());
        std::thread::sleep(Duration::from_millis(100));
        gate.said().contains("accept succeeds again")
    });
    gate.parts.upstream.close_all();
    support::until("the fds are back", || gate.open_files() < 60);
    assert!(gate.metric("latticegate_accept_errors_total") > 0.0);
    assert_eq!(gate.metric("latticegate_warning{warning=\"shortage\"}"), 1.0);
    assert!(get(gate.address("health"), "/readyz").1.contains("warning: out of open files"));
    // Told when it began and when it was over, by each listener of each worker: not at each of the tries.
    assert!(gate.said().matches("accept fails").count() <= 8, "{}", gate.said());
    let records = gate.end();
    // Refused in the queue, or let in with another worker's spare file and then without one for the upstream.
    let overloaded: Vec<_> = records.iter().filter(|record| word(record, "reason") == "overloaded").collect();
    assert!(overloaded.len() >= 20, "{}", overloaded.len());
    let details = ["open files or memory", "no fd or memory for the upstream's socket"];
    assert!(overloaded.iter().all(|record| details.contains(&record["detail"].as_str().unwrap())), "{overloaded:?}");
}

#[test]
fn half_open_connections_make_room_for_those_who_say_what_they_want() {
    let gate = start();
    let slow: Vec<Peer> = (0..200)
        .map(|_| {
            let mut client = Peer::connect(gate.address("tls"));
            client.say(&tcp4(&[])[..5]);
            client
        })
        .collect();
    support::until("the slow are too many", || gate.said().contains("accept fails"));
    // A client is in the queue behind them, or has no fd left for its upstream and tries again.
    support::until("a client is served", || {
        let _client = gate.client();
        gate.parts.upstream.accept_within(Duration::from_millis(500)).is_some()
    });
    drop(slow);
    let records = gate.end();
    let overloaded = records.iter().filter(|record| word(record, "reason") == "overloaded").count();
    assert!(overloaded > 50, "{overloaded}");
}
