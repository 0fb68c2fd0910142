//! What the workers request of the cache, and how it replies.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::{AddressSet, LookupError, ResolvedAddresses};
use latticegate_core::client::ClientKey;
use latticegate_core::hostname::Hostname;

#[derive(Debug)]
pub(crate) enum LookupRequest {
    Resolve {
        name: Hostname,
        /// Whose quota the lookup counts for; None: our own.
        client: Option<ClientKey>,
        reply: Waiter,
    },
    /// The name is in use, and its addresses expire soon.
    Renew(Hostname),
    /// The name is in use.
    Used(Hostname),
    /// Whether the server responds, whatever is cached.
    Probe { name: Hostname, reply: oneshot::Sender<Result<AddressSet, LookupError>> },
    /// The number of names, and the `most` recently used of them.
    View { most: usize, reply: oneshot::Sender<CacheView> },
}

/// The receiver of all workers' requests, for the cache.
pub struct LookupRequests(pub(super) mpsc::UnboundedReceiver<LookupRequest>);

#[cfg(test)]
impl LookupRequests {
    /// Replies to each worker's lookup instead of a cache, after a while; None: never.
    pub(crate) async fn reply_by(mut self, mut reply: impl FnMut(&Hostname) -> Option<(Duration, ScriptedReply)>) {
        use crate::runtime::{cross_thread, sleep, spawn};
        while let Some(request) = cross_thread(self.0.recv()).await {
            let LookupRequest::Resolve { name, reply: waiter, .. } = request else { continue };
            match reply(&name) {
                None => std::mem::forget(waiter),
                Some((delay, result)) => drop(spawn(async move {
                    sleep(delay).await;
                    waiter.send(result);
                })),
            }
        }
    }
}

#[cfg(test)]
pub(crate) type ScriptedReply = Result<Arc<ResolvedAddresses>, LookupError>;

/// A connection that waits for a name's addresses.
#[derive(Debug)]
pub(crate) enum Waiter {
    New(oneshot::Sender<LookupReply>),
    /// It has been informed that it is in the queue.
    Queued(oneshot::Sender<Result<Arc<ResolvedAddresses>, LookupError>>),
}

/// The first reply to a [`LookupRequest::Resolve`].
#[derive(Debug)]
pub(crate) enum LookupReply {
    Done(Result<Arc<ResolvedAddresses>, LookupError>),
    /// The name waits in the queue. If the receiver is dropped meanwhile, it is not looked up.
    Queued(oneshot::Receiver<Result<Arc<ResolvedAddresses>, LookupError>>),
}

impl Waiter {
    pub(super) fn queued(self) -> Self {
        let Self::New(waiter) = self else { return self };
        let (sender, receiver) = oneshot::channel();
        // A connection that has closed already is found later.
        let _ = waiter.send(LookupReply::Queued(receiver));
        Self::Queued(sender)
    }

    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::New(waiter) => waiter.is_closed(),
            Self::Queued(waiter) => waiter.is_closed(),
        }
    }

    /// A connection that has closed meanwhile no longer receives it.
    pub(super) fn send(self, result: Result<Arc<ResolvedAddresses>, LookupError>) {
        match self {
            Self::New(waiter) => drop(waiter.send(LookupReply::Done(result))),
            Self::Queued(waiter) => drop(waiter.send(result)),
        }
    }
}

/// The cache, as the operator's page shows it.
#[derive(Debug, Default)]
pub struct CacheView {
    /// How many names are cached.
    pub names: usize,
    /// The most recently used of them.
    pub shown: Vec<CachedName>,
}

#[derive(Debug, Clone)]
pub struct CachedName {
    pub name: String,
    pub addresses: Vec<IpAddr>,
    /// Since the addresses came.
    pub age: Duration,
    /// Until they expire.
    pub left: Duration,
    pub stale: bool,
    /// Why the last lookup failed.
    pub failed: Option<&'static str>,
}
