//! The one record of a connection: told once, when it is closed, or when it is dropped without an ending.
//!
//! Nobody else tells about a connection; the access log and the metrics get the same values from here.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::access_log::Log;
use crate::client::Client;
use crate::config;
use crate::metrics::ListenerMetrics;
use crate::outcome::{Close, Outcome, RefuseReason, Unfinished};
use crate::recent::Recent;
use crate::relay::{Side, Tally};
use crate::sni::{Alpn, Group, Hello};

/// Where the records of one listener on one worker go.
pub struct Teller {
    pub listener: config::Listener,
    pub log: Rc<Log>,
    pub metrics: ListenerMetrics,
    pub recent: Rc<Recent>,
    /// Set when the worker stops: what is still open then was not lost but cut.
    pub stopping: Rc<Cell<bool>>,
}

pub struct Record {
    teller: Rc<Teller>,
    pub id: u64,
    pub peer: SocketAddr,
    pub client: Option<Client>,
    /// The rule that decided, as `ipcontrol.yaml:12`.
    pub rule: Option<Arc<str>>,
    /// The name asked for in its normal form; one that was refused [as the client wrote it](as_written).
    pub name: Option<Box<str>>,
    pub upstream: Option<SocketAddr>,
    /// What an operator should know beyond the reason word.
    pub detail: Option<Box<str>>,
    pub tally: Tally,
    pub closed_by: Option<Side>,
    /// The addresses came from an expired answer, because the resolver was silent.
    pub stale: bool,
    /// ClientHello facts, for TLS.
    pub hello: Option<HelloFacts>,
    pub times: Times,
    told: bool,
}

/// What the log tells about a ClientHello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HelloFacts {
    pub size: u16,
    pub records: u16,
    pub alpn: Option<Alpn>,
    pub ech: bool,
    pub key_share: Option<Group>,
}

impl From<&Hello> for HelloFacts {
    fn from(hello: &Hello) -> Self {
        let &Hello { name: _, size, records, alpn, ech, key_share } = hello;
        Self { size, records, alpn, ech, key_share }
    }
}

/// When each step was done, counted from accept.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub accepted: Instant,
    pub header: Option<Duration>,
    pub hello: Option<Duration>,
    pub dns: Option<Duration>,
    pub connect: Option<Duration>,
}

impl Times {
    fn new() -> Self {
        Self { accepted: Instant::now(), header: None, hello: None, dns: None, connect: None }
    }

    pub fn elapsed(&self) -> Duration {
        self.accepted.elapsed()
    }
}

impl Record {
    pub fn open(teller: Rc<Teller>, id: u64, peer: SocketAddr) -> Self {
        teller.metrics.opened();
        Self {
            teller,
            id,
            peer,
            client: None,
            rule: None,
            name: None,
            upstream: None,
            detail: None,
            tally: Tally::default(),
            closed_by: None,
            stale: false,
            hello: None,
            times: Times::new(),
            told: false,
        }
    }

    /// The names for which a client was refused: the first, and where there are two the other as the detail.
    pub(crate) fn refused_names(&mut self, names: &[Vec<u8>]) {
        let mut names = names.iter().map(|name| as_written(name));
        self.name = names.next();
        self.detail = names.next().map(|other| format!("it also names {other}").into());
    }

    pub fn close(mut self, outcome: Outcome) {
        self.tell(outcome);
    }

    fn tell(&mut self, outcome: Outcome) {
        self.told = true;
        let denied = matches!(outcome, Outcome::Refused(RefuseReason::ClientDenied | RefuseReason::NameDenied));
        if denied && self.rule.is_none() && self.detail.is_none() {
            self.detail = Some("no rule matches; the end of the list denies".into());
        }
        self.teller.metrics.closed(outcome, self);
        self.teller.recent.note(&self.teller.listener.name, self, outcome);
        // A probe says nothing that a count does not.
        if !matches!(outcome, Outcome::Probe(_)) {
            self.teller.log.write(&self.teller.listener, self, outcome);
        }
    }
}

/// Of a name that was refused, in bytes.
const MAX_WRITTEN: usize = 255;

/// What a client wrote where a name belongs, as text: not more of it than a log line can bear, and without the
/// control characters beyond ASCII, which JSON does not escape and a terminal may obey.
pub fn as_written(bytes: &[u8]) -> Box<str> {
    let text = String::from_utf8_lossy(bytes.get(..MAX_WRITTEN).unwrap_or(bytes));
    let harmless = |c: char| if c.is_control() && c > '\u{7e}' { char::REPLACEMENT_CHARACTER } else { c };
    let mut text: String = text.chars().map(harmless).collect();
    while text.len() > MAX_WRITTEN {
        text.pop();
    }
    text.into()
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.told {
            return;
        }
        let outcome = match (self.teller.stopping.get(), self.times.connect) {
            (true, Some(_)) => Outcome::Relayed(Close::Drained),
            (true, None) => Outcome::Unfinished(Unfinished::Stopped),
            (false, _) => Outcome::Unfinished(Unfinished::Lost),
        };
        self.tell(outcome);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_written_is_cut_and_can_do_no_harm() {
        for (written, told) in [
            (&b"10.0.0.1"[..], "10.0.0.1"),
            (b"", ""),
            (b"a\0b\x1b[31m", "a\0b\x1b[31m"),
            (b"\xff.example", "\u{fffd}.example"),
            (b"\xc2\x9b31m\x7f", "\u{fffd}31m\u{fffd}"),
            (&[b'x'; 9000], &"x".repeat(255)),
            ("é".repeat(200).as_bytes(), &"é".repeat(127)),
        ] {
            assert_eq!(&*as_written(written), told);
        }
    }

    proptest! {
        #[test]
        fn never_longer_than_its_bound(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(as_written(&bytes).len() <= MAX_WRITTEN);
        }
    }
}
