//! The responses to a forward proxy: however they are cut, the client is sent the same; our strict reader of responses
//! finds the same ends in it, and a second proxy changes nothing but `Via`.

use latticegate_core::protocol::forward_head::ForwardExpected;
use latticegate_core::protocol::forward_response::{ForwardResponses, ResponseAction};
use latticegate_core::protocol::http_head::MAX_FIELDS;
use latticegate_core::protocol::http_response::{Expected, MAX_SECTION, ResponseProgress, Responses};

use crate::forward_head::{VIA_NAME, ends_only_lines, fields};

const HOP_BY_HOP: [&str; 7] = [
    "proxy-connection",
    "keep-alive",
    "te",
    "upgrade",
    "proxy-authorization",
    "proxy-authenticate",
    "proxy-authentication-info",
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub sent: Vec<u8>,
    pub heads: Vec<Vec<u8>>,
    /// Malformed, or unsolicited.
    pub refused: Option<ResponseAction>,
    pub owed: usize,
    pub begun: bool,
    pub ends: (bool, bool),
}

/// The first byte says what was asked: two bits for each of four requests.
pub fn check(bytes: &[u8]) -> Option<Seen> {
    let (&kinds, bytes) = bytes.split_first()?;
    let requests: Vec<ForwardExpected> = (0..4)
        .map(|n| kinds >> (2 * n))
        .map(|bits| ForwardExpected { head: bits & 1 != 0, http10: bits & 2 != 0, last: bits & 2 != 0 })
        .collect();
    let whole = feed(&requests, bytes, VIA_NAME, bytes.len().max(1), false);
    for step in [1, 2, 3, 7, 64, 1000].into_iter().filter(|step| bytes.len() / step <= 4000) {
        for in_bulk in [false, true] {
            assert_eq!(feed(&requests, bytes, VIA_NAME, step, in_bulk), whole, "cut by {step}, in bulk: {in_bulk}");
        }
    }
    for head in &whole.heads {
        assert!(head.is_empty() || head.ends_with(b"\r\n\r\n") && ends_only_lines(head), "{}", head.escape_ascii());
        for name in HOP_BY_HOP {
            assert!(fields(head, name).is_empty(), "{name} was passed on");
        }
        assert!(fields(head, "connection").iter().all(|value| value == b"close"));
    }
    let count = |head: &Vec<u8>| head.iter().filter(|&&byte| byte == b'\n').count();
    // As long as nothing reaches a limit.
    if whole.heads.iter().all(|head| count(head) < MAX_FIELDS && head.len() < MAX_SECTION - 100) {
        is_read_alike(&requests, &whole);
        is_the_same_if_done_twice(&requests, &whole);
    }
    Some(whole)
}

fn is_read_alike(requests: &[ForwardExpected], whole: &Seen) {
    let mut reader = Responses::default();
    requests.iter().for_each(|request| reader.expect(Expected { head: request.head, upgrade: false }));
    reader.follow(&whole.sent);
    let ResponseProgress::Owed { requests: owed, begun } = reader.progress() else {
        // A chunk's size with a bad line behind it was passed on as far as it was good.
        panic!("not accepted: {}", whole.sent.escape_ascii());
    };
    assert_eq!((owed, begun), (whole.owed, whole.begun), "{}", whole.sent.escape_ascii());
}

fn is_the_same_if_done_twice(requests: &[ForwardExpected], whole: &Seen) {
    let again = feed(requests, &whole.sent, "second", whole.sent.len().max(1), false);
    assert_eq!((again.refused, again.owed, again.begun), (None, whole.owed, whole.begun));
    let heads: Vec<String> = again.heads.iter().map(|head| head.escape_ascii().to_string()).collect();
    let heads: Vec<String> = heads.iter().map(|head| head.replacen("Via: 1.1 second\\r\\n", "", 1)).collect();
    let expected: Vec<String> = whole
        .heads
        .iter()
        .filter(|head| !head.is_empty())
        .map(|head| head.escape_ascii().to_string().replacen("Via: 1.1 second\\r\\n", "", 1))
        .collect();
    assert_eq!(heads, expected);
}

fn feed(requests: &[ForwardExpected], bytes: &[u8], name: &str, step: usize, in_bulk: bool) -> Seen {
    let mut responses = ForwardResponses::default();
    requests.iter().for_each(|request| responses.expect(*request));
    let (mut sent, mut heads, mut refused) = (Vec::new(), Vec::new(), None);
    let (mut done, mut come) = (0, 0);
    loop {
        if in_bulk {
            let moved = usize::try_from(responses.unseen()).unwrap_or(usize::MAX).min(come - done);
            responses.pass(u64::try_from(moved).unwrap());
            sent.extend_from_slice(&bytes[done..done + moved]);
            done += moved;
        }
        match responses.advance(&bytes[done..come], name) {
            ResponseAction::Forward(len) => {
                assert!(len > 0 && done + len <= come);
                sent.extend_from_slice(&bytes[done..done + len]);
                done += len;
            }
            ResponseAction::Replace { len, with, status } => {
                assert!(len > 0 && done + len <= come && (100..=599).contains(&status) && status != 101);
                sent.extend_from_slice(&with);
                heads.push(with);
                done += len;
            }
            ResponseAction::NeedMore if come == bytes.len() => break,
            ResponseAction::NeedMore => {
                assert!(come - done < MAX_SECTION, "{} bytes are held back", come - done);
                come = (come + step).min(bytes.len());
            }
            action @ (ResponseAction::Malformed | ResponseAction::Unsolicited) => {
                assert_eq!(responses.advance(&bytes[done..], name), action, "it is final");
                refused = Some(action);
                break;
            }
        }
    }
    let ends = (responses.upstream_ends(), responses.client_ends());
    Seen { sent, heads, refused, owed: responses.owed(), begun: responses.has_begun(), ends }
}
