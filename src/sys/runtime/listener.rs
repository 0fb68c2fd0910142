//! A listening socket.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use futures_util::FutureExt;
use tokio::net::TcpListener;
use tokio::task::coop::unconstrained;

use super::Stream;
use crate::event_loop::{self, Listener, Source};

#[derive(Debug)]
pub struct ListeningSocket(Socket);

#[derive(Debug)]
enum Socket {
    Tokio(TcpListener),
    Own(Listener),
}

impl ListeningSocket {
    /// Of a non-blocking socket, on the thread of its runtime.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Self> {
        if event_loop::is_running() {
            return Listener::new(listener.into()).map(|listener| Self(Socket::Own(listener)));
        }
        TcpListener::from_std(listener).map(|listener| Self(Socket::Tokio(listener)))
    }

    /// Waits for a connection.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match &self.0 {
            Socket::Tokio(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Stream::from(stream), peer))
            }
            Socket::Own(listener) => poll_fn(|_| listener.poll_accept()).await.map(accepted),
        }
    }

    /// A connection that is there now, if there is one.
    pub fn accept_now(&self) -> Option<io::Result<(Stream, SocketAddr)>> {
        match &self.0 {
            // Whether this task has had its share of time must not look like an empty queue.
            Socket::Tokio(_) => unconstrained(self.accept()).now_or_never(),
            Socket::Own(listener) => listener.accept_now().map(|result| result.map(accepted)),
        }
    }
}

fn accepted((source, peer): (Source, SocketAddr)) -> (Stream, SocketAddr) {
    (Stream::from(source), peer)
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Socket::Tokio(listener) => listener.as_fd(),
            Socket::Own(listener) => listener.as_fd(),
        }
    }
}
