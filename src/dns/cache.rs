//! The one cache behind all workers' resolvers: one query at a time for a name, TTL within bounds, renewal of names in
//! use, stale answers while the server does not respond, failures cached briefly, a bounded size.
//!
//! It is a single task that owns everything, so there is nothing to lock.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;
use tokio::time::sleep_until;

use super::cache_config::CacheConfig;
use super::entry::NameEntry;
use super::lookup_queue::{Enqueued, LookupQueue};
use super::outage::OutageTracker;
use super::ranked_map::{Rank, RankedMap};
use super::request::{CacheView, LookupRequest, LookupRequests, Waiter};
use super::{AddressSet, Family, Lookup, LookupError, ResolvedAddresses};
use crate::limits::Table;
use crate::runtime::Instant;
use latticegate_core::client::ClientKey;
use latticegate_core::hostname::Hostname;

/// What the cache reports about itself.
pub trait Observer {
    /// A name was looked up, in all its families, with this outcome. `took`: the query that was answered last.
    fn looked_up(&self, result: Result<(), LookupError>, took: Duration);
    /// An expired answer was served.
    fn served_stale(&self);
}

pub struct Cache<L, O> {
    lookup: L,
    observer: O,
    config: CacheConfig,
    /// Boxed: they move from one rank to another.
    entries: RankedMap<Box<NameEntry>>,
    events: FuturesUnordered<Pin<Box<dyn Future<Output = Event>>>>,
    queue: LookupQueue,
    outage: OutageTracker,
}

/// What the cache waits for besides requests.
enum Event {
    /// The moment: when the query was sent.
    Answered(Hostname, Family, Instant, Result<AddressSet, LookupError>),
    Probed(Instant, Result<AddressSet, LookupError>, oneshot::Sender<Result<AddressSet, LookupError>>),
    /// The slower family is no longer waited for.
    ResolutionDelayOver(Hostname),
    /// A failure is no longer held against the name.
    Retry(Hostname),
}

impl<L: Lookup, O: Observer> Cache<L, O> {
    pub fn new(lookup: L, observer: O, config: CacheConfig) -> Self {
        let shares = Table::new(config.per_client, config.capacity);
        let queue = LookupQueue::new(config.lookups, config.timeout, shares);
        let (events, outage) = (FuturesUnordered::new(), OutageTracker::default());
        let entries = RankedMap::new(config.capacity);
        Self { lookup, observer, config, entries, events, queue, outage }
    }

    /// Returns when all senders of requests are dropped.
    pub async fn run(mut self, mut requests: LookupRequests) {
        loop {
            let queue_at = self.queue.next_at(Instant::now());
            tokio::select! {
                request = requests.0.recv() => match request {
                    Some(request) => self.handle_request(request),
                    None => return,
                },
                Some(event) = self.events.next() => self.handle_event(event),
                () = sleep_until(queue_at.unwrap_or_else(Instant::now).into()), if queue_at.is_some() => self.run_queue(),
            }
        }
    }

    fn handle_request(&mut self, request: LookupRequest) {
        let now = Instant::now();
        match request {
            LookupRequest::Resolve { name, client, reply } => self.resolve(&name, client, reply, now),
            LookupRequest::Renew(name) => {
                // Also where the entry was evicted: the worker has the name in use.
                let index = self.start_lookup(&name, self.entries.find(&name), now);
                self.touch(index, now);
            }
            LookupRequest::Used(name) => {
                if let Some(index) = self.entries.find(&name) {
                    self.touch(index, now);
                }
            }
            LookupRequest::Probe { name, reply } => {
                let lookup = self.lookup.lookup(&name, Family::V4);
                self.events.push(Box::pin(async move { Event::Probed(now, lookup.await, reply) }));
            }
            // The requester may have given up.
            LookupRequest::View { most, reply } => drop(reply.send(self.view(most, now))),
        }
    }

    fn handle_event(&mut self, event: Event) {
        let now = Instant::now();
        match event {
            Event::Answered(name, family, since, result) => self.finish_lookup(&name, family, result, since, now),
            Event::Probed(since, result, reply) => {
                let outcome = AddressSet::outcome(&result);
                self.outage.record(outcome, now);
                self.observer.looked_up(outcome, now - since);
                // The requester may have given up.
                let _ = reply.send(result);
            }
            Event::ResolutionDelayOver(name) => {
                if let Some(index) = self.entries.find(&name) {
                    self.reply_to_waiters(index, now);
                }
            }
            Event::Retry(name) => self.retry(&name, now),
        }
    }

    fn resolve(&mut self, name: &Hostname, client: Option<ClientKey>, waiter: Waiter, now: Instant) {
        let mut known = self.entries.find(name);
        let entry = known.and_then(|index| self.entries.get(index)).map(|(_, entry)| entry);
        let is_in_use = entry.is_some_and(|entry| entry.is_in_use(now, &self.config));
        let is_free = is_in_use
            || entry.is_some_and(|entry| {
                entry.is_in_flight() || entry.due(now, &self.config, self.outage.recovered()).next().is_none()
            });
        if is_in_use {
            known = known.map(|index| self.touch(index, now));
        }
        let Some(client) = client.filter(|_| !is_free) else { return self.proceed(name, known, waiter, now) };
        match self.queue.enter(name, client, waiter, now) {
            Enqueued::Now(waiter) => self.proceed(name, known, waiter, now),
            Enqueued::Queued => {}
            Enqueued::Rejected(waiters) => {
                waiters.into_iter().for_each(|waiter| self.reply(Err(LookupError::Limited), waiter));
            }
        }
    }

    fn run_queue(&mut self) {
        let now = Instant::now();
        while let Some((name, waiters)) = self.queue.next(now) {
            waiters.into_iter().for_each(|waiter| self.proceed(&name, self.entries.find(&name), waiter, now));
        }
        // Only now: a timer may be late.
        for waiter in self.queue.expired(now) {
            self.reply(Err(LookupError::Limited), waiter);
        }
    }

    /// Looks up what is due, and replies with what is known or lets the waiter wait.
    fn proceed(&mut self, name: &Hostname, known: Option<usize>, waiter: Waiter, now: Instant) {
        let index = self.start_lookup(name, known, now);
        let Some(entry) = self.entries.get_mut(index) else { return };
        let result = match entry.result(now, &self.config) {
            Some(result) => result,
            None if entry.is_in_flight() => return entry.wait(waiter, now),
            None => Err(LookupError::Failed),
        };
        self.reply(result, waiter);
        self.want_retry(index, now);
    }

    /// Looks up each family that is unknown or soon to expire, unless it has just failed. Returns the name's index.
    fn start_lookup(&mut self, name: &Hostname, known: Option<usize>, now: Instant) -> usize {
        let index = known.unwrap_or_else(|| {
            let (entry, config) = (Box::new(NameEntry::new(now)), &self.config);
            self.entries.insert(name.clone(), Rank::NoAddress, entry, |entry| entry.worth(now, config))
        });
        let Some(entry) = self.entries.get_mut(index) else { return index };
        for family in entry.due(now, &self.config, self.outage.recovered()) {
            entry.start(family, now);
            let (lookup, name) = (self.lookup.lookup(name, family), name.clone());
            self.events.push(Box::pin(async move { Event::Answered(name, family, now, lookup.await) }));
        }
        if entry.is_in_flight() {
            self.queue.join(name).into_iter().for_each(|waiter| entry.wait(waiter, now));
        }
        index
    }

    fn finish_lookup(
        &mut self,
        name: &Hostname,
        family: Family,
        result: Result<AddressSet, LookupError>,
        since: Instant,
        now: Instant,
    ) {
        self.outage.record(AddressSet::outcome(&result), now);
        let Some(index) = self.entries.find(name) else { return };
        let Some(entry) = self.entries.get_mut(index) else { return };
        let delay_begins = entry.finish(family, result, now, &self.config);
        if let Some(outcome) = entry.take_outcome() {
            self.observer.looked_up(outcome, now - since);
        }
        let rank = entry.rank(now, &self.config);
        let index = self.entries.set_rank(index, rank);
        if delay_begins {
            let event = Event::ResolutionDelayOver(name.clone());
            self.schedule(event, now + NameEntry::RESOLUTION_DELAY);
        }
        self.reply_to_waiters(index, now);
    }

    /// Replies to all who wait for the name, if there is a result by now.
    fn reply_to_waiters(&mut self, index: usize, now: Instant) {
        let Some(entry) = self.entries.get_mut(index).filter(|entry| !entry.waiters.is_empty()) else { return };
        let result = match entry.result_for_waiters(now, &self.config) {
            Some(result) => result,
            None if entry.is_in_flight() => return,
            None => Err(LookupError::Failed),
        };
        for waiter in std::mem::take(&mut entry.waiters) {
            self.reply(result.clone(), waiter);
        }
        self.want_retry(index, now);
    }

    /// A client wanted the name, and a failure is cached: it is looked up again without a client waiting for it.
    fn want_retry(&mut self, index: usize, now: Instant) {
        let Some(entry) = self.entries.get_mut(index) else { return };
        let Some(at) = entry.retry_at(&self.config, self.outage.recovered()).filter(|at| now < *at) else { return };
        entry.wanted = true;
        if !std::mem::replace(&mut entry.retry_scheduled, true)
            && let Some((name, _)) = self.entries.get(index)
        {
            self.schedule(Event::Retry(name.clone()), at);
        }
    }

    fn retry(&mut self, name: &Hostname, now: Instant) {
        let Some(index) = self.entries.find(name) else { return };
        let Some(entry) = self.entries.get_mut(index) else { return };
        entry.retry_scheduled = false;
        let is_wanted = std::mem::take(&mut entry.wanted);
        if !is_wanted || entry.due(now, &self.config, self.outage.recovered()).next().is_none() {
            return;
        }
        // A name that never had an address may be invented: it comes after all that clients wait for.
        if entry.is_in_use(now, &self.config) || self.queue.try_take(now) {
            self.start_lookup(name, Some(index), now);
        }
    }

    /// Returns the name's new index.
    fn touch(&mut self, index: usize, now: Instant) -> usize {
        let Some(entry) = self.entries.get_mut(index) else { return index };
        entry.last_used = now;
        entry.used_again = true;
        let rank = entry.rank(now, &self.config);
        self.entries.set_rank(index, rank)
    }

    fn view(&self, most: usize, now: Instant) -> CacheView {
        let mut entries: Vec<(&Hostname, &NameEntry)> =
            self.entries.iter().map(|(name, entry)| (name, &**entry)).collect();
        let newest_first = |(_, entry): &(&Hostname, &NameEntry)| std::cmp::Reverse(entry.last_used);
        if entries.len() > most {
            entries.select_nth_unstable_by_key(most, newest_first);
            entries.truncate(most);
        }
        entries.sort_by_key(newest_first);
        let shown = entries.into_iter().map(|(name, entry)| entry.view(name, now, &self.config));
        CacheView { names: self.entries.len(), shown: shown.collect() }
    }

    fn reply(&self, result: Result<Arc<ResolvedAddresses>, LookupError>, waiter: Waiter) {
        if result.as_ref().is_ok_and(|resolved| resolved.stale) {
            self.observer.served_stale();
        }
        waiter.send(result);
    }

    fn schedule(&self, event: Event, at: Instant) {
        self.events.push(Box::pin(async move {
            sleep_until(at.into()).await;
            event
        }));
    }
}

#[cfg(test)]
mod tests;
