//! How much of this process a client, a name, or everybody together may take.
//!
//! Shared by all workers. The totals are plain counters; the tables (`limits/table.rs`) are touched only where
//! their limit is switched on, or by a client whose hello is late. Half-open connections, and which of them has to
//! go when there is no room, are in `limits/half_open.rs`.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

mod half_open;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use self::half_open::{Buffered, HalfOpen, HalfOpenRegistry, Waiting, Why};
pub use self::table::{Exceeded, Permit, Rate, Table};
use latticegate_core::client::{Client, ClientKey};
use latticegate_core::config::{self, Quota};
use latticegate_core::hostname::Hostname;
use latticegate_core::outcome::RefuseReason;

/// The limits of the whole process and what is taken of them.
pub struct Limits {
    max_open: usize,
    open: AtomicUsize,
    pub half_open: Arc<HalfOpenRegistry>,
    half_open_per_client: Arc<Table<ClientKey>>,
    per_client: Option<Arc<Table<ClientKey>>>,
    per_name: Option<Arc<Table<Hostname>>>,
}

/// What one connection holds of the optional limits, given back when it is dropped.
#[derive(Debug, Default)]
pub struct Held {
    client: Option<Permit<ClientKey>>,
    name: Option<Permit<Hostname>>,
}

impl Limits {
    pub fn new(limits: &config::Limits, workers: usize) -> Self {
        let capacity = limits.connections.saturating_mul(2);
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

    /// What is taken of `limits.connections`, and that limit.
    pub fn taken(&self) -> (usize, usize) {
        (self.open.load(Ordering::Relaxed), self.max_open)
    }

    pub fn is_full(&self) -> bool {
        self.open.load(Ordering::Relaxed) >= self.max_open
    }

    /// For a client that is known by now but has not sent a whole hello.
    pub fn wait_for_hello(&self, client: &Client) -> Result<Permit<ClientKey>, RefuseReason> {
        self.half_open_per_client.enter(client.into()).map_err(|exceeded| match exceeded {
            Exceeded::Full => RefuseReason::Overloaded,
            Exceeded::Concurrent | Exceeded::Rate => RefuseReason::ClientHalfOpen,
        })
    }

    /// For a client that the access list lets in.
    pub fn enter_client(&self, client: &Client, held: &mut Held) -> Result<(), RefuseReason> {
        let Some(table) = &self.per_client else { return Ok(()) };
        let permit = table.enter(client.into()).map_err(|exceeded| match exceeded {
            Exceeded::Concurrent => RefuseReason::ClientConnections,
            Exceeded::Rate => RefuseReason::ClientRate,
            Exceeded::Full => RefuseReason::Overloaded,
        })?;
        held.client = Some(permit);
        Ok(())
    }

    /// For a name that the access list lets this client go to.
    pub fn enter_name(&self, name: &Hostname, held: &mut Held) -> Result<(), RefuseReason> {
        let Some(table) = &self.per_name else { return Ok(()) };
        let permit = table.enter(name.clone()).map_err(|exceeded| match exceeded {
            Exceeded::Concurrent => RefuseReason::NameConnections,
            Exceeded::Rate => RefuseReason::NameRate,
            Exceeded::Full => RefuseReason::Overloaded,
        })?;
        held.name = Some(permit);
        Ok(())
    }
}
