//! The sockets under hickory, each for one question: connected, so that the kernel drops what others send and hands on
//! what ICMP says. They judge what is received and keep the conclusion, as hickory's own errors say less. A normal
//! answer is handed on to hickory; anything else ends its waiting.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{AsyncRead, AsyncWrite};
use hickory_resolver::net::runtime::{DnsTcpStream, DnsUdpSocket, TokioTime};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::Instant;

use super::LookupError;
use super::message::{Question, Reply};
use crate::sys::socket::Trouble;

/// What a server sends may be longer than what was asked for.
const MAX_DATAGRAM: usize = 4096;

/// What came of a question.
#[derive(Default)]
pub(super) struct Conclusion(Mutex<Option<Result<Reply, LookupError>>>);

impl Conclusion {
    pub(super) fn take(&self) -> Option<Result<Reply, LookupError>> {
        lock(&self.0).take()
    }

    /// An error where hickory has nothing to do with it any more.
    fn set(&self, reply: Reply) -> io::Result<()> {
        let is_normal = matches!(reply, Reply::Addresses(_) | Reply::Nothing(_) | Reply::Alias(..));
        *lock(&self.0) = Some(Ok(reply));
        if is_normal { Ok(()) } else { Err(io::Error::other("no normal answer")) }
    }

    fn fail(&self, error: io::Error) -> io::Error {
        tracing::debug!(%error, "dns.server cannot be asked");
        let shortage = Trouble::of(&error) == Trouble::Shortage;
        *lock(&self.0) = Some(Err(if shortage { LookupError::Shortage } else { LookupError::Failed }));
        error
    }
}

/// Messages that answer no question: how many since they were last reported, and when that was.
#[derive(Default)]
pub(super) struct Ignored(Mutex<(u64, Option<Instant>)>);

impl Ignored {
    /// So often it is reported that answers are forged, if they are.
    const REPORT_EVERY: Duration = Duration::from_secs(60);

    fn add(&self) {
        let now = Instant::now();
        let mut ignored = lock(&self.0);
        let count = ignored.0.saturating_add(1);
        if ignored.1.is_some_and(|reported| now < reported + Self::REPORT_EVERY) {
            ignored.0 = count;
            return;
        }
        *ignored = (0, Some(now));
        drop(ignored);
        tracing::warn!(count, "ignored DNS messages that answer no question: somebody may try to forge answers");
    }

    #[cfg(test)]
    pub(super) fn unreported(&self) -> u64 {
        lock(&self.0).0
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) struct Udp {
    socket: UdpSocket,
    question: OnceLock<Question>,
    conclusion: Arc<Conclusion>,
    ignored: Arc<Ignored>,
}

impl Udp {
    pub(super) async fn open(
        local: SocketAddr,
        server: SocketAddr,
        conclusion: Arc<Conclusion>,
        ignored: Arc<Ignored>,
    ) -> io::Result<Self> {
        let opened = async {
            let socket = UdpSocket::bind(local).await?;
            socket.connect(server).await?;
            Ok(socket)
        };
        let socket = opened.await.map_err(|error| conclusion.fail(error))?;
        Ok(Self { socket, question: OnceLock::new(), conclusion, ignored })
    }

    /// What hickory gets for `datagram`, if anything.
    fn judge(&self, datagram: &[u8], out: &mut [u8]) -> Option<io::Result<(usize, SocketAddr)>> {
        let reply = match self.question.get()?.judge(datagram) {
            Reply::Foreign => {
                self.ignored.add();
                return None;
            }
            reply => reply,
        };
        Some(self.conclusion.set(reply).and_then(|()| {
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
        let len = ready!(self.socket.poll_send(cx, message)).map_err(|error| self.conclusion.fail(error))?;
        if let Some(question) = Question::read(message) {
            // hickory sends one message on each socket.
            let _ = self.question.set(question);
        }
        Poll::Ready(Ok(len))
    }

    /// Not by `poll_recv_from`, as tokio does not wake that for an error alone.
    async fn recv_from(&self, out: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let mut buffer = [0; MAX_DATAGRAM];
        loop {
            let len = self.socket.recv(&mut buffer).await.map_err(|error| self.conclusion.fail(error))?;
            if let Some(answer) = self.judge(buffer.get(..len).unwrap_or_default(), out) {
                return answer;
            }
        }
    }

    fn poll_recv_from(&self, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut buffer = [0; MAX_DATAGRAM];
        loop {
            let mut datagram = ReadBuf::new(&mut buffer);
            ready!(self.socket.poll_recv(cx, &mut datagram)).map_err(|error| self.conclusion.fail(error))?;
            if let Some(answer) = self.judge(datagram.filled(), out) {
                return Poll::Ready(answer);
            }
        }
    }
}

pub(super) struct Tcp {
    stream: TcpStream,
    /// The question and what has come of its answer, with their lengths before them.
    sent: Vec<u8>,
    received: Vec<u8>,
    conclusion: Arc<Conclusion>,
}

impl Tcp {
    pub(super) async fn open(server: SocketAddr, conclusion: Arc<Conclusion>) -> io::Result<Self> {
        let stream = TcpStream::connect(server).await.map_err(|error| conclusion.fail(error))?;
        Ok(Self { stream, sent: Vec::new(), received: Vec::new(), conclusion })
    }

    fn judge(&self) -> io::Result<()> {
        let Some(answer) = message(&self.received) else { return Ok(()) };
        let question = message(&self.sent).and_then(Question::read);
        self.conclusion.set(question.map_or(Reply::Foreign, |question| question.judge(answer)))
    }
}

impl DnsTcpStream for Tcp {
    type Time = TokioTime;
}

impl AsyncRead for Tcp {
    /// No more than one message, as hickory asks for its length first and then for the rest of it.
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        if message(&self.received).is_some() {
            return Poll::Ready(Ok(0));
        }
        let mut out = ReadBuf::new(out);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut out)).map_err(|error| self.conclusion.fail(error))?;
        self.received.extend_from_slice(out.filled());
        self.judge()?;
        Poll::Ready(Ok(out.filled().len()))
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, part: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(part)])
    }

    /// The length and the message in one piece: some servers read no further than the first (RFC 7766 §8).
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        let len = ready!(written).map_err(|error| self.conclusion.fail(error))?;
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

/// The message behind its length, if all of it is there.
fn message(bytes: &[u8]) -> Option<&[u8]> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.get(..usize::from(u16::from_be_bytes(*len)))
}
