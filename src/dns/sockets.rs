//! The sockets under hickory, each for one query: connected, so that the kernel drops what other hosts send and reports
//! ICMP errors. They classify what is received and keep the outcome, as hickory's own errors say less. A normal
//! response is passed on to hickory; anything else ends its wait.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::sys::runtime::Instant;
use async_trait::async_trait;
use futures_util::{AsyncRead, AsyncWrite};
use hickory_resolver::net::runtime::{DnsTcpStream, DnsUdpSocket, TokioTime};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::{TcpStream, UdpSocket};

use super::LookupError;
use super::message::{Response, SentQuery};
use crate::sys::mutex::lock;
use crate::sys::socket::Trouble;

/// A server may send more than the query allows.
const MAX_DATAGRAM: usize = 4096;

/// The outcome of a query.
#[derive(Default)]
pub(super) struct QueryOutcome(Mutex<Option<Result<Response, LookupError>>>);

impl QueryOutcome {
    pub(super) fn take(&self) -> Option<Result<Response, LookupError>> {
        lock(&self.0).take()
    }

    /// Returns an error if hickory is not to see the response.
    fn set(&self, response: Response) -> io::Result<()> {
        let is_normal = matches!(response, Response::Addresses(_) | Response::Negative(_) | Response::Alias(..));
        *lock(&self.0) = Some(Ok(response));
        if is_normal { Ok(()) } else { Err(io::Error::other("no normal response")) }
    }

    fn fail(&self, error: io::Error) -> io::Error {
        tracing::debug!(%error, "dns.server cannot be queried");
        let shortage = Trouble::of(&error) == Trouble::Shortage;
        *lock(&self.0) = Some(Err(if shortage { LookupError::Shortage } else { LookupError::Failed }));
        error
    }
}

/// Counts messages that belong to no query.
#[derive(Default)]
pub(super) struct IgnoredMessages(Mutex<Unreported>);

#[derive(Default)]
struct Unreported {
    count: u64,
    last_report: Option<Instant>,
}

impl IgnoredMessages {
    /// One line in the log in this time at most.
    const REPORT_EVERY: Duration = Duration::from_secs(60);

    fn add(&self) {
        let now = Instant::now();
        let mut ignored = lock(&self.0);
        let count = ignored.count.saturating_add(1);
        if ignored.last_report.is_some_and(|last| now < last + Self::REPORT_EVERY) {
            ignored.count = count;
            return;
        }
        *ignored = Unreported { count: 0, last_report: Some(now) };
        drop(ignored);
        tracing::warn!(count, "ignored DNS messages that belong to no query: this may be an attempt to forge answers");
    }

    #[cfg(test)]
    pub(super) fn unreported(&self) -> u64 {
        lock(&self.0).count
    }
}

pub(super) struct Udp {
    socket: UdpSocket,
    query: OnceLock<SentQuery>,
    outcome: Arc<QueryOutcome>,
    ignored: Arc<IgnoredMessages>,
}

impl Udp {
    pub(super) async fn open(
        local: SocketAddr,
        server: SocketAddr,
        outcome: Arc<QueryOutcome>,
        ignored: Arc<IgnoredMessages>,
    ) -> io::Result<Self> {
        let opened = async {
            let socket = UdpSocket::bind(local).await?;
            socket.connect(server).await?;
            Ok(socket)
        };
        let socket = opened.await.map_err(|error| outcome.fail(error))?;
        Ok(Self { socket, query: OnceLock::new(), outcome, ignored })
    }

    /// What hickory gets for `datagram`, if anything.
    fn filter(&self, datagram: &[u8], out: &mut [u8]) -> Option<io::Result<(usize, SocketAddr)>> {
        let response = match self.query.get()?.classify(datagram) {
            Response::Unrelated => {
                self.ignored.add();
                return None;
            }
            response => response,
        };
        Some(self.outcome.set(response).and_then(|()| {
            let out = out.get_mut(..datagram.len()).ok_or_else(|| io::Error::other("longer than hickory expects"))?;
            out.copy_from_slice(datagram);
            Ok((datagram.len(), self.socket.peer_addr()?))
        }))
    }
}

#[async_trait]
impl DnsUdpSocket for Udp {
    type Time = TokioTime;

    fn poll_send_to(&self, cx: &mut Context<'_>, message: &[u8], _: SocketAddr) -> Poll<io::Result<usize>> {
        let len = ready!(self.socket.poll_send(cx, message)).map_err(|error| self.outcome.fail(error))?;
        if let Some(query) = SentQuery::parse(message) {
            // hickory sends one message on each socket.
            let _ = self.query.set(query);
        }
        Poll::Ready(Ok(len))
    }

    /// Not by `poll_recv_from`, as tokio does not wake that for an error alone.
    async fn recv_from(&self, out: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let mut buffer = [0; MAX_DATAGRAM];
        loop {
            let len = self.socket.recv(&mut buffer).await.map_err(|error| self.outcome.fail(error))?;
            if let Some(result) = self.filter(buffer.get(..len).unwrap_or_default(), out) {
                return result;
            }
        }
    }

    fn poll_recv_from(&self, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut buffer = [0; MAX_DATAGRAM];
        loop {
            let mut datagram = ReadBuf::new(&mut buffer);
            ready!(self.socket.poll_recv(cx, &mut datagram)).map_err(|error| self.outcome.fail(error))?;
            if let Some(result) = self.filter(datagram.filled(), out) {
                return Poll::Ready(result);
            }
        }
    }
}

pub(super) struct Tcp {
    stream: TcpStream,
    /// The query and the response so far, each preceded by its length.
    sent: Vec<u8>,
    received: Vec<u8>,
    outcome: Arc<QueryOutcome>,
}

impl Tcp {
    pub(super) async fn open(server: SocketAddr, outcome: Arc<QueryOutcome>) -> io::Result<Self> {
        let stream = TcpStream::connect(server).await.map_err(|error| outcome.fail(error))?;
        Ok(Self { stream, sent: Vec::new(), received: Vec::new(), outcome })
    }

    fn check(&self) -> io::Result<()> {
        let Some(received) = message(&self.received) else { return Ok(()) };
        let query = message(&self.sent).and_then(SentQuery::parse);
        self.outcome.set(query.map_or(Response::Unrelated, |query| query.classify(received)))
    }
}

impl DnsTcpStream for Tcp {
    type Time = TokioTime;
}

impl AsyncRead for Tcp {
    /// No more than one message: hickory reads its length first and then the rest.
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        if message(&self.received).is_some() {
            return Poll::Ready(Ok(0));
        }
        let mut out = ReadBuf::new(out);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut out)).map_err(|error| self.outcome.fail(error))?;
        self.received.extend_from_slice(out.filled());
        self.check()?;
        Poll::Ready(Ok(out.filled().len()))
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, part: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(part)])
    }

    /// The length and the message in one write: some servers read only the first segment (RFC 7766 §8).
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        let len = ready!(written).map_err(|error| self.outcome.fail(error))?;
        let bytes = parts.iter().flat_map(|part| part.iter()).take(len);
        self.sent.extend(bytes);
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The message after its length, if it is complete.
fn message(bytes: &[u8]) -> Option<&[u8]> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.get(..usize::from(u16::from_be_bytes(*len)))
}
