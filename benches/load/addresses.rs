//! The addresses of what is connected to. They are looked up again now and then, as a load balancer that grows gets more of them,
//! and used in turn.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// The TTL of a load balancer's name is a minute.
pub const REFRESH: Duration = Duration::from_secs(30);

pub struct Addresses {
    host: String,
    port: u16,
    current: RwLock<Vec<SocketAddr>>,
    turn: AtomicUsize,
}

impl Addresses {
    pub async fn of(host: &str, port: u16) -> Result<Self> {
        let current = RwLock::new(lookup(host, port).await?);
        Ok(Self { host: host.to_owned(), port, current, turn: AtomicUsize::new(0) })
    }

    /// The next one.
    pub fn next(&self) -> Option<SocketAddr> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        current.get(turn.checked_rem(current.len())?).copied()
    }

    /// Keeps those that there are if nothing is found.
    pub async fn refresh(&self) -> Result<()> {
        let found = lookup(&self.host, self.port).await?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(())
    }
}

async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>> {
    let found = tokio::net::lookup_host((host, port)).await.with_context(|| format!("{host} does not resolve"))?;
    let mut found: Vec<SocketAddr> = found.filter(has_route).collect();
    found.sort();
    found.dedup();
    if found.is_empty() {
        bail!("this machine has no route to any address of {host}");
    }
    Ok(found)
}

/// Asks the kernel, and sends nothing: many machines have no IPv6, though the load balancer has.
fn has_route(address: &SocketAddr) -> bool {
    let any: SocketAddr =
        if address.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    UdpSocket::bind(any).is_ok_and(|socket| socket.connect(address).is_ok())
}
