//! One worker's side of the cache.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::sys::runtime::{Either, Instant, race};
use tokio::sync::{mpsc, oneshot};

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
        Resolver { requests: self.requests.clone(), capacity: self.capacity, entries: RefCell::default() }
    }
}

#[derive(Debug)]
pub struct Resolver {
    requests: mpsc::UnboundedSender<LookupRequest>,
    capacity: usize,
    pub(super) entries: RefCell<HashMap<Hostname, LocalEntry>>,
}

#[derive(Debug)]
pub(super) struct LocalEntry {
    resolved: Arc<ResolvedAddresses>,
    renewing: Cell<bool>,
    /// When its use was last reported to the cache: never, if it was used only once.
    reported: Cell<Option<Instant>>,
}

impl Resolver {
    /// How often the cache is informed that a name is in use, and therefore kept.
    const USED_EVERY: Duration = Duration::from_secs(10);

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
        if let Some(resolved) = self.recall(name) {
            return Some(Ok(resolved));
        }
        let (reply, replied) = oneshot::channel();
        // The cache ends only with the process.
        let _ = self.requests.send(LookupRequest::Resolve { name: name.clone(), client, reply: Waiter::New(reply) });
        let result = match replied.await {
            Ok(LookupReply::Done(result)) => result,
            Ok(LookupReply::Queued(result)) => match race(result, pin!(gone)).await {
                Either::First(result) => result.unwrap_or(Err(LookupError::Failed)),
                Either::Second(()) => return None,
            },
            Err(_) => Err(LookupError::Failed),
        };
        if let Ok(resolved) = &result {
            self.remember(name, resolved);
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

    fn recall(&self, name: &Hostname) -> Option<Arc<ResolvedAddresses>> {
        let entries = self.entries.borrow();
        let entry = entries.get(name)?;
        let now = Instant::now();
        if now >= entry.resolved.expires {
            return None;
        }
        if now >= entry.resolved.renew_at && !entry.renewing.replace(true) {
            let _ = self.requests.send(LookupRequest::Renew(name.clone()));
        } else if entry.reported.get().is_none_or(|last| now >= last + Self::USED_EVERY) {
            let _ = self.requests.send(LookupRequest::Used(name.clone()));
            entry.reported.set(Some(now));
        }
        Some(Arc::clone(&entry.resolved))
    }

    fn remember(&self, name: &Hostname, resolved: &Arc<ResolvedAddresses>) {
        let mut entries = self.entries.borrow_mut();
        if entries.len() >= self.capacity {
            let now = Instant::now();
            // Names used once go first: they may be invented.
            entries.retain(|_, entry| entry.resolved.expires > now && entry.reported.get().is_some());
            // Still nearly full: each name costs one hop to the cache.
            if entries.len() >= self.capacity - self.capacity / 16 {
                entries.clear();
            }
        }
        let entry =
            LocalEntry { resolved: Arc::clone(resolved), renewing: Cell::new(false), reported: Cell::new(None) };
        entries.insert(name.clone(), entry);
    }
}
