//! The head of a request on port 80: what is let through reads alike to every reader.

use latticegate_core::hostname::Hostname;
use latticegate_core::protocol::Verdict;
use latticegate_core::protocol::http_head::{Head, HeadParser, MAX_HEAD, parse};

use crate::verdict::{resumes, stable};

const PUBLIC_PORT: u16 = 80;

pub fn check(bytes: &[u8]) -> Verdict<Head> {
    let verdict = stable(bytes, MAX_HEAD, |bytes| parse(bytes, PUBLIC_PORT));
    resumes(bytes, || {
        let mut parser = HeadParser::default();
        move |bytes| parser.parse(bytes, PUBLIC_PORT)
    });
    let found = if let Verdict::Found { value, .. } = &verdict { Some(&value.name) } else { None };
    crate::first_bytes::check(bytes, found);
    if let Verdict::Found { value, len } = &verdict {
        let head = &bytes[..*len];
        let name = value.name.as_str();
        assert_eq!(Hostname::parse(name.as_bytes()).as_ref(), Ok(&value.name), "not in normal form");
        assert!(head.ends_with(b"\r\n\r\n"));
        assert!(!head.contains(&0), "NUL was let through");
        for (at, &byte) in head.iter().enumerate() {
            assert!(byte != b'\n' || head[at - 1] == b'\r', "a lone LF was let through");
            assert!(byte != b'\r' || head[at + 1] == b'\n', "a lone CR was let through");
        }
        assert_eq!(fields(head, "host").len(), 1, "Host must stand exactly once");
        let lengths = fields(head, "content-length").len();
        let codings = fields(head, "transfer-encoding").len();
        assert!(lengths + codings <= 1, "{lengths} lengths and {codings} codings were let through");
        let host = String::from_utf8_lossy(&fields(head, "host")[0]).to_lowercase();
        let host = host.trim_matches([' ', '\t']).trim_end_matches(":80").trim_end_matches([':', '.']);
        assert_eq!(host, name);
    }
    verdict
}

/// The values of the fields with this name, as a reader would see them who ignores white space before the colon.
fn fields(head: &[u8], name: &str) -> Vec<Vec<u8>> {
    head.split(|&byte| byte == b'\n')
        .filter_map(|line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            let field = line[..colon].trim_ascii();
            field.eq_ignore_ascii_case(name.as_bytes()).then(|| line[colon + 1..].trim_ascii().to_vec())
        })
        .collect()
}
