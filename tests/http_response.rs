//! The pure follower of an upstream's HTTP/1 stream: where each response ends, however the stream is split, and what
//! cannot be framed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions)]

use latticegate_core::protocol::http_response::{Expected, MAX_SECTION, ResponseProgress, Responses};
use proptest::prelude::*;

const GET: Expected = Expected { head: false, upgrade: false };
const HEAD: Expected = Expected { head: true, upgrade: false };
const UPGRADE: Expected = Expected { head: false, upgrade: true };

fn owed(requests: usize, begun: bool) -> ResponseProgress {
    ResponseProgress::Owed { requests, begun }
}

fn responses(requests: &[Expected]) -> Responses {
    let mut responses = Responses::default();
    requests.iter().for_each(|request| responses.expect(*request));
    responses
}

fn after<'a>(requests: &[Expected], parts: impl IntoIterator<Item = &'a [u8]>) -> ResponseProgress {
    let mut responses = responses(requests);
    parts.into_iter().for_each(|part| responses.follow(part));
    responses.progress()
}

/// The same however it is cut, and nothing is whole before its last byte.
fn ends_exactly_at(requests: &[Expected], bytes: &[u8]) {
    let shown = bytes.escape_ascii();
    assert_eq!(after(requests, [bytes]), owed(0, false), "{shown}");
    assert_eq!(after(requests, bytes.chunks(1)), owed(0, false), "byte by byte: {shown}");
    for at in 0..bytes.len() {
        let ResponseProgress::Owed { requests: left, .. } = after(requests, [&bytes[..at]]) else {
            panic!("{at}: {shown}")
        };
        assert!(left > 0, "whole at {at} of {}: {shown}", bytes.len());
        assert_eq!(after(requests, [&bytes[..at], &bytes[at..]]), owed(0, false), "cut at {at}: {shown}");
    }
    // One byte more is a response that nobody asked for.
    assert_eq!(after(requests, [bytes, b"H"]), ResponseProgress::Lost, "{shown}");
}

#[test]
fn every_framing_ends_at_its_last_byte() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (requests, text) in [
        (&[GET][..], "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_owned()),
        (&[GET], "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello".into()),
        (&[GET], "HTTP/1.1 200 \r\ncontent-length:0\r\n\r\n".into()),
        (&[GET], "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n".into()),
        (&[GET], "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\nContent-Length: 5\r\n\r\nhello".into()),
        (&[GET], format!("{chunked}0\r\n\r\n")),
        (&[GET], format!("{chunked}5\r\nhello\r\n00A;x=\"y\"\r\n0123456789\r\n0\r\nDigest: x\r\nX: y\r\n\r\n")),
        (&[GET], format!("{chunked}2\r\n\r\n\r\n0;last\r\n\r\n")),
        (&[GET], "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n".into()),
        (&[HEAD], "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".into()),
        (&[HEAD], chunked.into()),
        (&[HEAD], "HTTP/1.1 404 Not Found\r\n\r\n".into()),
        (&[GET], "HTTP/1.1 204 No Content\r\n\r\n".into()),
        (&[GET], "HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n".into()),
        (
            &[GET],
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 204 No\r\n\r\n".into(),
        ),
        (
            &[GET, HEAD, GET],
            format!("{chunked}1\r\nx\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nHTTP/1.1 204 x\r\n\r\n"),
        ),
        // Offered, and not taken up.
        (&[UPGRADE], "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno".into()),
    ] {
        ends_exactly_at(requests, text.as_bytes());
    }
}

#[test]
fn content_without_a_length_ends_with_the_connection_only() {
    for head in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.0 200 OK\r\nServer: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    ] {
        let mut responses = responses(&[GET]);
        responses.follow(head.as_bytes());
        assert_eq!((responses.progress(), responses.unseen()), (owed(1, true), u64::MAX), "{head}");
        responses.follow(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        responses.pass(1 << 40);
        assert_eq!(responses.progress(), owed(1, true), "{head}");
    }
}

#[test]
fn upgrade_makes_the_stream_opaque_and_h2c_does_not() {
    let switch = |protocol: &str| {
        format!("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\r\n\x01\x05hello")
    };
    for protocol in ["websocket", "tls/1.2", "foo/2, bar"] {
        let text = switch(protocol);
        assert_eq!(after(&[UPGRADE], [text.as_bytes()]), ResponseProgress::Opaque, "{protocol}");
        assert_eq!(after(&[UPGRADE], text.as_bytes().chunks(1)), ResponseProgress::Opaque, "{protocol}");
        assert_eq!(after(&[GET], [text.as_bytes()]), ResponseProgress::Lost, "nobody asked for {protocol}");
    }
    // Requests inside it could ask for other hosts.
    for protocol in ["h2c", "H2C", "HTTP/2.0", "h2", "websocket, h2c"] {
        assert_eq!(after(&[UPGRADE], [switch(protocol).as_bytes()]), ResponseProgress::Lost, "{protocol}");
    }
    let nameless = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
    assert_eq!(after(&[UPGRADE], [nameless.as_bytes()]), ResponseProgress::Lost);
}

#[test]
fn what_cannot_be_framed_without_doubt_is_lost() {
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
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n".into(),
        "HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\n".into(),
        "HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\n".into(),
        "HTTP/1.1 099 Continue\r\nContent-Length: 5\r\n\r\n".into(),
        "<html>hello\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nX : y\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nX: y\r\n folded\r\n\r\n".into(),
        format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(101)),
        format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(MAX_SECTION)),
        format!("{chunked}x\r\n"),
        format!("{chunked}\r\n"),
        format!("{chunked}5 \r\n"),
        format!("{chunked}-5\r\n"),
        format!("{chunked}5\nhello"),
        format!("{chunked}5\r\nhelloX\r\n"),
        format!("{chunked}5\r\nhello\n"),
        format!("{chunked}ffffffffffffffff\r\n"),
        format!("{chunked}5;{}", "a".repeat(5000)),
        format!("{chunked}0\r\nContent-Length: 5\r\n\r\n"),
        format!("{chunked}0\r\nX\r\n\r\n"),
    ] {
        let shown: String = text.chars().take(120).collect();
        assert_eq!(after(&[GET, GET], [text.as_bytes()]), ResponseProgress::Lost, "{shown}");
        assert_eq!(after(&[GET, GET], text.as_bytes().chunks(1)), ResponseProgress::Lost, "byte by byte: {shown}");
        // For ever.
        let good = b"HTTP/1.1 204 x\r\n\r\n";
        assert_eq!(after(&[GET, GET], [text.as_bytes(), good, good]), ResponseProgress::Lost, "{shown}");
    }
    let silent = Responses::default();
    assert!(silent.all_whole());
    assert_eq!(after(&[], [&b"HTTP/1.1 408 Request Timeout\r\n\r\n"[..]]), ResponseProgress::Lost);
    assert_eq!(
        after(&vec![GET; 1025], []),
        ResponseProgress::Lost,
        "requests without an answer are remembered within a bound"
    );
}

#[test]
fn a_response_has_begun_with_its_first_byte_and_an_interim_one_is_none() {
    assert_eq!(after(&[GET], []), owed(1, false));
    assert_eq!(after(&[GET], [&b"H"[..]]), owed(1, true));
    assert_eq!(after(&[GET], [&b"HTTP/1.1 100 Continue\r\n\r\n"[..]]), owed(1, false));
    assert_eq!(after(&[GET, GET], [&b"HTTP/1.1 204 x\r\n\r\n"[..]]), owed(1, false));
    assert_eq!(after(&[GET, GET], [&b"HTTP/1.1 204 x\r\n\r\nH"[..]]), owed(1, true));
}

/// What is shown of a body is not needed: the caller may move it inside the kernel.
#[test]
fn bodies_may_pass_unseen() {
    let mut length = responses(&[GET]);
    length.follow(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nx");
    assert_eq!(length.unseen(), 999_999);
    length.pass(999_999);
    assert_eq!((length.unseen(), length.progress()), (0, owed(0, false)));
    let mut chunk = responses(&[GET]);
    chunk.follow(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n");
    assert_eq!(chunk.unseen(), 0xffff);
    chunk.pass(0xffff);
    assert_eq!((chunk.unseen(), chunk.progress()), (0, owed(1, true)));
    chunk.follow(b"\r\n0\r\n\r\n");
    assert_eq!(chunk.progress(), owed(0, false));
}

/// A request and its response, framed in any way.
fn exchange() -> impl Strategy<Value = (Expected, Vec<u8>)> {
    let data = || prop::collection::vec(any::<u8>(), 0..80);
    let interim = prop::collection::vec(Just("HTTP/1.1 103 Hints\r\nX: y\r\n\r\n"), 0..3);
    let length = data().prop_map(|data| {
        (GET, [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", data.len()).as_bytes(), &data].concat())
    });
    let chunk = (data().prop_filter("the last chunk", |data| !data.is_empty()), "(;[a-z]{1,5}(=[!-~]{1,5})?){0,2}");
    let chunks = prop::collection::vec(chunk, 0..4);
    let chunked = (chunks, "(X: [ -~]{0,9}\r\n){0,2}").prop_map(|(chunks, trailers)| {
        let chunk = |(data, extension): (Vec<u8>, String)| {
            [format!("{:x}{extension}\r\n", data.len()).as_bytes(), &data, b"\r\n"].concat()
        };
        let body: Vec<u8> = chunks.into_iter().flat_map(chunk).collect();
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        (GET, [head, &body[..], b"0\r\n", trailers.as_bytes(), b"\r\n"].concat())
    });
    let head =
        (0_u32..100_000).prop_map(|n| (HEAD, format!("HTTP/1.1 200 OK\r\nContent-Length: {n}\r\n\r\n").into_bytes()));
    (interim, prop_oneof![length, chunked, head])
        .prop_map(|(interim, (request, response))| (request, [interim.concat().as_bytes(), &response].concat()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Also where bodies pass unseen, and whatever was asked meanwhile.
    #[test]
    fn any_split_of_any_responses_ends_each_at_its_last_byte(
        exchanges in prop::collection::vec(exchange(), 1..6),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..12),
    ) {
        let bytes: Vec<u8> = exchanges.iter().flat_map(|(_, response)| response.clone()).collect();
        let ends: Vec<usize> = exchanges.iter().scan(0, |at, (_, response)| { *at += response.len(); Some(*at) }).collect();
        let mut stream = Responses::default();
        exchanges.iter().for_each(|(request, _)| stream.expect(*request));
        let mut at = 0;
        let mut cuts: Vec<_> = cuts.iter().map(|(cut, unseen)| (cut.index(bytes.len() + 1), *unseen)).collect();
        cuts.sort_unstable();
        cuts.push((bytes.len(), false));
        for (cut, unseen) in cuts {
            if unseen {
                let n = stream.unseen().min((cut - at) as u64);
                stream.pass(n);
                at += n as usize;
            }
            stream.follow(&bytes[at..cut]);
            at = cut;
            let whole = ends.iter().filter(|end| **end <= at).count();
            let ResponseProgress::Owed { requests, .. } = stream.progress() else { panic!("at {at}") };
            prop_assert_eq!(requests, exchanges.len() - whole, "at {}", at);
        }
    }

    #[test]
    fn mangled_responses_are_reported_alike_however_they_are_split(
        exchanges in prop::collection::vec(exchange(), 1..4),
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n')], 0..3u8), 0..4),
        step in 1_usize..50,
    ) {
        let mut bytes: Vec<u8> = exchanges.iter().flat_map(|(_, response)| response.clone()).collect();
        for (at, value, edit) in edits {
            let at = at.index(bytes.len());
            match edit {
                0 => bytes[at] = value,
                1 => bytes.insert(at, value),
                _ => drop(bytes.remove(at)),
            }
        }
        let requests: Vec<Expected> = exchanges.iter().map(|(request, _)| *request).collect();
        prop_assert_eq!(after(&requests, bytes.chunks(step)), after(&requests, [&bytes[..]]));
    }
}
