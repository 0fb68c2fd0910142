//! Connections that have not yet sent a whole header and hello. When there is no room for another one, the oldest is
//! evicted, whichever worker it is on. Their number is limited, and so are the bytes in their buffers; for the latter
//! only connections that hold bytes are evicted.
//!
//! A connection takes its place when it has to wait: most bring header and hello at once, and never do.
//!
//! The workers share a [`HalfOpenRegistry`]. Each worker closes its own connections: another worker only asks it to.

mod registry;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

pub use self::registry::HalfOpenRegistry;
use self::registry::NONE;
use crate::runtime::Waiter;

/// A buffer of at most this size is part of what every connection costs; it is not counted once the connection is no
/// longer half-open.
const SMALL: usize = 4096;

/// One worker's half-open connections, by age.
pub struct HalfOpenList {
    registry: Arc<HalfOpenRegistry>,
    worker: usize,
    connections: RefCell<ConnectionLists>,
}

#[derive(Default)]
struct ConnectionLists {
    waiting: BTreeMap<u64, WaitingState>,
    /// Those of `waiting` that hold bytes.
    holding: BTreeSet<u64>,
    evicted: BTreeMap<u64, EvictedState>,
}

#[derive(Default)]
struct WaitingState {
    waiter: Option<Waiter>,
    bytes: u64,
}

struct EvictedState {
    bytes: u64,
    reason: EvictionReason,
}

/// Why a half-open connection is evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvictionReason {
    /// Too many connections, or open files or memory are short.
    Room,
    /// Too many bytes.
    Bytes,
}

impl EvictionReason {
    /// As the record's detail.
    pub fn detail(self) -> &'static str {
        match self {
            Self::Room => "limits.half_open, or open files or memory",
            Self::Bytes => "limits.half_open_bytes",
        }
    }
}

/// One connection, in the list once it has had to wait; dropping it takes it out.
pub struct HalfOpenConnection {
    list: Rc<HalfOpenList>,
    /// None: it has no place yet.
    place: Cell<Option<u64>>,
}

/// `limits.half_open_bytes` has no room for this connection's bytes: it has to be closed.
#[derive(Debug)]
pub struct NoRoom;

/// The bytes of a connection that is no longer half-open: those that wait for its upstream, or the incomplete head of a
/// later request. They count, but no connection is evicted for them.
pub struct Buffered {
    registry: Arc<HalfOpenRegistry>,
    bytes: u64,
}

impl Buffered {
    pub fn none(registry: &Arc<HalfOpenRegistry>) -> Self {
        Self { registry: Arc::clone(registry), bytes: 0 }
    }

    /// Sets how many bytes are held. On an error nothing changes.
    pub fn hold(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let bytes = if bytes <= SMALL { 0 } else { to_u64(bytes) };
        if !self.registry.bytes.replace(self.bytes, bytes) {
            return Err(NoRoom);
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl HalfOpenList {
    pub fn new(registry: Arc<HalfOpenRegistry>, worker: usize) -> Rc<Self> {
        Rc::new(Self { registry, worker, connections: RefCell::default() })
    }

    /// A connection that has not had to wait yet.
    pub fn connection(self: &Rc<Self>) -> HalfOpenConnection {
        HalfOpenConnection { list: Rc::clone(self), place: Cell::new(None) }
    }

    /// Takes a place; at the limit the oldest of all is evicted for it.
    fn add(&self) -> u64 {
        if self.registry.count() >= self.registry.limit {
            self.registry.evict(1);
        }
        let key = self.registry.next.fetch_add(1, Ordering::Relaxed);
        self.registry.count.fetch_add(1, Ordering::Relaxed);
        let mut connections = self.connections.borrow_mut();
        connections.waiting.insert(key, WaitingState::default());
        self.publish_oldest(&connections);
        key
    }

    /// Evicts what is asked of this worker; never returns.
    pub async fn run_evictions(self: Rc<Self>) {
        while let Some(slot) = self.registry.workers.get(self.worker) {
            slot.wake.notified().await;
            for _ in 0..slot.evictions.swap(0, Ordering::Relaxed) {
                let oldest = self.connections.borrow().waiting.keys().next().copied();
                let Some(oldest) = oldest else { break };
                self.evict(oldest, EvictionReason::Room);
            }
            self.evict_for_bytes();
        }
    }

    /// Evicts connections that hold bytes, the oldest of all workers first, until there is room for more bytes.
    fn evict_for_bytes(&self) {
        while self.registry.bytes.is_nearly_spent() {
            match self.registry.worker_with_lowest(|slot| &slot.oldest_holding) {
                Some((worker, _)) if worker == self.worker => {
                    let oldest = self.connections.borrow().holding.first().copied();
                    let Some(oldest) = oldest else { return };
                    self.evict(oldest, EvictionReason::Bytes);
                }
                Some((_, slot)) => return slot.wake.notify_one(),
                None => return,
            }
        }
    }

    fn evict(&self, key: u64, reason: EvictionReason) {
        let mut connections = self.connections.borrow_mut();
        let Some(WaitingState { waiter, bytes }) = connections.waiting.remove(&key) else { return };
        connections.holding.remove(&key);
        connections.evicted.insert(key, EvictedState { bytes, reason });
        self.registry.bytes.releasing.fetch_add(bytes, Ordering::Relaxed);
        self.publish_oldest(&connections);
        drop(connections);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    fn publish_oldest(&self, connections: &ConnectionLists) {
        let Some(slot) = self.registry.workers.get(self.worker) else { return };
        slot.oldest.store(connections.waiting.keys().next().copied().unwrap_or(NONE), Ordering::Relaxed);
        slot.oldest_holding.store(connections.holding.first().copied().unwrap_or(NONE), Ordering::Relaxed);
    }
}

impl HalfOpenConnection {
    /// Its place, which it takes now if it has none.
    fn place(&self) -> u64 {
        self.place.get().unwrap_or_else(|| {
            let key = self.list.add();
            self.place.set(Some(key));
            key
        })
    }

    /// Resolves when this connection is evicted. Polled first when the connection has to wait, it takes its place then.
    pub async fn evicted(&self) {
        poll_fn(|_| {
            let key = self.place();
            let mut connections = self.list.connections.borrow_mut();
            let Some(state) = connections.waiting.get_mut(&key) else { return Poll::Ready(()) };
            state.waiter = Some(Waiter::current());
            Poll::Pending
        })
        .await;
    }

    /// Why this connection is evicted, if it is.
    pub fn eviction_reason(&self) -> Option<EvictionReason> {
        self.list.connections.borrow().evicted.get(&self.place.get()?).map(|state| state.reason)
    }

    /// Sets how many bytes this connection holds while it waits for more. If all together hold too many, the oldest are
    /// evicted; where there is no room even so, this one is evicted itself.
    pub fn hold(&self, bytes: usize) -> Result<(), NoRoom> {
        let (list, key) = (&self.list, self.place());
        let mut connections = list.connections.borrow_mut();
        let ConnectionLists { waiting, holding, .. } = &mut *connections;
        let state = waiting.get_mut(&key).ok_or(NoRoom)?;
        let bytes = to_u64(bytes);
        if !list.registry.bytes.replace(state.bytes, bytes) {
            drop(connections);
            list.evict(key, EvictionReason::Bytes);
            list.evict_for_bytes();
            return Err(NoRoom);
        }
        let before = std::mem::replace(&mut state.bytes, bytes);
        if (before > 0) != (bytes > 0) {
            if bytes > 0 {
                holding.insert(key)
            } else {
                holding.remove(&key)
            };
            list.publish_oldest(&connections);
        }
        drop(connections);
        list.evict_for_bytes();
        Ok(())
    }

    /// This connection is complete, and holds so many bytes until its upstream is connected.
    pub fn settle(&self, bytes: usize) -> Result<Option<Box<Buffered>>, NoRoom> {
        if bytes <= SMALL {
            return Ok(None);
        }
        self.hold(bytes)?;
        let key = self.place();
        let mut connections = self.list.connections.borrow_mut();
        let state = connections.waiting.get_mut(&key).ok_or(NoRoom)?;
        let bytes = std::mem::take(&mut state.bytes);
        connections.holding.remove(&key);
        self.list.publish_oldest(&connections);
        drop(connections);
        Ok(Some(Box::new(Buffered { registry: Arc::clone(&self.list.registry), bytes })))
    }
}

fn to_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

impl Drop for HalfOpenConnection {
    fn drop(&mut self) {
        let Some(key) = self.place.get() else { return };
        let (list, total) = (&self.list, &self.list.registry.bytes);
        let mut connections = list.connections.borrow_mut();
        let held = match connections.waiting.remove(&key) {
            Some(state) => state.bytes,
            None => {
                let held = connections.evicted.remove(&key).map_or(0, |state| state.bytes);
                total.releasing.fetch_sub(held, Ordering::Relaxed);
                held
            }
        };
        if held > 0 {
            connections.holding.remove(&key);
            total.release(held);
        }
        list.registry.count.fetch_sub(1, Ordering::Relaxed);
        list.publish_oldest(&connections);
    }
}

impl Drop for Buffered {
    fn drop(&mut self) {
        self.registry.bytes.release(self.bytes);
    }
}

#[cfg(test)]
mod tests;
