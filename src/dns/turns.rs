//! Whose new name is asked for next: so many a second in all (`limits.lookups_per_second`), one client after the
//! other, and nobody waits longer than `dns.timeout` for its turn.
//!
//! A client's first `limits.lookups_per_client` names a second go before whatever anybody asks beyond that. Nothing
//! is kept back: one client alone has all of it. Where more names are asked for than can be in time, the last place of
//! the longest queue is lost, so invented names cost the one who invents them. A name has one place, however many
//! connections wait for it: whoever joins them costs nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::sys::runtime::Instant;

use super::Waiter;
use crate::limits::{Rate, Table};
use latticegate_core::client::ClientKey;
use latticegate_core::hostname::Hostname;

pub(super) struct Turns {
    rate: Rate,
    spent: Option<Instant>,
    patience: Duration,
    shares: Arc<Table<ClientKey>>,
    /// Within their share, and beyond it.
    queues: [Queue; 2],
    /// The names that wait, and how many tickets each has: one for each client that asks for it.
    names: HashMap<Hostname, usize>,
}

/// What becomes of one who wants to ask.
pub(super) enum Entered {
    Now(Waiter),
    Queued,
    /// These have lost their place, or never had one.
    Refused(Vec<Waiter>),
}

impl Turns {
    /// However large rate and patience are.
    const MAX_WAITING: usize = 4096;

    pub(super) fn new(rate: Rate, patience: Duration, shares: Arc<Table<ClientKey>>) -> Self {
        Self { rate, spent: None, patience, shares, queues: Default::default(), names: HashMap::new() }
    }

    pub(super) fn enter(&mut self, name: &Hostname, client: ClientKey, waiter: Waiter, now: Instant) -> Entered {
        let until = now + self.patience;
        if self.names.contains_key(name)
            && let Some(ticket) = self.queues.iter_mut().find_map(|queue| queue.ticket(client, name))
        {
            ticket.waiting.push_back((waiter.queued(), until));
            return Entered::Queued;
        }
        let within = self.shares.enter(client).is_ok();
        if self.may_ask_now(now) {
            return Entered::Now(waiter);
        }
        let class = usize::from(!within);
        let mut lost = Vec::new();
        if !self.names.contains_key(name) && !self.has_room(now) {
            self.remove(|_, waiter, _| waiter.is_closed());
            if !self.has_room(now) {
                match self.make_room(class, client) {
                    Some(ticket) => lost = self.give_up(ticket),
                    None => return Entered::Refused(vec![waiter]),
                }
            }
        }
        let ticket = Ticket { name: name.clone(), waiting: [(waiter.queued(), until)].into() };
        *self.names.entry(name.clone()).or_default() += 1;
        if let Some(queue) = self.queues.get_mut(class) {
            queue.push(client, ticket);
        }
        if lost.is_empty() { Entered::Queued } else { Entered::Refused(lost) }
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
        if self.queues.iter().filter_map(Queue::earliest).min().is_none_or(|until| now < until) {
            return Vec::new();
        }
        self.remove(|_, _, until| until <= now)
    }

    /// The next one's turn, if the budget allows it by now.
    pub(super) fn next(&mut self, now: Instant) -> Option<(Hostname, Vec<Waiter>)> {
        self.rate.take(self.spent, now)?;
        loop {
            let ticket = self.queues.iter_mut().find_map(Queue::pop)?;
            let name = ticket.name.clone();
            let mut waiting = self.give_up(ticket);
            // Whoever has left meanwhile costs nothing.
            waiting.retain(|waiter| !waiter.is_closed());
            if !waiting.is_empty() {
                self.take(now);
                return Some((name, waiting));
            }
        }
    }

    /// All who wait to ask for this name: somebody asks for it already.
    pub(super) fn join(&mut self, name: &Hostname) -> Vec<Waiter> {
        if self.names.contains_key(name) { self.remove(|of, _, _| of == name) } else { Vec::new() }
    }

    /// A ticket that is in no queue any more.
    fn give_up(&mut self, ticket: Ticket) -> Vec<Waiter> {
        if let Some(tickets) = self.names.get_mut(&ticket.name) {
            *tickets = tickets.saturating_sub(1);
            if *tickets == 0 {
                self.names.remove(&ticket.name);
            }
        }
        ticket.waiting.into_iter().map(|(waiter, _)| waiter).collect()
    }

    fn remove(&mut self, mut whom: impl FnMut(&Hostname, &Waiter, Instant) -> bool) -> Vec<Waiter> {
        let (mut removed, mut empty) = (Vec::new(), Vec::new());
        for queue in self.queues.iter_mut().flat_map(|queue| &mut queue.queues) {
            for mut ticket in std::mem::take(&mut queue.tickets) {
                let waiting = std::mem::take(&mut ticket.waiting);
                let (gone, stay): (VecDeque<_>, _) =
                    waiting.into_iter().partition(|(waiter, until)| whom(&ticket.name, waiter, *until));
                removed.extend(gone.into_iter().map(|(waiter, _)| waiter));
                ticket.waiting = stay;
                if ticket.waiting.is_empty() {
                    empty.push(ticket);
                } else {
                    queue.tickets.push_back(ticket);
                }
            }
        }
        self.queues.iter_mut().for_each(|queue| queue.queues.retain(|queue| !queue.tickets.is_empty()));
        empty.into_iter().for_each(|ticket| drop(self.give_up(ticket)));
        removed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.iter().all(|queue| queue.queues.is_empty())
    }

    fn take(&mut self, now: Instant) -> bool {
        let next = self.rate.take(self.spent, now);
        self.spent = next.or(self.spent);
        next.is_some()
    }

    /// Whether one more would have its turn in time even if all the others went before.
    fn has_room(&self, now: Instant) -> bool {
        let waiting = self.names.len();
        let Ok(before) = u32::try_from(waiting) else { return false };
        let wait = self.rate.ready_at(self.spent, now) - now + self.rate.interval().saturating_mul(before);
        waiting < Self::MAX_WAITING && wait <= self.patience
    }

    /// The last place of the longest queue, if that is not the newcomer's own.
    fn make_room(&mut self, class: usize, client: ClientKey) -> Option<Ticket> {
        let ([within, beyond], names) = (&mut self.queues, &self.names);
        match class {
            0 if !beyond.queues.is_empty() => beyond.cut(0, names),
            0 => within.cut(within.len_of(client) + 1, names),
            _ => beyond.cut(beyond.len_of(client) + 1, names),
        }
    }
}

/// One class: a lane for each client, served in turn.
#[derive(Default)]
struct Queue {
    queues: VecDeque<ClientQueue>,
}

struct ClientQueue {
    client: ClientKey,
    /// Never empty, in the order in which they came.
    tickets: VecDeque<Ticket>,
}

/// What one client waits for, with all of its connections that do.
struct Ticket {
    name: Hostname,
    /// Never empty, each until when, in the order in which they came.
    waiting: VecDeque<(Waiter, Instant)>,
}

impl Queue {
    fn ticket(&mut self, client: ClientKey, name: &Hostname) -> Option<&mut Ticket> {
        let queue = self.queues.iter_mut().find(|queue| queue.client == client)?;
        queue.tickets.iter_mut().find(|ticket| ticket.name == *name)
    }

    fn len_of(&self, client: ClientKey) -> usize {
        self.queues.iter().find(|queue| queue.client == client).map_or(0, |queue| queue.tickets.len())
    }

    fn push(&mut self, client: ClientKey, ticket: Ticket) {
        match self.queues.iter_mut().find(|queue| queue.client == client) {
            Some(queue) => queue.tickets.push_back(ticket),
            None => self.queues.push_back(ClientQueue { client, tickets: [ticket].into() }),
        }
    }

    fn pop(&mut self) -> Option<Ticket> {
        let mut queue = self.queues.pop_front()?;
        let ticket = queue.tickets.pop_front();
        if !queue.tickets.is_empty() {
            self.queues.push_back(queue);
        }
        ticket
    }

    fn earliest(&self) -> Option<Instant> {
        let tickets = self.queues.iter().filter_map(|queue| queue.tickets.front());
        tickets.filter_map(|ticket| ticket.waiting.front()).map(|(_, until)| *until).min()
    }

    /// Takes the last place of the longest lane if that is longer than `than`. A name that others wait for as well keeps
    /// its place whoever is cut.
    fn cut(&mut self, than: usize, names: &HashMap<Hostname, usize>) -> Option<Ticket> {
        let longest = self.queues.iter_mut().max_by_key(|queue| queue.tickets.len())?;
        if longest.tickets.len() <= than {
            return None;
        }
        let last = longest.tickets.iter().rposition(|ticket| names.get(&ticket.name) == Some(&1))?;
        let ticket = longest.tickets.remove(last);
        self.queues.retain(|queue| !queue.tickets.is_empty());
        ticket
    }
}
