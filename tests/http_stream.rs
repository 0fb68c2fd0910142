//! The pure follower of a client's HTTP/1 stream: which requests are asked about, what is forwarded, where it is
//! cut. However the stream is split, all of that is the same.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions)]

use latticegate_core::outcome::RefuseReason;
use latticegate_core::protocol::Verdict;
use latticegate_core::protocol::http_head::{self, MAX_FIELDS};
use latticegate_core::protocol::http_stream::{HttpStream, MAX_HELD, RequestProgress};
use proptest::prelude::*;
use support::malformed::{self, stream::Smuggled};

/// What became of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reported {
    /// Where the heads of the requests after the first began.
    asked: Vec<usize>,
    forwarded: Vec<u8>,
    refused: Option<RefuseReason>,
}

/// A session's part: keeps what is not forwarded yet, allows every request.
struct Session {
    stream: Option<HttpStream>,
    held: Vec<u8>,
    reported: Reported,
}

impl Session {
    fn new() -> Self {
        Self { stream: None, held: vec![], reported: Reported::default() }
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        if self.reported.refused.is_some() {
            return;
        }
        if self.stream.is_none() {
            match http_head::parse(&self.held, 80) {
                Verdict::Found { value, len } => self.stream = Some(HttpStream::new(value, len, 80)),
                Verdict::NeedMore => return,
                Verdict::Refuse(reason) => return self.reported.refused = Some(reason),
            }
        }
        let stream = self.stream.as_mut().unwrap();
        loop {
            match stream.advance(&self.held) {
                RequestProgress::Forward(len) => {
                    assert!(len > 0);
                    self.reported.forwarded.extend(self.held.drain(..len));
                }
                RequestProgress::Request { len } => {
                    assert!(len <= self.held.len());
                    assert_eq!(stream.advance(&self.held), RequestProgress::Request { len }, "asked until allowed");
                    self.reported.asked.push(self.reported.forwarded.len());
                    stream.allow();
                }
                RequestProgress::NeedMore => {
                    assert!(self.held.len() < MAX_HELD, "{} held back", self.held.len());
                    return;
                }
                RequestProgress::Refuse(reason) => {
                    assert_eq!(stream.advance(&self.held), RequestProgress::Refuse(reason), "refused for ever");
                    return self.reported.refused = Some(reason);
                }
            }
        }
    }
}

fn run<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Reported {
    let mut session = Session::new();
    parts.into_iter().for_each(|part| session.receive(part));
    session.reported
}

fn whole(bytes: &[u8]) -> Reported {
    run([bytes])
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Streams that pass as a whole, and how many requests they hold.
fn valid() -> Vec<(String, usize)> {
    vec![
        (GET.into(), 1),
        (GET.repeat(3), 3),
        (format!("{GET}\r\n{GET}"), 2),
        (format!("{GET}GET http://A.example:80/x HTTP/1.1\r\nHost: a.EXAMPLE.:80\r\n\r\n"), 2),
        (format!("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n{GET}{GET}", GET.len()), 2),
        (format!("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n{GET}"), 2),
        (format!("{CHUNKED}0\r\n\r\n{GET}"), 2),
        (format!("{CHUNKED}5\r\nhello\r\n00A\r\n\r\n0\r\n\r\nabc\r\n0\r\n\r\n{GET}"), 2),
        (format!("{CHUNKED}{:x};a;b=\"c d\" ; e\r\n{GET}\r\n0;last\r\nX: y\r\nDigest: z\r\n\r\n{GET}", GET.len()), 2),
        (format!("{CHUNKED}0000000000000001\r\n!\r\n000\r\n\r\n{CHUNKED}0\r\n\r\n"), 2),
        (format!("{CHUNKED}0\r\n{}\r\n{GET}", "X: y\r\n".repeat(MAX_FIELDS)), 2),
        (format!("{CHUNKED}5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(252)), 1),
        (format!("{GET}GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"), 2),
        (format!("GET / HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n{GET}"), 2),
        (format!("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n{GET}"), 2),
        (
            format!(
                "TRACE / HTTP/1.1\r\nHost: a.example\r\n\r\nGET / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc{GET}"
            ),
            3,
        ),
    ]
}

/// Every cut in two, and byte by byte.
fn any_split_tells(bytes: &[u8], expected: &Reported) {
    let telling = |at: &usize| *at < 1000 || at.is_multiple_of(101) || at + 40 > bytes.len();
    for at in (0..=bytes.len()).filter(telling) {
        assert_eq!(&run([&bytes[..at], &bytes[at..]]), expected, "cut at {at}: {}", bytes.escape_ascii());
    }
    assert_eq!(&run(bytes.chunks(1)), expected, "byte by byte: {}", bytes.escape_ascii());
}

#[test]
fn whole_requests_pass_unchanged_and_each_is_asked_about() {
    for (text, requests) in valid() {
        let reported = whole(text.as_bytes());
        assert_eq!(reported.refused, None, "{text}");
        assert_eq!(reported.forwarded.escape_ascii().to_string(), text.as_bytes().escape_ascii().to_string());
        assert_eq!(reported.asked.len(), requests - 1, "{text}");
        for &at in &reported.asked {
            assert!(["GET", "POST", "TRACE", "\r\nGET"].iter().any(|method| text[at..].starts_with(method)), "{text}");
        }
        any_split_tells(text.as_bytes(), &reported);
    }
}

#[test]
fn smuggling_is_cut_before_its_first_byte_however_it_is_split() {
    let all = malformed::stream::all();
    for Smuggled { name, forwarded, cut, reason } in &all {
        let bytes = [&forwarded[..], cut].concat();
        let reported = whole(&bytes);
        assert_eq!(reported.refused.map(RefuseReason::word), Some(*reason), "{name}");
        assert_eq!(reported.forwarded.escape_ascii().to_string(), forwarded.escape_ascii().to_string(), "{name}");
        any_split_tells(&bytes, &reported);
    }
    assert!(all.len() >= 70, "{}", all.len());
}

#[test]
fn line_behind_the_last_request_is_kept_back_without_a_refusal() {
    let last = "GET / HTTP/1.0\r\nHost: a.example\r\n\r\n";
    for after in ["\r", "\r\n"] {
        let reported = whole(format!("{last}{after}").as_bytes());
        assert_eq!((reported.refused, reported.forwarded), (None, last.into()));
    }
}

/// What is shown of a body is not needed: the caller may move it inside the kernel.
#[test]
fn body_may_pass_unseen() {
    let text = format!("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000000\r\n\r\n{GET}");
    let (head, rest) = text.as_bytes().split_at(text.len() - GET.len());
    let Verdict::Found { value, len } = http_head::parse(head, 80) else { panic!() };
    let mut stream = HttpStream::new(value, len, 80);
    assert_eq!(stream.advance(head), RequestProgress::Forward(head.len()));
    assert_eq!(stream.unseen(), 1_000_000);
    stream.pass(999_999);
    assert_eq!(stream.advance(b"x"), RequestProgress::Forward(1));
    assert_eq!(stream.unseen(), 0);
    assert_eq!(stream.advance(rest), RequestProgress::Request { len: rest.len() });
    stream.allow();
    assert_eq!(stream.advance(rest), RequestProgress::Forward(rest.len()));
}

#[test]
fn chunk_may_pass_unseen() {
    let text = format!("{CHUNKED}ffff\r\n");
    let Verdict::Found { value, len } = http_head::parse(text.as_bytes(), 80) else { panic!() };
    let mut stream = HttpStream::new(value, len, 80);
    assert_eq!(stream.advance(text.as_bytes()), RequestProgress::Forward(text.len()));
    assert_eq!(stream.unseen(), 0xffff);
    stream.pass(0xffff);
    assert_eq!(stream.advance(b"\r\n0\r\n\r\n"), RequestProgress::Forward(7));
}

/// What was refused is behind the last request, or a part of it.
#[test]
fn refusal_says_whether_a_request_was_cut() {
    let between = |text: String| {
        let mut session = Session::new();
        session.receive(text.as_bytes());
        assert!(session.reported.refused.is_some(), "{text}");
        session.stream.unwrap().between_requests()
    };
    let other = "GET / HTTP/1.1\r\nHost: b.example\r\n\r\n";
    assert!(between(format!("{GET}{other}")));
    assert!(between(format!("{GET}\x16\x03")));
    assert!(between(format!("{CHUNKED}3\r\nabc\r\n0\r\n\r\n{other}")));
    assert!(!between(format!("{CHUNKED}zzz")));
    assert!(!between(format!("{GET}{CHUNKED}3\r\nabcd")));
    assert!(!between(format!("{CHUNKED}0\r\nHost: b\r\n\r\n")));
}

/// From then on the stream is opaque; before, and after a refusal, it is HTTP/1.
#[test]
fn upgrade_that_was_agreed_to_lets_everything_pass() {
    let head = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let stream = || {
        let Verdict::Found { value, len } = http_head::parse(head.as_bytes(), 80) else { panic!() };
        assert!(value.upgrade);
        let mut stream = HttpStream::new(value, len, 80);
        assert_eq!(stream.advance(head.as_bytes()), RequestProgress::Forward(head.len()));
        stream
    };
    let mut agreed = stream();
    assert_eq!(agreed.advance(b"G"), RequestProgress::NeedMore);
    agreed.upgraded();
    assert_eq!(agreed.advance(b"G\x81\x05hello"), RequestProgress::Forward(8));
    assert_eq!(agreed.unseen(), u64::MAX);
    agreed.pass(u64::MAX);
    assert_eq!(agreed.advance(b""), RequestProgress::NeedMore);
    assert!(!agreed.between_requests());
    let mut refused = stream();
    let RequestProgress::Refuse(reason) = refused.advance(b"\x81\x05hello") else { panic!() };
    refused.upgraded();
    assert_eq!(refused.advance(b"\x81\x05hello"), RequestProgress::Refuse(reason));
}

/// A request for a.example with a body of any bytes, framed in any valid way.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let data = prop::collection::vec(any::<u8>(), 0..80);
    let plain = Just(GET.as_bytes().to_vec());
    let length = data.clone().prop_map(|data| {
        let head = format!("PUT /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n", data.len());
        [head.as_bytes(), &data].concat()
    });
    let chunk = (data.prop_filter("the last chunk", |data| !data.is_empty()), "(;[a-z]{1,5}(=[!-~]{1,5})?){0,2}");
    let chunks = prop::collection::vec(chunk, 0..4);
    let chunked = (chunks, "(X: [ -~]{0,9}\r\n){0,2}").prop_map(|(chunks, trailers)| {
        let chunk = |(data, extension): (Vec<u8>, String)| {
            [format!("{:x}{extension}\r\n", data.len()).as_bytes(), &data, b"\r\n"].concat()
        };
        let body: Vec<u8> = chunks.into_iter().flat_map(chunk).collect();
        [CHUNKED.as_bytes(), &body, b"0\r\n", trailers.as_bytes(), b"\r\n"].concat()
    });
    prop_oneof![plain, length, chunked]
}

fn split<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
    at.sort_unstable();
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn valid_streams_pass_whole(
        requests in prop::collection::vec(request(), 1..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let bytes = requests.concat();
        let reported = run(split(&bytes, &cuts));
        let starts: Vec<_> = requests.iter().scan(0, |at, request| { *at += request.len(); Some(*at) }).collect();
        prop_assert_eq!(reported, Reported { asked: starts[..starts.len() - 1].to_vec(), forwarded: bytes, refused: None });
    }

    #[test]
    fn any_split_of_mangled_streams_tells_the_same(
        requests in prop::collection::vec(request(), 1..4),
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n')], 0..3u8), 0..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut bytes = requests.concat();
        for (at, value, edit) in edits {
            let at = at.index(bytes.len());
            match edit {
                0 => bytes[at] = value,
                1 => bytes.insert(at, value),
                _ => drop(bytes.remove(at)),
            }
        }
        let reported = whole(&bytes);
        prop_assert!(bytes.starts_with(&reported.forwarded));
        prop_assert_eq!(run(split(&bytes, &cuts)), reported);
    }
}
