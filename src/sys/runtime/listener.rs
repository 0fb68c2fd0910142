//! A listening socket.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use futures_util::FutureExt;
use tokio::net::TcpListener;
use tokio::task::coop::unconstrained;

use super::Stream;

#[derive(Debug)]
pub struct ListeningSocket(TcpListener);

impl ListeningSocket {
    /// Of a non-blocking socket, on the thread of its runtime.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Self> {
        TcpListener::from_std(listener).map(Self)
    }

    /// Waits for a connection.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        Ok((Stream::from(stream), peer))
    }

    /// A connection that is there now, if there is one.
    pub fn accept_now(&self) -> Option<io::Result<(Stream, SocketAddr)>> {
        // Whether this task has had its share of time must not look like an empty queue.
        unconstrained(self.accept()).now_or_never()
    }
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
