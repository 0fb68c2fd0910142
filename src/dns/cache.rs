//! The one cache behind all workers' resolvers: single flight, TTL within bounds, renewal of names in use,
//! stale answers while the resolver is silent, failures remembered briefly, a bounded size.
//!
//! It is a single task that owns everything, so there is nothing to lock.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::sys::runtime::{Instant, sleep_until};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;

use super::entry::Entry;
use super::turns::{Entered, Turns};
use super::{Answer, Family, Found, Lookup, LookupError, LookupRequest, LookupRequests, Shown, Waiter};
use crate::limits::{Rate, Table};
use latticegate_core::client::ClientKey;
use latticegate_core::config::{Config, Quota};
use latticegate_core::hostname::Hostname;

/// Bounds of the cache; see `config::Dns` for their meaning.
#[derive(Debug, Clone)]
pub struct Limits {
    pub ipv6: bool,
    /// For one question, and for the wait until it is asked.
    pub timeout: Duration,
    pub min_ttl: Duration,
    pub max_ttl: Duration,
    pub negative_ttl: Duration,
    pub max_stale: Duration,
    pub capacity: usize,
    /// Names looked up for connections, in total, and what one client has of them when others ask as well. Renewals are
    /// not counted: names in use keep their share of what the resolver gives.
    pub lookups: Rate,
    pub per_client: Quota,
}

impl Limits {
    /// How long a first failure is held against a name (RFC 9520 §3.2), and half an answer serves.
    pub(super) const FIRST_HOLD: Duration = Duration::from_secs(1);

    pub fn new(config: &Config, ipv6: bool) -> Self {
        let Config { dns, limits, .. } = config;
        Self {
            ipv6,
            timeout: dns.timeout,
            lookups: Rate::per_second(limits.lookups_per_second),
            per_client: Quota { concurrent: None, per_second: Some(limits.lookups_per_client) },
            min_ttl: dns.min_ttl,
            max_ttl: dns.max_ttl,
            negative_ttl: dns.negative_ttl,
            max_stale: dns.max_stale,
            capacity: dns.cache_size.get(),
        }
    }

    pub(super) fn first_hold(&self) -> Duration {
        Self::FIRST_HOLD.min(self.negative_ttl)
    }

    pub(super) fn families(&self) -> &'static [Family] {
        Family::asked(self.ipv6)
    }
}

/// What the cache tells the rest of the program about itself.
pub trait Observer {
    /// A name was asked for, in all its families, and this came back.
    fn looked_up(&self, result: Result<(), LookupError>);
    /// An expired answer was served.
    fn served_stale(&self);
}

pub struct Cache<L, O> {
    lookup: L,
    observer: O,
    limits: Limits,
    entries: HashMap<Hostname, Entry>,
    events: FuturesUnordered<Pin<Box<dyn Future<Output = Event>>>>,
    turns: Turns,
    resolver: Health,
}

/// What happens by itself.
enum Event {
    Answered(Hostname, Family, Result<Found, LookupError>),
    Probed(Result<Found, LookupError>, oneshot::Sender<Result<Found, LookupError>>),
    /// The slower family has had its moment.
    Patience(Hostname),
    /// A failure is no longer held against the name.
    Retry(Hostname),
}

/// What the resolver has done lately.
#[derive(Default)]
struct Health {
    answered: Option<Instant>,
    /// Since its last answer something has failed.
    failed: bool,
    /// When it last answered again after an outage.
    recovered: Option<Instant>,
}

impl<L: Lookup, O: Observer> Cache<L, O> {
    pub fn new(lookup: L, observer: O, limits: Limits) -> Self {
        let shares = Table::new(limits.per_client, limits.capacity);
        let turns = Turns::new(limits.lookups, limits.timeout, shares);
        let (entries, events, resolver) = (HashMap::new(), FuturesUnordered::new(), Health::default());
        Self { lookup, observer, limits, entries, events, turns, resolver }
    }

    /// Answers until every asker is gone.
    pub async fn run(mut self, mut asks: LookupRequests) {
        loop {
            let turn = self.turns.next_at(Instant::now());
            tokio::select! {
                ask = asks.0.recv() => match ask {
                    Some(ask) => self.take(ask),
                    None => return,
                },
                Some(event) = self.events.next() => self.happen(event),
                () = sleep_until(turn.unwrap_or_else(Instant::now)), if turn.is_some() => self.next_turns(),
            }
        }
    }

    fn take(&mut self, ask: LookupRequest) {
        let now = Instant::now();
        match ask {
            LookupRequest::Resolve { name, client, reply } => self.resolve(&name, client, reply, now),
            LookupRequest::Renew(name) => {
                // Also where the entry had to make room: the worker that asks has it in use.
                self.start_lookup(&name, now);
                self.touch(&name, now);
            }
            LookupRequest::Used(name) => self.touch(&name, now),
            LookupRequest::Probe { name, reply } => {
                let lookup = self.lookup.lookup(&name, Family::V4);
                self.events.push(Box::pin(async move { Event::Probed(lookup.await, reply) }));
            }
            // Who asked may have gone.
            LookupRequest::Show { most, reply } => drop(reply.send(self.show(most, now))),
        }
    }

    fn happen(&mut self, event: Event) {
        let now = Instant::now();
        match event {
            Event::Answered(name, family, result) => self.finish_lookup(&name, family, result, now),
            Event::Probed(result, reply) => {
                let outcome = outcome_of(&result);
                self.resolver.note(outcome, now);
                self.observer.looked_up(outcome);
                // Who asked may have gone.
                let _ = reply.send(result);
            }
            Event::Patience(name) => self.settle(&name, now),
            Event::Retry(name) => self.retry(&name, now),
        }
    }

    fn resolve(&mut self, name: &Hostname, client: Option<ClientKey>, waiter: Waiter, now: Instant) {
        if self.entries.get(name).is_some_and(|entry| entry.is_in_use(now, &self.limits)) {
            self.touch(name, now);
        }
        let is_free = self.entries.get(name).is_some_and(|entry| {
            let due = || entry.due(now, &self.limits, self.resolver.recovered);
            entry.is_in_flight() || entry.is_in_use(now, &self.limits) || due().is_empty()
        });
        let Some(client) = client.filter(|_| !is_free) else { return self.proceed(name, waiter, now) };
        match self.turns.enter(name, client, waiter, now) {
            Entered::Now(waiter) => self.proceed(name, waiter, now),
            Entered::Queued => {}
            Entered::Refused(waiting) => {
                waiting.into_iter().for_each(|waiter| self.tell(Err(LookupError::Limited), waiter));
            }
        }
    }

    fn next_turns(&mut self) {
        let now = Instant::now();
        while let Some((name, waiting)) = self.turns.next(now) {
            waiting.into_iter().for_each(|waiter| self.proceed(&name, waiter, now));
        }
        // Only now: a timer may be late.
        for waiter in self.turns.expired(now) {
            self.tell(Err(LookupError::Limited), waiter);
        }
    }

    /// Asks what is due, and answers with what is known or has the asker wait.
    fn proceed(&mut self, name: &Hostname, waiter: Waiter, now: Instant) {
        self.start_lookup(name, now);
        let Some(entry) = self.entries.get_mut(name) else { return };
        let reply = match entry.verdict(now, &self.limits) {
            Some(reply) => reply,
            None if entry.is_in_flight() => return entry.wait(waiter, now),
            None => Err(LookupError::Failed),
        };
        self.tell(reply, waiter);
        self.want_retry(name, now);
    }

    /// Asks for each family of which nothing is known, or not for long any more, unless that failed a moment ago.
    fn start_lookup(&mut self, name: &Hostname, now: Instant) {
        if !self.entries.contains_key(name) {
            self.make_room(now);
        }
        let entry = self.entries.entry(name.clone()).or_insert_with(|| Entry::new(now));
        for family in entry.due(now, &self.limits, self.resolver.recovered) {
            entry.start(family, now);
            let (lookup, name) = (self.lookup.lookup(name, family), name.clone());
            self.events.push(Box::pin(async move { Event::Answered(name, family, lookup.await) }));
        }
        if entry.is_in_flight() {
            self.turns.join(name).into_iter().for_each(|waiter| entry.wait(waiter, now));
        }
    }

    fn finish_lookup(&mut self, name: &Hostname, family: Family, result: Result<Found, LookupError>, now: Instant) {
        self.resolver.note(outcome_of(&result), now);
        let Some(entry) = self.entries.get_mut(name) else { return };
        if entry.finish(family, result, now, &self.limits) {
            let (name, until) = (name.clone(), now + Entry::RESOLUTION_DELAY);
            self.events.push(Box::pin(async move {
                sleep_until(until).await;
                Event::Patience(name)
            }));
        }
        if let Some(round) = entry.take_round() {
            self.observer.looked_up(round);
        }
        self.settle(name, now);
    }

    /// Answers those who wait, if there is an answer by now.
    fn settle(&mut self, name: &Hostname, now: Instant) {
        let Some(entry) = self.entries.get_mut(name).filter(|entry| !entry.waiting.is_empty()) else { return };
        let reply = match entry.verdict_for_waiting(now, &self.limits) {
            Some(reply) => reply,
            None if entry.is_in_flight() => return,
            None => Err(LookupError::Failed),
        };
        for waiter in std::mem::take(&mut entry.waiting) {
            self.tell(reply.clone(), waiter);
        }
        self.want_retry(name, now);
    }

    /// Somebody wanted to know, and a failure is remembered: it is asked again without anybody waiting for it.
    fn want_retry(&mut self, name: &Hostname, now: Instant) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let Some(at) = entry.retry_at(&self.limits, self.resolver.recovered).filter(|at| now < *at) else { return };
        entry.wanted = true;
        if !std::mem::replace(&mut entry.retry_set, true) {
            let name = name.clone();
            self.events.push(Box::pin(async move {
                sleep_until(at).await;
                Event::Retry(name)
            }));
        }
    }

    fn retry(&mut self, name: &Hostname, now: Instant) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.retry_set = false;
        let is_wanted = std::mem::take(&mut entry.wanted);
        if !is_wanted || entry.due(now, &self.limits, self.resolver.recovered).is_empty() {
            return;
        }
        // A name that never had an answer may be invented: it goes behind all that clients wait for.
        if entry.is_in_use(now, &self.limits) || self.turns.may_ask_now(now) {
            self.start_lookup(name, now);
        }
    }

    fn touch(&mut self, name: &Hostname, now: Instant) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.last_used = now;
        entry.used_again = true;
    }

    fn show(&self, most: usize, now: Instant) -> (usize, Vec<Shown>) {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.last_used));
        let shown = entries.into_iter().take(most).map(|(name, entry)| {
            let expires = entry.expires();
            Shown {
                name: name.to_string(),
                addresses: entry.addresses(),
                left: expires.map_or(Duration::ZERO, |expires| expires.saturating_duration_since(now)),
                stale: expires.is_some_and(|expires| now >= expires),
                failed: entry.error(now, &self.limits).map(|error| match error {
                    LookupError::Unknown => "no such name",
                    LookupError::Timeout => "no answer",
                    LookupError::Limited | LookupError::Shortage => "not asked",
                    LookupError::Failed => "failed",
                }),
            }
        });
        (self.entries.len(), shown.collect())
    }

    fn tell(&self, reply: Result<Arc<Answer>, LookupError>, waiter: Waiter) {
        if reply.as_ref().is_ok_and(|answer| answer.stale) {
            self.observer.served_stale();
        }
        waiter.send(reply);
    }

    /// Full: what is of no use goes first, then of what was used once at most the half that is oldest, and only when
    /// there is little of that the half of all that was not used for the longest time. So names that clients invent
    /// push each other out. At least a sixteenth is freed, so that the cost is spread over as many insertions.
    fn make_room(&mut self, now: Instant) {
        let Limits { capacity, .. } = self.limits;
        if self.entries.len() < capacity {
            return;
        }
        let limits = &self.limits;
        self.entries.retain(|_, entry| entry.is_in_flight() || entry.is_of_use(now, limits));
        if self.entries.len() < capacity - capacity / 16 {
            return;
        }
        let is_in_use = |entry: &Entry| entry.used_again && entry.is_in_use(now, limits);
        let once = self.entries.values().filter(|entry| !is_in_use(entry)).count();
        let spare_used = once >= capacity / 8;
        let may_go = |entry: &Entry| !(entry.is_in_flight() || spare_used && is_in_use(entry));
        let mut ages: Vec<Instant> =
            self.entries.values().filter(|entry| may_go(entry)).map(|entry| entry.last_used).collect();
        if ages.is_empty() {
            return;
        }
        let middle = ages.len() / 2;
        let (_, &mut median, _) = ages.select_nth_unstable(middle);
        self.entries.retain(|_, entry| !may_go(entry) || entry.last_used > median);
    }
}

impl Health {
    /// An answer after failures, and after none for as long as a failure is held against a name, ends an outage.
    fn note(&mut self, outcome: Result<(), LookupError>, now: Instant) {
        match outcome {
            Ok(()) | Err(LookupError::Unknown) => {
                let was_silent = self.answered.is_none_or(|answered| now > answered + Limits::FIRST_HOLD);
                if std::mem::take(&mut self.failed) && was_silent {
                    self.recovered = Some(now);
                }
                self.answered = Some(now);
            }
            Err(LookupError::Timeout | LookupError::Failed) => self.failed = true,
            Err(LookupError::Limited | LookupError::Shortage) => {}
        }
    }
}

/// What a question has brought, as it is counted.
pub(super) fn outcome_of(result: &Result<Found, LookupError>) -> Result<(), LookupError> {
    match result {
        Ok(found) if found.addresses.is_empty() => Err(LookupError::Unknown),
        Ok(_) => Ok(()),
        Err(error) => Err(*error),
    }
}

#[cfg(test)]
mod tests;
