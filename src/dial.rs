//! Addresses → a connected stream: in turn, each with a head start before the next, all under one deadline.
//!
//! An address is judged by the destination guard at the moment it is dialled, and only here is anything dialled.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::outcome::{Failure, Outcome, RefuseReason};
use crate::policy::reach::Reach;
use crate::socket::{self, Trouble};

/// Head start of one address before the next is tried as well (RFC 8305 §5, "Connection Attempt Delay").
const HEAD_START: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried at most.
const MAX_TRIES: usize = 8;

/// Why no address could be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialError {
    Refused(RefuseReason, SocketAddr),
    Failed(Failure, SocketAddr),
    /// A name without an address.
    Nowhere,
    /// No fd or memory for the socket.
    Shortage(SocketAddr),
}

impl DialError {
    pub fn outcome(self) -> Outcome {
        match self {
            Self::Refused(reason, _) => Outcome::Refused(reason),
            Self::Failed(failure, _) => Outcome::Failed(failure),
            Self::Nowhere => Outcome::Refused(RefuseReason::NameUnknown),
            Self::Shortage(_) => Outcome::Refused(RefuseReason::Overloaded),
        }
    }

    /// The address that the outcome is about.
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Refused(_, address) | Self::Failed(_, address) | Self::Shortage(address) => Some(address),
            Self::Nowhere => None,
        }
    }
}

/// Connects to the first of `addresses` that may and can be reached within `deadline`.
pub async fn dial(
    addresses: &[IpAddr],
    port: u16,
    reach: &Reach,
    failing: &Failing,
    deadline: Duration,
) -> Result<(TcpStream, SocketAddr), DialError> {
    let mut error = DialError::Nowhere;
    let mut allowed = Vec::new();
    for ip in failing.last(addresses) {
        match reach.check(SocketAddr::new(ip, port)) {
            Ok(address) if allowed.len() < MAX_TRIES => allowed.push(address),
            Ok(_) => {}
            Err(reason) => error = DialError::Refused(reason, SocketAddr::new(ip, port)),
        }
    }
    let mut queue = allowed.iter().copied().peekable();
    let mut racing = FuturesUnordered::new();
    let ends = Instant::now() + deadline;
    loop {
        if let Some(address) = queue.next() {
            racing.push(attempt(address, ends));
        } else if racing.is_empty() {
            return Err(error);
        }
        tokio::select! {
            Some((address, result)) = racing.next() => match result {
                Ok(stream) => {
                    failing.forget(address.ip());
                    // Whoever was overtaken has had its head start, and has said nothing.
                    let overtaken = allowed.iter().take_while(|earlier| **earlier != address);
                    overtaken.for_each(|address| failing.note(address.ip()));
                    return Ok((stream, address));
                }
                Err(Attempt::Failed(failure)) => {
                    failing.note(address.ip());
                    error = DialError::Failed(failure, address);
                }
                // Not the address's fault, and the next one would meet it too.
                Err(Attempt::Shortage) => return Err(DialError::Shortage(address)),
            },
            () = sleep(HEAD_START), if queue.peek().is_some() => {}
        }
    }
}

/// Why one address was not reached.
#[derive(Debug, PartialEq, Eq)]
enum Attempt {
    Failed(Failure),
    Shortage,
}

async fn attempt(address: SocketAddr, ends: Instant) -> (SocketAddr, Result<TcpStream, Attempt>) {
    let connect = async { socket::to_upstream(address)?.connect(address).await };
    let result = match timeout(ends.saturating_duration_since(Instant::now()), connect).await {
        Ok(result) => result.map_err(|error| judge(&error)),
        Err(_) => Err(Attempt::Failed(Failure::ConnectTimeout)),
    };
    (address, result)
}

fn judge(error: &io::Error) -> Attempt {
    if Trouble::of(error) == Trouble::Shortage {
        return Attempt::Shortage;
    }
    Attempt::Failed(match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => Failure::ConnectRefused,
        Some(libc::ETIMEDOUT) => Failure::ConnectTimeout,
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN) => Failure::ConnectUnreachable,
        Some(libc::EADDRNOTAVAIL) => Failure::NoLocalPort,
        _ => Failure::ConnectFailed,
    })
}

/// Addresses whose last connect failed: for a while they are tried after the others.
#[derive(Debug, Default)]
pub struct Failing(RefCell<HashMap<IpAddr, Instant>>);

impl Failing {
    const MEMORY: Duration = Duration::from_secs(30);
    /// More than this many failing addresses are a failing network: forget them all.
    const MAX: usize = 1024;

    /// The same addresses, in the same order but for the failing ones, which come last.
    fn last(&self, addresses: &[IpAddr]) -> Vec<IpAddr> {
        let mut ordered = addresses.to_vec();
        let failing = self.0.borrow();
        if !failing.is_empty() {
            let now = Instant::now();
            ordered.sort_by_key(|ip| failing.get(ip).is_some_and(|since| now < *since + Self::MEMORY));
        }
        ordered
    }

    fn note(&self, ip: IpAddr) {
        let mut failing = self.0.borrow_mut();
        if failing.len() >= Self::MAX {
            failing.clear();
        }
        failing.insert(ip, Instant::now());
    }

    fn forget(&self, ip: IpAddr) {
        let mut failing = self.0.borrow_mut();
        if !failing.is_empty() {
            failing.remove(&ip);
        }
    }
}

#[cfg(test)]
mod tests;
