//! The head of a request to a forward proxy: what is sent instead of it is one request, the same one to every reader.

use latticegate_core::hostname::Hostname;
use latticegate_core::protocol::Verdict;
use latticegate_core::protocol::forward_head::{ForwardHead, ForwardParser, RefusedRequest};
use latticegate_core::protocol::http_head::{self, BodyFraming, MAX_FIELDS, MAX_HEAD};

use crate::verdict::{resumes, stable};

pub(crate) const VIA_NAME: &str = "latticegate";
/// What rewriting may add to a head: `Host`, `Via`, `Connection`, and a blank behind each colon.
const MOST_ADDED: usize = 512;
const HOP_BY_HOP: [&str; 7] = [
    "proxy-connection",
    "keep-alive",
    "te",
    "upgrade",
    "proxy-authorization",
    "proxy-authenticate",
    "proxy-authentication-info",
];

pub fn check(bytes: &[u8]) -> Verdict<ForwardHead> {
    let verdict = stable(bytes, MAX_HEAD, |bytes| ForwardParser::default().parse(bytes, VIA_NAME));
    resumes(bytes, || {
        let mut parser = ForwardParser::default();
        move |bytes| parser.parse(bytes, VIA_NAME)
    });
    match &verdict {
        Verdict::Found { value, len } => {
            let name = value.name.as_str();
            assert_eq!(Hostname::parse(name.as_bytes()).as_ref(), Ok(&value.name), "not in normal form");
            assert_ne!(value.port, 0);
            if value.is_connect() {
                assert!(value.rewritten.is_empty() && value.body == BodyFraming::None);
            } else {
                assert!(value.rewritten.len() <= len + MOST_ADDED, "{} bytes of {len}", value.rewritten.len());
                is_one_request(value);
                has_every_field(value, &bytes[..*len]);
                is_the_same_if_done_twice(value);
            }
        }
        Verdict::Refuse(reason) => {
            for name in RefusedRequest::of(*reason, bytes).names {
                let is_secret = name.iter().any(|byte| b"@/?#\\%".contains(byte));
                assert!(!is_secret, "userinfo, a path or a query would be logged: {}", name.escape_ascii());
            }
        }
        Verdict::NeedMore => {}
    }
    verdict
}

/// Read again by our own strict reader, and by one that knows nothing of it.
fn is_one_request(head: &ForwardHead) {
    let rewritten = &head.rewritten;
    assert!(ends_only_lines(rewritten), "{}", rewritten.escape_ascii());
    assert_eq!(rewritten.windows(4).position(|end| end == b"\r\n\r\n"), Some(rewritten.len() - 4), "one empty line");
    let lines: Vec<&[u8]> = rewritten.split(|&byte| byte == b'\n').collect();
    if rewritten.len() < MAX_HEAD && lines.len() - 3 <= MAX_FIELDS {
        let Verdict::Found { value, len } = http_head::parse(rewritten, head.port) else {
            panic!("not accepted: {}", rewritten.escape_ascii());
        };
        assert_eq!(len, rewritten.len());
        assert_eq!((&value.name, value.body, value.is_head), (&head.name, head.body, head.expected.head));
        assert_eq!((value.last, value.upgrade), (head.expected.last, false));
    }
    assert_eq!(fields(rewritten, "host").len(), 1);
    let lengths: Vec<String> =
        fields(rewritten, "content-length").iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect();
    let codings = fields(rewritten, "transfer-encoding");
    match head.body {
        BodyFraming::None => assert!(lengths.is_empty() && codings.is_empty()),
        BodyFraming::Length(length) => assert!(lengths == [length.to_string()] && codings.is_empty()),
        BodyFraming::Chunked => assert!(lengths.is_empty() && codings == [b"chunked"]),
    }
    for name in HOP_BY_HOP {
        assert!(fields(rewritten, name).is_empty(), "{name} was passed on");
    }
    let close: &[&[u8]] = if head.expected.last { &[b"close"] } else { &[] };
    assert_eq!(fields(rewritten, "connection"), close);
    let minor = if head.expected.http10 { 0 } else { 1 };
    assert_eq!(fields(rewritten, "via").last(), Some(&format!("1.{minor} {VIA_NAME}").into_bytes()));
}

/// What is neither of this hop nor written anew is there, in its order.
fn has_every_field(head: &ForwardHead, received: &[u8]) {
    let options: Vec<Vec<u8>> = fields(received, "connection")
        .iter()
        .flat_map(|value| value.split(|&byte| byte == b',').map(|option| option.trim_ascii().to_ascii_lowercase()))
        .collect();
    let anew = ["host", "connection", "content-length", "transfer-encoding", "max-forwards", "via"];
    let passes = |(name, _): &(Vec<u8>, Vec<u8>)| {
        let is = |other: &&str| name == other.as_bytes();
        !anew.iter().any(is) && !HOP_BY_HOP.iter().any(is)
    };
    let kept = ["expect", "trailer"].map(|name| name.as_bytes().to_vec());
    let mut expected: Vec<_> = all_fields(received).into_iter().filter(passes).collect();
    expected.retain(|(name, _)| kept.contains(name) || !options.contains(name));
    let sent: Vec<_> = all_fields(&head.rewritten).into_iter().filter(passes).collect();
    assert_eq!(sent, expected);
}

/// Two proxies in a row send what one sends, with a `Via` more.
fn is_the_same_if_done_twice(head: &ForwardHead) {
    let rewritten = &head.rewritten;
    let line = rewritten.windows(2).position(|end| end == b"\r\n").unwrap();
    let (line, rest) = rewritten.split_at(line);
    let line = std::str::from_utf8(line).unwrap();
    let [method, target, version] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
    let target = target.strip_prefix('*').unwrap_or(target);
    let absolute = [format!("{method} http://{}:{}{target} {version}", head.name, head.port).as_bytes(), rest].concat();
    let count = rest.split(|&byte| byte == b'\n').count();
    // As long as nothing reaches a limit.
    if absolute.len() >= MAX_HEAD || count > MAX_FIELDS || fields(rewritten, "max-forwards").contains(&b"0".to_vec()) {
        return;
    }
    let Verdict::Found { value: again, .. } = ForwardParser::default().parse(&absolute, "second") else {
        assert!(fields(rewritten, "via").iter().any(|via| via.to_ascii_lowercase().windows(6).any(|w| w == b"second")));
        return;
    };
    assert_eq!(
        (&again.name, again.port, again.body, again.expected),
        (&head.name, head.port, head.body, head.expected)
    );
    let minor = if head.expected.http10 { 0 } else { 1 };
    let via = |name: &str| format!("Via: 1.{minor} {name}\r\n").into_bytes();
    let at = rewritten.windows(via(VIA_NAME).len()).rposition(|line| line == via(VIA_NAME)).unwrap();
    let (before, after) = rewritten.split_at(at + via(VIA_NAME).len());
    if method != "OPTIONS" || fields(rewritten, "max-forwards").is_empty() {
        assert_eq!(
            again.rewritten.escape_ascii().to_string(),
            [before, &via("second"), after].concat().escape_ascii().to_string()
        );
    }
}

/// CR and LF stand at the ends of lines, and nowhere else; NUL nowhere.
pub(crate) fn ends_only_lines(head: &[u8]) -> bool {
    head.iter().enumerate().all(|(at, &byte)| match byte {
        b'\n' => at > 0 && head[at - 1] == b'\r',
        b'\r' => head.get(at + 1) == Some(&b'\n'),
        0 => false,
        _ => true,
    })
}

/// Name, in lower case, and value of each field, as a reader would see them who ignores white space before the colon.
fn all_fields(head: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    let lines = head.split(|&byte| byte == b'\n').skip(1);
    lines
        .filter_map(|line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            Some((line[..colon].trim_ascii().to_ascii_lowercase(), line[colon + 1..].trim_ascii().to_vec()))
        })
        .collect()
}

/// The values of the fields with this name.
pub(crate) fn fields(head: &[u8], name: &str) -> Vec<Vec<u8>> {
    all_fields(head).into_iter().filter(|(other, _)| other == name.as_bytes()).map(|(_, value)| value).collect()
}
