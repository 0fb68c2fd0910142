//! A kept-alive connection to a forward proxy: however its bytes are cut, the same requests are asked about and the same
//! bytes are sent; and a second, simple reader finds the same requests in what is sent.

use latticegate_core::outcome::RefuseReason;
use latticegate_core::protocol::Verdict;
use latticegate_core::protocol::forward_head::ForwardParser;
use latticegate_core::protocol::forward_stream::{ForwardProgress, ForwardStream};
use latticegate_core::protocol::http_head::BodyFraming;
use latticegate_core::protocol::http_stream::MAX_HELD;

use crate::forward_head::VIA_NAME;
use crate::simple_http::end_of_chunks;

#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where the head of each request begins in what is sent, where its body does, and how long that is.
    pub requests: Vec<(usize, usize, BodyFraming)>,
    pub sent: Vec<u8>,
    /// Where the bytes of a tunnel begin in what is sent.
    pub tunnel: Option<usize>,
    pub refused: Option<RefuseReason>,
}

/// Nothing where the first head is incomplete or refused: then there is no stream.
pub fn check(bytes: &[u8]) -> Option<Seen> {
    let whole = feed(bytes, bytes.len(), false)?;
    for step in [1, 2, 3, 7, 64, 1000].into_iter().filter(|step| bytes.len() / step <= 4000) {
        for in_bulk in [false, true] {
            assert_eq!(feed(bytes, step, in_bulk).as_ref(), Some(&whole), "cut by {step}, in bulk: {in_bulk}");
        }
    }
    let end = whole.tunnel.unwrap_or(whole.sent.len());
    let starts = whole.requests.iter().map(|request| request.0).skip(1).chain([end]);
    for (&(_, body, framing), next) in whole.requests.iter().zip(starts) {
        let found = match framing {
            BodyFraming::None => Some(body),
            BodyFraming::Length(length) => usize::try_from(length).ok().and_then(|length| body.checked_add(length)),
            BodyFraming::Chunked => end_of_chunks(&whole.sent[..next], body),
        };
        let is_last = next == end;
        assert!(found == Some(next) || is_last && found.is_none_or(|found| found > next), "{:?}", whole.requests);
    }
    Some(whole)
}

/// Gives `step` bytes at a time, as a session would: what is not sent on yet is shown again.
fn feed(bytes: &[u8], step: usize, in_bulk: bool) -> Option<Seen> {
    let Verdict::Found { value: head, len } = ForwardParser::default().parse(bytes, VIA_NAME) else { return None };
    let mut stream = ForwardStream::new(head, len);
    let mut seen = Seen { requests: vec![], sent: vec![], tunnel: None, refused: None };
    let (mut done, mut come) = (0, len);
    loop {
        if in_bulk {
            let moved = usize::try_from(stream.unseen()).unwrap_or(usize::MAX).min(come - done);
            stream.pass(u64::try_from(moved).unwrap());
            seen.sent.extend_from_slice(&bytes[done..done + moved]);
            done += moved;
        }
        match stream.advance(&bytes[done..come], VIA_NAME) {
            ForwardProgress::Forward(len) => {
                assert!(len > 0 && done + len <= come);
                seen.sent.extend_from_slice(&bytes[done..done + len]);
                done += len;
            }
            ForwardProgress::Request { len } => {
                assert!(seen.tunnel.is_none(), "a request inside a tunnel");
                let head = stream.allow().unwrap();
                let start = seen.sent.len();
                seen.sent.extend_from_slice(&head.rewritten);
                if head.is_connect() {
                    seen.tunnel = Some(start);
                } else {
                    seen.requests.push((start, seen.sent.len(), head.body));
                }
                done += len;
            }
            ForwardProgress::NeedMore if come == bytes.len() => return Some(seen),
            ForwardProgress::NeedMore => {
                assert!(come - done < MAX_HELD, "{} bytes are held back", come - done);
                come = (come + step).min(bytes.len());
            }
            ForwardProgress::Refuse(reason) => {
                let again = stream.advance(&bytes[done..], VIA_NAME);
                assert_eq!(again, ForwardProgress::Refuse(reason), "a refusal is final");
                return Some(Seen { refused: Some(reason), ..seen });
            }
        }
    }
}
