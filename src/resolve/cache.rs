//! The one cache behind all workers' resolvers: single flight, TTL within bounds, renewal of names in use,
//! stale answers while the resolver is silent, failures remembered briefly, a bounded size.
//!
//! It is a single task that owns everything, so there is nothing to lock.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Answer, Ask, Asks, Found, Lookup, LookupError, Shown};
use crate::config::Config;
use crate::hostname::Hostname;
use crate::limits::{ClientKey, Quota, Rate, Table};

/// Bounds of the cache; see `config::Dns` for their meaning.
#[derive(Debug, Clone)]
pub struct Limits {
    pub min_ttl: Duration,
    pub max_ttl: Duration,
    pub negative_ttl: Duration,
    pub max_stale: Duration,
    pub capacity: usize,
    /// Names looked up for connections, in total and for one client. Renewals are not counted: names in use
    /// keep their share of what the resolver gives.
    pub lookups: Rate,
    pub per_client: Quota,
}

impl From<&Config> for Limits {
    fn from(config: &Config) -> Self {
        let Config { dns, limits, .. } = config;
        Self {
            lookups: Rate::per_second(limits.lookups_per_second),
            per_client: Quota { concurrent: None, per_second: Some(limits.lookups_per_client) },
            min_ttl: dns.min_ttl,
            max_ttl: dns.max_ttl,
            negative_ttl: dns.negative_ttl,
            max_stale: dns.max_stale,
            capacity: dns.cache_size.get(),
        }
    }
}

/// What the cache tells the rest of the program about itself.
pub trait Observer {
    /// A question went out and came back.
    fn looked_up(&self, result: &Result<Found, LookupError>);
    /// An expired answer was served.
    fn served_stale(&self);
}

pub struct Cache<L, O> {
    lookup: L,
    observer: O,
    limits: Limits,
    entries: HashMap<Hostname, Entry>,
    flights: FuturesUnordered<Flight>,
    lookups: Option<Instant>,
    clients: Arc<Table<ClientKey>>,
}

type Flight = Pin<Box<dyn Future<Output = (Hostname, Result<Found, LookupError>)>>>;
type Waiter = oneshot::Sender<Result<Arc<Answer>, LookupError>>;

struct Entry {
    answer: Option<Arc<Answer>>,
    /// The last lookup failed; it is not tried again before this moment.
    failed: Option<(LookupError, Instant)>,
    in_flight: bool,
    waiting: Vec<Waiter>,
    last_used: Instant,
}

impl<L: Lookup, O: Observer> Cache<L, O> {
    pub fn new(lookup: L, observer: O, limits: Limits) -> Self {
        let clients = Table::new(limits.per_client, limits.capacity);
        let (entries, flights) = (HashMap::new(), FuturesUnordered::new());
        Self { lookup, observer, limits, entries, flights, lookups: None, clients }
    }

    /// Answers until every asker is gone.
    pub async fn run(mut self, mut asks: Asks) {
        loop {
            tokio::select! {
                ask = asks.0.recv() => match ask {
                    Some(Ask::Resolve { name, client, reply }) => self.resolve(name, client, reply),
                    Some(Ask::Renew(name)) => self.renew(&name),
                    // Who asked may have gone.
                    Some(Ask::Show { most, reply }) => drop(reply.send(self.show(most))),
                    None => return,
                },
                Some((name, result)) = self.flights.next() => self.land(&name, result),
            }
        }
    }

    fn resolve(&mut self, name: Hostname, client: Option<ClientKey>, waiter: Waiter) {
        let now = Instant::now();
        if !self.may_ask(&name, client, now) {
            return self.tell(Err(LookupError::Limited), waiter);
        }
        if !self.entries.contains_key(&name) {
            self.make_room(now);
        }
        let entry = self.entries.entry(name.clone()).or_insert_with(|| Entry::new(now));
        entry.last_used = now;
        let reply = match (&entry.answer, entry.failed) {
            (Some(answer), _) if now < answer.expires => Some(Ok(Arc::clone(answer))),
            (_, Some((error, retry_at))) if now < retry_at => {
                Some(entry.stale(now, retry_at, &self.limits).ok_or(error))
            }
            // The last try failed: nobody waits for the next one while the old answer may serve.
            (Some(_), Some(_)) => entry.stale(now, now, &self.limits).map(Ok),
            _ => None,
        };
        let Some(reply) = reply else {
            entry.waiting.push(waiter);
            self.depart(name);
            return;
        };
        self.tell(reply, waiter);
        self.renew(&name);
    }

    /// Whether a name about which nothing is known may be asked for.
    fn may_ask(&mut self, name: &Hostname, client: Option<ClientKey>, now: Instant) -> bool {
        if self.entries.get(name).is_some_and(|entry| entry.in_flight || entry.is_known(now, &self.limits)) {
            return true;
        }
        let Some(client) = client else { return true };
        let Some(next) = self.limits.lookups.take(self.lookups, now) else { return false };
        if self.clients.enter(client).is_err() {
            return false;
        }
        self.lookups = Some(next);
        true
    }

    /// Asks again for a name whose answer is in its last part, unless that failed a moment ago.
    fn renew(&mut self, name: &Hostname) {
        let now = Instant::now();
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.last_used = now;
        let due = entry.answer.as_ref().is_some_and(|answer| now >= answer.renew_at);
        let failed_lately = entry.failed.is_some_and(|(_, retry_at)| now < retry_at);
        if due && !failed_lately {
            self.depart(name.clone());
        }
    }

    fn show(&self, most: usize) -> (usize, Vec<Shown>) {
        let now = Instant::now();
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.last_used));
        let shown = entries.into_iter().take(most).map(|(name, entry)| {
            let answer = entry.answer.as_ref();
            Shown {
                name: name.to_string(),
                addresses: answer.map_or_else(Vec::new, |answer| answer.addresses.to_vec()),
                left: answer.map_or(Duration::ZERO, |answer| answer.expires.saturating_duration_since(now)),
                stale: answer.is_some_and(|answer| now >= answer.expires),
                failed: entry.failed.map(|(error, _)| match error {
                    LookupError::Unknown => "no such name",
                    LookupError::Timeout => "no answer",
                    LookupError::Limited => "not asked",
                    LookupError::Failed => "failed",
                }),
            }
        });
        (self.entries.len(), shown.collect())
    }

    fn depart(&mut self, name: Hostname) {
        let Some(entry) = self.entries.get_mut(&name) else { return };
        if !std::mem::replace(&mut entry.in_flight, true) {
            let lookup = self.lookup.lookup(&name);
            self.flights.push(Box::pin(async move { (name, lookup.await) }));
        }
    }

    fn land(&mut self, name: &Hostname, result: Result<Found, LookupError>) {
        let now = Instant::now();
        self.observer.looked_up(&result);
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.in_flight = false;
        let reply = match result {
            Ok(found) => Ok(entry.store(found, now, &self.limits)),
            Err(error) => {
                let retry_at = now + self.limits.negative_ttl;
                entry.failed = Some((error, retry_at));
                // That a name is gone is an answer; only silence and errors leave the old one in use (RFC 8767 §4).
                if error == LookupError::Unknown {
                    entry.answer = None;
                }
                entry.stale(now, retry_at, &self.limits).ok_or(error)
            }
        };
        for waiter in std::mem::take(&mut entry.waiting) {
            self.tell(reply.clone(), waiter);
        }
    }

    fn tell(&self, reply: Result<Arc<Answer>, LookupError>, waiter: Waiter) {
        if reply.as_ref().is_ok_and(|answer| answer.stale) {
            self.observer.served_stale();
        }
        // A connection that closed meanwhile no longer waits.
        let _ = waiter.send(reply);
    }

    /// Full: what has expired goes first, then the half that was not used for the longest time, so that the
    /// cost of clearing is spread over as many insertions.
    fn make_room(&mut self, now: Instant) {
        if self.entries.len() < self.limits.capacity {
            return;
        }
        self.entries.retain(|_, entry| entry.in_flight || entry.is_of_use(now));
        if self.entries.len() < self.limits.capacity {
            return;
        }
        let mut ages: Vec<Instant> = self.entries.values().map(|entry| entry.last_used).collect();
        let middle = ages.len() / 2;
        let (_, &mut median, _) = ages.select_nth_unstable(middle);
        self.entries.retain(|_, entry| entry.in_flight || entry.last_used > median);
    }
}

impl Entry {
    fn new(now: Instant) -> Self {
        Self { answer: None, failed: None, in_flight: false, waiting: Vec::new(), last_used: now }
    }

    fn store(&mut self, found: Found, now: Instant, limits: &Limits) -> Arc<Answer> {
        let ttl = found.ttl.clamp(limits.min_ttl, limits.max_ttl);
        let answer = Arc::new(Answer {
            addresses: found.addresses.into_boxed_slice(),
            expires: now + ttl,
            renew_at: now + ttl.mul_f32(0.8),
            stale: false,
        });
        self.failed = None;
        self.answer = Some(Arc::clone(&answer));
        answer
    }

    /// The old answer, if it may still serve, marked stale and usable until the next try.
    fn stale(&self, now: Instant, retry_at: Instant, limits: &Limits) -> Option<Arc<Answer>> {
        let answer = self.answer.as_ref()?;
        if now < answer.expires {
            return Some(Arc::clone(answer));
        }
        let usable = now < answer.expires + limits.max_stale;
        usable.then(|| Arc::new(Answer { expires: retry_at, renew_at: retry_at, stale: true, ..Answer::clone(answer) }))
    }

    /// Something can be said about the name, or it was in use lately.
    fn is_known(&self, now: Instant, limits: &Limits) -> bool {
        self.is_of_use(now) || self.answer.as_ref().is_some_and(|answer| now < answer.expires + limits.max_stale)
    }

    fn is_of_use(&self, now: Instant) -> bool {
        self.answer.as_ref().is_some_and(|answer| now < answer.expires)
            || self.failed.is_some_and(|(_, retry_at)| now < retry_at)
    }
}

#[cfg(test)]
mod tests;
