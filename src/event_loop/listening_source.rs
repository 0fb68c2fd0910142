//! A listening socket.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::Poll;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};

use super::context;
use super::shared::Shared;
use super::source::Source;
use super::sources::{IN, LISTENS, WATCHED};

/// It is reported at each turn in which it has a connection, so it need not be emptied.
pub(crate) struct ListeningSource {
    fd: Rc<OwnedFd>,
    key: u64,
    index: u32,
    inner: Rc<Shared>,
}

impl ListeningSource {
    /// Of a non-blocking socket, on the thread that is to accept from it.
    pub(crate) fn new(listener: TcpListener) -> io::Result<Self> {
        let inner = context::current_or_fail()?;
        let fd = Rc::new(OwnedFd::from(listener));
        let mut sources = inner.sources.borrow_mut();
        let (index, key) = sources.insert(LISTENS | WATCHED);
        sources.listeners.push((key, Rc::clone(&fd)));
        drop(sources);
        let source = Self { fd, key, index, inner };
        epoll::add(&source.inner.epoll, &source, EventData::new_u64(key), EventFlags::IN)?;
        Ok(source)
    }

    /// Ready when there is a connection, as far as is known.
    pub(crate) fn poll_readable(&self) -> Poll<io::Result<()>> {
        let mut sources = self.inner.sources.borrow_mut();
        let Some(state) = sources.get_mut(self.index) else { return Poll::Pending };
        if state.known & IN != 0 {
            return Poll::Ready(Ok(()));
        }
        state.waiter = context::task();
        if state.known & WATCHED == 0 {
            state.known |= WATCHED;
            epoll::modify(&self.inner.epoll, self, EventData::new_u64(self.key), EventFlags::IN)?;
        }
        Poll::Pending
    }

    /// No more connections are taken in this turn.
    pub(crate) fn note_emptied(&self) {
        if let Some(state) = self.inner.sources.borrow_mut().get_mut(self.index) {
            state.known &= !IN;
        }
    }

    /// It is all that has happened since the last turn.
    pub(crate) fn is_lone(&self) -> bool {
        self.inner.is_lone.get()
    }

    /// A connection that is there now, without waiting.
    pub(crate) fn accept(&self) -> io::Result<(Source, SocketAddr)> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (fd, peer) = self.inner.opening(|| acceptfrom_with(self, flags))?;
        #[cfg(test)]
        if let Some(peer) = super::simulation::accepted(&fd, peer.as_ref()) {
            return Ok((Source::connected(fd)?, peer));
        }
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        // Nothing but TCP over IP is listened on.
        Ok((Source::connected(fd)?, peer.ok_or(Errno::CONNABORTED)?))
    }
}

impl AsFd for ListeningSource {
    fn as_fd(&self) -> BorrowedFd<'_> {
        (*self.fd).as_fd()
    }
}

impl Drop for ListeningSource {
    fn drop(&mut self) {
        let mut sources = self.inner.sources.borrow_mut();
        sources.remove(self.index);
        sources.listeners.retain(|(key, _)| *key != self.key);
    }
}
