//! The pure follower of a client of a forward proxy: which requests are asked about, what is sent on instead of them,
//! where the stream is cut. However it is split, all of that is the same.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions)]

use latticegate_core::outcome::RefuseReason;
use latticegate_core::protocol::Verdict;
use latticegate_core::protocol::forward_head::ForwardParser;
use latticegate_core::protocol::forward_stream::{ForwardProgress, ForwardStream};
use latticegate_core::protocol::http_stream::MAX_HELD;
use proptest::prelude::*;
use support::malformed;

const NAME: &str = "latticegate";

/// What became of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reported {
    /// Who was asked for: method, name and port.
    asked: Vec<(String, String, u16)>,
    /// What goes to the origin servers.
    sent: Vec<u8>,
    refused: Option<RefuseReason>,
    /// Whether the refusal comes after a complete request.
    between: bool,
}

/// A session's part: keeps what is not sent on yet, allows every request.
#[derive(Default)]
struct Session {
    stream: Option<ForwardStream>,
    held: Vec<u8>,
    reported: Reported,
}

impl Session {
    fn receive(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        if self.reported.refused.is_some() {
            return;
        }
        if self.stream.is_none() {
            match ForwardParser::default().parse(&self.held, NAME) {
                Verdict::Found { value, len } => self.stream = Some(ForwardStream::new(value, len)),
                Verdict::NeedMore => return,
                Verdict::Refuse(reason) => {
                    self.reported.refused = Some(reason);
                    return self.reported.between = true;
                }
            }
        }
        let stream = self.stream.as_mut().unwrap();
        loop {
            match stream.advance(&self.held, NAME) {
                ForwardProgress::Forward(len) => {
                    assert!(len > 0);
                    self.reported.sent.extend(self.held.drain(..len));
                }
                ForwardProgress::Request { len } => {
                    assert!(stream.between_requests());
                    assert_eq!(
                        stream.advance(&self.held, NAME),
                        ForwardProgress::Request { len },
                        "asked until allowed"
                    );
                    let asked = stream.requested().unwrap().clone();
                    let head = stream.allow().unwrap();
                    assert_eq!(head, asked);
                    assert!(stream.requested().is_none() && stream.allow().is_none(), "asked once");
                    self.reported.asked.push((head.method.to_string(), head.name.to_string(), head.port));
                    drop(self.held.drain(..len));
                    self.reported.sent.extend(head.rewritten);
                }
                ForwardProgress::NeedMore => {
                    assert!(self.held.len() < MAX_HELD, "{} held back", self.held.len());
                    return;
                }
                ForwardProgress::Refuse(reason) => {
                    assert_eq!(stream.advance(&self.held, NAME), ForwardProgress::Refuse(reason), "refused for ever");
                    self.reported.between = stream.between_requests();
                    return self.reported.refused = Some(reason);
                }
            }
        }
    }
}

fn run<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Reported {
    let mut session = Session::default();
    parts.into_iter().for_each(|part| session.receive(part));
    session.reported
}

/// Every cut in two, and byte by byte.
fn any_split_tells(bytes: &[u8], expected: &Reported) {
    let telling = |at: &usize| *at < 1000 || at.is_multiple_of(101) || at + 40 > bytes.len();
    for at in (0..=bytes.len()).filter(telling) {
        assert_eq!(&run([&bytes[..at], &bytes[at..]]), expected, "cut at {at}: {}", bytes.escape_ascii());
    }
    assert_eq!(&run(bytes.chunks(1)), expected, "byte by byte: {}", bytes.escape_ascii());
}

const A: &str = "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n";
const A_SENT: &str = "GET / HTTP/1.1\r\nHost: a.example\r\nVia: 1.1 latticegate\r\n\r\n";
const B: &str = "GET http://b.example:81/b HTTP/1.1\r\nHost: b.example:81\r\n\r\n";
const B_SENT: &str = "GET /b HTTP/1.1\r\nHost: b.example:81\r\nVia: 1.1 latticegate\r\n\r\n";
const CHUNKED: &str = "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n";
const CHUNKED_SENT: &str =
    "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nVia: 1.1 latticegate\r\n\r\n";

#[test]
fn each_head_is_rewritten_and_each_body_passes_as_it_is() {
    let body =
        format!("5;a=b\r\nhello\r\n00A\r\n\r\n0\r\n\r\nabc\r\n{:x}\r\n{A}\r\n0;last\r\nDigest: x\r\n\r\n", A.len());
    let post = format!("POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n", A.len());
    let post_sent =
        format!("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\nVia: 1.1 latticegate\r\n\r\n", A.len());
    let close = "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
    let close_sent = "GET / HTTP/1.1\r\nHost: a.example\r\nVia: 1.1 latticegate\r\nConnection: close\r\n\r\n";
    for (text, sent, names) in [
        (A.to_owned(), A_SENT.to_owned(), &["a.example"][..]),
        (format!("{A}{B}{A}"), format!("{A_SENT}{B_SENT}{A_SENT}"), &["a.example", "b.example", "a.example"]),
        (format!("{A}\r\n{B}"), format!("{A_SENT}{B_SENT}"), &["a.example", "b.example"]),
        (format!("{CHUNKED}{body}{B}"), format!("{CHUNKED_SENT}{body}{B_SENT}"), &["a.example", "b.example"]),
        // What looks like a request is content.
        (format!("{post}{A}{B}"), format!("{post_sent}{A}{B_SENT}"), &["a.example", "b.example"]),
        (format!("{B}{close}\r\n"), format!("{B_SENT}{close_sent}"), &["b.example", "a.example"]),
        (
            format!("{A}CONNECT c.example:443 HTTP/1.1\r\nHost: c.example\r\n\r\n\x16\x03\x01GET / HTTP/1.1\r\n"),
            format!("{A_SENT}\x16\x03\x01GET / HTTP/1.1\r\n"),
            &["a.example", "c.example"],
        ),
    ] {
        let reported = run([text.as_bytes()]);
        assert_eq!(reported.refused, None, "{text}");
        assert_eq!(reported.sent.escape_ascii().to_string(), sent.as_bytes().escape_ascii().to_string());
        assert_eq!(reported.asked.iter().map(|(_, name, _)| name).collect::<Vec<_>>(), names, "{text}");
        any_split_tells(text.as_bytes(), &reported);
    }
}

/// The rows of the gateway about bodies, with their heads in absolute-form.
#[test]
fn what_smuggles_behind_a_body_is_cut_before_its_first_byte() {
    let absolute = |text: &[u8]| {
        let text = String::from_utf8_lossy(text).into_owned();
        ["GET", "POST", "TRACE"].iter().fold(text, |text, method| {
            text.replace(&format!("{method} / HTTP"), &format!("{method} http://a.example/ HTTP"))
        })
    };
    let mut ran = 0;
    for row in malformed::stream::all().iter().filter(|row| row.reason == "body_malformed" && row.cut.is_ascii()) {
        let (before, cut) = (absolute(&row.forwarded), absolute(&row.cut));
        let expected = run([before.as_bytes()]);
        assert_eq!(expected.refused, None, "{}", row.name);
        let bytes = format!("{before}{cut}");
        let reported = run([bytes.as_bytes()]);
        assert_eq!(reported.refused.map(RefuseReason::word), Some(row.reason), "{}", row.name);
        assert_eq!((&reported.sent, &reported.asked), (&expected.sent, &expected.asked), "{}", row.name);
        any_split_tells(bytes.as_bytes(), &reported);
        ran += 1;
    }
    assert!(ran >= 40, "{ran}");
}

/// What is taken out of a head does not come back behind the body. A gateway forwards these heads and trailers as they are.
#[test]
fn fields_of_this_hop_are_no_trailers() {
    for name in [
        "Connection",
        "Keep-Alive",
        "proxy-authorization",
        "Proxy-Authenticate",
        "Proxy-Connection",
        "TE",
        "UPGRADE",
        "Trailer",
        "Via",
        "Max-Forwards",
        "Expect",
        "Host",
        "content-length",
        "Transfer-Encoding",
    ] {
        let reported = run([format!("{CHUNKED}1\r\nx\r\n0\r\nDigest: x\r\n{name}: x\r\n\r\n").as_bytes()]);
        assert_eq!((reported.refused, reported.between), (Some(RefuseReason::BodyMalformed), false), "{name}");
        assert!(reported.sent.ends_with(b"\r\n\r\n1\r\nx\r\n0\r\n"), "{name}: {}", reported.sent.escape_ascii());
    }
    let trailers = "0\r\nDigest: x\r\ngrpc-status: 0\r\nx-amz-checksum-crc32: AAAAAA==\r\nServer-Timing: db\r\n\r\n";
    let reported = run([format!("{CHUNKED}{trailers}").as_bytes()]);
    assert!(reported.refused.is_none() && reported.sent.ends_with(trailers.as_bytes()));
}

/// Each row of the table, behind a request that is complete.
#[test]
fn a_head_that_is_refused_is_refused_behind_another_too() {
    let mut ran = 0;
    for row in malformed::all().iter().filter(|row| row.stage == malformed::Stage::Forward) {
        let reported = run([A.as_bytes(), &row.bytes]);
        assert_eq!(reported.refused.map(RefuseReason::word), Some(row.reason), "{}", row.name);
        assert_eq!(
            (&*reported.sent, reported.asked.len(), reported.between),
            (A_SENT.as_bytes(), 1, true),
            "{}",
            row.name
        );
        ran += 1;
    }
    assert!(ran >= 200, "{ran}");
}

#[test]
fn a_refusal_says_whether_a_request_was_cut() {
    let cut = run([format!("{CHUNKED}g\r\n").as_bytes()]);
    assert_eq!((cut.refused, cut.between), (Some(RefuseReason::BodyMalformed), false));
    let between = run([format!("{A}GET / HTTP/1.1\r\n\r\n").as_bytes()]);
    assert_eq!((between.refused, between.between), (Some(RefuseReason::OriginForm), true));
}

/// What is shown of a body is not needed: the caller may move it inside the kernel.
#[test]
fn bodies_and_tunnels_may_pass_unseen() {
    let begin = |text: &str| {
        let Verdict::Found { value, len } = ForwardParser::default().parse(text.as_bytes(), NAME) else { panic!() };
        let mut stream = ForwardStream::new(value, len);
        assert_eq!(stream.unseen(), 0);
        stream.allow().unwrap();
        stream
    };
    let mut stream = begin("POST http://a.example/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
    assert_eq!((stream.unseen(), stream.between_requests()), (1000, false));
    stream.pass(999);
    assert_eq!(stream.advance(format!("x{B}").as_bytes(), NAME), ForwardProgress::Forward(1));
    assert_eq!((stream.unseen(), stream.between_requests()), (0, true));
    assert_eq!(stream.advance(B.as_bytes(), NAME), ForwardProgress::Request { len: B.len() });

    let mut stream = begin("CONNECT a.example:443 HTTP/1.0\r\n\r\n");
    assert_eq!((stream.unseen(), stream.between_requests()), (u64::MAX, false));
    stream.pass(1 << 40);
    assert_eq!(stream.advance(b"GET / HTTP/1.1\r\n", NAME), ForwardProgress::Forward(16));

    let mut stream = begin("POST http://a.example/ HTTP/1.0\r\nContent-Length: 3\r\n\r\n");
    stream.pass(3);
    assert!(stream.is_over() && stream.between_requests());
    assert_eq!(stream.advance(A.as_bytes(), NAME), ForwardProgress::Refuse(RefuseReason::BodyMalformed));
}

/// A request with its body, and the body alone.
fn request() -> impl Strategy<Value = (String, Vec<u8>)> {
    let data = || prop::collection::vec(any::<u8>(), 0..60);
    let length = data().prop_map(|data| (format!("Content-Length: {}\r\n", data.len()), data));
    let chunks =
        prop::collection::vec((prop::collection::vec(any::<u8>(), 1..40), "(;[a-z]{1,5}(=[a-z]{1,5})?){0,2}"), 0..4);
    let chunked = (chunks, "(X: [ -~]{0,9}\r\n){0,2}").prop_map(|(chunks, trailers)| {
        let mut body = Vec::new();
        for (data, extension) in chunks {
            body.extend(format!("{:x}{extension}\r\n", data.len()).into_bytes());
            body.extend(data);
            body.extend(b"\r\n");
        }
        body.extend(format!("0\r\n{trailers}\r\n").into_bytes());
        ("Transfer-Encoding: chunked\r\n".to_owned(), body)
    });
    let none = Just((String::new(), vec![]));
    (prop_oneof![length, chunked, none], "[a-c]\\.example(:[1-9][0-9])?", "(/[a-z?=&%]{0,9})?").prop_map(
        |((framing, body), host, path)| {
            (
                format!("PUT http://{host}{path} HTTP/1.1\r\nHost: {host}\r\nConnection: x\r\nX: y\r\n{framing}\r\n"),
                body,
            )
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_of_any_requests_sends_the_same(
        requests in prop::collection::vec(request(), 1..5),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..12),
    ) {
        let mut bytes = Vec::new();
        let mut sent = Vec::new();
        for (head, body) in &requests {
            let Verdict::Found { value, .. } = ForwardParser::default().parse(head.as_bytes(), NAME) else { panic!("{head}") };
            sent.extend(value.rewritten);
            sent.extend(body);
            bytes.extend(head.as_bytes());
            bytes.extend(body);
        }
        let mut at: Vec<usize> = cuts.iter().map(|(cut, _)| cut.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let reported = run(at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]));
        prop_assert_eq!(reported.refused, None);
        prop_assert_eq!(reported.asked.len(), requests.len());
        prop_assert_eq!(reported.sent, sent);
    }

    #[test]
    fn any_split_of_mangled_streams_tells_the_same(
        requests in prop::collection::vec(request(), 1..4),
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n')], 0..3u8), 0..4),
        step in 1_usize..50,
    ) {
        let mut bytes: Vec<u8> = requests.iter().flat_map(|(head, body)| [head.as_bytes(), body].concat()).collect();
        for (at, value, edit) in edits {
            let at = at.index(bytes.len());
            match edit {
                0 => bytes[at] = value,
                1 => bytes.insert(at, value),
                _ => drop(bytes.remove(at)),
            }
        }
        prop_assert_eq!(run(bytes.chunks(step)), run([&bytes[..]]));
    }
}
