//! Port 80 over real sockets: each request of a kept-alive connection is judged, and nothing but bytes that were
//! let through reaches the upstream.

use std::collections::HashMap;
use std::fs;
use std::thread;
use std::time::Duration;

use support::dns::addresses;
use support::lab::{Lab, Port, Setup, word};
use support::malformed::stream;
use support::peer::{End, Peer};

const GET: &[u8] = b"GET /1 HTTP/1.1\r\nHost: orders.example.com\r\nX-Odd:  kept \r\n\r\n";
const OTHER: &[u8] = b"GET /2 HTTP/1.1\r\nHost: other.example.com\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789";

/// A client and its upstream, the first request passed on.
fn begin(lab: &Lab, first: &[u8]) -> (Peer, Peer) {
    let mut client = lab.connect(Port::HttpDirect);
    client.say(first);
    let mut upstream = lab.upstream.accept();
    assert_eq!(upstream.hear(first.len()), first);
    (client, upstream)
}

#[test]
fn requests_to_one_host_are_forwarded_as_they_come() {
    let lab = Lab::start();
    let (mut client, mut upstream) = begin(&lab, GET);
    let requests: [&[u8]; 4] = [
        b"POST /2 HTTP/1.1\r\nhOsT: ORDERS.example.com:80\r\nContent-Length: 5\r\n\r\nhello",
        b"PUT /3 HTTP/1.1\r\nHost: orders.example.com.\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n",
        b"GET http://orders.example.com/4 HTTP/1.1\r\nHost: orders.example.com\r\n\r\n",
        b"DELETE /5 HTTP/1.1\r\nHost: orders.example.com\r\nConnection: close\r\n\r\n",
    ];
    for request in requests {
        upstream.say(ANSWER);
        assert_eq!(client.hear(ANSWER.len()), ANSWER);
        client.say(request);
        assert_eq!(upstream.hear(request.len()), request);
    }
    // Byte by byte too.
    upstream.say(ANSWER).finish();
    assert_eq!(client.hear_all(), (ANSWER.to_vec(), End::Fin));
    drop((client, upstream));
    lab.end().assert_only("relayed", "done");
}

#[test]
fn another_host_gets_421_after_the_earlier_response() {
    let lab = Lab::start();
    let (mut client, mut upstream) = begin(&lab, GET);
    upstream.say(ANSWER);
    assert_eq!(client.hear(ANSWER.len()), ANSWER);
    client.say(OTHER);
    let (status, end) = client.hear_all();
    assert!(status.starts_with(b"HTTP/1.1 421 Misdirected Request\r\n"), "{}", status.escape_ascii());
    assert_eq!(end, End::Fin);
    assert_eq!(upstream.hear_all().0, b"");
    drop((client, upstream));
    lab.end().assert_only("refused", "host_changed");
}

/// A status in the middle of a response would be taken for a part of its body.
#[test]
fn who_asks_for_another_host_before_the_response_is_whole_gets_it_whole_and_then_421() {
    let lab = Lab::start();
    let (mut client, mut upstream) = begin(&lab, GET);
    upstream.say(&ANSWER[..30]);
    assert_eq!(client.hear(30), &ANSWER[..30]);
    client.say(OTHER);
    client.hears_nothing();
    upstream.say(&ANSWER[30..]);
    assert_eq!(client.hear(ANSWER.len() - 30), &ANSWER[30..]);
    assert_misdirected(&mut client);
    assert_eq!(upstream.hear_all().0, b"");
    drop((client, upstream));
    lab.end().assert_only("refused", "host_changed");
}

/// 421, and then FIN.
fn assert_misdirected(client: &mut Peer) {
    let (status, end) = client.hear_all();
    assert!(status.starts_with(b"HTTP/1.1 421 Misdirected Request\r\n"), "{}", status.escape_ascii());
    assert_eq!(end, End::Fin);
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    answered_after(Duration::ZERO, ANSWER, assert_misdirected);
}

/// However long it takes to begin, and to go on.
#[test]
fn an_answer_that_is_slow_is_waited_for() {
    let chunked: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    answered_after(Duration::from_millis(1200), chunked, assert_misdirected);
}

/// Its end is that of the connection: nothing can be said behind it.
#[test]
fn an_answer_without_a_length_is_the_last_word() {
    answered_after(Duration::ZERO, b"HTTP/1.1 200 OK\r\n\r\nabc", |client| {
        assert_eq!(client.hear_all(), (vec![], End::Fin));
    });
}

/// What cannot be framed counts as not ended.
#[test]
fn an_answer_of_unknown_framing_is_followed_by_a_reset() {
    let odd: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    answered_after(Duration::ZERO, odd, |client| assert_eq!(client.hear_all(), (vec![], End::Reset)));
}

/// Of two requests sent at once, the second for another host, the first is answered in two parts, each after `pause`.
/// Behind the answer the client hears what `then` says.
fn answered_after(pause: Duration, answer: &[u8], then: impl Fn(&mut Peer)) {
    let lab = Lab::start();
    let mut client = lab.connect(Port::HttpDirect);
    client.say([GET, OTHER].concat());
    let mut upstream = lab.upstream.accept();
    assert_eq!(upstream.hear(GET.len()), GET);
    for part in [&answer[..20], &answer[20..]] {
        std::thread::sleep(pause);
        upstream.say(part);
        assert_eq!(client.hear(part.len()), part);
    }
    let closes = !answer.windows(6).any(|window| window == b"Length") && !answer.ends_with(b"0\r\n\r\n");
    if closes {
        upstream.finish();
    }
    then(&mut client);
    assert_eq!(upstream.hear_all().0, b"");
    drop((client, upstream));
    lab.end().assert_only("refused", "host_changed");
}

#[test]
fn a_body_that_is_refused_in_its_middle_is_answered_if_nothing_was() {
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
    // Beside each other: most of the time is spent on closing in good order.
    thread::scope(|scope| {
        for (early, answered) in [(&b""[..], true), (interim, true), (&ANSWER[..30], false), (ANSWER, false)] {
            scope.spawn(move || refused_in_its_middle(early, answered));
        }
    });
}

fn refused_in_its_middle(early: &[u8], answered: bool) {
    const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: orders.example.com\r\nTransfer-Encoding: chunked\r\n\r\n";
    let lab = Lab::start();
    let (mut client, mut upstream) = begin(&lab, HEAD);
    upstream.say(early);
    assert_eq!(client.hear(early.len()), early);
    client.say(b"zzz");
    let (answer, end) = client.hear_all();
    assert_eq!(answer.starts_with(b"HTTP/1.1 400 "), answered, "{}", early.escape_ascii());
    assert_eq!(answer.is_empty(), !answered);
    // Nobody shall take a part of an answer for the whole.
    let cut = early.len() == 30;
    assert_eq!(end, if cut { End::Reset } else { End::Fin }, "{}", early.escape_ascii());
    assert_eq!(upstream.hear_all().0, b"");
    drop((client, upstream));
    lab.end().assert_only("refused", "body_malformed");
}

#[test]
fn a_list_that_comes_between_two_requests_denies_the_second() {
    const DENIES: &str = "rules:\n- deny: all\n  to: orders.example.com\n  name: orders are closed\n- allow: all\n";
    let lab = Lab::start();
    let (mut client, mut upstream) = begin(&lab, GET);
    upstream.say(ANSWER);
    assert_eq!(client.hear(ANSWER.len()), ANSWER);
    fs::write(lab.files.path().join("ipcontrol.yaml"), DENIES).unwrap();
    support::until("the list is loaded", || {
        lab.metrics()[r#"latticegate_policy_reload_total{result="loaded"}"#] == 2.0
    });
    client.say(GET);
    let (answer, end) = client.hear_all();
    assert!(answer.starts_with(b"HTTP/1.1 403 Forbidden\r\n"), "{}", answer.escape_ascii());
    assert_eq!((end, upstream.hear_all().0), (End::Fin, vec![]));
    drop((client, upstream));
    let reported = lab.end();
    reported.assert_only("refused", "name_denied");
    // Not the rule that let the connection in.
    assert!(word(reported.record(), "rule").contains("orders are closed"), "{:#?}", reported.records);
}

#[test]
fn nothing_behind_a_smuggled_cut_reaches_the_upstream() {
    let lab = Lab::start();
    lab.dns.set("a.example", addresses(&[lab.upstream.address.ip()]));
    let rows = stream::all();
    assert!(rows.len() >= 75, "{} rows", rows.len());
    let mut reasons = HashMap::new();
    for rows in rows.chunks(32) {
        let clients: Vec<Peer> = rows
            .iter()
            .map(|row| {
                let mut client = lab.connect(Port::HttpDirect);
                client.say([&row.forwarded[..], &row.cut].concat());
                reasons.insert(client.address().to_string(), row);
                client
            })
            .collect();
        // In whatever order they are dialled; each hears its end when its client is refused. None has an answer, or it
        // would be waited for.
        let mut forwarded: Vec<Vec<u8>> = rows.iter().map(|_| lab.upstream.accept().finish().hear_all().0).collect();
        let mut expected: Vec<Vec<u8>> = rows.iter().map(|row| row.forwarded.clone()).collect();
        forwarded.sort();
        expected.sort();
        for (forwarded, expected) in forwarded.iter().zip(&expected) {
            assert_eq!(forwarded.escape_ascii().to_string(), expected.escape_ascii().to_string());
        }
        for mut client in clients {
            client.hear_all();
        }
    }
    let reported = lab.end();
    assert_eq!(reported.records.len(), rows.len());
    for record in &reported.records {
        let row = reasons.remove(&word(record, "peer")).unwrap();
        assert_eq!(word(record, "reason"), row.reason, "{}", row.name);
        assert_eq!(record["bytes_up"], row.forwarded.len(), "{}", row.name);
    }
}

#[test]
fn a_chunked_upload_of_100_mb_goes_through_the_pipe_intact() {
    const PIECE: usize = 1 << 20;
    const CHUNK: usize = 50 * PIECE;
    let lab = Lab::start();
    let head = b"POST / HTTP/1.1\r\nHost: orders.example.com\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (mut client, mut upstream) = begin(&lab, head);
    let piece: Vec<u8> = (0..PIECE as u32 / 4).flat_map(|n| n.wrapping_mul(0x9e37_79b9).to_be_bytes()).collect();
    let line = format!("{CHUNK:x}\r\n");
    let (sent, expected) = (piece.clone(), line.clone());
    let upload = std::thread::spawn(move || {
        for _ in 0..2 {
            client.say(&line);
            (0..CHUNK / PIECE).for_each(|_| {
                client.say(&sent);
            });
            client.say(b"\r\n");
        }
        client.say(b"0\r\n\r\n");
        client
    });
    for _ in 0..2 {
        assert_eq!(upstream.hear(expected.len()), expected.as_bytes());
        (0..CHUNK / PIECE).for_each(|n| assert!(upstream.hear(PIECE) == piece, "piece {n}"));
        assert_eq!(upstream.hear(2), b"\r\n");
    }
    assert_eq!(upstream.hear(5), b"0\r\n\r\n");
    let mut client = upload.join().unwrap();
    // The place in the stream was kept: the next request is judged.
    upstream.say(ANSWER);
    assert_eq!(client.hear(ANSWER.len()), ANSWER);
    client.say(OTHER);
    assert!(client.hear_all().0.starts_with(b"HTTP/1.1 421 "));
    drop((client, upstream));
    let reported = lab.end();
    reported.assert_only("refused", "host_changed");
    assert_eq!(reported.record()["bytes_up"], head.len() + 2 * (CHUNK + expected.len() + 2) + 5);
}

const UPGRADE: &[u8] =
    b"GET / HTTP/1.1\r\nHost: orders.example.com\r\nConnection: upgrade\r\nUpgrade: websocket, h2c\r\n\r\n";

fn switching(protocol: &str) -> Vec<u8> {
    format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: {protocol}\r\nConnection: upgrade\r\n\r\n").into_bytes()
}

#[test]
fn an_upgrade_that_the_service_agrees_to_works() {
    let lab = Lab::start();
    let (mut client, mut upstream) = begin(&lab, UPGRADE);
    // With its first frame in the same packet.
    let switched = [switching("websocket"), b"\x81\x02hi".to_vec()].concat();
    upstream.say(&switched);
    assert_eq!(client.hear(switched.len()), switched);
    // What would be refused anywhere else.
    for bytes in [&b"\x81\x05hello"[..], OTHER, b"\r\n\r\n\0"] {
        client.say(bytes);
        assert_eq!(upstream.hear(bytes.len()), bytes);
        upstream.say(bytes);
        assert_eq!(client.hear(bytes.len()), bytes);
    }
    client.finish();
    assert_eq!(upstream.hear_all().1, End::Fin);
    upstream.finish();
    assert_eq!(client.hear_all(), (vec![], End::Fin));
    drop((client, upstream));
    lab.end().assert_only("relayed", "done");
}

/// Inside h2c another host could be asked for.
#[test]
fn an_upgrade_to_h2c_or_one_that_is_declined_leaves_the_stream_http1() {
    for (answer, then, reason) in [
        (switching("h2c"), &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], "http2_preface"),
        (ANSWER.to_vec(), b"\x81\x05hello", "not_http"),
        (ANSWER.to_vec(), OTHER, "host_changed"),
    ] {
        let lab = Lab::start();
        let (mut client, mut upstream) = begin(&lab, UPGRADE);
        upstream.say(&answer);
        assert_eq!(client.hear(answer.len()), answer);
        client.say(then);
        client.hear_all();
        assert_eq!(upstream.hear_all().0, b"");
        drop((client, upstream));
        lab.end().assert_only("refused", reason);
    }
}

#[test]
fn an_upstream_that_never_answers_is_left_at_the_idle_limit() {
    let lab = Lab::with(Setup { timeouts: "idle: 400ms", ..Setup::default() });
    let (mut client, mut upstream) = begin(&lab, GET);
    assert_eq!(client.hear_all().0, b"");
    assert_eq!(upstream.hear_all().0, b"");
    let reported = lab.end();
    reported.assert_only("relayed", "idle");
    assert!(reported.record()["total_ms"].as_f64().unwrap() >= Duration::from_millis(400).as_millis() as f64);
}
