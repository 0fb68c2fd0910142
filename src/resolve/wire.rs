//! DNS on the wire, by way of hickory: UDP, TCP on truncation, CNAME chains, retries under one deadline.
//!
//! hickory's own cache, hosts file and search list are off: what is remembered is decided in `cache.rs`. So are its
//! retries: they forget the question before, whose answer may only be slow.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::time::timeout;

use super::{Found, Lookup, LookupError};
use crate::hostname::Hostname;

pub struct Wire {
    resolver: TokioResolver,
    ipv6: bool,
    deadline: Duration,
}

impl Wire {
    /// A lost packet is asked for again after a third of the deadline, twice.
    const TRIES: u32 = 3;
    /// How long the A answer waits for a slower AAAA (RFC 8305 §3).
    const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

    /// `deadline`: for one name, all retries included.
    pub fn new(server: SocketAddr, ipv6: bool, deadline: Duration) -> Result<Self, NetError> {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
            connection.port = server.port();
            connection
        });
        let server = NameServerConfig::new(server.ip(), true, connections.into());
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.ndots = 0;
        options.timeout = deadline;
        options.attempts = 0;
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.edns0 = true;
        Ok(Self { resolver: builder.build()?, ipv6, deadline })
    }
}

impl Lookup for Wire {
    fn lookup(&self, name: &Hostname) -> impl Future<Output = Result<Found, LookupError>> + 'static {
        let resolver = self.resolver.clone();
        let (name, ipv6, deadline) = (absolute(name), self.ipv6, self.deadline);
        async move {
            let name = name?;
            let question = Question { resolver: &resolver, name: &name, again: deadline / Self::TRIES };
            timeout(deadline, question.both(ipv6)).await.unwrap_or(Err(LookupError::Timeout))
        }
    }
}

/// With a final dot: no search list, one question.
fn absolute(name: &Hostname) -> Result<Name, LookupError> {
    let mut name = Name::from_ascii(name.as_str()).map_err(|_| LookupError::Unknown)?;
    name.set_fqdn(true);
    Ok(name)
}

/// What one name is asked with.
struct Question<'a> {
    resolver: &'a TokioResolver,
    name: &'a Name,
    /// After this time without an answer it is asked again.
    again: Duration,
}

impl Question<'_> {
    /// A and, where asked for, AAAA at the same time.
    async fn both(&self, ipv6: bool) -> Result<Found, LookupError> {
        let v4 = self.one(RecordType::A);
        if !ipv6 {
            return v4.await;
        }
        let v6 = self.one(RecordType::AAAA);
        tokio::pin!(v4, v6);
        let (v4, v6) = tokio::select! {
            v4 = &mut v4 => match v4 {
                Ok(_) => (v4, timeout(Wire::RESOLUTION_DELAY, v6).await.unwrap_or(Err(LookupError::Timeout))),
                Err(_) => (v4, v6.await),
            },
            v6 = &mut v6 => (v4.await, v6),
        };
        merge(v4, v6)
    }

    /// Asks again where no answer comes; the first one that does come counts, whichever question it is to.
    async fn one(&self, kind: RecordType) -> Result<Found, LookupError> {
        let mut asked = FuturesUnordered::new();
        for _ in 1..Wire::TRIES {
            asked.push(ask(self.resolver, self.name, kind));
            if let Ok(Some(answer)) = timeout(self.again, asked.next()).await {
                return answer;
            }
        }
        asked.push(ask(self.resolver, self.name, kind));
        // The deadline is the caller's.
        asked.next().await.unwrap_or(Err(LookupError::Timeout))
    }
}

/// IPv4 first: Lattice's IPv6 addresses are ULAs, which rank below IPv4 (RFC 6724 §2.1).
fn merge(v4: Result<Found, LookupError>, v6: Result<Found, LookupError>) -> Result<Found, LookupError> {
    match (v4, v6) {
        (Ok(mut v4), Ok(v6)) => {
            v4.addresses.extend(v6.addresses);
            Ok(Found { ttl: v4.ttl.min(v6.ttl), ..v4 })
        }
        (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
        // A failure says less than "no such name", so it must not be taken for one.
        (Err(LookupError::Unknown), Err(error)) | (Err(error), Err(_)) => Err(error),
    }
}

async fn ask(resolver: &TokioResolver, name: &Name, kind: RecordType) -> Result<Found, LookupError> {
    let lookup = resolver.lookup(name.clone(), kind).await.map_err(|error| classify(&error))?;
    let mut addresses: Vec<IpAddr> = Vec::new();
    let mut ttl = u32::MAX;
    for record in lookup.answers() {
        // The TTL of a chain is that of its shortest link.
        ttl = ttl.min(record.ttl);
        addresses.extend(record.data.ip_addr());
    }
    if addresses.is_empty() {
        return Err(LookupError::Unknown);
    }
    Ok(Found { addresses, ttl: Duration::from_secs(u64::from(ttl)) })
}

fn classify(error: &NetError) -> LookupError {
    if error.is_nx_domain() || error.is_no_records_found() {
        return LookupError::Unknown;
    }
    tracing::debug!(%error, "DNS lookup failed");
    match error {
        NetError::Timeout => LookupError::Timeout,
        _ => LookupError::Failed,
    }
}
