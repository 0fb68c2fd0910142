//! The ClientHello: a name that is reported stands in the hello, and records may be cut anywhere.

use latticegate_core::hostname::Hostname;
use latticegate_core::protocol::Verdict;
use latticegate_core::protocol::client_hello::{Hello, HelloParser, MAX_BYTES, MAX_HELLO, parse};

use crate::verdict::{resumes, stable};

pub fn check(bytes: &[u8]) -> Verdict<Hello> {
    let verdict = stable(bytes, MAX_BYTES, parse);
    resumes(bytes, || {
        let mut parser = HelloParser::default();
        move |bytes| parser.parse(bytes)
    });
    let found = if let Verdict::Found { value, .. } = &verdict { Some(&value.name) } else { None };
    crate::first_bytes::check(bytes, found);
    if let Verdict::Found { value, len } = &verdict {
        let (message, records) = message(&bytes[..*len]);
        assert_eq!(usize::from(value.size), message.len());
        assert_eq!(usize::from(value.records), records);
        assert!(message.len() <= MAX_HELLO);
        let name = value.name.as_str();
        assert_eq!(Hostname::parse(name.as_bytes()).as_ref(), Ok(&value.name), "not in normal form");
        let lower = message.to_ascii_lowercase();
        assert!(lower.windows(name.len()).any(|window| window == name.as_bytes()), "{name} is not in the hello");
        cut_into_other_records(&message, value);
    }
    verdict
}

/// The handshake message and how many records it came in.
fn message(mut records: &[u8]) -> (Vec<u8>, usize) {
    let mut message = Vec::new();
    let mut count = 0;
    while !records.is_empty() {
        assert_eq!(records[0], 22, "a record of another type inside the hello");
        let end = 5 + usize::from(u16::from_be_bytes([records[3], records[4]]));
        message.extend_from_slice(&records[5..end]);
        records = &records[end..];
        count += 1;
    }
    (message, count)
}

/// The same hello in records of another size is the same hello.
fn cut_into_other_records(message: &[u8], value: &Hello) {
    for size in [message.len(), message.len().div_ceil(2), message.len().div_ceil(64), 1] {
        let mut bytes = Vec::new();
        for fragment in message.chunks(size) {
            bytes.extend_from_slice(&[22, 3, 1]);
            bytes.extend_from_slice(&u16::try_from(fragment.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(fragment);
        }
        let Verdict::Found { value: again, len } = parse(&bytes) else { panic!("cut by {size}: {:?}", parse(&bytes)) };
        assert_eq!(len, bytes.len());
        assert_eq!((&again.name, again.size), (&value.name, value.size));
    }
}
