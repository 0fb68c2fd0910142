//! A listening socket.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Poll, ready};

use super::stream::Stream;
use crate::event_loop::ListeningSource;

/// Connections taken in one turn in which others wait as well.
const ACCEPTS: u32 = 32;

pub struct ListeningSocket {
    source: ListeningSource,
    /// How many more may be taken in this turn.
    left: Cell<u32>,
}

impl ListeningSocket {
    /// Of a non-blocking socket, on the thread that is to accept from it.
    pub fn from_std(listener: TcpListener) -> io::Result<Self> {
        Ok(Self { source: ListeningSource::new(listener)?, left: Cell::new(0) })
    }

    /// Waits for a connection; one at a time if nothing else has happened, so that it is served before the next is looked for.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        poll_fn(|_| self.poll_accept()).await
    }

    fn poll_accept(&self) -> Poll<io::Result<(Stream, SocketAddr)>> {
        loop {
            let left = self.left.replace(0);
            ready!(self.source.poll_readable())?;
            let left = match left {
                0 if self.source.is_lone() => 1,
                0 => ACCEPTS,
                left => left,
            };
            self.left.set(left - 1);
            if left == 1 {
                self.source.note_emptied();
            }
            match self.accept_now() {
                None => self.source.note_emptied(),
                Some(accepted) => return Poll::Ready(accepted),
            }
        }
    }

    /// A connection that is there now, if there is one.
    pub fn accept_now(&self) -> Option<io::Result<(Stream, SocketAddr)>> {
        match self.source.accept() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            accepted => Some(accepted.map(|(source, peer)| (source.into(), peer))),
        }
    }
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}

impl std::fmt::Debug for ListeningSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ListeningSocket").field(&self.as_fd()).finish()
    }
}
