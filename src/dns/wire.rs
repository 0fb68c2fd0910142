//! One family's addresses of one name from the configured server: UDP, TCP on truncation, aliases, retries, all
//! under one deadline. What is cached is decided in `cache.rs`.
//!
//! hickory-resolver sends the queries (`hickory.rs`). Retries are decided here: its own ones repeat the same query,
//! also to servers that do not support EDNS.

use std::cell::Cell;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use crate::sys::runtime::Instant;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hickory_resolver::proto::rr::Name;
use tokio::time::timeout;

use super::hickory::{Hickory, Transport};
use super::message::{Response, absolute, request};
use super::{AddressSet, Family, Lookup, LookupError};
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
        let hickory = Hickory::new(address, deadline);
        let server = Server { hickory, retry_after: deadline / Self::TRIES, plain_until: Cell::new(None) };
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
        let name = absolute(name);
        async move {
            match local {
                Some(set) => Ok(set),
                None => timeout(deadline, server.follow(name?, family)).await.unwrap_or(Err(LookupError::Timeout)),
            }
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
    hickory: Hickory,
    /// After this time without a response a query is sent again.
    retry_after: Duration,
    /// The server does not support EDNS; from then on it is tried again.
    plain_until: Cell<Option<Instant>>,
}

impl Server {
    /// How long a server that did not support EDNS is queried without it.
    const PLAIN: Duration = Duration::from_secs(300);
    /// Aliases whose target needs another query. A resolver follows them itself; few forwarders do not.
    const MAX_ALIASES: usize = 8;

    async fn follow(&self, mut name: Name, family: Family) -> Result<AddressSet, LookupError> {
        let mut shortest = Duration::MAX;
        for _ in 0..=Self::MAX_ALIASES {
            let response = self.query(&name, family).await?;
            match response {
                Response::Addresses(set) => return Ok(AddressSet { ttl: set.ttl.min(shortest), ..set }),
                Response::Negative(ttl) => return Ok(AddressSet { addresses: Vec::new(), ttl: ttl.min(shortest) }),
                Response::Alias(target, ttl) => (name, shortest) = (target, shortest.min(ttl)),
                Response::Failed(_) | Response::Unrelated | Response::Truncated => {
                    tracing::debug!(%name, ?response, "DNS lookup failed");
                    return Err(LookupError::Failed);
                }
            }
        }
        tracing::debug!(%name, "DNS lookup failed: too many aliases");
        Err(LookupError::Failed)
    }

    async fn query(&self, name: &Name, family: Family) -> Result<Response, LookupError> {
        let mut response = self.over_udp(name, family, self.may_use_edns()).await?;
        if let Response::Failed(error) = response
            && error.may_be_edns()
        {
            // Once more: EDNS may be the cause, and a SERVFAIL may come from one server of several.
            let second = timeout(self.retry_after, self.over_udp(name, family, false)).await;
            match second {
                Ok(Ok(Response::Failed(error))) if error.may_be_edns() => {}
                Ok(Ok(second)) => {
                    self.forget_edns();
                    response = second;
                }
                // The first error was a response, this is none.
                Ok(Err(_)) | Err(_) => {}
            }
        }
        match response {
            Response::Truncated => self.over_tcp(name, family).await,
            response => Ok(response),
        }
    }

    /// The first response counts, whichever of the packets it is for. The last packet is sent without EDNS: some
    /// firewalls drop extensions that they do not know.
    async fn over_udp(&self, name: &Name, family: Family, edns: bool) -> Result<Response, LookupError> {
        let mut queries = FuturesUnordered::new();
        for attempt in 1..=Wire::TRIES {
            let with = edns && attempt < Wire::TRIES;
            queries.push(async move { (self.hickory.query(Transport::Udp, request(name, family, with)).await, with) });
            // The last one waits until the caller's deadline.
            let wait = if attempt < Wire::TRIES { self.retry_after } else { Duration::from_secs(3600) };
            let Ok(Some((response, to_edns))) = timeout(wait, queries.next()).await else { continue };
            let response = response?;
            match (&response, to_edns) {
                (Response::Failed(error), true) if error.may_be_edns() => {}
                (_, true) => self.plain_until.set(None),
                (_, false) if edns => self.forget_edns(),
                (_, false) => {}
            }
            return Ok(response);
        }
        Err(LookupError::Timeout)
    }

    async fn over_tcp(&self, name: &Name, family: Family) -> Result<Response, LookupError> {
        let mut last = LookupError::Failed;
        for _ in 0..Wire::TRIES {
            match self.hickory.query(Transport::Tcp, request(name, family, false)).await {
                Ok(response) => return Ok(response),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn may_use_edns(&self) -> bool {
        let now = Instant::now();
        match self.plain_until.get() {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                // This query tries it; others do not wait for its outcome.
                self.plain_until.set(Some(now + self.retry_after * Wire::TRIES * 2));
                true
            }
        }
    }

    fn forget_edns(&self) {
        self.plain_until.set(Some(Instant::now() + Self::PLAIN));
    }
}

#[cfg(test)]
mod tests;
