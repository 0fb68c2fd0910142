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
use crate::outcome::{Close, Outcome, Unfinished};
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
    /// The name asked for, as the client wrote it.
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
    pub records: u8,
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

    pub fn close(mut self, outcome: Outcome) {
        self.tell(outcome);
    }

    fn tell(&mut self, outcome: Outcome) {
        self.told = true;
        self.teller.metrics.closed(outcome, self);
        self.teller.recent.note(&self.teller.listener.name, self, outcome);
        // A probe says nothing that a count does not.
        if !matches!(outcome, Outcome::Probe(_)) {
            self.teller.log.write(&self.teller.listener, self, outcome);
        }
    }
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
