//! Addresses → a connected stream: in turn, each with a head start before the next, all under one deadline.
//!
//! Which address is first is drawn anew for each connection, so that all of them share the load; IPv4 goes before IPv6,
//! and what failed a while ago comes last. An address is judged by the destination guard at the moment it is dialled, and only here is anything dialled.

mod order;

use std::collections::hash_map::RandomState;
use std::future::poll_fn;
use std::hash::BuildHasher;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use self::order::Order;
use crate::runtime::{Either, Instant, Notify, Stream, race, sleep, timeout};
use crate::sys::socket::ConnectError;
use crate::telemetry::metrics::WorkerUpstreams;
use latticegate_core::outcome::{Failure, Outcome, RefuseReason};
use latticegate_core::policy::Destinations;

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
    /// What an error of connect(2) means.
    pub fn of(error: &io::Error, address: SocketAddr) -> Self {
        let failure = match ConnectError::of(error, address) {
            ConnectError::Shortage => return Self::Shortage(address),
            ConnectError::Refused => Failure::ConnectRefused,
            ConnectError::TimedOut => Failure::ConnectTimeout,
            ConnectError::Unreachable => Failure::ConnectUnreachable,
            ConnectError::NoLocalPort => Failure::NoLocalPort,
            ConnectError::Other => Failure::ConnectFailed,
        };
        Self::Failed(failure, address)
    }

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

/// A connection with an upstream.
#[derive(Debug)]
pub struct Reached {
    pub stream: Stream,
    pub address: SocketAddr,
    /// How long its own connect took, where it was not the only one.
    pub took: Option<Duration>,
}

/// Why no address could be reached, and what became of each that was tried.
#[derive(Debug)]
pub struct Unreached {
    pub error: DialError,
    pub tries: Vec<(SocketAddr, Failure)>,
}

/// What dials for one worker.
#[derive(Debug)]
pub struct Dialer {
    order: Order,
    /// What becomes of each connect.
    counts: WorkerUpstreams,
    /// There was no file or memory for a socket. Noted at once: other addresses may be waited for long after that.
    pub(crate) shortage: Notify,
}

impl Dialer {
    /// `counts`: what becomes of each connect.
    pub fn counting(counts: WorkerUpstreams) -> Self {
        Self { counts, ..Self::seeded(RandomState::new().hash_one("order of addresses")) }
    }

    /// It counts for nobody.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self { order: Order::seeded(seed), counts: WorkerUpstreams::default(), shortage: Notify::new() }
    }

    /// Connects to the first of `addresses` that may and can be reached within `deadline`.
    pub async fn dial(
        &self,
        addresses: &[IpAddr],
        port: u16,
        destinations: Destinations<'_>,
        deadline: Duration,
    ) -> Result<Reached, Unreached> {
        if let [ip] = *addresses {
            return self.dial_one(SocketAddr::new(ip, port), destinations, deadline).await;
        }
        let check = |ip: &IpAddr| destinations.check(SocketAddr::new(*ip, port));
        let allowed: Vec<SocketAddr> =
            self.order.of(addresses).iter().filter_map(|ip| check(ip).ok()).take(MAX_TRIES).collect();
        if allowed.is_empty() {
            let refused = addresses.iter().filter_map(|ip| Some((check(ip).err()?, SocketAddr::new(*ip, port))));
            // The most specific reason, independent of the order in DNS.
            let telling = refused.min_by_key(|(reason, _)| *reason != RefuseReason::PointsToSelf);
            let error = telling.map_or(DialError::Nowhere, |(reason, address)| DialError::Refused(reason, address));
            return Err(Unreached { error, tries: Vec::new() });
        }
        // In a box, since most names have one address.
        Box::pin(self.dial_several(&allowed, deadline)).await
    }

    /// Without a race, as there is nothing to race with.
    async fn dial_one(
        &self,
        address: SocketAddr,
        destinations: Destinations<'_>,
        deadline: Duration,
    ) -> Result<Reached, Unreached> {
        let error = match destinations.check(address) {
            Err(reason) => DialError::Refused(reason, address),
            Ok(address) => match timeout(deadline, attempt(address)).await.unwrap_or(TIMED_OUT) {
                Ok(stream) => {
                    self.order.forget(address.ip());
                    return Ok(Reached { stream, address, took: None });
                }
                Err(Attempt::Shortage) => {
                    self.shortage.notify_one();
                    DialError::Shortage(address)
                }
                Err(Attempt::Failed(failure)) => {
                    self.note_failure(address, failure);
                    let error = DialError::Failed(failure, address);
                    return Err(Unreached { error, tries: vec![(address, failure)] });
                }
            },
        };
        Err(Unreached { error, tries: Vec::new() })
    }

    async fn dial_several(&self, addresses: &[SocketAddr], deadline: Duration) -> Result<Reached, Unreached> {
        let mut queue = addresses.iter().copied().peekable();
        let mut racing = Racing::default();
        let mut tries: Vec<(SocketAddr, Failure)> = Vec::new();
        let mut shortage = None;
        let ends = Instant::now() + deadline;
        loop {
            if let Some(address) = queue.next() {
                let began = Instant::now();
                let left = ends.saturating_duration_since(began);
                racing.start(async move {
                    let result = timeout(left, attempt(address)).await.unwrap_or(TIMED_OUT);
                    (address, result.map(|stream| (stream, began.elapsed())))
                });
            } else if racing.is_empty() {
                let failed = most_telling(&tries).map(|&(address, failure)| DialError::Failed(failure, address));
                let error = shortage.or(failed).unwrap_or(DialError::Nowhere);
                return Err(Unreached { error, tries });
            }
            let (address, result) = if queue.peek().is_some() {
                match race(pin!(racing.next()), pin!(sleep(HEAD_START))).await {
                    Either::First(ended) => ended,
                    Either::Second(()) => continue,
                }
            } else {
                racing.next().await
            };
            match result {
                Ok((stream, took)) => {
                    self.order.forget(address.ip());
                    // Those that were overtaken have had their head start, and have not answered.
                    let overtaken = addresses.iter().take_while(|earlier| **earlier != address);
                    let overtaken = overtaken.filter(|earlier| tries.iter().all(|(tried, _)| tried != *earlier));
                    overtaken.for_each(|address| self.note_failure(*address, Failure::ConnectTimeout));
                    return Ok(Reached { stream, address, took: Some(took) });
                }
                Err(Attempt::Failed(failure)) => {
                    self.note_failure(address, failure);
                    tries.push((address, failure));
                }
                // Not the address's fault, and the next one would meet it too. Those under way have their sockets.
                Err(Attempt::Shortage) => {
                    self.shortage.notify_one();
                    shortage = Some(DialError::Shortage(address));
                    queue.by_ref().for_each(drop);
                }
            }
        }
    }

    fn note_failure(&self, address: SocketAddr, failure: Failure) {
        self.counts.failed(address, failure);
        self.order.note_failure(address.ip());
    }
}

/// Of several failures the one that says most; a timeout is only true if it is true of all.
fn most_telling(tries: &[(SocketAddr, Failure)]) -> Option<&(SocketAddr, Failure)> {
    tries.iter().min_by_key(|(_, failure)| match failure {
        Failure::NoLocalPort => 0,
        Failure::ConnectRefused => 1,
        Failure::ConnectUnreachable => 2,
        Failure::ConnectTimeout => 4,
        Failure::ConnectFailed | Failure::DnsTimeout | Failure::DnsFailed => 3,
        // What comes after a connect.
        Failure::ResponseMalformed | Failure::UpstreamClosed | Failure::ResponseTimeout => 3,
    })
}

/// Why one address was not reached.
#[derive(Debug, PartialEq, Eq)]
enum Attempt {
    Failed(Failure),
    Shortage,
}

/// What an attempt ends with at its deadline.
const TIMED_OUT: Result<Stream, Attempt> = Err(Attempt::Failed(Failure::ConnectTimeout));

async fn attempt(address: SocketAddr) -> Result<Stream, Attempt> {
    tracing::debug!(%address, "connecting");
    Stream::connect(address).await.map_err(|error| {
        tracing::debug!(%address, %error, "not connected");
        match DialError::of(&error, address) {
            DialError::Failed(failure, _) => Attempt::Failed(failure),
            _ => Attempt::Shortage,
        }
    })
}

/// Attempts that are under way, at most [`MAX_TRIES`]: so few are all polled whenever one of them is woken.
struct Racing<F>(Vec<Pin<Box<F>>>);

impl<F> Default for Racing<F> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<F: Future> Racing<F> {
    fn start(&mut self, attempt: F) {
        self.0.push(Box::pin(attempt));
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next that ends; the one that was started first, where several have. Never resolves if there is none.
    fn next(&mut self) -> impl Future<Output = F::Output> {
        poll_fn(|cx| {
            let ended = self.0.iter_mut().enumerate().find_map(|(index, attempt)| match attempt.as_mut().poll(cx) {
                Poll::Ready(output) => Some((index, output)),
                Poll::Pending => None,
            });
            let Some((index, output)) = ended else { return Poll::Pending };
            drop(self.0.remove(index));
            Poll::Ready(output)
        })
    }
}

#[cfg(test)]
mod tests;
