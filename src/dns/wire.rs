//! One family's addresses of one name from the configured resolver: UDP, TCP on truncation, aliases, retries, all
//! under one deadline. What is remembered is decided in `cache.rs`.
//!
//! hickory-resolver asks (`hickory.rs`). When it asks again, and how, is decided here: its own retries ask the same once
//! more, and know nothing of servers that understand no EDNS.

use std::cell::Cell;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hickory_resolver::proto::rr::Name;
use tokio::time::{Instant, timeout};

use super::hickory::{Hickory, Over};
use super::message::{Reply, absolute, request};
use super::{Family, Found, Lookup, LookupError};
use latticegate_core::hostname::Hostname;

/// The resolver, as far as one process talks to it.
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
        let server = Server { hickory, again: deadline / Self::TRIES, plain_until: Cell::new(None) };
        Self { server: Rc::new(server), deadline }
    }
}

impl Lookup for Wire {
    fn lookup(&self, name: &Hostname, family: Family) -> impl Future<Output = Result<Found, LookupError>> + 'static {
        let (server, deadline, local) = (Rc::clone(&self.server), self.deadline, localhost(name, family));
        let name = absolute(name);
        async move {
            match local {
                Some(found) => Ok(found),
                None => timeout(deadline, server.follow(name?, family)).await.unwrap_or(Err(LookupError::Timeout)),
            }
        }
    }
}

/// A name that nobody is asked for (RFC 6761 §6.3). Whether loopback may be dialled is decided elsewhere.
fn localhost(name: &Hostname, family: Family) -> Option<Found> {
    let address = match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    };
    let is_local = name.as_str().rsplit('.').next() == Some("localhost");
    is_local.then(|| Found { addresses: vec![address], ttl: Duration::MAX })
}

struct Server {
    hickory: Hickory,
    /// After this time without an answer a question is sent again.
    again: Duration,
    /// It does not understand EDNS; from this moment on it is tried anew.
    plain_until: Cell<Option<Instant>>,
}

impl Server {
    /// For so long a server that was asked in vain with EDNS is asked without.
    const PLAIN: Duration = Duration::from_secs(300);
    /// Aliases whose target has to be asked for. A resolver follows them itself; few forwarders do not.
    const MAX_ALIASES: usize = 8;

    async fn follow(&self, mut name: Name, family: Family) -> Result<Found, LookupError> {
        let mut shortest = Duration::MAX;
        for _ in 0..=Self::MAX_ALIASES {
            let reply = self.ask(&name, family).await?;
            match reply {
                Reply::Addresses(found) => return Ok(Found { ttl: found.ttl.min(shortest), ..found }),
                Reply::Nothing(ttl) => return Ok(Found { addresses: Vec::new(), ttl: ttl.min(shortest) }),
                Reply::Alias(target, ttl) => (name, shortest) = (target, shortest.min(ttl)),
                Reply::Failed(_) | Reply::Foreign | Reply::Truncated => {
                    tracing::debug!(%name, ?reply, "DNS lookup failed");
                    return Err(LookupError::Failed);
                }
            }
        }
        tracing::debug!(%name, "DNS lookup failed: too many aliases");
        Err(LookupError::Failed)
    }

    async fn ask(&self, name: &Name, family: Family) -> Result<Reply, LookupError> {
        let mut reply = self.over_udp(name, family, self.may_use_edns()).await?;
        if let Reply::Failed(fault) = reply
            && fault.may_be_edns()
        {
            // Once more: it may be EDNS, and a SERVFAIL may be one server of several.
            let second = timeout(self.again, self.over_udp(name, family, false)).await;
            match second {
                Ok(Ok(Reply::Failed(fault))) if fault.may_be_edns() => {}
                Ok(Ok(second)) => {
                    self.forget_edns();
                    reply = second;
                }
                // The error was an answer, this is none.
                Ok(Err(_)) | Err(_) => {}
            }
        }
        match reply {
            Reply::Truncated => self.over_tcp(name, family).await,
            reply => Ok(reply),
        }
    }

    /// The first answer counts, whichever of the packets it is to. The last packet goes without EDNS: some
    /// firewalls drop what they do not know.
    async fn over_udp(&self, name: &Name, family: Family, edns: bool) -> Result<Reply, LookupError> {
        let mut asked = FuturesUnordered::new();
        for attempt in 1..=Wire::TRIES {
            let with = edns && attempt < Wire::TRIES;
            asked.push(async move { (self.hickory.ask(Over::Udp, request(name, family, with)).await, with) });
            // The last one waits until the deadline, which is the caller's.
            let wait = if attempt < Wire::TRIES { self.again } else { Duration::from_secs(3600) };
            let Ok(Some((reply, to_edns))) = timeout(wait, asked.next()).await else { continue };
            let reply = reply?;
            match (&reply, to_edns) {
                (Reply::Failed(fault), true) if fault.may_be_edns() => {}
                (_, true) => self.plain_until.set(None),
                (_, false) if edns => self.forget_edns(),
                (_, false) => {}
            }
            return Ok(reply);
        }
        Err(LookupError::Timeout)
    }

    async fn over_tcp(&self, name: &Name, family: Family) -> Result<Reply, LookupError> {
        let mut last = LookupError::Failed;
        for _ in 0..Wire::TRIES {
            match self.hickory.ask(Over::Tcp, request(name, family, false)).await {
                Ok(reply) => return Ok(reply),
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
                // This question tries it; those beside it do not wait for what comes of it.
                self.plain_until.set(Some(now + self.again * Wire::TRIES * 2));
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
