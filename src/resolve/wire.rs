//! One family's addresses of one name from the configured resolver: UDP, TCP on truncation, aliases, retries, all
//! under one deadline. What is remembered is decided in `cache.rs`.
//!
//! hickory-resolver is not used. It shares TCP connections between questions, drops what it does not expect, does
//! not connect its sockets and takes each answer without a record for "no such name"; each of these had to be worked
//! around. Here a question has a socket of its own: connected, so that the kernel drops what others send and hands
//! on what ICMP says, with a port and an id that nobody can guess (RFC 5452).

use std::cell::Cell;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use hickory_proto::rr::Name;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};

use super::message::{Question, Reply, absolute};
use super::{Family, Found, Lookup, LookupError};
use crate::hostname::Hostname;
use crate::socket::Trouble;

/// The resolver, as far as one process talks to it.
pub struct Wire {
    server: Rc<Server>,
    deadline: Duration,
}

impl Wire {
    /// A lost packet is sent again after a third of the deadline, twice.
    const TRIES: u32 = 3;

    /// `deadline`: for one name, all retries included.
    pub fn new(address: SocketAddr, deadline: Duration) -> Self {
        let server =
            Server { address, again: deadline / Self::TRIES, plain_until: Cell::new(None), ignored: Cell::default() };
        Self { server: Rc::new(server), deadline }
    }
}

impl Lookup for Wire {
    fn lookup(&self, name: &Hostname, family: Family) -> impl Future<Output = Result<Found, LookupError>> + 'static {
        let (server, deadline, local) = (Rc::clone(&self.server), self.deadline, localhost(name, family));
        let name = absolute(name);
        async move {
            match local {
                Some(found) => Ok(found),
                None => timeout(deadline, server.follow(name?, family)).await.unwrap_or(Err(LookupError::Timeout)),
            }
        }
    }
}

/// A name that nobody is asked for (RFC 6761 §6.3). Whether loopback may be dialled is decided elsewhere.
fn localhost(name: &Hostname, family: Family) -> Option<Found> {
    let address = match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    };
    let is_local = name.as_str().rsplit('.').next() == Some("localhost");
    is_local.then(|| Found { addresses: vec![address], ttl: Duration::MAX })
}

struct Server {
    address: SocketAddr,
    /// After this time without an answer a question is sent again.
    again: Duration,
    /// It does not understand EDNS; from this moment on it is tried anew.
    plain_until: Cell<Option<Instant>>,
    /// Messages that answered no question, since they were last reported, and when that was.
    ignored: Cell<(u64, Option<Instant>)>,
}

impl Server {
    /// For so long a server that was asked in vain with EDNS is asked without.
    const PLAIN: Duration = Duration::from_secs(300);
    /// Aliases whose target has to be asked for. A resolver follows them itself; few forwarders do not.
    const MAX_ALIASES: usize = 8;
    /// So often it is reported that answers are forged, if they are.
    const REPORT_EVERY: Duration = Duration::from_secs(60);
    /// What a server sends may be longer than what was asked for.
    const MAX_DATAGRAM: usize = 4096;

    async fn follow(&self, mut name: Name, family: Family) -> Result<Found, LookupError> {
        let mut shortest = Duration::MAX;
        for _ in 0..=Self::MAX_ALIASES {
            let reply = self.ask(&name, family).await?;
            match reply {
                Reply::Addresses(found) => return Ok(Found { ttl: found.ttl.min(shortest), ..found }),
                Reply::Nothing(ttl) => return Ok(Found { addresses: Vec::new(), ttl: ttl.min(shortest) }),
                Reply::Alias(target, ttl) => (name, shortest) = (target, shortest.min(ttl)),
                Reply::Failed(_) | Reply::Foreign | Reply::Truncated => {
                    tracing::debug!(%name, ?reply, "DNS lookup failed");
                    return Err(LookupError::Failed);
                }
            }
        }
        tracing::debug!(%name, "DNS lookup failed: too many aliases");
        Err(LookupError::Failed)
    }

    async fn ask(&self, name: &Name, family: Family) -> Result<Reply, LookupError> {
        let mut reply = self.over_udp(name, family, self.may_use_edns()).await?;
        if let Reply::Failed(fault) = reply
            && fault.may_be_edns()
        {
            // Once more: it may be EDNS, and a SERVFAIL may be one server of several.
            let second = timeout(self.again, self.over_udp(name, family, false)).await;
            match second {
                Ok(Ok(Reply::Failed(fault))) if fault.may_be_edns() => {}
                Ok(Ok(second)) => {
                    self.forget_edns();
                    reply = second;
                }
                // The error was an answer, this is none.
                Ok(Err(_)) | Err(_) => {}
            }
        }
        match reply {
            Reply::Truncated => self.over_tcp(name, family).await,
            reply => Ok(reply),
        }
    }

    /// The first answer counts, whichever of the packets it is to. The last packet goes without EDNS: some
    /// firewalls drop what they do not know.
    async fn over_udp(&self, name: &Name, family: Family, edns: bool) -> Result<Reply, LookupError> {
        let socket = self.connect().await.map_err(|error| judge(&error))?;
        let mut sent: Vec<Question> = Vec::with_capacity(2);
        for attempt in 1..=Wire::TRIES {
            let edns = edns && attempt < Wire::TRIES;
            if sent.last().is_none_or(|question| question.edns != edns) {
                sent.push(Question::new(name, family, edns).map_err(|_| LookupError::Failed)?);
            }
            if let Some(question) = sent.last() {
                socket.send(&question.bytes).await.map_err(|error| judge(&error))?;
            }
            let answer = self.receive(&socket, &sent);
            // The last one waits until the deadline, which is the caller's.
            let wait = if attempt < Wire::TRIES { self.again } else { Duration::from_secs(3600) };
            let Ok(answer) = timeout(wait, answer).await else { continue };
            let (reply, to_edns) = answer.map_err(|error| judge(&error))?;
            match (&reply, to_edns) {
                (Reply::Failed(fault), true) if fault.may_be_edns() => {}
                (_, true) => self.plain_until.set(None),
                (_, false) if sent.len() > 1 => self.forget_edns(),
                (_, false) => {}
            }
            return Ok(reply);
        }
        Err(LookupError::Timeout)
    }

    async fn connect(&self) -> io::Result<UdpSocket> {
        let any: SocketAddr = match self.address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(self.address).await?;
        Ok(socket)
    }

    /// A connection for each question: one that is shared fails all who wait on it when the server closes it.
    async fn over_tcp(&self, name: &Name, family: Family) -> Result<Reply, LookupError> {
        let mut last = LookupError::Failed;
        for _ in 0..Wire::TRIES {
            match self.over_one_connection(name, family).await {
                Ok(reply) => return Ok(reply),
                Err(error) => last = judge(&error),
            }
        }
        Err(last)
    }

    async fn over_one_connection(&self, name: &Name, family: Family) -> io::Result<Reply> {
        let question = Question::new(name, family, false).map_err(io::Error::other)?;
        let len = u16::try_from(question.bytes.len()).map_err(io::Error::other)?;
        let mut stream = TcpStream::connect(self.address).await?;
        // In one piece: some servers read no further than the first (RFC 7766 §8).
        stream.write_all(&[&len.to_be_bytes(), &question.bytes[..]].concat()).await?;
        let len = stream.read_u16().await?;
        let mut message = vec![0; usize::from(len)];
        stream.read_exact(&mut message).await?;
        Ok(question.judge(&message))
    }

    /// The first datagram that belongs to one of the questions, and whether that one had EDNS.
    async fn receive(&self, socket: &UdpSocket, sent: &[Question]) -> io::Result<(Reply, bool)> {
        let mut buffer = vec![0; Self::MAX_DATAGRAM];
        loop {
            let len = socket.recv(&mut buffer).await?;
            let datagram = buffer.get(..len).unwrap_or_default();
            for question in sent {
                match question.judge(datagram) {
                    Reply::Foreign => {}
                    reply => return Ok((reply, question.edns)),
                }
            }
            self.ignore();
        }
    }

    fn ignore(&self) {
        let (count, reported) = self.ignored.get();
        let (count, now) = (count.saturating_add(1), Instant::now());
        if reported.is_some_and(|reported| now < reported + Self::REPORT_EVERY) {
            return self.ignored.set((count, reported));
        }
        tracing::warn!(count, "ignored DNS messages that answer no question: somebody may try to forge answers");
        self.ignored.set((0, Some(now)));
    }

    fn may_use_edns(&self) -> bool {
        let now = Instant::now();
        match self.plain_until.get() {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                // This question tries it; those beside it do not wait for what comes of it.
                self.plain_until.set(Some(now + self.again * Wire::TRIES * 2));
                true
            }
        }
    }

    fn forget_edns(&self) {
        self.plain_until.set(Some(Instant::now() + Self::PLAIN));
    }
}

fn judge(error: &io::Error) -> LookupError {
    tracing::debug!(%error, "dns.server cannot be asked");
    if Trouble::of(error) == Trouble::Shortage { LookupError::Shortage } else { LookupError::Failed }
}

#[cfg(test)]
mod tests;
