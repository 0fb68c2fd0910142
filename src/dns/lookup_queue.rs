//! Which new name is looked up next: at most `limits.lookups_per_second` in total, the clients in turn, and no
//! connection waits longer than `dns.timeout`.
//!
//! A client's first `limits.lookups_per_client` names a second come before all names beyond those quotas. Nothing is
//! reserved: one client alone has the whole rate. Where more names arrive than can be looked up in time, the last
//! ticket of the longest queue is rejected, so invented names cost the client that invents them. A name is looked up
//! once, however many connections wait for it: another one costs nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::runtime::Instant;

use super::request::Waiter;
use crate::limits::{Rate, Table};
use latticegate_core::client::ClientKey;
use latticegate_core::hostname::Hostname;

pub(super) struct LookupQueue {
    rate: Rate,
    rate_state: Option<Instant>,
    max_wait: Duration,
    shares: Arc<Table<ClientKey>>,
    /// For clients within their quota, and beyond it.
    classes: [FairQueue; 2],
    /// The names that wait, and how many tickets each has: one for each client that wants it.
    names: HashMap<Hostname, usize>,
}

pub(super) enum Enqueued {
    Now(Waiter),
    Queued,
    /// These are not looked up: the new waiter, or those who made room for it.
    Rejected(Vec<Waiter>),
}

impl LookupQueue {
    /// Names, however high the rate and the timeout are.
    const MAX_WAITING: usize = 4096;

    pub(super) fn new(rate: Rate, max_wait: Duration, shares: Arc<Table<ClientKey>>) -> Self {
        Self { rate, rate_state: None, max_wait, shares, classes: Default::default(), names: HashMap::new() }
    }

    pub(super) fn enter(&mut self, name: &Hostname, client: ClientKey, waiter: Waiter, now: Instant) -> Enqueued {
        let until = now + self.max_wait;
        if self.names.contains_key(name)
            && let Some(ticket) = self.classes.iter_mut().find_map(|class| class.ticket_mut(client, name))
        {
            ticket.waiters.push_back((waiter.queued(), until));
            return Enqueued::Queued;
        }
        let within = self.shares.enter(client).is_ok();
        if self.try_take(now) {
            return Enqueued::Now(waiter);
        }
        let class = usize::from(!within);
        let mut rejected = Vec::new();
        if !self.names.contains_key(name) && !self.has_room(now) {
            self.remove(|_, waiter, _| waiter.is_closed());
            if !self.has_room(now) {
                match self.make_room(class, client) {
                    Some(ticket) => rejected = self.give_up(ticket),
                    None => return Enqueued::Rejected(vec![waiter]),
                }
            }
        }
        let ticket = Ticket { name: name.clone(), waiters: [(waiter.queued(), until)].into() };
        *self.names.entry(name.clone()).or_default() += 1;
        if let Some(class) = self.classes.get_mut(class) {
            class.push(client, ticket);
        }
        if rejected.is_empty() { Enqueued::Queued } else { Enqueued::Rejected(rejected) }
    }

    /// Takes one lookup of the rate, unless others wait for it.
    pub(super) fn try_take(&mut self, now: Instant) -> bool {
        self.is_empty() && self.take(now)
    }

    /// When `next` or `expired` has something to return.
    pub(super) fn next_at(&self, now: Instant) -> Option<Instant> {
        Some(self.earliest()?.min(self.rate.ready_at(self.rate_state, now)))
    }

    /// Waiters that have waited too long.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<Waiter> {
        if self.earliest().is_none_or(|until| now < until) {
            return Vec::new();
        }
        self.remove(|_, _, until| until <= now)
    }

    /// The next name, if the rate allows it by now.
    pub(super) fn next(&mut self, now: Instant) -> Option<(Hostname, Vec<Waiter>)> {
        self.rate.take(self.rate_state, now)?;
        loop {
            let ticket = self.classes.iter_mut().find_map(FairQueue::pop)?;
            let name = ticket.name.clone();
            let mut waiters = self.give_up(ticket);
            // A name whose connections have all closed costs nothing.
            waiters.retain(|waiter| !waiter.is_closed());
            if !waiters.is_empty() {
                self.take(now);
                return Some((name, waiters));
            }
        }
    }

    /// Removes and returns all who wait for this name: its lookup is in flight.
    pub(super) fn join(&mut self, name: &Hostname) -> Vec<Waiter> {
        if self.names.contains_key(name) { self.remove(|of, _, _| of == name) } else { Vec::new() }
    }

    /// Accounts for a ticket that was removed from its queue.
    fn give_up(&mut self, ticket: Ticket) -> Vec<Waiter> {
        if let Some(tickets) = self.names.get_mut(&ticket.name) {
            *tickets = tickets.saturating_sub(1);
            if *tickets == 0 {
                self.names.remove(&ticket.name);
            }
        }
        ticket.waiters.into_iter().map(|(waiter, _)| waiter).collect()
    }

    fn remove(&mut self, mut which: impl FnMut(&Hostname, &Waiter, Instant) -> bool) -> Vec<Waiter> {
        let (mut removed, mut empty) = (Vec::new(), Vec::new());
        for client in self.classes.iter_mut().flat_map(|class| &mut class.clients) {
            for mut ticket in std::mem::take(&mut client.tickets) {
                let waiters = std::mem::take(&mut ticket.waiters);
                let (gone, stay): (VecDeque<_>, _) =
                    waiters.into_iter().partition(|(waiter, until)| which(&ticket.name, waiter, *until));
                removed.extend(gone.into_iter().map(|(waiter, _)| waiter));
                ticket.waiters = stay;
                if ticket.waiters.is_empty() {
                    empty.push(ticket);
                } else {
                    client.tickets.push_back(ticket);
                }
            }
        }
        self.classes.iter_mut().for_each(FairQueue::drop_empty);
        empty.into_iter().for_each(|ticket| drop(self.give_up(ticket)));
        removed
    }

    fn is_empty(&self) -> bool {
        self.classes.iter().all(|class| class.clients.is_empty())
    }

    /// When the first waiter has waited too long.
    fn earliest(&self) -> Option<Instant> {
        self.classes.iter().filter_map(FairQueue::earliest).min()
    }

    fn take(&mut self, now: Instant) -> bool {
        let next = self.rate.take(self.rate_state, now);
        self.rate_state = next.or(self.rate_state);
        next.is_some()
    }

    /// Whether one more name would be looked up in time even after all the others.
    fn has_room(&self, now: Instant) -> bool {
        let waiting = self.names.len();
        let Ok(before) = u32::try_from(waiting) else { return false };
        let wait = self.rate.ready_at(self.rate_state, now) - now + self.rate.interval().saturating_mul(before);
        waiting < Self::MAX_WAITING && wait <= self.max_wait
    }

    /// Removes the last ticket of the longest queue, if that is not this client's own.
    fn make_room(&mut self, class: usize, client: ClientKey) -> Option<Ticket> {
        let ([within, beyond], names) = (&mut self.classes, &self.names);
        match class {
            0 if !beyond.clients.is_empty() => beyond.cut(0, names),
            0 => within.cut(within.len_of(client) + 1, names),
            _ => beyond.cut(beyond.len_of(client) + 1, names),
        }
    }
}

/// One class: a queue for each client, served in turn.
#[derive(Default)]
struct FairQueue {
    clients: VecDeque<ClientQueue>,
}

struct ClientQueue {
    client: ClientKey,
    /// Never empty, in the order of arrival.
    tickets: VecDeque<Ticket>,
}

/// One name, and all connections of one client that wait for it.
struct Ticket {
    name: Hostname,
    /// Never empty, in the order of arrival; each waits until then.
    waiters: VecDeque<(Waiter, Instant)>,
}

impl FairQueue {
    fn client_mut(&mut self, client: ClientKey) -> Option<&mut ClientQueue> {
        self.clients.iter_mut().find(|queue| queue.client == client)
    }

    fn ticket_mut(&mut self, client: ClientKey, name: &Hostname) -> Option<&mut Ticket> {
        self.client_mut(client)?.tickets.iter_mut().find(|ticket| ticket.name == *name)
    }

    fn len_of(&self, client: ClientKey) -> usize {
        self.clients.iter().find(|queue| queue.client == client).map_or(0, |queue| queue.tickets.len())
    }

    fn push(&mut self, client: ClientKey, ticket: Ticket) {
        match self.client_mut(client) {
            Some(queue) => queue.tickets.push_back(ticket),
            None => self.clients.push_back(ClientQueue { client, tickets: [ticket].into() }),
        }
    }

    fn pop(&mut self) -> Option<Ticket> {
        let mut queue = self.clients.pop_front()?;
        let ticket = queue.tickets.pop_front();
        if !queue.tickets.is_empty() {
            self.clients.push_back(queue);
        }
        ticket
    }

    fn earliest(&self) -> Option<Instant> {
        let tickets = self.clients.iter().filter_map(|queue| queue.tickets.front());
        tickets.filter_map(|ticket| ticket.waiters.front()).map(|(_, until)| *until).min()
    }

    /// Removes the last ticket of the longest queue if that is longer than `than`. A name that other clients wait for
    /// as well is not removed.
    fn cut(&mut self, than: usize, names: &HashMap<Hostname, usize>) -> Option<Ticket> {
        let longest = self.clients.iter_mut().max_by_key(|queue| queue.tickets.len())?;
        if longest.tickets.len() <= than {
            return None;
        }
        let last = longest.tickets.iter().rposition(|ticket| names.get(&ticket.name) == Some(&1))?;
        let ticket = longest.tickets.remove(last);
        self.drop_empty();
        ticket
    }

    fn drop_empty(&mut self) {
        self.clients.retain(|queue| !queue.tickets.is_empty());
    }
}
