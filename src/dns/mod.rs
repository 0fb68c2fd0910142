//! From a name to its addresses.
//!
//! Each worker has a [`Resolver`] (`dns/resolver.rs`) with a map of the answers it has used, so that a name in
//! use costs no lock and no hop to another thread. Behind all of them is one cache (`dns/cache.rs`) on the control
//! thread: it sends each query once however many connections wait for it, renews names in use before they expire, and
//! serves stale answers while the server does not respond. Its state for one name is in `dns/entry.rs`, which names stay
//! when there are too many in `dns/ranked_map.rs`; `dns/lookup_queue.rs` decides which new name is looked up next.
//!
//! `dns/wire.rs` queries the server. Nearly every query goes over UDP and is sent by ourselves (`dns/udp.rs`, over the
//! sockets of `dns/udp_socket.rs`): this is the hot path, and hickory-resolver would make a pool, a task and a socket for
//! each. What a received message means is decided in `dns/message.rs`, which reads it by hickory's decoder. After a
//! truncated response hickory-resolver queries over TCP (`dns/hickory.rs`, `dns/tcp_stream.rs`).

mod cache;
mod cache_config;
mod entry;
mod hickory;
mod ignored;
mod lookup_queue;
mod message;
mod outage;
mod ranked_map;
mod request;
mod resolver;
mod tcp_stream;
mod udp;
mod udp_socket;
mod wire;

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use crate::runtime::Instant;
use crate::sys::socket::Trouble;

pub use self::cache::{Cache, Observer};
pub use self::cache_config::CacheConfig;
pub use self::request::{CacheView, CachedName, LookupRequests};
pub use self::resolver::{Resolver, ResolverFactory};
pub use self::wire::Wire;
use latticegate_core::hostname::Hostname;

/// The addresses of one name, at least one, IPv4 first, those of one family in the order of the response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedAddresses {
    pub addresses: Box<[IpAddr]>,
    /// From then on they are not used without another lookup.
    pub expires: Instant,
    /// From then on their use causes a renewal.
    pub renew_at: Instant,
    /// They have expired, and the server did not respond.
    pub stale: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// The families that are queried for each name.
    pub fn queried(ipv6: bool) -> &'static [Self] {
        if ipv6 { &[Self::V4, Self::V6] } else { &[Self::V4] }
    }
}

/// The result of one query: the addresses of one family, and the smallest TTL on the way to them. Without addresses it
/// is a negative answer: there are none, or no such name, for as long as the TTL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressSet {
    pub addresses: Vec<IpAddr>,
    pub ttl: Duration,
}

impl AddressSet {
    /// What a lookup has come to, without the addresses: a negative answer is [`LookupError::Unknown`].
    fn outcome(result: &Result<Self, LookupError>) -> Result<(), LookupError> {
        match result {
            Ok(set) if set.addresses.is_empty() => Err(LookupError::Unknown),
            Ok(_) => Ok(()),
            Err(error) => Err(*error),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookupError {
    /// The name does not exist, or has no address.
    Unknown,
    Timeout,
    /// Not queried: too many unknown names, and the wait in the queue would be longer than `dns.timeout`.
    Limited,
    /// Not queried: no fd or memory for the socket.
    Shortage,
    /// SERVFAIL, REFUSED, a malformed response, or a server that cannot be reached.
    Failed,
}

impl LookupError {
    /// For an error of a socket.
    fn of(error: &io::Error) -> Self {
        tracing::debug!(%error, "dns.server cannot be queried");
        if Trouble::of(error) == Trouble::Shortage { Self::Shortage } else { Self::Failed }
    }
}

/// One query to the server. The cache sends its queries through it, and tests script it.
pub trait Lookup {
    fn lookup(
        &self,
        name: &Hostname,
        family: Family,
    ) -> impl Future<Output = Result<AddressSet, LookupError>> + 'static;
}

/// All addresses of a name, looked up once and not cached.
pub async fn look_up(lookup: &impl Lookup, name: &Hostname, ipv6: bool) -> Result<AddressSet, LookupError> {
    let mut all = AddressSet { addresses: Vec::new(), ttl: Duration::MAX };
    let mut failed = None;
    let queries = Family::queried(ipv6).iter().map(|family| lookup.lookup(name, *family));
    for result in futures_util::future::join_all(queries).await {
        match result {
            Ok(set) if set.addresses.is_empty() => {}
            Ok(set) => {
                all.ttl = all.ttl.min(set.ttl);
                all.addresses.extend(set.addresses);
            }
            Err(error) => failed = Some(error),
        }
    }
    if all.addresses.is_empty() { Err(failed.unwrap_or(LookupError::Unknown)) } else { Ok(all) }
}
