//! What looks whole is whole: a cut is seen as one, a reset comes behind all that was sent before it, a refused client
//! reads its answer, and a connection that nobody can use any more ends.

use std::fs;
use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use latticegate::control::gate::StopRequest;
use nix::sys::signal::Signal;
use socket2::SockRef;
use support::http::{get, until_ready};
use support::lab::{Lab, Parts, Port, Setup, word};
use support::peer::{End, Peer};
use support::process::Process;
use support::wire::{hello, tcp4};

use crate::LATTICEGATE;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: orders.example.com\r\n\r\n";
const WHOLE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole";
/// A client takes it for whole when FIN comes.
const WITHOUT_LENGTH: &[u8] = b"HTTP/1.1 200 OK\r\n\r\nline 1\nline 2\n";

/// Answers to a first request, and whether they are known to be whole.
const ANSWERS: [(&[u8], bool); 7] = [
    (WHOLE, true),
    (b"HTTP/1.1 304 Not Modified\r\n\r\n", true),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", true),
    (WITHOUT_LENGTH, false),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nwhole", false),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n3\r\nabc\r\n", false),
    (b"HTTP/1.1 100 Continue\r\n\r\n", false),
];

/// One connection for each answer, the answer read by the client.
fn answered(process: &Process) -> Vec<(Peer, Peer, bool)> {
    let connect = |(answer, whole): &(&[u8], bool)| {
        let mut client = Peer::connect(process.address("http-direct"));
        client.say(GET);
        let mut upstream = process.parts().upstream.accept();
        assert_eq!(upstream.hear(GET.len()), GET);
        upstream.say(answer);
        assert_eq!(client.hear(answer.len()), *answer);
        (client, upstream, *whole)
    };
    ANSWERS.iter().map(connect).collect()
}

fn start(setup: &Setup) -> Process {
    let process = Process::start(LATTICEGATE, Parts::make(setup), &[]);
    until_ready(process.address("health"));
    process
}

fn tls_pair(process: &Process) -> (Peer, Peer) {
    process.parts().upstream.pair(process.address("tls"))
}

fn reasons(records: &[serde_json::Value]) -> Vec<String> {
    let mut reasons: Vec<_> = records.iter().map(|record| word(record, "reason")).collect();
    reasons.sort();
    reasons
}

/// Between two requests it is closed at once, everything else at `drain.timeout`, by a reset.
#[test]
fn a_drain_closes_what_is_whole_and_cuts_the_rest_visibly() {
    let process = start(&Setup { drain: "delay: 0s, timeout: 1500ms", ..Setup::default() });
    let mut answered = answered(&process);
    let (mut client, mut upstream) = tls_pair(&process);
    upstream.say(b"record");
    assert_eq!(client.hear(6), b"record");
    process.signal(Signal::SIGTERM);
    for (client, upstream, whole) in &mut answered {
        if *whole {
            assert_eq!(client.hear_all(), (vec![], End::Fin));
            assert_eq!(upstream.hear_all(), (vec![], End::Fin));
        }
    }
    // Silence is not an end: the others go on until then.
    for (client, upstream, _) in answered.iter_mut().filter(|(_, _, whole)| !whole) {
        upstream.say(b".");
        assert_eq!(client.hear(1), b".");
    }
    for (client, upstream, _) in answered.iter_mut().filter(|(_, _, whole)| !whole) {
        assert_eq!(client.hear_all(), (vec![], End::Reset));
        upstream.hear_all();
    }
    assert_eq!(client.hear_all(), (vec![], End::Reset));
    assert_eq!(upstream.hear_all(), (vec![], End::Reset));
    let (status, records) = process.wait();
    assert_eq!(status.code(), Some(0));
    let whole = ANSWERS.iter().filter(|(_, whole)| *whole).count();
    let expected = [vec!["drain_idle"; whole], vec!["drained"; ANSWERS.len() - whole + 1]].concat();
    assert_eq!(reasons(&records), expected);
}

/// An answer that is under way when the drain begins ends its connection when it is whole.
#[test]
fn an_answer_that_becomes_whole_while_draining_is_the_last() {
    let process = start(&Setup { drain: "delay: 0s, timeout: 15s", ..Setup::default() });
    let mut client = Peer::connect(process.address("http-direct"));
    client.say(GET);
    let mut upstream = process.parts().upstream.accept();
    assert_eq!(upstream.hear(GET.len()), GET);
    upstream.say(&WHOLE[..30]);
    assert_eq!(client.hear(30), &WHOLE[..30]);
    let http = process.address("http-direct");
    process.signal(Signal::SIGTERM);
    support::until("no longer accepting", || std::net::TcpStream::connect(http).is_err());
    client.hears_nothing();
    upstream.say(&WHOLE[30..]);
    assert_eq!(client.hear_all(), (WHOLE[30..].to_vec(), End::Fin));
    let (status, records) = process.wait();
    assert_eq!((status.code(), reasons(&records)), (Some(0), vec!["drain_idle".to_owned()]));
}

#[test]
fn a_second_signal_resets_what_is_not_whole() {
    // Not draining yet when the second one comes: nothing was closed before.
    let process = start(&Setup { drain: "delay: 60s, timeout: 50s", ..Setup::default() });
    let mut answered = answered(&process);
    let (mut client, mut upstream) = tls_pair(&process);
    process.signal(Signal::SIGTERM);
    let health = process.address("health");
    support::until("not ready", || get(health, "/readyz").0 == 503);
    process.signal(Signal::SIGTERM);
    for (client, _, whole) in &mut answered {
        assert_eq!(client.hear_all(), (vec![], if *whole { End::Fin } else { End::Reset }));
    }
    assert_eq!((client.hear_all().1, upstream.hear_all().1), (End::Reset, End::Reset));
    let (status, records) = process.wait();
    assert_eq!(status.code(), Some(0));
    assert_eq!(reasons(&records), vec!["drained"; ANSWERS.len() + 1]);
}

#[test]
fn a_list_that_forbids_a_connection_cuts_it_visibly() {
    let process = start(&Setup { on_reload: "close", ..Setup::default() });
    let mut answered = answered(&process);
    let (mut client, mut upstream) = tls_pair(&process);
    fs::write(process.parts().files.path().join("ipcontrol.yaml"), "rules:\n- deny: all\n").unwrap();
    for (client, _, whole) in &mut answered {
        assert_eq!(client.hear_all(), (vec![], if *whole { End::Fin } else { End::Reset }));
    }
    assert_eq!((client.hear_all().1, upstream.hear_all().1), (End::Reset, End::Reset));
    process.signal(Signal::SIGTERM);
    assert_eq!(reasons(&process.wait().1), vec!["forbidden"; ANSWERS.len() + 1]);
}

#[test]
fn the_idle_limit_resets_an_answer_that_is_not_whole_and_ends_tls_with_fin() {
    let process = start(&Setup { timeouts: "handshake: 5s, connect: 3s, idle: 500ms", ..Setup::default() });
    let mut answered = answered(&process);
    let (mut client, mut upstream) = tls_pair(&process);
    for (client, _, whole) in &mut answered {
        assert_eq!(client.hear_all(), (vec![], if *whole { End::Fin } else { End::Reset }));
    }
    assert_eq!((client.hear_all().1, upstream.hear_all().1), (End::Fin, End::Fin));
    process.signal(Signal::SIGTERM);
    assert_eq!(reasons(&process.wait().1), vec!["idle"; ANSWERS.len() + 1]);
}

/// It knows the end already, and a reset would take from it what it has not read.
#[test]
fn a_side_that_was_sent_the_others_fin_is_never_reset() {
    for client_first in [true, false] {
        let process = start(&Setup { drain: "delay: 0s, timeout: 300ms", ..Setup::default() });
        let (mut client, mut upstream) = tls_pair(&process);
        let (first, second) = if client_first { (&mut client, &mut upstream) } else { (&mut upstream, &mut client) };
        first.say(b"unread").finish();
        second.has_unread(6);
        process.signal(Signal::SIGTERM);
        assert_eq!(first.hear_all().1, End::Reset);
        let (status, records) = process.wait();
        assert_eq!((status.code(), reasons(&records)), (Some(0), vec!["drained".to_owned()]));
        assert_eq!(second.hear_all(), (b"unread".to_vec(), End::Fin));
        assert_eq!(second.hear_all(), (vec![], End::Fin), "client first: {client_first}");
    }
}

/// Bytes in which a lost piece shows.
fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| i.wrapping_mul(31).wrapping_add(i >> 8).to_le_bytes()[0]).collect()
}

/// What is sent is more than a reset used to wait for, and the reader slower.
#[test]
fn a_slow_reader_gets_all_and_then_the_reset() {
    // Beside each other: they are slow for the sake of it.
    thread::scope(|scope| {
        for (port, client_resets) in [(Port::TlsDirect, false), (Port::TlsDirect, true), (Port::HttpDirect, false)] {
            scope.spawn(move || slow_reader(port, client_resets));
        }
    });
}

fn slow_reader(port: Port, client_resets: bool) {
    const SIZE: usize = 3_000_000;
    let sent = pattern(SIZE);
    let lab = Lab::start();
    let mut client = lab.connect(port);
    let first = if port == Port::HttpDirect { GET.to_vec() } else { hello() };
    client.say(&first);
    let mut upstream = lab.upstream.accept();
    assert_eq!(upstream.hear(first.len()), first);
    let (mut sender, mut reader) = if client_resets { (client, upstream) } else { (upstream, client) };
    let head: &[u8] = if port == Port::HttpDirect { b"HTTP/1.1 200 OK\r\n\r\n" } else { b"" };
    let text = [head, &sent[head.len()..]].concat();
    std::thread::scope(|scope| {
        let slow = scope.spawn(move || {
            let mut got = Vec::new();
            let mut piece = vec![0; 30_000];
            loop {
                std::thread::sleep(Duration::from_millis(40));
                match reader.stream.read(&mut piece) {
                    Ok(0) => return (got, End::Fin),
                    Ok(n) => got.extend_from_slice(&piece[..n]),
                    Err(error) => {
                        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                        return (got, End::Reset);
                    }
                }
            }
        });
        sender.say(&text);
        // Nothing of it is left in the sender's own buffer, which its reset would empty.
        support::until("all is sent", || unacknowledged(&sender) == 0);
        sender.reset();
        let (got, end) = slow.join().unwrap();
        assert_eq!((got.len(), end), (SIZE, End::Reset), "{port:?}, client resets: {client_resets}");
        assert!(got == text);
    });
    let reported = lab.end();
    reported.assert_only("relayed", if client_resets { "client_reset" } else { "upstream_reset" });
}

/// Bytes that the gate's kernel has not taken over yet, as /proc/net/tcp has it.
fn unacknowledged(peer: &Peer) -> u64 {
    let port = |address: std::net::SocketAddr| format!(":{:04X}", address.port());
    let (local, remote) = (port(peer.address()), port(peer.stream.peer_addr().unwrap()));
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let queue = table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let found = fields.get(1)?.ends_with(&local) && fields.get(2)?.ends_with(&remote);
        found.then(|| fields[4].split(':').next().unwrap().to_owned())
    });
    u64::from_str_radix(&queue.expect("the connection in /proc/net/tcp"), 16).unwrap()
}

/// A reader that has stopped does not keep a task from ending.
#[test]
fn a_reader_that_has_stopped_is_waited_for_until_the_drain_is_over() {
    let process = start(&Setup { drain: "delay: 0s, timeout: 500ms", ..Setup::default() });
    let (client, mut upstream) = tls_pair(&process);
    SockRef::from(&client.stream).set_recv_buffer_size(4096).unwrap();
    upstream.say(pattern(1_000_000));
    upstream.reset();
    client.has_unread(1000);
    process.signal(Signal::SIGTERM);
    let (status, records) = process.wait();
    assert_eq!((status.code(), reasons(&records)), (Some(0), vec!["upstream_reset".to_owned()]));
    drop(client);
}

/// Writes until all is written or the other side has broken off; says how much was taken.
fn upload(peer: &Peer, bytes: usize) -> usize {
    let piece = vec![b'x'; 64 << 10];
    let mut stream = &peer.stream;
    let mut taken = 0;
    while taken < bytes {
        match stream.write(&piece[..piece.len().min(bytes - taken)]) {
            Ok(n) => taken += n,
            Err(_) => break,
        }
    }
    taken
}

/// Clients like Python's write all of a request before they read, and have no answer if they meet a reset.
#[test]
fn a_refused_client_that_is_still_uploading_reads_its_answer() {
    const SIZE: usize = 8 << 20;
    let lab = Lab::with(Setup { rules: "- deny: 192.0.2.1\n- allow: all", ..Setup::default() });
    let post = |host: &str| format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {SIZE}\r\n\r\n");
    let orders = "orders.example.com";
    for (port, header, host, status) in [
        (Port::Http, tcp4(&[]), orders, "403"),
        (Port::HttpDirect, vec![], "unknown.example.com", "404"),
        (Port::HttpDirect, vec![], "10.0.0.1", "400"),
        (Port::HttpDirect, vec![], "orders.example.com:81", "421"),
    ] {
        let mut client = lab.connect(port);
        client.say([header, post(host).into_bytes()].concat());
        assert_eq!(upload(&client, SIZE), SIZE, "{status}: the upload was broken off");
        let (answer, end) = client.hear_all();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert_eq!(end, End::Fin, "{status}");
    }
    // A later request, the first one answered.
    let (mut client, first) = (lab.connect(Port::HttpDirect), GET);
    client.say(first);
    let mut upstream = lab.upstream.accept();
    assert_eq!(upstream.hear(first.len()), first);
    upstream.say(WHOLE);
    assert_eq!(client.hear(WHOLE.len()), WHOLE);
    client.say(post("other.example.com"));
    assert_eq!(upload(&client, SIZE), SIZE, "the upload was broken off");
    let (answer, end) = client.hear_all();
    assert!(answer.starts_with(b"HTTP/1.1 421 "), "{}", answer.escape_ascii());
    assert_eq!(end, End::Fin);
    drop((client, upstream));
    lab.end();
}

/// Like a service that has said its last word and closes, unread bytes and all.
#[test]
fn an_answer_of_the_service_survives_an_upload_that_it_does_not_read() {
    const SIZE: usize = 4 << 20;
    let lab = Lab::start();
    let answer: &[u8] = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let mut client = lab.connect(Port::HttpDirect);
    let head = format!("POST / HTTP/1.1\r\nHost: orders.example.com\r\nContent-Length: {SIZE}\r\n\r\n");
    client.say(&head);
    let mut upstream = lab.upstream.accept();
    assert_eq!(upstream.hear(head.len()), head.as_bytes());
    upstream.say(answer).finish();
    assert_eq!(client.hear_all(), (answer.to_vec(), End::Fin));
    // From here on its kernel answers with a reset, which takes from a client what it has not read.
    drop(upstream);
    assert_eq!(upload(&client, SIZE), SIZE, "the upload was broken off");
    assert_eq!(client.hear_all(), (vec![], End::Fin));
    drop(client);
    lab.end().assert_only("relayed", "done");
}

/// The answer has no taker any more.
#[test]
fn a_client_that_resets_after_its_fin_is_gone() {
    let lab = Lab::start();
    for (port, first) in [(Port::TlsDirect, hello()), (Port::HttpDirect, GET.to_vec())] {
        let mut client = lab.connect(port);
        client.say(&first).finish();
        let mut upstream = lab.upstream.accept();
        assert_eq!(upstream.hear_all(), (first, End::Fin));
        client.reset();
        // Long before `timeouts.idle`, and not by a FIN, which would say that all was taken.
        support::until("the service hears of it", || upstream.stream.take_error().unwrap().is_some());
    }
    let reported = lab.end();
    assert_eq!(reported.records.len(), 2);
    assert!(reported.records.iter().all(|record| word(record, "reason") == "client_reset"), "{:#?}", reported.records);
}

/// curl closes before it has read the service's last TLS record: that is no fault.
#[test]
fn a_client_that_resets_where_the_service_ends_as_well_is_done() {
    let lab = Lab::start();
    let (mut client, mut upstream) = lab.pair();
    client.finish();
    assert_eq!(upstream.hear_all(), (vec![], End::Fin));
    client.reset();
    upstream.say(b"close_notify").finish();
    upstream.hear_all();
    drop(upstream);
    lab.end().assert_only("relayed", "done");
}

/// Neither is what the client sent before lost, nor is its reset.
#[test]
fn a_client_that_resets_while_its_upload_is_stuck_is_noticed() {
    let lab = Lab::start();
    let (client, mut upstream) = lab.pair();
    client.stream.set_nonblocking(true).unwrap();
    // Until no buffer on the way takes any more.
    let (mut taken, mut refusals) = (0, 0);
    while refusals < 20 {
        match upload(&client, 64 << 10) {
            0 => {
                refusals += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            n => (taken, refusals) = (taken + n, 0),
        }
    }
    let lost = usize::try_from(unacknowledged(&client)).unwrap();
    client.reset();
    let (got, end) = upstream.hear_all();
    assert_eq!(end, End::Reset);
    assert!(got.len() >= taken - lost, "{} of {taken}, {lost} of them lost with the client", got.len());
    let reported = lab.end();
    reported.assert_only("relayed", "client_reset");
}

#[test]
fn a_stop_while_a_refused_client_uploads_waits_for_it_and_ends() {
    let lab = Lab::with(Setup { rules: "- deny: all", ..Setup::default() });
    let mut client = lab.connect(Port::HttpDirect);
    client.say("POST / HTTP/1.1\r\nHost: orders.example.com\r\nContent-Length: 1000000\r\n\r\n");
    client.has_unread(10);
    lab.send_stop(StopRequest::Drain);
    assert_eq!(upload(&client, 1_000_000), 1_000_000);
    assert_eq!(client.hear_all().1, End::Fin);
    drop(client);
    lab.cut().assert_only("refused", "client_denied");
}

/// The error of the upstream's socket is reported to whoever writes to it; whoever reads then sees a plain end.
#[test]
fn a_reset_that_meets_what_the_client_sends_stays_a_reset() {
    let lab = Lab::start();
    let post: &[u8] = b"POST / HTTP/1.1\r\nHost: orders.example.com\r\nContent-Length: 1000\r\n\r\n";
    for (port, first) in [(Port::HttpDirect, post.to_vec()), (Port::TlsDirect, hello())] {
        for _ in 0..20 {
            let mut client = lab.connect(port);
            client.say(&first);
            let mut upstream = lab.upstream.accept();
            assert_eq!(upstream.hear(first.len()), first);
            upstream.say(WITHOUT_LENGTH);
            assert_eq!(client.hear(WITHOUT_LENGTH.len()), WITHOUT_LENGTH);
            upstream.reset();
            match client.stream.write_all(b"x") {
                Ok(()) => assert_eq!(client.hear_all(), (vec![], End::Reset), "{port:?}"),
                // It was there already, and our own kernel reports it once, too.
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{port:?}"),
            }
        }
    }
    let reported = lab.end();
    assert!(
        reported.records.iter().all(|record| word(record, "reason") == "upstream_reset"),
        "{:#?}",
        reported.records
    );
}

/// Reads in small pieces with pauses, until the other side ends.
fn read_slowly(peer: &mut Peer) -> (Vec<u8>, End) {
    let (mut got, mut piece) = (Vec::new(), vec![0; 30_000]);
    loop {
        std::thread::sleep(Duration::from_millis(30));
        match peer.stream.read(&mut piece) {
            Ok(0) => return (got, End::Fin),
            Ok(n) => got.extend_from_slice(&piece[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return (got, End::Reset),
            Err(error) => panic!("{error} after {} bytes", got.len()),
        }
    }
}

#[test]
fn a_slow_reader_whose_upload_is_stuck_gets_all_and_then_the_reset() {
    const SIZE: usize = 1_000_000;
    let lab = Lab::start();
    let (mut client, mut upstream) = lab.pair();
    SockRef::from(&client.stream).set_recv_buffer_size(32 << 10).unwrap();
    client.stream.set_nonblocking(true).unwrap();
    let mut refusals = 0;
    while refusals < 20 {
        if upload(&client, 64 << 10) == 0 {
            refusals += 1;
            std::thread::sleep(Duration::from_millis(10));
        } else {
            refusals = 0;
        }
    }
    client.stream.set_nonblocking(false).unwrap();
    let sent = pattern(SIZE);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_slowly(&mut client));
        upstream.say(&sent);
        support::until("all is sent", || unacknowledged(&upstream) == 0);
        upstream.reset();
        let (got, end) = reader.join().unwrap();
        assert_eq!((got.len(), end), (SIZE, End::Reset));
        assert!(got == sent);
    });
    let reported = lab.end();
    reported.assert_only("relayed", "upstream_reset");
    assert_eq!(reported.record()["bytes_down"], SIZE);
}

/// Closed with bytes of the client unread, the connection would be reset, and the answer in the kernel's buffers with it.
#[test]
fn a_drain_takes_no_answer_from_a_slow_reader_that_sends_its_next_request() {
    const SIZE: usize = 2_000_000;
    let process = start(&Setup { drain: "delay: 0s, timeout: 15s", ..Setup::default() });
    let mut client = Peer::connect(process.address("http-direct"));
    SockRef::from(&client.stream).set_recv_buffer_size(32 << 10).unwrap();
    client.say(GET);
    let mut upstream = process.parts().upstream.accept();
    assert_eq!(upstream.hear(GET.len()), GET);
    let answer = [format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n").as_bytes(), &pattern(SIZE)].concat();
    std::thread::scope(|scope| {
        let mut writer = client.stream.try_clone().unwrap();
        let reader = scope.spawn(|| read_slowly(&mut client));
        upstream.say(&answer);
        process.signal(Signal::SIGTERM);
        // Now the gate has passed the answer on whole, to its kernel.
        assert_eq!(upstream.hear_all(), (vec![], End::Fin));
        writer.write_all(GET).unwrap();
        let (got, end) = reader.join().unwrap();
        assert_eq!((got.len(), end), (answer.len(), End::Fin));
        assert!(got == answer);
    });
    drop((client, upstream));
    let (status, records) = process.wait();
    assert_eq!((status.code(), reasons(&records)), (Some(0), vec!["drain_idle".to_owned()]));
}
