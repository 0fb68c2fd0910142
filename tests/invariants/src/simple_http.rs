//! The simple reader of HTTP/1 that the streams of both sides are held against.

/// Where a chunked body that begins at `at` ends, its trailer section included; none while it is incomplete.
pub(super) fn end_of_chunks(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let line = &bytes[at..at + find(bytes.get(at..)?, b"\r\n")?];
        let digits = line.split(|&byte| byte == b';').next()?;
        let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        at += line.len() + 2;
        if size == 0 {
            break;
        }
        at = at.checked_add(size)?.checked_add(2)?;
    }
    loop {
        let len = find(bytes.get(at..)?, b"\r\n")?;
        at += len + 2;
        if len == 0 {
            return Some(at);
        }
    }
}

pub(super) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
