//! The connections of one worker that are open, collected for the operator's page when somebody asks.
//!
//! No list of them is kept: when it is asked for, each session is woken and offers itself to the [`Census`], which keeps
//! what the page shows and sums up the rest. A connection costs nothing for being countable.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::ops::AddAssign;
use std::time::Duration;

use crate::runtime::Instant;
use latticegate_core::client::{Client, EndpointId};
use latticegate_core::outcome::ByteCounts;

/// What is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Only connections with this text in their id, listener, client, endpoint, name or upstream; in lower case.
    pub find: Box<str>,
    /// Connections of each order at most.
    pub most: usize,
}

/// One open connection that has reached its upstream.
#[derive(Debug, Clone)]
pub struct LiveConnection {
    pub id: u64,
    pub listener: Box<str>,
    pub client: SocketAddr,
    pub endpoint: Option<EndpointId>,
    pub name: Box<str>,
    /// None: a client of a `forward` listener is between two requests.
    pub upstream: Option<SocketAddr>,
    pub age: Duration,
    pub bytes: ByteCounts,
}

/// The same while it is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) id: u64,
    pub(crate) listener: &'a str,
    pub(crate) client: &'a Client,
    pub(crate) name: &'a str,
    pub(crate) upstream: Option<SocketAddr>,
    pub(crate) accepted: Instant,
    pub(crate) bytes: ByteCounts,
}

/// A client as the page counts it: behind different VPC endpoints the same address belongs to different ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress {
    pub ip: IpAddr,
    pub endpoint: Option<EndpointId>,
}

/// Connections that have something in common.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    pub connections: u64,
    pub bytes: ByteCounts,
}

/// All connections of a worker, or of all of them.
#[derive(Debug, Default)]
pub struct Live {
    pub all: Sum,
    /// Of them, those that fit the query.
    pub found: u64,
    pub newest: Vec<LiveConnection>,
    pub oldest: Vec<LiveConnection>,
    /// With the most bytes so far.
    pub largest: Vec<LiveConnection>,
    pub names: HashMap<Box<str>, Sum>,
    pub clients: HashMap<ClientAddress, Sum>,
    pub upstreams: HashMap<SocketAddr, Sum>,
}

/// Different names, clients or upstreams that are told apart, in one worker: a bound on memory while the page is made.
const MAX_KEYS: usize = 10_000;

/// Goes through the connections of one worker.
#[derive(Debug)]
pub(crate) struct Census {
    query: Query,
    /// Ages are as of this moment: connections are not all looked at in the same one.
    at: Instant,
    live: Live,
    newest: Top,
    oldest: Top,
    largest: Top,
}

impl Census {
    pub(crate) fn new(query: Query, at: Instant) -> Self {
        let top = || Top { most: query.most, bar: None, kept: Vec::new() };
        let [newest, oldest, largest] = [top(), top(), top()];
        Self { query, at, live: Live::default(), newest, oldest, largest }
    }

    pub(crate) fn add(&mut self, one: Candidate<'_>) {
        let sum = Sum { connections: 1, bytes: one.bytes };
        self.live.all += sum;
        let client = ClientAddress::from(one.client);
        count(&mut self.live.clients, &client, || client, sum);
        count(&mut self.live.names, one.name, || one.name.into(), sum);
        if let Some(upstream) = one.upstream {
            count(&mut self.live.upstreams, &upstream, || upstream, sum);
        }
        if !self.query.find.is_empty() && !one.has(&self.query.find) {
            return;
        }
        self.live.found += 1;
        let age = self.at.saturating_duration_since(one.accepted);
        let micros = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        self.newest.offer(u64::MAX - micros, one, age);
        self.oldest.offer(micros, one, age);
        self.largest.offer(one.bytes.up.saturating_add(one.bytes.down), one, age);
    }

    pub(crate) fn finish(self) -> Live {
        let Self { query: _, at: _, live, newest, oldest, largest } = self;
        Live { newest: newest.best(), oldest: oldest.best(), largest: largest.best(), ..live }
    }
}

impl Live {
    /// Adds what another worker has.
    pub fn merge(&mut self, other: Self, most: usize) {
        let Self { all, found, newest, oldest, largest, names, clients, upstreams } = other;
        self.all += all;
        self.found += found;
        merge(&mut self.names, names);
        merge(&mut self.clients, clients);
        merge(&mut self.upstreams, upstreams);
        self.newest.extend(newest);
        self.newest.sort_by_key(|one| one.age);
        self.oldest.extend(oldest);
        self.oldest.sort_by_key(|one| std::cmp::Reverse(one.age));
        self.largest.extend(largest);
        self.largest.sort_by_key(|one| std::cmp::Reverse(one.bytes.up.saturating_add(one.bytes.down)));
        for list in [&mut self.newest, &mut self.oldest, &mut self.largest] {
            list.truncate(most);
        }
    }
}

impl Candidate<'_> {
    fn has(&self, text: &str) -> bool {
        let has = |part: &str| part.to_ascii_lowercase().contains(text);
        has(self.name)
            || has(self.listener)
            || has(&self.client.ip.with_port(self.client.port).to_string())
            || self.client.endpoint.is_some_and(|endpoint| has(endpoint.as_str()))
            || self.upstream.is_some_and(|upstream| has(&upstream.to_string()))
            || has(&format!("{:016x}", self.id))
    }

    fn to_connection(self, age: Duration) -> LiveConnection {
        let Self { id, listener, client, name, upstream, accepted: _, bytes } = self;
        let endpoint = client.endpoint;
        let client = client.ip.with_port(client.port);
        LiveConnection { id, listener: listener.into(), client, endpoint, name: name.into(), upstream, age, bytes }
    }
}

impl From<&Client> for ClientAddress {
    fn from(client: &Client) -> Self {
        Self { ip: client.ip.get(), endpoint: client.endpoint }
    }
}

impl AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        self.connections = self.connections.saturating_add(other.connections);
        self.bytes.up = self.bytes.up.saturating_add(other.bytes.up);
        self.bytes.down = self.bytes.down.saturating_add(other.bytes.down);
    }
}

fn count<K: Hash + Eq + Borrow<Q>, Q: Hash + Eq + ?Sized>(
    counted: &mut HashMap<K, Sum>,
    key: &Q,
    owned: impl FnOnce() -> K,
    sum: Sum,
) {
    if let Some(known) = counted.get_mut(key) {
        *known += sum;
    } else if counted.len() < MAX_KEYS {
        counted.insert(owned(), sum);
    }
}

fn merge<K: Hash + Eq>(all: &mut HashMap<K, Sum>, others: HashMap<K, Sum>) {
    for (key, sum) in others {
        *all.entry(key).or_default() += sum;
    }
}

/// Those with the highest keys. Sorted now and then, so that each costs little.
#[derive(Debug)]
struct Top {
    most: usize,
    /// Enough are kept that are above.
    bar: Option<u64>,
    kept: Vec<(u64, LiveConnection)>,
}

impl Top {
    fn offer(&mut self, key: u64, one: Candidate<'_>, age: Duration) {
        if self.bar.is_some_and(|bar| key <= bar) {
            return;
        }
        self.kept.push((key, one.to_connection(age)));
        if self.kept.len() >= self.most.saturating_mul(2).max(1) {
            self.trim();
            self.bar = self.kept.last().map(|(key, _)| *key).or(Some(u64::MAX));
        }
    }

    fn trim(&mut self) {
        self.kept.sort_by_key(|(key, _)| std::cmp::Reverse(*key));
        self.kept.truncate(self.most);
    }

    fn best(mut self) -> Vec<LiveConnection> {
        self.trim();
        self.kept.into_iter().map(|(_, one)| one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn census(find: &str, most: usize, connections: u64) -> Live {
        let at = Instant::now() + Duration::from_secs(connections);
        let mut census = Census::new(Query { find: find.into(), most }, at);
        for n in 0..connections {
            // In an order of no use: 7 is coprime to the numbers of these tests.
            let id = n * 7 % connections;
            let client = Client::new(([10, 0, 0, u8::try_from(id % 4).unwrap()], 4000).into(), None);
            let (name, upstream) = (format!("n{}.example.com", id % 10), Some(([169, 254, 171, 1], 443).into()));
            let accepted = at.checked_sub(Duration::from_secs(id)).unwrap();
            let bytes = ByteCounts { up: 1, down: id };
            census.add(Candidate { id, listener: "tls", client: &client, name: &name, upstream, accepted, bytes });
        }
        census.finish()
    }

    fn ids(list: &[LiveConnection]) -> Vec<u64> {
        list.iter().map(|one| one.id).collect()
    }

    #[test]
    fn of_many_the_first_of_each_order_are_kept_and_all_are_counted() {
        let live = census("", 3, 1000);
        assert_eq!((ids(&live.newest), ids(&live.oldest)), (vec![0, 1, 2], vec![999, 998, 997]));
        assert_eq!(ids(&live.largest), [999, 998, 997]);
        assert_eq!(
            (live.all.connections, live.all.bytes.up, live.all.bytes.down, live.found),
            (1000, 1000, 499_500, 1000)
        );
        assert_eq!((live.names.len(), live.clients.len(), live.upstreams.len()), (10, 4, 1));
        assert_eq!(live.names["n3.example.com"].connections, 100);
        assert!(ids(&census("", 0, 100).newest).is_empty());
    }

    #[test]
    fn a_search_is_about_everything_that_is_shown() {
        for (find, found) in [
            ("n3.EXA", 0),
            ("n3.exa", 10),
            ("10.0.0.2", 25),
            ("10.0.0.2:4000", 25),
            ("169.254.171.1:4", 100),
            ("000000002a", 1),
            ("tls", 100),
        ] {
            let live = census(find, 200, 100);
            assert_eq!((live.found, live.newest.len()), (found, usize::try_from(found).unwrap()), "{find}");
            assert_eq!(live.all.connections, 100);
        }
    }

    #[test]
    fn workers_are_merged_in_order() {
        let mut live = census("", 2, 10);
        live.merge(census("", 2, 20), 2);
        assert_eq!((ids(&live.newest), ids(&live.oldest)), (vec![0, 0], vec![19, 18]));
        assert_eq!((live.all.connections, live.names["n9.example.com"].connections), (30, 3));
    }

    #[test]
    fn names_without_end_take_bounded_memory() {
        let mut census = Census::new(Query::default(), Instant::now());
        let client = Client::new(([10, 0, 0, 1], 1).into(), None);
        for id in 0..20_000 {
            let name = format!("{id}.example.com");
            let (accepted, bytes) = (Instant::now(), ByteCounts::default());
            census.add(Candidate {
                id,
                listener: "tls",
                client: &client,
                name: &name,
                upstream: None,
                accepted,
                bytes,
            });
        }
        let live = census.finish();
        assert_eq!((live.all.connections, live.names.len()), (20_000, MAX_KEYS));
    }
}
