//! One family's addresses of one name from the configured server: UDP, TCP on truncation, aliases, retries, all
//! under one deadline. What is cached is decided in `cache.rs`.
//!
//! Queries over UDP are sent by `udp.rs`, those over TCP by hickory-resolver (`hickory.rs`). Retries are decided here:
//! hickory's own ones repeat the same query, also to servers that do not support EDNS.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::timeout;

use super::hickory::Hickory;
use super::message::{Question, Response};
use super::udp::{PendingQuery, SocketChoice, Udp};
use super::{AddressSet, Family, Lookup, LookupError};
use crate::runtime::Instant;
use latticegate_core::hostname::Hostname;

/// A client of the configured DNS server.
pub struct Wire {
    server: Rc<Server>,
    deadline: Duration,
}

impl Wire {
    /// A lost packet is sent again after a third of the deadline, twice.
    const TRIES: u32 = 3;

    /// `deadline`: for one name, all retries included.
    pub fn new(address: SocketAddr, deadline: Duration) -> Self {
        let server = Server {
            udp: Udp::new(address),
            hickory: Hickory::new(address, deadline),
            retry_after: deadline / Self::TRIES,
            plain_until: Cell::new(None),
        };
        Self { server: Rc::new(server), deadline }
    }
}

impl Lookup for Wire {
    fn lookup(
        &self,
        name: &Hostname,
        family: Family,
    ) -> impl Future<Output = Result<AddressSet, LookupError>> + 'static {
        let (server, deadline, local) = (Rc::clone(&self.server), self.deadline, localhost(name, family));
        let (question, choice) = (Question::new(name, family), server.udp.choose(name));
        async move {
            if let Some(set) = local {
                return Ok(set);
            }
            Search { server, choice, end: Instant::now() + deadline }.follow(Rc::new(question?)).await
        }
    }
}

/// A name that is never looked up (RFC 6761 §6.3). Whether loopback may be dialled is decided elsewhere.
fn localhost(name: &Hostname, family: Family) -> Option<AddressSet> {
    let address = match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    };
    let is_local = name.as_str().rsplit('.').next() == Some("localhost");
    is_local.then(|| AddressSet { addresses: vec![address], ttl: Duration::MAX })
}

struct Server {
    udp: Udp,
    hickory: Hickory,
    /// After this time without a response a query is sent again.
    retry_after: Duration,
    /// The server does not support EDNS; from then on it is tried again.
    plain_until: Cell<Option<Instant>>,
}

impl Server {
    /// How long a server that did not support EDNS is queried without it.
    const PLAIN: Duration = Duration::from_secs(300);

    fn may_use_edns(&self) -> bool {
        let Some(until) = self.plain_until.get() else { return true };
        let now = Instant::now();
        if now >= until {
            // This query tries it; others do not wait for its outcome.
            self.plain_until.set(Some(now + self.retry_after * Wire::TRIES * 2));
        }
        now >= until
    }

    fn forget_edns(&self) {
        self.plain_until.set(Some(Instant::now() + Self::PLAIN));
    }
}

/// One lookup.
struct Search {
    server: Rc<Server>,
    choice: SocketChoice,
    /// Until then it is waited for.
    end: Instant,
}

impl Search {
    /// Aliases whose target needs another query. A resolver follows them itself; few forwarders do not.
    const MAX_ALIASES: usize = 8;

    async fn follow(&self, mut question: Rc<Question>) -> Result<AddressSet, LookupError> {
        let mut shortest = Duration::MAX;
        for _ in 0..=Self::MAX_ALIASES {
            let response = self.query(&question).await?;
            match response {
                Response::Addresses(set) => {
                    tracing::debug!(name = %question.name(), addresses = ?set.addresses, ttl = ?set.ttl, "DNS lookup");
                    return Ok(AddressSet { ttl: set.ttl.min(shortest), ..set });
                }
                Response::Negative(ttl) => return Ok(AddressSet { addresses: Vec::new(), ttl: ttl.min(shortest) }),
                Response::Alias(target, ttl) => {
                    (question, shortest) = (Rc::new(question.of_alias(target)?), shortest.min(ttl));
                }
                Response::Failed(_) | Response::Unrelated | Response::Truncated => {
                    tracing::debug!(name = %question.name(), ?response, "DNS lookup failed");
                    return Err(LookupError::Failed);
                }
            }
        }
        tracing::debug!(name = %question.name(), "DNS lookup failed: too many aliases");
        Err(LookupError::Failed)
    }

    async fn query(&self, question: &Rc<Question>) -> Result<Response, LookupError> {
        let mut response = self.over_udp(question, self.server.may_use_edns()).await?;
        if let Response::Failed(error) = response
            && error.may_be_edns()
        {
            // Once more: EDNS may be the cause, and a SERVFAIL may come from one server of several.
            let second = timeout(self.server.retry_after, self.over_udp(question, false)).await;
            match second {
                Ok(Ok(Response::Failed(error))) if error.may_be_edns() => {}
                Ok(Ok(second)) => {
                    self.server.forget_edns();
                    response = second;
                }
                // The first error was a response, this is none.
                Ok(Err(_)) | Err(_) => {}
            }
        }
        match response {
            Response::Truncated => {
                let tcp = timeout(self.end - Instant::now(), self.over_tcp(question));
                tcp.await.unwrap_or(Err(LookupError::Timeout))
            }
            response => Ok(response),
        }
    }

    /// The first response counts, whichever of the packets it is for. The last packet is sent without EDNS: some
    /// firewalls drop extensions that they do not know.
    async fn over_udp(&self, question: &Rc<Question>, edns: bool) -> Result<Response, LookupError> {
        let mut sent = Vec::with_capacity(1);
        for attempt in 1..=Wire::TRIES {
            let with = edns && attempt < Wire::TRIES;
            sent.push((self.server.udp.send(question, self.choice, sent.len(), with)?, with));
            let left = self.end - Instant::now();
            let wait = if attempt < Wire::TRIES { left.min(self.server.retry_after) } else { left };
            let first = poll_fn(|cx| first_response(&mut sent, cx));
            let Ok((response, to_edns)) = timeout(wait, first).await else { continue };
            let response = response?;
            match (&response, to_edns) {
                (Response::Failed(error), true) if error.may_be_edns() => {}
                (_, true) => self.server.plain_until.set(None),
                (_, false) if edns => self.server.forget_edns(),
                (_, false) => {}
            }
            return Ok(response);
        }
        Err(LookupError::Timeout)
    }

    async fn over_tcp(&self, question: &Rc<Question>) -> Result<Response, LookupError> {
        let mut last = LookupError::Failed;
        for _ in 0..Wire::TRIES {
            match self.server.hickory.query(question).await {
                Ok(response) => return Ok(response),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

type SentPacket = (PendingQuery, bool);

/// And whether it is to a query with EDNS.
fn first_response(sent: &mut [SentPacket], cx: &mut Context<'_>) -> Poll<(Result<Response, LookupError>, bool)> {
    for (query, edns) in sent {
        if let Poll::Ready(response) = Pin::new(query).poll(cx) {
            return Poll::Ready((response, *edns));
        }
    }
    Poll::Pending
}

#[cfg(test)]
mod tests;
