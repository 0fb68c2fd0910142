//! A listening socket.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::Poll;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};

use super::context;
use super::shared::Shared;
use super::sources::{IN, LISTENS, WATCHED};
use super::stream::Stream;

/// Connections taken in one turn in which others wait as well.
const ACCEPTS: u32 = 32;

/// It is reported at each turn in which it has a connection, so it need not be emptied.
pub struct ListeningSocket {
    fd: Rc<OwnedFd>,
    key: u64,
    index: u32,
    /// How many more may be taken in this turn.
    left: Cell<u32>,
    inner: Rc<Shared>,
}

impl ListeningSocket {
    /// Of a non-blocking socket, on the thread that is to accept from it.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Self> {
        let inner = context::current_or_fail()?;
        let fd = Rc::new(OwnedFd::from(listener));
        let mut sources = inner.sources.borrow_mut();
        let index = sources.insert(LISTENS | WATCHED);
        let generation = sources.get_mut(index).map_or(0, |state| state.generation);
        let key = u64::from(generation) << 32 | u64::from(index);
        sources.listeners.push((key, Rc::clone(&fd)));
        drop(sources);
        let listener = Self { fd, key, index, left: Cell::new(0), inner };
        epoll::add(&listener.inner.epoll, &listener, EventData::new_u64(key), EventFlags::IN)?;
        Ok(listener)
    }

    /// Waits for a connection; one at a time if nothing else has happened, so that it is served before the next is looked for.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        poll_fn(|_| self.poll_accept()).await
    }

    fn poll_accept(&self) -> Poll<io::Result<(Stream, SocketAddr)>> {
        let mut sources = self.inner.sources.borrow_mut();
        let Some(state) = sources.get_mut(self.index) else { return Poll::Pending };
        if state.known & IN == 0 {
            state.waiter = context::task();
            self.left.set(0);
            if state.known & WATCHED == 0 {
                state.known |= WATCHED;
                epoll::modify(&self.inner.epoll, self, EventData::new_u64(self.key), EventFlags::IN)?;
            }
            return Poll::Pending;
        }
        let left = match self.left.get() {
            0 if self.inner.is_lone.get() => 1,
            0 => ACCEPTS,
            left => left,
        };
        self.left.set(left - 1);
        if left == 1 {
            state.known &= !IN;
        }
        drop(sources);
        let accepted = self.accept_one();
        if accepted.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            if let Some(state) = self.inner.sources.borrow_mut().get_mut(self.index) {
                state.known &= !IN;
            }
            return self.poll_accept();
        }
        Poll::Ready(accepted)
    }

    /// A connection that is there now, if there is one.
    pub fn accept_now(&self) -> Option<io::Result<(Stream, SocketAddr)>> {
        match self.accept_one() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            accepted => Some(accepted),
        }
    }

    fn accept_one(&self) -> io::Result<(Stream, SocketAddr)> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (fd, peer) = self.inner.opening(|| acceptfrom_with(self, flags))?;
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        // Nothing but TCP over IP is listened on.
        Ok((Stream::connected(fd)?, peer.ok_or(Errno::CONNABORTED)?))
    }
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        (*self.fd).as_fd()
    }
}

impl std::fmt::Debug for ListeningSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ListeningSocket").field(&self.fd).finish()
    }
}

impl Drop for ListeningSocket {
    fn drop(&mut self) {
        let mut sources = self.inner.sources.borrow_mut();
        sources.remove(self.index);
        sources.listeners.retain(|(key, _)| *key != self.key);
    }
}
