//! The connection under hickory for one query over TCP. It classifies the message that is received and keeps the
//! outcome, as hickory's own errors say less. A normal response is passed on to hickory; anything else ends its wait.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use futures_util::{AsyncRead, AsyncWrite};
use hickory_resolver::net::runtime::{DnsTcpStream, TokioTime};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

use super::LookupError;
use super::message::{Response, SentQuery};
use crate::sys::mutex::lock;

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
        *lock(&self.0) = Some(Err(LookupError::of(&error)));
        error
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
