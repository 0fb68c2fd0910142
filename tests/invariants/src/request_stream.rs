//! A kept-alive connection on port 80: however its bytes are cut, the same requests are asked about and the same
//! bytes go on; and a second, simple reader finds the requests at the same places.

use latticegate_core::outcome::RefuseReason;
use latticegate_core::protocol::Verdict;
use latticegate_core::protocol::http_head;
use latticegate_core::protocol::http_stream::{HttpStream, MAX_HELD, RequestProgress};

use crate::simple_http::{end_of_chunks, find};

const PUBLIC_PORT: u16 = 80;

#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where each request that was asked about begins.
    pub requests: Vec<usize>,
    pub forwarded: usize,
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
    for pair in whole.requests.windows(2) {
        assert_eq!(end_of_request(bytes, pair[0]), Some(pair[1]), "{:?}", whole.requests);
    }
    if let Some(&last) = whole.requests.last() {
        let end = end_of_request(bytes, last).unwrap_or(bytes.len());
        assert!(whole.forwarded <= end, "{} bytes forwarded, the last request ends at {end}", whole.forwarded);
        assert!(
            whole.refused.is_some() || whole.forwarded == end || end == bytes.len(),
            "a whole request is held back"
        );
    }
    Some(whole)
}

/// Gives `step` bytes at a time, as a session would: what is not forwarded yet is shown again.
fn feed(bytes: &[u8], step: usize, in_bulk: bool) -> Option<Seen> {
    let Verdict::Found { value: head, len } = http_head::parse(bytes, PUBLIC_PORT) else { return None };
    let name = head.name.clone();
    let mut stream = HttpStream::new(head, len, PUBLIC_PORT);
    let mut seen = Seen { requests: vec![0], forwarded: 0, refused: None };
    let mut come = len;
    loop {
        if in_bulk {
            let moved = stream.unseen().min(u64::try_from(come - seen.forwarded).unwrap());
            stream.pass(moved);
            seen.forwarded += usize::try_from(moved).unwrap();
        }
        match stream.advance(&bytes[seen.forwarded..come]) {
            RequestProgress::Forward(len) => {
                assert!(len > 0 && seen.forwarded + len <= come);
                seen.forwarded += len;
            }
            RequestProgress::Request { len } => {
                let Verdict::Found { value: head, len: again } =
                    http_head::parse(&bytes[seen.forwarded..], PUBLIC_PORT)
                else {
                    panic!("asked about what is no head");
                };
                assert_eq!((&head.name, again), (&name, len), "another host was not refused");
                seen.requests.push(seen.forwarded);
                stream.allow();
            }
            RequestProgress::NeedMore if come == bytes.len() => return Some(seen),
            RequestProgress::NeedMore => {
                assert!(come - seen.forwarded < MAX_HELD, "{} bytes are held back", come - seen.forwarded);
                come = (come + step).min(bytes.len());
            }
            RequestProgress::Refuse(reason) => {
                assert_eq!(
                    stream.advance(&bytes[seen.forwarded..]),
                    RequestProgress::Refuse(reason),
                    "a refusal is final"
                );
                return Some(Seen { refused: Some(reason), ..seen });
            }
        }
    }
}

/// Where the request that begins at `start` ends; none while it is incomplete.
fn end_of_request(bytes: &[u8], start: usize) -> Option<usize> {
    // An empty line in front is part of the head.
    let start = if bytes[start..].starts_with(b"\r\n") { start + 2 } else { start };
    let head_end = start + find(&bytes[start..], b"\r\n\r\n")? + 4;
    let head = bytes[start..head_end].to_ascii_lowercase();
    if find(&head, b"\r\ntransfer-encoding:").is_some() {
        return end_of_chunks(bytes, head_end);
    }
    let length = match find(&head, b"\r\ncontent-length:") {
        Some(at) => {
            let value = &head[at + b"\r\ncontent-length:".len()..];
            let line = std::str::from_utf8(&value[..find(value, b"\r\n")?]).ok()?;
            line.trim().parse::<usize>().ok()?
        }
        None => 0,
    };
    head_end.checked_add(length).filter(|end| *end <= bytes.len())
}
