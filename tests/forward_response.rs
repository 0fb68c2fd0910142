//! The pure follower of the answers to a forward proxy: what the client is sent instead of each head, where each response
//! ends, which connections end with it, and what is not passed on. However the stream is split, all of that is the same.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions)]

use latticegate_core::protocol::forward_head::ForwardExpected;
use latticegate_core::protocol::forward_response::{ClientNow, ForwardResponses, MAX_INTERIM, ResponseAction};
use latticegate_core::protocol::http_response::MAX_SECTION;
use proptest::prelude::*;

const GET: ForwardExpected = ForwardExpected { head: false, http10: false, last: false };
const HEAD: ForwardExpected = ForwardExpected { head: true, ..GET };
const LAST: ForwardExpected = ForwardExpected { last: true, ..GET };
const OLD: ForwardExpected = ForwardExpected { http10: true, last: true, ..GET };

#[derive(Debug, Clone, PartialEq, Eq)]
enum Ending {
    /// More may come.
    Open,
    Malformed,
    Unsolicited,
}

/// What became of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reported {
    sent: Vec<u8>,
    statuses: Vec<u16>,
    ending: Ending,
    owed: usize,
    begun: bool,
    /// The upstream's connection and the client's.
    ends: (bool, bool),
}

fn run<'a>(requests: &[ForwardExpected], parts: impl IntoIterator<Item = &'a [u8]>) -> Reported {
    let mut responses = ForwardResponses::default();
    requests.iter().for_each(|request| responses.expect(*request));
    let (mut held, mut sent, mut statuses, mut ending) = (Vec::new(), Vec::new(), Vec::new(), Ending::Open);
    for part in parts {
        held.extend_from_slice(part);
        while ending == Ending::Open {
            match responses.advance(&held, "egress") {
                ResponseAction::Forward(len) => {
                    assert!(len > 0);
                    sent.extend(held.drain(..len));
                }
                ResponseAction::Replace { len, with, status } => {
                    assert!(len > 0);
                    drop(held.drain(..len));
                    sent.extend(with);
                    statuses.push(status);
                }
                ResponseAction::NeedMore => {
                    assert!(held.len() < MAX_SECTION, "{} held back", held.len());
                    break;
                }
                ResponseAction::Malformed => {
                    assert_eq!(
                        responses.advance(b"HTTP/1.1 204 x\r\n\r\n", "egress"),
                        ResponseAction::Malformed,
                        "for ever"
                    );
                    assert!(!responses.all_whole());
                    ending = Ending::Malformed;
                }
                ResponseAction::Unsolicited => {
                    assert!(responses.all_whole());
                    ending = Ending::Unsolicited;
                }
            }
        }
    }
    let ends = (responses.upstream_ends(), responses.client_ends());
    Reported { sent, statuses, ending, owed: responses.owed(), begun: responses.has_begun(), ends }
}

fn whole(requests: &[ForwardExpected], text: &str) -> Reported {
    let reported = run(requests, [text.as_bytes()]);
    let bytes = text.as_bytes();
    let telling = |at: &usize| *at < 500 || at.is_multiple_of(997) || at + 40 > bytes.len();
    for at in (0..=bytes.len()).filter(telling) {
        assert_eq!(run(requests, [&bytes[..at], &bytes[at..]]), reported, "cut at {at}: {}", bytes.escape_ascii());
    }
    if bytes.len() < 5000 {
        assert_eq!(run(requests, bytes.chunks(1)), reported, "byte by byte: {}", bytes.escape_ascii());
    }
    reported
}

fn sent(request: ForwardExpected, text: &str) -> (String, (bool, bool)) {
    let reported = whole(&[request], text);
    assert_eq!((&reported.ending, reported.owed, reported.begun), (&Ending::Open, 0, false), "{text}");
    (String::from_utf8(reported.sent).unwrap(), reported.ends)
}

#[test]
fn every_framing_ends_at_its_last_byte_and_says_who_goes_on() {
    let ok = "HTTP/1.1 200 OK\r\n";
    for (request, text, expected, ends) in [
        (GET, "Content-Length: 5\r\n\r\nhello", "Content-Length: 5\r\nVia: 1.1 egress\r\n\r\nhello", (false, false)),
        (GET, "content-length: 005\r\n\r\nhello", "content-length: 5\r\nVia: 1.1 egress\r\n\r\nhello", (false, false)),
        (
            GET,
            "Content-Length: 5, 5\r\nX: y\r\nContent-Length: 05\r\n\r\nhello",
            "Content-Length: 5\r\nX: y\r\nVia: 1.1 egress\r\n\r\nhello",
            (false, false),
        ),
        (
            GET,
            "Connection: close\r\nContent-Length: 0\r\n\r\n",
            "Content-Length: 0\r\nVia: 1.1 egress\r\n\r\n",
            (true, false),
        ),
        (
            LAST,
            "Content-Length: 0\r\n\r\n",
            "Content-Length: 0\r\nVia: 1.1 egress\r\nConnection: close\r\n\r\n",
            (true, true),
        ),
        (
            GET,
            "Transfer-Encoding: Chunked\r\n\r\n5;a=b\r\nhello\r\n00\r\nDigest: x\r\n\r\n",
            "Transfer-Encoding: chunked\r\nVia: 1.1 egress\r\n\r\n5;a=b\r\nhello\r\n00\r\nDigest: x\r\n\r\n",
            (false, false),
        ),
        (HEAD, "Content-Length: 5\r\n\r\n", "Content-Length: 5\r\nVia: 1.1 egress\r\n\r\n", (false, false)),
        (
            HEAD,
            "Transfer-Encoding: chunked\r\n\r\n",
            "Transfer-Encoding: chunked\r\nVia: 1.1 egress\r\n\r\n",
            (false, false),
        ),
        (HEAD, "\r\n", "Via: 1.1 egress\r\n\r\n", (false, false)),
        (
            OLD,
            "Content-Length: 2\r\n\r\nok",
            "Content-Length: 2\r\nVia: 1.1 egress\r\nConnection: close\r\n\r\nok",
            (true, true),
        ),
    ] {
        let (text, expected) = (format!("{ok}{text}"), format!("{ok}{expected}"));
        assert_eq!(sent(request, &text), (expected, ends), "{text}");
        // One byte more is a response that nobody asked for, and nothing of it is passed on.
        let more = whole(&[request], &format!("{text}H"));
        assert_eq!((more.ending, more.sent.len()), (Ending::Unsolicited, sent(request, &text).0.len()));
    }
}

#[test]
fn the_status_line_is_written_anew() {
    for (line, expected, upstream_ends) in [
        ("HTTP/1.1 200 OK", "HTTP/1.1 200 OK", false),
        ("HTTP/1.1 404", "HTTP/1.1 404 ", false),
        ("HTTP/1.1 599 Quite another phrase", "HTTP/1.1 599 Quite another phrase", false),
        // Its server closes, though it says otherwise: nobody has asked it to keep the connection.
        ("HTTP/1.0 200 OK", "HTTP/1.1 200 OK", true),
    ] {
        let (sent, ends) = sent(GET, &format!("{line}\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"));
        let minor = if line.starts_with("HTTP/1.0") { 0 } else { 1 };
        assert_eq!(sent, format!("{expected}\r\nContent-Length: 0\r\nVia: 1.{minor} egress\r\n\r\n"));
        assert_eq!(ends, (upstream_ends, false), "{line}");
    }
}

#[test]
fn what_has_no_content_gets_no_length() {
    for (text, expected) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204 No Content\r\nVia: 1.1 egress\r\n\r\n"),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 204 No Content\r\nVia: 1.1 egress\r\n\r\n"),
        ("HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 204 x\r\nVia: 1.1 egress\r\n\r\n"),
        // What the length of the whole would be (RFC 9110 §8.6).
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\nVia: 1.1 egress\r\n\r\n",
        ),
    ] {
        assert_eq!(sent(GET, text), (expected.to_owned(), (false, false)));
    }
}

#[test]
fn interim_responses_pass_to_those_who_know_them() {
    let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\nContent-Length: 9\r\nConnection: x\r\nX: y\r\n\r\n\
        HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let interim = "HTTP/1.1 100 Continue\r\nVia: 1.1 egress\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\nVia: 1.1 egress\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nVia: 1.1 egress\r\nConnection: close\r\n\r\n";
    assert_eq!(sent(LAST, text).0, format!("{interim}{last}"));
    assert_eq!(sent(OLD, text).0, last);
    assert_eq!(whole(&[LAST], text).statuses, [100, 103, 200]);
    // After an interim response alone, another answer is still possible.
    let reported = whole(&[GET], "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!((reported.owed, reported.begun), (1, false));
    let reported = whole(&[GET], "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n");
    assert_eq!((reported.owed, reported.begun), (1, true));
}

/// Each is small and may be late, so that only their number bounds what one request can be sent.
#[test]
fn interim_responses_to_one_request_come_to_an_end() {
    let (interim, last) = ("HTTP/1.1 102 Processing\r\n\r\n", "HTTP/1.1 204 x\r\n\r\n");
    let most = usize::from(MAX_INTERIM);
    let reported =
        run(&[GET, GET], [interim.repeat(most), last.into(), interim.repeat(most)].iter().map(String::as_bytes));
    assert_eq!((reported.ending, reported.statuses.len(), reported.owed), (Ending::Open, 2 * most + 1, 1));
    for request in [GET, OLD] {
        let reported = run(&[request], [interim.repeat(most + 1).as_bytes(), last.as_bytes()]);
        assert_eq!((reported.ending, reported.statuses.len()), (Ending::Malformed, most));
    }
}

/// The client is told before its connection ends, if that is known only when its response comes.
#[test]
fn what_becomes_the_last_response_says_so() {
    let closing = "HTTP/1.1 413 x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let open = "HTTP/1.1 413 x\r\nContent-Length: 0\r\n\r\n";
    let old = "HTTP/1.0 413 x\r\nContent-Length: 0\r\n\r\n";
    let (sending, ends) = (ClientNow { is_sending: true, ends: false }, ClientNow { is_sending: false, ends: true });
    for (client, text, upstream_ends, client_ends) in [
        (ClientNow::default(), closing, true, false),
        (ClientNow::default(), open, false, false),
        // What is left of its body has nowhere to go.
        (sending, closing, true, true),
        (sending, old, true, true),
        (sending, open, false, false),
        (ends, open, true, true),
    ] {
        let mut responses = ForwardResponses::default();
        responses.expect(GET);
        responses.note_client(client);
        let ResponseAction::Replace { with, .. } = responses.advance(text.as_bytes(), "egress") else {
            panic!("{text}")
        };
        let with = String::from_utf8(with).unwrap();
        assert_eq!(with.contains("\r\nConnection: close\r\n"), client_ends, "{client:?} {with}");
        assert_eq!(
            (responses.upstream_ends(), responses.client_ends()),
            (upstream_ends, client_ends),
            "{client:?} {text}"
        );
    }
    let mut responses = ForwardResponses::default();
    responses.expect(GET);
    responses.note_client(ends);
    let interim = responses.advance(b"HTTP/1.1 100 Continue\r\n\r\n", "egress");
    assert!(matches!(interim, ResponseAction::Replace { with, .. } if !with.windows(5).any(|word| word == b"close")));
}

#[test]
fn content_without_a_length_ends_with_both_connections() {
    let mut responses = ForwardResponses::default();
    responses.expect(GET);
    let head = b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n";
    let with = b"HTTP/1.1 200 OK\r\nServer: x\r\nVia: 1.1 egress\r\nConnection: close\r\n\r\n".to_vec();
    assert_eq!(responses.advance(head, "egress"), ResponseAction::Replace { len: head.len(), with, status: 200 });
    assert_eq!(responses.unseen(), u64::MAX);
    responses.pass(1 << 40);
    assert_eq!(responses.advance(b"HTTP/1.1 ", "egress"), ResponseAction::Forward(9));
    assert!(!responses.all_whole() && responses.client_ends() && responses.upstream_ends());
    assert!(responses.upstream_closed() && responses.all_whole());
    assert_eq!(responses.advance(b"H", "egress"), ResponseAction::Unsolicited);
}

#[test]
fn a_connection_that_closes_early_leaves_its_response_cut() {
    for (text, begun) in [
        ("", false),
        ("HTTP/1.1 200 OK\r\nContent-Le", false),
        ("HTTP/1.1 100 Continue\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", true),
    ] {
        let mut responses = ForwardResponses::default();
        responses.expect(GET);
        let mut rest = text.as_bytes();
        loop {
            rest = match responses.advance(rest, "egress") {
                ResponseAction::Forward(len) | ResponseAction::Replace { len, .. } => &rest[len..],
                ResponseAction::NeedMore => break,
                other => panic!("{other:?}"),
            };
        }
        assert!(!responses.upstream_closed(), "{text}");
        assert_eq!((responses.has_begun(), responses.owed()), (begun, 1), "{text}");
    }
    assert!(ForwardResponses::default().upstream_closed());
}

#[test]
fn fields_of_this_hop_are_not_passed_on_and_all_others_are_in_their_order() {
    let text = "HTTP/1.1 200 OK\r\nDate: x\r\nSet-Cookie: a=b\r\nConnection: X-One, keep-alive, Content-Length, via\r\nServer: y\r\n\
        Keep-Alive: timeout=5\r\nset-cookie: c=d\r\nX-ONE: 1\r\nProxy-Authenticate: Basic\r\nProxy-Authentication-Info: x\r\n\
        Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nTE: x\r\nTrailer: Digest\r\nVia: 1.1 other\r\nContent-Length: 0\r\nSet-Cookie: e=f\r\n\r\n";
    let expected = "HTTP/1.1 200 OK\r\nDate: x\r\nSet-Cookie: a=b\r\nServer: y\r\nset-cookie: c=d\r\nTrailer: Digest\r\n\
        Via: 1.1 other\r\nContent-Length: 0\r\nSet-Cookie: e=f\r\nVia: 1.1 egress\r\n\r\n";
    assert_eq!(sent(GET, text).0, expected);
}

#[test]
fn what_two_readers_read_differently_is_not_passed_on() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for text in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n".into(),
        "HTTP/1.1 204 No\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n".into(),
        "HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n".into(),
        "HTTP/1.1 200 O\rK\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nX : y\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nX: y\r\n folded\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nX\r\n\r\n".into(),
        "HTTP/2.0 200 OK\r\n\r\n".into(),
        "HTTP/0.9 200 OK\r\n\r\n".into(),
        "ICY 200 OK\r\n\r\n".into(),
        "HTTP/1.1 20 OK\r\n\r\n".into(),
        "HTTP/1.1 099 Continue\r\n\r\n".into(),
        "HTTP/1.1 600 Beyond\r\nContent-Length: 0\r\n\r\n".into(),
        "HTTP/1.1 999 Request denied\r\nContent-Length: 0\r\n\r\n".into(),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n".into(),
        "\r\nHTTP/1.1 200 OK\r\n\r\n".into(),
        "<html>hello\r\n\r\n".into(),
        "SSH-2.0-x\r\n\r\n".into(),
        format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(101)),
        format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(MAX_SECTION)),
        format!("HTTP/1.1 200 OK\r\nConnection: {}\r\n\r\n", vec!["x"; 101].join(",")),
    ] {
        let shown: String = text.chars().take(100).collect();
        let reported = whole(&[GET, GET], &text);
        assert_eq!((reported.ending, reported.sent, reported.begun), (Ending::Malformed, vec![], false), "{shown}");
    }
    for text in [
        "x\r\n".to_owned(),
        "\r\n".into(),
        "5 \r\n".into(),
        "-5\r\n".into(),
        "0x5\r\n".into(),
        "5\nhello".into(),
        "5\r\nhelloX\r\n".into(),
        "5\r\nhello\n".into(),
        "ffffffffffffffff\r\n".into(),
        format!("5;{}", "a".repeat(300)),
        "0\r\nContent-Length: 5\r\n\r\n".into(),
        "0\r\nX\r\n\r\n".into(),
        "0\r\nDigest: x\r\nconnection: close\r\n\r\n".into(),
        "0\r\nProxy-Authenticate: Basic\r\n\r\n".into(),
        "0\r\nVia: 1.1 x\r\n\r\n".into(),
    ] {
        let reported = whole(&[GET, GET], &format!("{chunked}{text}"));
        assert_eq!((&reported.ending, reported.begun, reported.owed), (&Ending::Malformed, true, 2), "{text}");
    }
    // An HTTP/1.0 client cannot read chunks.
    assert_eq!(whole(&[OLD], chunked).ending, Ending::Malformed);
    assert_eq!(whole(&vec![GET; 1025], "HTTP/1.1 204 x\r\n\r\n").ending, Ending::Malformed, "within a bound");
}

/// Many protocols begin with a line of the server, which then waits: its client would wait, too.
#[test]
fn what_is_no_http_is_known_by_its_first_bytes() {
    for text in [
        "S",
        "SSH-2.0-x\r\n",
        "220 mail.example ESMTP\r\n",
        "\x15\x03\x01\0\x02\x02\x16",
        "HTTP/2",
        "http/1.1 200 OK",
        "\r",
    ] {
        let reported = whole(&[GET], text);
        assert_eq!((reported.ending, reported.sent), (Ending::Malformed, vec![]), "{text}");
    }
    for len in 0.."HTTP/1.1 200".len() {
        assert_eq!(whole(&[GET], &"HTTP/1.1 200"[..len]).ending, Ending::Open, "{len}");
    }
}

#[test]
fn what_nobody_asked_for_is_not_passed_on() {
    assert_eq!(whole(&[], "HTTP/1.1 408 Request Timeout\r\n\r\n").ending, Ending::Unsolicited);
    let reported = whole(&[GET], "HTTP/1.1 204 x\r\n\r\nHTTP/1.1 200 OK\r\n\r\nsmuggled");
    assert_eq!((reported.ending, reported.statuses), (Ending::Unsolicited, vec![204]));
}

/// However a head is cut, a byte is looked at once: what has been passed may be overwritten.
#[test]
fn what_has_been_looked_at_is_not_looked_at_again() {
    let mut responses = ForwardResponses::default();
    responses.expect(GET);
    let mut seen = Vec::new();
    for byte in format!("HTTP/1.1 200 OK\r\n{}", "X: y\r\n".repeat(99)).bytes() {
        seen.push(byte);
        assert_eq!(responses.advance(&seen, "egress"), ResponseAction::NeedMore);
        let read = seen.len() - 1;
        seen[..read].fill(b'\n');
    }
    seen.extend_from_slice(b"X:\n");
    assert_eq!(responses.advance(&seen, "egress"), ResponseAction::Malformed);
}

/// A request and its response, and what the client is sent.
fn exchange() -> impl Strategy<Value = (ForwardExpected, Vec<u8>, Vec<u8>)> {
    let data = || prop::collection::vec(any::<u8>(), 0..80);
    let length = data().prop_map(|data| (GET, format!("Content-Length: {}\r\n", data.len()), data));
    let chunk = (data().prop_filter("the last chunk", |data| !data.is_empty()), "(;[a-z]{1,5}(=[!-~]{1,5})?){0,2}");
    let chunked = (prop::collection::vec(chunk, 0..4), "(X: [ -~]{0,9}\r\n){0,2}").prop_map(|(chunks, trailers)| {
        let chunk = |(data, extension): (Vec<u8>, String)| {
            [format!("{:x}{extension}\r\n", data.len()).as_bytes(), &data, b"\r\n"].concat()
        };
        let body: Vec<u8> = chunks.into_iter().flat_map(chunk).collect();
        let body = [&body[..], b"0\r\n", trailers.as_bytes(), b"\r\n"].concat();
        (GET, "Transfer-Encoding: chunked\r\n".to_owned(), body)
    });
    let head = (0_u32..100_000).prop_map(|n| (HEAD, format!("Content-Length: {n}\r\n"), vec![]));
    (0..3_usize, prop_oneof![length, chunked, head]).prop_map(|(interim, (request, framing, body))| {
        let interim = "HTTP/1.1 103 Hints\r\nX: y\r\n\r\n".repeat(interim);
        let came = format!("{interim}HTTP/1.1 200 OK\r\nKeep-Alive: 5\r\n{framing}\r\n");
        let goes =
            format!("{interim}HTTP/1.1 200 OK\r\n{framing}\r\n").replace("\r\n\r\n", "\r\nVia: 1.1 egress\r\n\r\n");
        (request, [came.as_bytes(), &body].concat(), [goes.as_bytes(), &body].concat())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_of_any_responses_sends_the_same(
        exchanges in prop::collection::vec(exchange(), 1..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let requests: Vec<ForwardExpected> = exchanges.iter().map(|exchange| exchange.0).collect();
        let bytes: Vec<u8> = exchanges.iter().flat_map(|exchange| exchange.1.clone()).collect();
        let goes: Vec<u8> = exchanges.iter().flat_map(|exchange| exchange.2.clone()).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let reported = run(&requests, cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]));
        prop_assert_eq!((reported.ending, reported.owed), (Ending::Open, 0));
        prop_assert_eq!(reported.sent, goes);
    }

    #[test]
    fn mangled_responses_are_reported_alike_however_they_are_split(
        exchanges in prop::collection::vec(exchange(), 1..4),
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n')], 0..3u8), 0..4),
        step in 1_usize..50,
    ) {
        let mut bytes: Vec<u8> = exchanges.iter().flat_map(|exchange| exchange.1.clone()).collect();
        for (at, value, edit) in edits {
            let at = at.index(bytes.len());
            match edit {
                0 => bytes[at] = value,
                1 => bytes.insert(at, value),
                _ => drop(bytes.remove(at)),
            }
        }
        let requests: Vec<ForwardExpected> = exchanges.iter().map(|exchange| exchange.0).collect();
        prop_assert_eq!(run(&requests, bytes.chunks(step)), run(&requests, [&bytes[..]]));
    }
}
