//! The first bytes of the connections that were refused last, for `/refused`. Off unless configured: only then is anything
//! kept. One ring for all workers, so that its memory does not grow with them; its lock is taken once for each refusal.

use std::collections::VecDeque;
use std::fmt::Write;
use std::net::IpAddr;
use std::num::NonZeroU8;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use crate::sys::mutex::lock;
use crate::telemetry::record::{Record, as_written};
use latticegate_core::outcome::RefuseReason;
use latticegate_core::protocol::first_bytes::FirstBytes;

#[derive(Debug)]
pub struct RefusedBytes {
    most: usize,
    kept: Mutex<VecDeque<Arc<RefusedConnection>>>,
}

/// What is kept of one.
#[derive(Debug)]
pub struct RefusedConnection {
    pub at: SystemTime,
    /// As in the log.
    pub id: u64,
    pub listener: Box<str>,
    /// The client, or the peer where no header named one.
    pub client: IpAddr,
    pub name: Option<Arc<str>>,
    pub reason: RefuseReason,
    /// PROXY header and ClientHello, or what else may be shown.
    pub bytes: Box<[u8]>,
    /// How many have come.
    pub total: usize,
    /// Instead of bytes: of a request, its method and host.
    pub request: Option<(Box<str>, Option<Box<str>>)>,
}

/// A header and a hello of 16 KiB may be longer; those of real clients are about 2 KiB.
const MAX_BYTES: usize = 16 * 1024;

impl RefusedBytes {
    pub fn new(most: NonZeroU8) -> Self {
        Self { most: most.get().into(), kept: Mutex::default() }
    }

    /// `header`: the PROXY header, `rest`: what has come behind it.
    pub(crate) fn add(
        &self,
        listener: &str,
        record: &Record,
        reason: RefuseReason,
        at: SystemTime,
        [header, rest]: [&[u8]; 2],
    ) {
        let (shown, request) = match FirstBytes::of(rest) {
            FirstBytes::Hello(bytes) | FirstBytes::Other(bytes) => (bytes, None),
            FirstBytes::Request { method, host } => (&[][..], Some((method.into(), host.map(as_written)))),
        };
        let bytes = header.iter().chain(shown).take(MAX_BYTES).copied().collect();
        let connection = RefusedConnection {
            at,
            id: record.id,
            listener: listener.into(),
            client: record.client.as_ref().map_or(record.peer.get().ip(), |client| client.ip.get()),
            // A refused Host is in the record as it was written.
            name: record.name.clone().filter(|_| request.is_none()),
            reason,
            bytes,
            total: header.len().saturating_add(rest.len()),
            request,
        };
        let mut kept = lock(&self.kept);
        if kept.len() >= self.most {
            kept.pop_front();
        }
        kept.push_back(Arc::new(connection));
    }

    /// The newest first.
    pub fn read(&self) -> Vec<Arc<RefusedConnection>> {
        lock(&self.kept).iter().rev().cloned().collect()
    }
}

impl RefusedConnection {
    pub fn hex(&self) -> String {
        let mut text = String::with_capacity(self.bytes.len() * 2);
        for byte in &self.bytes {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(kept: &RefusedBytes, id: u64, bytes: [&[u8]; 2]) {
        let record = Record::new(id, "192.0.2.1:1".parse().unwrap());
        kept.add("tls", &record, RefuseReason::NotTls, SystemTime::UNIX_EPOCH, bytes);
    }

    #[test]
    fn only_the_last_are_kept_and_no_more_of_them_than_the_bound() {
        let kept = RefusedBytes::new(NonZeroU8::new(3).unwrap());
        for id in 0..10 {
            add(&kept, id, [&[1; 100_000], &[22; 100_000]]);
        }
        let read = kept.read();
        assert_eq!(read.iter().map(|one| one.id).collect::<Vec<_>>(), [9, 8, 7]);
        assert!(read.iter().all(|one| one.bytes.len() == MAX_BYTES && one.total == 200_000));
    }

    #[test]
    fn a_hello_is_kept_with_its_header_and_of_a_request_no_byte() {
        let kept = RefusedBytes::new(NonZeroU8::MAX);
        add(&kept, 1, [b"header", b"\x16\x03\x01\x00\xff"]);
        add(&kept, 2, [b"", b"GET /secret HTTP/1.1\r\nCookie: secret\r\nHost: a.example\r\n\r\n"]);
        let read = kept.read();
        assert_eq!((&*read[1].hex(), &read[1].request), ("68656164657216030100ff", &None));
        assert_eq!((&*read[0].hex(), &read[0].request), ("", &Some(("GET".into(), Some("a.example".into())))));
        assert!(!format!("{read:?}").contains("secret"));
    }
}
