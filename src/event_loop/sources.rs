//! What is known of each socket: whether a read or write would block, whether the peer has ended, and who waits for it.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::event::epoll::{self, EventData, EventFlags};
use slab::Slab;

use super::tasks::{TaskId, place};

/// What is known of a socket.
pub(crate) const IN: u8 = 1;
pub(crate) const OUT: u8 = 1 << 1;
/// The peer has sent its FIN.
pub(crate) const FINISHED: u8 = 1 << 2;
/// Reset, or another error.
pub(crate) const BROKEN: u8 = 1 << 3;
/// There was urgent data: a read ends where it stands, so a short one does not mean that there is no more.
pub(super) const URGENT: u8 = 1 << 4;
/// Events are being reported: of reading, and of writing as well.
pub(super) const WATCHED: u8 = 1 << 5;
pub(super) const WATCHED_OUT: u8 = 1 << 6;
/// A listener: it is reported at each turn as long as there is a connection.
pub(super) const LISTENS: u8 = 1 << 7;

pub(super) struct State {
    pub(super) generation: u32,
    pub(super) known: u8,
    pub(super) waiter: TaskId,
}

pub(super) struct Sources {
    states: Slab<State>,
    next_generation: u32,
    /// Those that listen, which the loop itself has to silence.
    pub(super) listeners: Vec<(u64, Rc<OwnedFd>)>,
}

impl Sources {
    pub(super) const fn new() -> Self {
        Self { states: Slab::new(), next_generation: 0, listeners: Vec::new() }
    }

    /// Its place, and the key of its events.
    #[inline]
    pub(super) fn insert(&mut self, known: u8) -> (u32, u64) {
        let generation = self.next_generation;
        // The highest one is the inbox's.
        self.next_generation = generation.wrapping_add(1) % u32::MAX;
        let index = self.states.insert(State { generation, known, waiter: TaskId::NONE });
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        (index, key_of(generation, index))
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut State> {
        self.states.get_mut(place(index))
    }

    pub(super) fn remove(&mut self, index: u32) {
        self.states.try_remove(place(index));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    /// An event has come. Returns whom it concerns: nobody, if the socket is not there any more.
    pub(super) fn note(&mut self, epoll: impl AsFd, key: u64, flags: EventFlags) -> TaskId {
        let Some(state) = state_of(&mut self.states, key) else { return TaskId::NONE };
        if state.known & (LISTENS | IN) == LISTENS | IN {
            // Not accepted from since the last turn: it would be reported again and again.
            state.known &= !WATCHED;
            if let Some((_, fd)) = self.listeners.iter().find(|(listener, _)| *listener == key) {
                let _ = epoll::modify(epoll, fd, EventData::new_u64(key), EventFlags::empty());
            }
            return TaskId::NONE;
        }
        let pairs = [
            (EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR, IN),
            (EventFlags::OUT | EventFlags::HUP | EventFlags::ERR, OUT),
            (EventFlags::RDHUP | EventFlags::HUP, FINISHED),
            (EventFlags::ERR, BROKEN),
            (EventFlags::PRI, URGENT),
        ];
        for (flags_of, known) in pairs {
            if flags.intersects(flags_of) {
                state.known |= known;
            }
        }
        state.waiter
    }

    /// Whether a task waits for a socket that is not known to be readable.
    #[cfg(debug_assertions)]
    pub(super) fn is_parked(&mut self, key: u64) -> bool {
        state_of(&mut self.states, key).is_some_and(|state| state.known & IN == 0 && state.waiter != TaskId::NONE)
    }
}

pub(super) fn key_of(generation: u32, index: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(index)
}

fn state_of(states: &mut Slab<State>, key: u64) -> Option<&mut State> {
    let index = usize::try_from(key & u64::from(u32::MAX)).ok()?;
    states.get_mut(index).filter(|state| u64::from(state.generation) == key >> 32)
}
