//! What tests of sessions need beside the loop: a way in, the peers' ends of connections, and time that does not pass.

#![allow(clippy::disallowed_methods, reason = "the peer of a socket under test")]

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{EventLoop, Stream, timeout, yield_now};
use crate::event_loop::Source;

/// Longer than any test takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// On a loop of this thread, under a deadline.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    EventLoop::new().unwrap().block_on(timeout(PATIENCE, work)).expect("in time")
}

/// The same, but time stands still while anything is to be done, and then goes on to the next deadline.
pub(crate) fn in_virtual_time<T>(work: impl Future<Output = T>) -> T {
    EventLoop::in_virtual_time().unwrap().block_on(work)
}

/// The others have a turn.
pub(crate) async fn next_turn() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        yield_now(cx);
        Poll::Pending
    })
    .await;
}

impl Stream {
    /// Of a socket that is connected.
    pub(crate) fn connected(fd: impl Into<OwnedFd>) -> io::Result<Self> {
        Source::connected(fd.into()).map(Self::from)
    }
}

/// Both ends of a connection over the loopback interface.
pub(crate) fn pair() -> (Stream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    [&ours, &theirs].into_iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
    (Stream::connected(ours).unwrap(), Stream::connected(theirs).unwrap())
}

/// The peers of a test read and write as tokio's streams do.
impl AsyncRead for &Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let n = ready!(self.poll_recv(cx, buffer.initialize_unfilled()))?;
        buffer.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for &Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(cx, bytes, false)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        pin!(&*self).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        pin!(&*self).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&*self).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&*self).poll_shutdown(cx)
    }
}
