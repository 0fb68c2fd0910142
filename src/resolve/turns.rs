//! Whose new name is asked for next: so many a second in all (`limits.lookups_per_second`), one client after the
//! other, and nobody waits longer than `dns.timeout` for its turn.
//!
//! A client's first `limits.lookups_per_client` names a second go before whatever anybody asks beyond that. Nothing
//! is kept back: one client alone has all of it. Where more is asked than can be served in time, the last place of
//! the longest queue is lost, so invented names cost the one who invents them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Waiter;
use crate::hostname::Hostname;
use crate::limits::{ClientKey, Rate, Table};

pub(super) struct Turns {
    rate: Rate,
    spent: Option<Instant>,
    patience: Duration,
    shares: Arc<Table<ClientKey>>,
    /// Within their share, and beyond it.
    queues: [Queue; 2],
}

/// What becomes of one who wants to ask.
pub(super) enum Entered {
    Now(Waiter),
    Queued,
    /// This one has lost its place, or never had one.
    Refused(Waiter),
}

impl Turns {
    /// However large rate and patience are.
    const MAX_WAITING: usize = 4096;

    pub(super) fn new(rate: Rate, patience: Duration, shares: Arc<Table<ClientKey>>) -> Self {
        Self { rate, spent: None, patience, shares, queues: Default::default() }
    }

    pub(super) fn enter(&mut self, name: &Hostname, client: ClientKey, waiter: Waiter, now: Instant) -> Entered {
        let within = self.shares.enter(client).is_ok();
        if self.may_ask_now(now) {
            return Entered::Now(waiter);
        }
        let class = usize::from(!within);
        let mut lost = None;
        if !self.has_room(now) {
            self.queues.iter_mut().for_each(Queue::forget_who_left);
            if !self.has_room(now) {
                match self.make_room(class, client) {
                    Some(waiter) => lost = Some(waiter),
                    None => return Entered::Refused(waiter),
                }
            }
        }
        let ticket = Ticket { name: name.clone(), waiter: waiter.queued(), until: now + self.patience };
        if let Some(queue) = self.queues.get_mut(class) {
            queue.push(client, ticket);
        }
        lost.map_or(Entered::Queued, Entered::Refused)
    }

    /// Takes one of the budget where nobody waits for it.
    pub(super) fn may_ask_now(&mut self, now: Instant) -> bool {
        self.is_empty() && self.take(now)
    }

    /// When there is something to be done here.
    pub(super) fn next_at(&self, now: Instant) -> Option<Instant> {
        let impatient = self.queues.iter().filter_map(Queue::earliest).min()?;
        Some(impatient.min(self.rate.ready_at(self.spent, now)))
    }

    /// Whoever has waited too long.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<Waiter> {
        self.queues.iter_mut().flat_map(|queue| queue.expired(now)).collect()
    }

    /// The next one's turn, if the budget allows it by now.
    pub(super) fn next(&mut self, now: Instant) -> Option<(Hostname, Waiter)> {
        self.rate.take(self.spent, now)?;
        // Whoever has left meanwhile costs nothing.
        let ticket = self.queues.iter_mut().find_map(Queue::pop)?;
        self.take(now);
        Some((ticket.name, ticket.waiter))
    }

    /// All who wait to ask for this name: somebody asks for it already.
    pub(super) fn join(&mut self, name: &Hostname) -> Vec<Waiter> {
        self.queues.iter_mut().flat_map(|queue| queue.remove(|ticket| ticket.name == *name)).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.iter().all(|queue| queue.lanes.is_empty())
    }

    fn take(&mut self, now: Instant) -> bool {
        let next = self.rate.take(self.spent, now);
        self.spent = next.or(self.spent);
        next.is_some()
    }

    /// Whether one more would have its turn in time even if all the others went before.
    fn has_room(&self, now: Instant) -> bool {
        let waiting: usize = self.queues.iter().map(Queue::len).sum();
        let Ok(before) = u32::try_from(waiting) else { return false };
        let wait = self.rate.ready_at(self.spent, now) - now + self.rate.interval().saturating_mul(before);
        waiting < Self::MAX_WAITING && wait <= self.patience
    }

    /// The last place of the longest queue, if that is not the newcomer's own.
    fn make_room(&mut self, class: usize, client: ClientKey) -> Option<Waiter> {
        let [within, beyond] = &mut self.queues;
        match class {
            0 if !beyond.lanes.is_empty() => beyond.cut(0),
            0 => within.cut(within.len_of(client) + 1),
            _ => beyond.cut(beyond.len_of(client) + 1),
        }
    }
}

/// One class: a lane for each client, served in turn.
#[derive(Default)]
struct Queue {
    lanes: VecDeque<Lane>,
}

struct Lane {
    client: ClientKey,
    /// Never empty, in the order in which they came.
    tickets: VecDeque<Ticket>,
}

struct Ticket {
    name: Hostname,
    waiter: Waiter,
    until: Instant,
}

impl Queue {
    fn len(&self) -> usize {
        self.lanes.iter().map(|lane| lane.tickets.len()).sum()
    }

    fn len_of(&self, client: ClientKey) -> usize {
        self.lanes.iter().find(|lane| lane.client == client).map_or(0, |lane| lane.tickets.len())
    }

    fn push(&mut self, client: ClientKey, ticket: Ticket) {
        match self.lanes.iter_mut().find(|lane| lane.client == client) {
            Some(lane) => lane.tickets.push_back(ticket),
            None => self.lanes.push_back(Lane { client, tickets: [ticket].into() }),
        }
    }

    fn pop(&mut self) -> Option<Ticket> {
        while let Some(mut lane) = self.lanes.pop_front() {
            let ticket = std::iter::from_fn(|| lane.tickets.pop_front()).find(|ticket| !ticket.waiter.is_closed());
            if !lane.tickets.is_empty() {
                self.lanes.push_back(lane);
            }
            if ticket.is_some() {
                return ticket;
            }
        }
        None
    }

    fn earliest(&self) -> Option<Instant> {
        self.lanes.iter().filter_map(|lane| lane.tickets.front()).map(|ticket| ticket.until).min()
    }

    fn expired(&mut self, now: Instant) -> Vec<Waiter> {
        if self.earliest().is_none_or(|until| now < until) {
            return Vec::new();
        }
        self.remove(|ticket| ticket.until <= now)
    }

    fn forget_who_left(&mut self) {
        self.remove(|ticket| ticket.waiter.is_closed());
    }

    fn remove(&mut self, mut whom: impl FnMut(&Ticket) -> bool) -> Vec<Waiter> {
        let mut removed = Vec::new();
        for lane in &mut self.lanes {
            for ticket in std::mem::take(&mut lane.tickets) {
                if whom(&ticket) {
                    removed.push(ticket.waiter);
                } else {
                    lane.tickets.push_back(ticket);
                }
            }
        }
        self.lanes.retain(|lane| !lane.tickets.is_empty());
        removed
    }

    /// Takes the last place of the longest lane if that is longer than `than`.
    fn cut(&mut self, than: usize) -> Option<Waiter> {
        let longest = self.lanes.iter_mut().max_by_key(|lane| lane.tickets.len())?;
        let ticket = if longest.tickets.len() > than { longest.tickets.pop_back() } else { None };
        self.lanes.retain(|lane| !lane.tickets.is_empty());
        ticket.map(|ticket| ticket.waiter)
    }
}
