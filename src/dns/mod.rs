//! From a name to the addresses behind it.
//!
//! Each worker holds a [`Resolver`]: a small map of the answers it has used, so that a name in use costs no lock
//! and no hop to another thread. Behind all of them stands one cache (`dns/cache.rs`) on the control thread,
//! which asks each question once however many connections wait for it, renews what is in use before it expires
//! and serves stale answers while the resolver is silent. What it knows of a name is in `dns/entry.rs`, whose new
//! name is asked for next in `dns/turns.rs`. `dns/wire.rs` asks, by hickory-resolver (`dns/hickory.rs`) over
//! `dns/sockets.rs`, and `dns/message.rs` reads the answers.

mod cache;
mod entry;
mod hickory;
mod message;
mod sockets;
mod turns;
mod wire;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::pending;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::sys::runtime::Instant;
use tokio::sync::{mpsc, oneshot};

pub use self::cache::{Cache, Limits, Observer};
pub use self::wire::Wire;
use latticegate_core::client::ClientKey;
use latticegate_core::hostname::Hostname;

/// The addresses of one name, at least one, IPv4 first, those of one family in the order of the resolver's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub addresses: Box<[IpAddr]>,
    /// From here on the answer is not used without asking again.
    pub expires: Instant,
    /// From here on whoever uses the answer has it renewed.
    pub renew_at: Instant,
    /// The resolver did not answer when this had expired.
    pub stale: bool,
}

/// Which addresses are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// What is asked for each name.
    pub fn asked(ipv6: bool) -> &'static [Self] {
        if ipv6 { &[Self::V4, Self::V6] } else { &[Self::V4] }
    }
}

/// What one question brought: the addresses of one family, and the smallest TTL on the way to them. No addresses: the
/// resolver says that there are none, or no such name, and for how long that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub addresses: Vec<IpAddr>,
    pub ttl: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookupError {
    /// The name does not exist, or has no address.
    Unknown,
    Timeout,
    /// Not asked: too many names that nothing is known about, and the wait for a turn is longer than `dns.timeout`.
    Limited,
    /// Not asked: no fd or memory for the socket.
    Shortage,
    /// SERVFAIL, REFUSED, garbage, or a resolver that cannot be reached.
    Failed,
}

/// One question to the resolver; the cache asks through it, and tests script it.
pub trait Lookup {
    fn lookup(&self, name: &Hostname, family: Family) -> impl Future<Output = Result<Found, LookupError>> + 'static;
}

/// All addresses of a name, asked for once and remembered nowhere.
pub async fn look_up(lookup: &impl Lookup, name: &Hostname, ipv6: bool) -> Result<Found, LookupError> {
    let mut all = Found { addresses: Vec::new(), ttl: Duration::MAX };
    let mut failed = None;
    let asked = Family::asked(ipv6).iter().map(|family| lookup.lookup(name, *family));
    for result in futures_util::future::join_all(asked).await {
        match result {
            Ok(found) if found.addresses.is_empty() => {}
            Ok(found) => {
                all.ttl = all.ttl.min(found.ttl);
                all.addresses.extend(found.addresses);
            }
            Err(error) => failed = Some(error),
        }
    }
    if all.addresses.is_empty() { Err(failed.unwrap_or(LookupError::Unknown)) } else { Ok(all) }
}

/// What a worker asks of the cache.
#[derive(Debug)]
pub(crate) enum LookupRequest {
    Resolve {
        name: Hostname,
        /// On whose account, if it is a client's.
        client: Option<ClientKey>,
        reply: Waiter,
    },
    /// The answer is in use and will soon expire.
    Renew(Hostname),
    /// The answer is in use.
    Used(Hostname),
    /// Whether the resolver answers, whatever is remembered.
    Probe { name: Hostname, reply: oneshot::Sender<Result<Found, LookupError>> },
    /// What is known, for people: how many names, and so many of those used last.
    Show { most: usize, reply: oneshot::Sender<(usize, Vec<Shown>)> },
}

/// The one who waits for an answer.
#[derive(Debug)]
pub(crate) enum Waiter {
    Asked(oneshot::Sender<Reply>),
    /// It knows that it waits for its turn.
    Queued(oneshot::Sender<Result<Arc<Answer>, LookupError>>),
}

/// What a worker hears at first.
#[derive(Debug)]
pub(crate) enum Reply {
    Answer(Result<Arc<Answer>, LookupError>),
    /// The name has to wait for its turn before it is asked for; who leaves meanwhile is not asked for.
    Queued(oneshot::Receiver<Result<Arc<Answer>, LookupError>>),
}

impl Waiter {
    fn queued(self) -> Self {
        let Self::Asked(waiter) = self else { return self };
        let (sender, receiver) = oneshot::channel();
        // Whoever has left already is found out later.
        let _ = waiter.send(Reply::Queued(receiver));
        Self::Queued(sender)
    }

    fn is_closed(&self) -> bool {
        match self {
            Self::Asked(waiter) => waiter.is_closed(),
            Self::Queued(waiter) => waiter.is_closed(),
        }
    }

    /// A connection that closed meanwhile no longer waits.
    fn send(self, answer: Result<Arc<Answer>, LookupError>) {
        match self {
            Self::Asked(waiter) => drop(waiter.send(Reply::Answer(answer))),
            Self::Queued(waiter) => drop(waiter.send(answer)),
        }
    }
}

/// One name in the cache, as people see it.
#[derive(Debug, Clone)]
pub struct Shown {
    pub name: String,
    pub addresses: Vec<IpAddr>,
    /// Until the answer has to be asked for again.
    pub left: Duration,
    pub stale: bool,
    /// What went wrong with the last question.
    pub failed: Option<&'static str>,
}

/// The far end of every worker's [`Resolver`], for the cache to read from.
pub struct LookupRequests(pub(crate) mpsc::UnboundedReceiver<LookupRequest>);

/// Makes [`Resolver`]s, one for each worker.
#[derive(Debug, Clone)]
pub struct ResolverFactory {
    asks: mpsc::UnboundedSender<LookupRequest>,
    capacity: usize,
}

impl ResolverFactory {
    /// `capacity`: names that one worker remembers.
    pub fn new(capacity: usize) -> (Self, LookupRequests) {
        // Unbounded, and yet bounded: each connection asks at most once at a time.
        let (asks, far_end) = mpsc::unbounded_channel();
        (Self { asks, capacity }, LookupRequests(far_end))
    }

    /// What the cache knows; nothing if it is gone.
    pub(crate) async fn show<T: From<(usize, Vec<Shown>)>>(&self, most: usize) -> T {
        let (reply, shown) = oneshot::channel();
        let sent = self.asks.send(LookupRequest::Show { most, reply });
        let shown = if sent.is_ok() { shown.await.unwrap_or_default() } else { Default::default() };
        shown.into()
    }

    pub fn resolver(&self) -> Resolver {
        Resolver { asks: self.asks.clone(), capacity: self.capacity, known: RefCell::default() }
    }
}

/// One worker's view of the cache.
#[derive(Debug)]
pub struct Resolver {
    asks: mpsc::UnboundedSender<LookupRequest>,
    capacity: usize,
    known: RefCell<HashMap<Hostname, Known>>,
}

#[derive(Debug)]
struct Known {
    answer: Arc<Answer>,
    renewing: Cell<bool>,
    /// When it was last reported to the cache that the answer is in use: never, if it was used only once.
    reported: Cell<Option<Instant>>,
}

impl Resolver {
    /// So often the cache learns that an answer is in use, and keeps it for that.
    const USED_EVERY: Duration = Duration::from_secs(10);

    /// `client`: who caused the question, if it has to be asked.
    pub async fn resolve(&self, name: &Hostname, client: Option<ClientKey>) -> Result<Arc<Answer>, LookupError> {
        self.resolve_unless(name, client, pending()).await.unwrap_or(Err(LookupError::Failed))
    }

    /// The same, but where the name has to wait for its turn, only until `gone`: then nothing is asked.
    pub async fn resolve_unless(
        &self,
        name: &Hostname,
        client: Option<ClientKey>,
        gone: impl Future<Output = ()>,
    ) -> Option<Result<Arc<Answer>, LookupError>> {
        if let Some(answer) = self.recall(name) {
            return Some(Ok(answer));
        }
        let (reply, replied) = oneshot::channel();
        // The cache is gone only when the process ends.
        let _ = self.asks.send(LookupRequest::Resolve { name: name.clone(), client, reply: Waiter::Asked(reply) });
        let answer = match replied.await {
            Ok(Reply::Answer(answer)) => answer,
            Ok(Reply::Queued(answer)) => tokio::select! {
                biased;
                answer = answer => answer.unwrap_or(Err(LookupError::Failed)),
                () = gone => return None,
            },
            Err(_) => Err(LookupError::Failed),
        };
        if let Ok(answer) = &answer {
            self.remember(name, answer);
        }
        Some(answer)
    }

    /// Asks the resolver for the IPv4 addresses of a name, whatever is remembered.
    pub(crate) async fn probe(&self, name: &Hostname) -> Result<Found, LookupError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.asks.send(LookupRequest::Probe { name: name.clone(), reply });
        if sent.is_ok() { answer.await.unwrap_or(Err(LookupError::Failed)) } else { Err(LookupError::Failed) }
    }

    fn recall(&self, name: &Hostname) -> Option<Arc<Answer>> {
        let known = self.known.borrow();
        let entry = known.get(name)?;
        let now = Instant::now();
        if now >= entry.answer.expires {
            return None;
        }
        if now >= entry.answer.renew_at && !entry.renewing.replace(true) {
            let _ = self.asks.send(LookupRequest::Renew(name.clone()));
        } else if entry.reported.get().is_none_or(|last| now >= last + Self::USED_EVERY) {
            let _ = self.asks.send(LookupRequest::Used(name.clone()));
            entry.reported.set(Some(now));
        }
        Some(Arc::clone(&entry.answer))
    }

    fn remember(&self, name: &Hostname, answer: &Arc<Answer>) {
        let mut known = self.known.borrow_mut();
        if known.len() >= self.capacity {
            let now = Instant::now();
            // What was used once goes first: it may have been invented.
            known.retain(|_, entry| entry.answer.expires > now && entry.reported.get().is_some());
            // Still nearly full: all of it can be had again from the cache for one hop each.
            if known.len() >= self.capacity - self.capacity / 16 {
                known.clear();
            }
        }
        let entry = Known { answer: Arc::clone(answer), renewing: Cell::new(false), reported: Cell::new(None) };
        known.insert(name.clone(), entry);
    }
}
