//! What the answer to a refused request depends on, taken from the bytes that have come of it.

use memchr::memchr;

use latticegate_core::outcome::RefuseReason;

/// Nothing where nothing has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Request {
    /// Its method is HEAD.
    head: bool,
    /// Its first line has not ended.
    line_is_open: bool,
    /// It is of another major version of HTTP.
    other_version: bool,
}

impl Request {
    /// Of bytes that begin with it, or with a PROXY header of version 1 before it.
    pub fn of(bytes: &[u8]) -> Self {
        let bytes = match bytes.strip_prefix(b"PROXY ") {
            Some(rest) => memchr(b'\n', rest).and_then(|end| rest.get(end + 1..)).unwrap_or_default(),
            None => bytes,
        };
        let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
        let line = memchr(b'\n', bytes).and_then(|end| bytes.get(..end));
        let version = line.and_then(|line| line.trim_ascii_end().rsplit(|&byte| byte == b' ').next());
        Self {
            head: bytes.starts_with(b"HEAD "),
            line_is_open: line.is_none() && !bytes.is_empty(),
            other_version: version
                .is_some_and(|version| matches!(version, [b'H', b'T', b'T', b'P', b'/', b'2'..=b'9', ..])),
        }
    }

    /// Whether its answer has no content.
    pub(super) fn is_head(self) -> bool {
        self.head
    }

    /// The status that says more than that of the reason alone.
    pub(super) fn status(self, reason: &str) -> Option<&'static str> {
        let is = |other: RefuseReason| other.word() == reason;
        if is(RefuseReason::HeadTooLong) && self.line_is_open {
            // RFC 9112 §3: the answer to a target that is longer than is read.
            return Some("414 URI Too Long");
        }
        if is(RefuseReason::HeadMalformed) && self.other_version {
            return Some("505 HTTP Version Not Supported");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_as_far_as_it_has_come() {
        let of = |bytes: &[u8]| {
            let Request { head, line_is_open, other_version } = Request::of(bytes);
            (head, line_is_open, other_version)
        };
        for (bytes, expected) in [
            (&b""[..], (false, false, false)),
            (b"HEA", (false, true, false)),
            (b"HEAD ", (true, true, false)),
            (b"\r\nHEAD / HTTP/1.1\r\n", (true, false, false)),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nHEAD / HTTP/1.1\r\n", (true, false, false)),
            (b"PROXY TCP4 192.0.2.1", (false, false, false)),
            (b"head / HTTP/1.1\r\n", (false, false, false)),
            (b"HEADER / HTTP/1.1\r\n", (false, false, false)),
            (b"GET / HTTP/2.0\r\n", (false, false, true)),
            (b"HEAD / HTTP/3\r\n", (true, false, true)),
            (b"GET /HTTP/2 HTTP/1.1\r\n", (false, false, false)),
        ] {
            assert_eq!(of(bytes), expected, "{}", bytes.escape_ascii());
        }
    }
}
