//! The end of the real process: who is let finish, who is cut, and that nobody is reset who need not be.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::http::{get, until_ready};
use support::lab::{Parts, Setup, word};
use support::peer::{End, Peer};
use support::process::Process;
use support::wire::{hello, tcp4};

use crate::LATTICEGATE;

fn start(drain: &'static str) -> Process {
    let process = Process::start(LATTICEGATE, Parts::make(&Setup { drain, ..Setup::default() }), &[]);
    until_ready(process.address("health"));
    process
}

fn pair(process: &Process) -> (Peer, Peer) {
    process.parts().upstream.pair(process.address("tls"))
}

fn refuses(address: SocketAddr) -> bool {
    std::net::TcpStream::connect(address).is_err()
}

#[test]
fn a_session_ends_whole_and_the_process_with_success() {
    let process = start("delay: 400ms, timeout: 15s");
    let (tls, health) = (process.address("tls"), process.address("health"));
    let (mut old, mut old_upstream) = pair(&process);
    process.signal(Signal::SIGTERM);
    support::until("not ready", || get(health, "/readyz") == (503, "not ready: shutting down\n".into()));
    assert_eq!(get(health, "/healthz").0, 200);
    // The load balancer has not noticed yet: who comes now is served like anyone.
    let (mut new, mut new_upstream) = pair(&process);
    new_upstream.say(b"welcome");
    assert_eq!(new.hear(7), b"welcome");
    drop((new, new_upstream));
    support::until("no longer accepting", || refuses(tls));
    // Accepted before, it may take its time.
    old.say(b"still here").finish();
    assert_eq!(old_upstream.hear_all().0, b"still here");
    old_upstream.say(vec![7; 1 << 20]).finish();
    assert_eq!(old.hear_all(), (vec![7; 1 << 20], End::Fin));
    let (status, records) = process.wait();
    assert_eq!(status.code(), Some(0));
    let reasons: Vec<String> = records.iter().map(|record| word(record, "reason")).collect();
    assert_eq!(reasons.len(), 2);
    assert_eq!(reasons[1], "done");
    assert_eq!(records[1]["bytes_down"], 1 << 20);
}

#[test]
fn a_client_in_the_queue_is_served() {
    // Silent, so that the kernel holds them back (TCP_DEFER_ACCEPT); closing the listener would reset them. It lets
    // them in when it next repeats its SYN-ACK, a second after the first: `delay` has to leave time for that.
    let process = start("delay: 2500ms, timeout: 15s");
    let tls = process.address("tls");
    let mut silent: Vec<Peer> = (0..20).map(|_| Peer::connect(tls)).collect();
    process.signal(Signal::SIGTERM);
    support::until("no longer accepting", || refuses(tls));
    for client in &mut silent {
        client.say([tcp4(&[]), hello()].concat()).finish();
    }
    for _ in &silent {
        let mut upstream = process.parts().upstream.accept();
        assert_eq!(upstream.hear_all().0, hello());
        upstream.say(b"served").finish();
    }
    for client in &mut silent {
        assert_eq!(client.hear_all(), (b"served".to_vec(), End::Fin));
    }
    let (status, records) = process.wait();
    assert_eq!(status.code(), Some(0));
    assert_eq!(records.len(), 20);
    assert!(records.iter().all(|record| word(record, "reason") == "done"));
}

#[test]
fn clients_that_come_all_the_while_are_never_reset() {
    let process = start("delay: 500ms, timeout: 15s");
    let tls = process.address("tls");
    let upstream = &process.parts().upstream;
    let served = std::thread::scope(|scope| {
        let answers = scope.spawn(|| {
            let mut served = 0;
            while let Some(mut upstream) = upstream.accept_within(Duration::from_secs(2)) {
                assert_eq!(upstream.hear(hello().len()), hello());
                upstream.say(b"ok").finish();
                served += 1;
            }
            served
        });
        process.signal(Signal::SIGTERM);
        let mut asked = 0;
        // Refused is what a load balancer sends elsewhere; accepted must be served.
        while let Ok(stream) = std::net::TcpStream::connect(tls) {
            let mut client = Peer::new(stream);
            client.say([tcp4(&[]), hello()].concat());
            assert_eq!(client.hear_all(), (b"ok".to_vec(), End::Fin), "client {asked}");
            asked += 1;
        }
        let served = answers.join().unwrap();
        assert_eq!(served, asked);
        served
    });
    assert!(served > 5, "{served}");
    let (status, records) = process.wait();
    assert_eq!((status.code(), records.len()), (Some(0), served));
}

#[test]
fn what_outlives_the_timeout_is_cut_with_its_record() {
    let process = start("delay: 0s, timeout: 300ms");
    let (mut client, mut upstream) = pair(&process);
    upstream.say(b"so far so good");
    assert_eq!(client.hear(14), b"so far so good");
    let mut greeting = Peer::connect(process.address("tls"));
    greeting.say(&tcp4(&[])[..20]);
    let mut asking = Peer::connect(process.address("http"));
    asking.say([&tcp4(&[])[..], b"GET / HTTP/1.1\r\nHost: ord"].concat());
    let start = Instant::now();
    process.signal(Signal::SIGTERM);
    client.hear_all();
    // Whoever had not got that far is reported.
    assert_eq!(greeting.hear_all(), (vec![21, 3, 3, 0, 2, 2, 80], End::Fin));
    let (answer, end) = asking.hear_all();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("shutting down; try again"), "{answer}");
    assert_eq!(end, End::Fin);
    upstream.hear_all();
    assert!(start.elapsed() >= Duration::from_millis(300));
    let (status, mut records) = process.wait();
    assert_eq!(status.code(), Some(0));
    records.sort_by_key(|record| word(record, "reason"));
    let reported: Vec<_> = records.iter().map(|r| (word(r, "outcome"), word(r, "reason"))).collect();
    let expected = [("relayed", "drained"), ("unfinished", "stopped"), ("unfinished", "stopped")];
    assert_eq!(reported, expected.map(|(outcome, reason)| (outcome.to_owned(), reason.to_owned())));
    assert_eq!(records[0]["bytes_down"], 14);
    assert_eq!(records[0]["bytes_up"], hello().len());
}

#[test]
fn a_second_signal_cuts() {
    for second in [Signal::SIGTERM, Signal::SIGINT] {
        let mut process = start("delay: 60s, timeout: 50s");
        let health = process.address("health");
        let (mut client, _upstream) = pair(&process);
        process.signal(Signal::SIGINT);
        support::until("not ready", || get(health, "/readyz").0 == 503);
        assert!(process.is_running());
        client.hears_nothing();
        process.signal(second);
        client.hear_all();
        let (status, records) = process.wait();
        assert_eq!(status.code(), Some(0));
        assert_eq!(records.len(), 1);
        assert_eq!(word(&records[0], "reason"), "drained");
    }
}

#[test]
fn an_idle_process_does_not_wait_for_the_timeout() {
    let process = start("delay: 0s, timeout: 100s");
    process.signal(Signal::SIGTERM);
    let (status, records) = process.wait();
    assert_eq!((status.code(), records.len()), (Some(0), 0));
}

#[test]
fn after_kill_9_it_starts_again_at_once_on_the_same_ports() {
    let parts = Parts::make(&Setup::default());
    let mut process = Process::start(LATTICEGATE, parts, &[]);
    let tls = process.address("tls");
    let port = tls.port().to_string();
    // From here on with the port that the kernel had chosen.
    let bind = tls.to_string();
    let environment = [("LATTICEGATE_LISTENERS__0__BIND", bind.as_str())];
    for _ in 0..3 {
        let (client, upstream) = process.parts().upstream.pair(tls);
        process.kill_and_restart(&environment);
        support::until("it listens again", || !refuses(tls));
        // The old connection, still open at its client's end, is in nobody's way.
        let (mut again, _) = process.parts().upstream.pair(tls);
        again.finish();
        drop((client, upstream, again));
    }
    assert!(process.said().matches(&format!(":{port}")).count() >= 3, "{}", process.said());
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait().0.code(), Some(0));
}
