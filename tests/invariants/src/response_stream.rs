//! The upstream's side of a connection on port 80: however its bytes are cut, and whatever of the bodies passes unseen, the
//! same is known of its responses; and a second, simple reader finds the end of each at the same place.

use latticegate_core::protocol::http_response::{Expected, Progress, Responses};

use crate::simple_http::{end_of_chunks, find};

/// The first byte says what was asked: two bits for each of four requests.
pub fn check(bytes: &[u8]) -> Option<Progress> {
    let (&kinds, bytes) = bytes.split_first()?;
    let requests: Vec<Expected> =
        (0..4).map(|n| kinds >> (2 * n)).map(|bits| Expected { head: bits & 1 != 0, upgrade: bits & 2 != 0 }).collect();
    let whole = feed(&requests, bytes, bytes.len().max(1), false);
    for step in [1, 2, 3, 7, 64, 1000].into_iter().filter(|step| bytes.len() / step <= 4000) {
        for in_bulk in [false, true] {
            assert_eq!(feed(&requests, bytes, step, in_bulk), whole, "cut by {step}, in bulk: {in_bulk}");
        }
    }
    if let Progress::Owed { requests: owed, begun } = whole {
        let (mut at, mut found) = (0, 0);
        while let Some(end) = requests.get(found).and_then(|request| end_of_response(bytes, at, request.head)) {
            (at, found) = (end, found + 1);
        }
        let expected = (found, at < bytes.len() && !only_interim(&bytes[at..]));
        assert_eq!((requests.len() - owed, begun), expected, "{kinds:#b} {}", bytes.escape_ascii());
    }
    Some(whole)
}

fn feed(requests: &[Expected], bytes: &[u8], step: usize, in_bulk: bool) -> Progress {
    let mut stream = Responses::default();
    requests.iter().for_each(|request| stream.expect(*request));
    let mut at = 0;
    while at < bytes.len() {
        let mut come = bytes.len().min(at + step);
        if in_bulk {
            let moved = usize::try_from(stream.unseen()).unwrap_or(usize::MAX).min(come - at);
            stream.pass(u64::try_from(moved).unwrap());
            at += moved;
            come = come.max(at);
        }
        stream.follow(&bytes[at..come]);
        at = come;
    }
    stream.progress()
}

/// Where the final response that begins at `start` ends; none while it is incomplete, or if it ends with the connection.
fn end_of_response(bytes: &[u8], start: usize, head_only: bool) -> Option<usize> {
    let head_end = start + find(&bytes[start..], b"\r\n\r\n")? + 4;
    let head = bytes[start..head_end].to_ascii_lowercase();
    let status: u16 = std::str::from_utf8(head.get(9..12)?).ok()?.parse().ok()?;
    match status {
        100..200 => return end_of_response(bytes, head_end, head_only),
        204 | 304 => return Some(head_end),
        _ if head_only => return Some(head_end),
        _ => {}
    }
    if let Some(at) = find(&head, b"\r\ntransfer-encoding:") {
        let value = &head[at + b"\r\ntransfer-encoding:".len()..];
        let value = value[..find(value, b"\r\n")?].trim_ascii();
        let coding = value.rsplit(|&byte| byte == b',').next()?.trim_ascii();
        return if coding == b"chunked" { end_of_chunks(bytes, head_end) } else { None };
    }
    let at = find(&head, b"\r\ncontent-length:")?;
    let value = &head[at + b"\r\ncontent-length:".len()..];
    let digits: Vec<u8> =
        value[..find(value, b"\r\n")?].trim_ascii().iter().copied().take_while(u8::is_ascii_digit).collect();
    let length: usize = String::from_utf8(digits).ok()?.parse().ok()?;
    head_end.checked_add(length).filter(|end| *end <= bytes.len())
}

/// Whole interim responses and nothing behind them.
fn only_interim(bytes: &[u8]) -> bool {
    bytes.is_empty()
        || bytes.starts_with(b"HTTP/1.") && bytes.get(9) == Some(&b'1') && {
            find(bytes, b"\r\n\r\n").is_some_and(|end| only_interim(&bytes[end + 4..]))
        }
}
