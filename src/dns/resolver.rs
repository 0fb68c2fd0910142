//! One worker's side of the cache.

use std::cell::RefCell;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::runtime::{Either, Instant, cross_thread, race};
use tokio::sync::{mpsc, oneshot};

use super::ranked_map::{Rank, RankedMap, Worth};
use super::request::{CacheView, LookupReply, LookupRequest, LookupRequests, Waiter};
use super::{AddressSet, LookupError, ResolvedAddresses};
use latticegate_core::client::ClientKey;
use latticegate_core::hostname::Hostname;

/// Makes [`Resolver`]s, one for each worker.
#[derive(Debug, Clone)]
pub struct ResolverFactory {
    requests: mpsc::UnboundedSender<LookupRequest>,
    capacity: usize,
}

impl ResolverFactory {
    /// `capacity`: names that one worker remembers.
    pub fn new(capacity: usize) -> (Self, LookupRequests) {
        // Unbounded, and yet bounded: each connection has at most one request at a time.
        let (requests, receiver) = mpsc::unbounded_channel();
        (Self { requests, capacity }, LookupRequests(receiver))
    }

    /// The number of names in the cache and the `most` recently used of them; empty if the cache has ended.
    pub(crate) async fn view(&self, most: usize) -> CacheView {
        let (reply, view) = oneshot::channel();
        // A request that is not sent drops its reply.
        let _ = self.requests.send(LookupRequest::View { most, reply });
        view.await.unwrap_or_default()
    }

    pub fn resolver(&self) -> Resolver {
        Resolver { requests: self.requests.clone(), entries: RefCell::new(RankedMap::new(self.capacity)) }
    }
}

#[derive(Debug)]
pub struct Resolver {
    requests: mpsc::UnboundedSender<LookupRequest>,
    pub(super) entries: RefCell<RankedMap<LocalEntry>>,
}

#[derive(Debug)]
pub(super) struct LocalEntry {
    /// None: the name has no address.
    resolved: Option<Arc<ResolvedAddresses>>,
    renewing: bool,
    /// When the cache was last informed of its use, by the lookup or by a report.
    last_used: Instant,
}

impl LocalEntry {
    fn expires(&self) -> Instant {
        self.resolved.as_ref().map_or(self.last_used + Resolver::UNKNOWN_FOR, |resolved| resolved.expires)
    }
}

impl Resolver {
    /// How often the cache is informed that a name is in use, and therefore kept.
    const USED_EVERY: Duration = Duration::from_secs(10);
    /// How long the cache is not asked again about a name that has no address, beyond the time that the answer itself is
    /// good for: clients that ask for such a name by the thousand leave the cache's thread to the others.
    pub(super) const UNKNOWN_FOR: Duration = Duration::from_millis(500);

    /// `client`: whose quota a lookup counts for.
    pub async fn resolve(
        &self,
        name: &Hostname,
        client: Option<ClientKey>,
    ) -> Result<Arc<ResolvedAddresses>, LookupError> {
        self.resolve_unless(name, client, pending()).await.unwrap_or(Err(LookupError::Failed))
    }

    /// The same, but a name in the queue waits only until `gone`; then it is not looked up.
    pub async fn resolve_unless(
        &self,
        name: &Hostname,
        client: Option<ClientKey>,
        gone: impl Future<Output = ()>,
    ) -> Option<Result<Arc<ResolvedAddresses>, LookupError>> {
        if let Some(known) = self.recall(name) {
            return Some(known);
        }
        let (reply, replied) = oneshot::channel();
        // The cache ends only with the process.
        let _ = self.requests.send(LookupRequest::Resolve { name: name.clone(), client, reply: Waiter::New(reply) });
        let result = match cross_thread(replied).await {
            Ok(LookupReply::Done(result)) => result,
            Ok(LookupReply::Queued(result)) => match race(pin!(cross_thread(result)), pin!(gone)).await {
                Either::First(result) => result.unwrap_or(Err(LookupError::Failed)),
                Either::Second(()) => return None,
            },
            Err(_) => Err(LookupError::Failed),
        };
        match &result {
            Ok(resolved) => self.remember(name, Some(Arc::clone(resolved))),
            Err(LookupError::Unknown) => self.remember(name, None),
            Err(_) => {}
        }
        Some(result)
    }

    /// Queries the server for the IPv4 addresses of a name, whatever is cached.
    pub(crate) async fn probe(&self, name: &Hostname) -> Result<AddressSet, LookupError> {
        let (reply, result) = oneshot::channel();
        // A request that is not sent drops its reply.
        let _ = self.requests.send(LookupRequest::Probe { name: name.clone(), reply });
        result.await.unwrap_or(Err(LookupError::Failed))
    }

    fn recall(&self, name: &Hostname) -> Option<Result<Arc<ResolvedAddresses>, LookupError>> {
        let mut entries = self.entries.borrow_mut();
        let index = entries.find(name)?;
        let rank = entries.rank(index);
        let entry = entries.get_mut(index)?;
        let now = Instant::now();
        if now >= entry.expires() {
            return None;
        }
        let Some(resolved) = entry.resolved.clone() else { return Some(Err(LookupError::Unknown)) };
        let request = if now >= resolved.renew_at && !std::mem::replace(&mut entry.renewing, true) {
            LookupRequest::Renew(name.clone())
        } else if rank != Rank::UsedAgain || now >= entry.last_used + Self::USED_EVERY {
            LookupRequest::Used(name.clone())
        } else {
            return Some(Ok(resolved));
        };
        let _ = self.requests.send(request);
        entry.last_used = now;
        entries.set_rank(index, Rank::UsedAgain);
        Some(Ok(resolved))
    }

    fn remember(&self, name: &Hostname, resolved: Option<Arc<ResolvedAddresses>>) {
        let mut entries = self.entries.borrow_mut();
        let now = Instant::now();
        // Used once, also where the name was known before: its next use is then reported at once, and the cache, which may
        // have forgotten it meanwhile, ranks it as this worker does.
        let rank = if resolved.is_some() { Rank::UsedOnce } else { Rank::NoAddress };
        let new = LocalEntry { resolved, renewing: false, last_used: now };
        let Some(index) = entries.find(name) else {
            entries.insert(name.clone(), rank, new, |entry| {
                Some(Worth { is_fresh: now < entry.expires(), last_used: entry.last_used })
            });
            return;
        };
        if let Some(entry) = entries.get_mut(index) {
            *entry = new;
        }
        entries.set_rank(index, rank);
    }
}
