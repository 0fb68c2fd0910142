//! How much of this process one client, one name, or all of them together may use.
//!
//! Shared by all workers. The totals are plain counters; the tables (`limits/table.rs`) are used only where
//! their limit is configured, or by a client whose hello is late. Half-open connections, and which of them is
//! evicted when there is no room, are in `limits/half_open.rs`.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

mod half_open;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use self::half_open::{Buffered, EvictionReason, HalfOpenConnection, HalfOpenList, HalfOpenRegistry};
pub use self::table::{Exceeded, Permit, Rate, Table};
use latticegate_core::client::{Client, ClientKey};
use latticegate_core::config::{self, Quota};
use latticegate_core::hostname::Hostname;
use latticegate_core::outcome::RefuseReason;

/// The limits of the whole process and their present use.
pub struct ConnectionLimits {
    max_open: usize,
    open: AtomicUsize,
    pub half_open: Arc<HalfOpenRegistry>,
    half_open_per_client: Arc<Table<ClientKey>>,
    per_client: Option<Arc<Table<ClientKey>>>,
    per_name: Option<Arc<Table<Hostname>>>,
}

/// One connection's permits of the optional limits, given back when they are dropped. In a box: most configurations
/// have no such limit.
#[derive(Debug, Default)]
pub struct HeldPermits(Option<Box<Permits>>);

#[derive(Debug, Default)]
struct Permits {
    client: Option<Permit<ClientKey>>,
    name: Option<Permit<Hostname>>,
}

impl HeldPermits {
    fn permits(&mut self) -> &mut Permits {
        self.0.get_or_insert_default()
    }
}

impl ConnectionLimits {
    pub fn new(limits: &config::Limits, workers: usize) -> Self {
        let capacity = capacity(limits.connections);
        let per_client = limits.per_client;
        let per_name = limits.per_name;
        let half_open_per_client = Quota { concurrent: Some(limits.half_open_per_client.get()), per_second: None };
        Self {
            max_open: limits.connections,
            open: AtomicUsize::new(0),
            half_open: Arc::new(HalfOpenRegistry::new(limits.half_open.get(), limits.half_open_bytes, workers)),
            half_open_per_client: Table::new(half_open_per_client, capacity),
            per_client: per_client.is_some().then(|| Table::new(per_client, capacity)),
            per_name: per_name.is_some().then(|| Table::new(per_name, capacity)),
        }
    }

    pub fn opened(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Open connections, and `limits.connections`.
    pub fn open(&self) -> (usize, usize) {
        (self.open.load(Ordering::Relaxed), self.max_open)
    }

    pub fn is_full(&self) -> bool {
        self.open.load(Ordering::Relaxed) >= self.max_open
    }

    /// Permits that are held, and connections and bytes that are counted as half-open.
    #[cfg(test)]
    pub(crate) fn held(&self) -> [u64; 3] {
        let clients = [Some(&self.half_open_per_client), self.per_client.as_ref()];
        let clients: u64 = clients.into_iter().flatten().map(|table| table.open()).sum();
        let names = self.per_name.as_ref().map_or(0, |table| table.open());
        [clients + names, self.half_open.count(), self.half_open.bytes().0]
    }

    /// For a client that is known by now but has not sent a whole hello.
    pub fn enter_half_open(&self, client: &Client) -> Result<Permit<ClientKey>, RefuseReason> {
        let reason = RefuseReason::ClientHalfOpen;
        self.half_open_per_client.enter(client.into()).map_err(|exceeded| exceeded.reason(reason, reason))
    }

    /// For a client that the access list lets in.
    pub fn enter_client(&self, client: &Client, held: &mut HeldPermits) -> Result<(), RefuseReason> {
        let Some(table) = &self.per_client else { return Ok(()) };
        let permit = table.enter(client.into());
        let permit =
            permit.map_err(|exceeded| exceeded.reason(RefuseReason::ClientConnections, RefuseReason::ClientRate))?;
        held.permits().client = Some(permit);
        Ok(())
    }

    /// For a name that the access list lets this client connect to. The permit of another name, or of an earlier connection to
    /// this one, is given back first.
    pub fn enter_name(&self, name: &Hostname, held: &mut HeldPermits) -> Result<(), RefuseReason> {
        let Some(table) = &self.per_name else { return Ok(()) };
        held.permits().name = None;
        let permit = table.enter(name.clone());
        let permit =
            permit.map_err(|exceeded| exceeded.reason(RefuseReason::NameConnections, RefuseReason::NameRate))?;
        held.permits().name = Some(permit);
        Ok(())
    }
}

/// Of a table of those that have so many connections. Few keys are unevenly spread over its shards: with room for twice as
/// many and no more, one shard would be full long before the others.
fn capacity(connections: usize) -> usize {
    const LEAST: usize = 4096;
    connections.saturating_mul(2).max(LEAST)
}

impl Exceeded {
    fn reason(self, concurrent: RefuseReason, rate: RefuseReason) -> RefuseReason {
        match self {
            Self::Concurrent => concurrent,
            Self::Rate => rate,
            Self::Full => RefuseReason::Overloaded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table whose keys are each open once is never full before `limits.connections` is reached.
    #[test]
    fn few_connections_have_room_whatever_their_keys() {
        let quota = Quota { concurrent: Some(1), per_second: None };
        for connections in [1, 2, 7, 30, 100, 1000, 3000] {
            // Each table spreads its keys differently.
            for _ in 0..20 {
                let table = Table::new(quota, capacity(connections));
                let held: Result<Vec<_>, _> = (0..connections).map(|key| table.enter(key)).collect();
                assert_eq!(held.map(|held| held.len()), Ok(connections));
            }
        }
    }
}
