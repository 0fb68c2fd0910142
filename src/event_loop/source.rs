//! A connected socket, or one that is being connected.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::{Poll, ready};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with, sockopt};

use super::context;
use super::shared::Shared;
use super::sources::{BROKEN, FINISHED, IN, OUT, URGENT, WATCHED, WATCHED_OUT, key_of};

/// A socket, and its place in the loop. It is never duplicated: closing it is what ends the reports.
pub(crate) struct Source {
    /// None only while it is dropped.
    fd: Option<OwnedFd>,
    index: u32,
    inner: Rc<Shared>,
}

impl Source {
    /// Of a socket that is connected. Whether it is readable is found out by asking it.
    pub(crate) fn connected(fd: OwnedFd) -> io::Result<Self> {
        Self::new(fd, IN | OUT)
    }

    fn new(fd: OwnedFd, known: u8) -> io::Result<Self> {
        let inner = context::current_or_fail()?;
        let (index, _) = inner.sources.borrow_mut().insert(known);
        Ok(Self { fd: Some(fd), index, inner })
    }

    /// Connects. `prepare` sets what has to be set before.
    pub(crate) async fn connect(
        address: SocketAddr,
        prepare: impl FnOnce(&OwnedFd) -> io::Result<()>,
    ) -> io::Result<Self> {
        #[cfg(test)]
        if let Some(connecting) = super::simulation::connect(address, &*context::current_or_fail()?)? {
            return Self::connected(connecting.await?);
        }
        let inner = context::current_or_fail()?;
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = inner.opening(|| socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP)))?;
        drop(inner);
        prepare(&fd)?;
        match connect(&fd, &address) {
            Ok(()) => return Self::connected(fd),
            Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let source = Self::new(fd, 0)?;
        poll_fn(|_| source.poll_connected()).await?;
        Ok(source)
    }

    fn poll_connected(&self) -> Poll<io::Result<()>> {
        ready!(self.poll_known(OUT))?;
        if self.known() & (BROKEN | FINISHED) != 0 {
            sockopt::socket_error(self)??;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads (`IN`) or writes (`OUT`) by `call`, once that is possible. It returns how many bytes it has moved, and whether
    /// another call would block as far as it can tell; it fails with EAGAIN only where there is nothing, or no room.
    #[inline]
    pub(crate) fn poll_io(
        &self,
        bit: u8,
        mut call: impl FnMut(BorrowedFd<'_>) -> io::Result<(usize, bool)>,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_known(bit))?;
        if !context::take_share(&self.inner) {
            return Poll::Pending;
        }
        match call(self.as_fd()) {
            Ok((n, would_block)) => {
                if would_block {
                    self.note_emptied(bit);
                }
                Poll::Ready(Ok(n))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.forget(bit);
                self.park(bit)
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// A short read or write has left nothing, unless it ended at urgent data, or the end is behind it.
    pub(crate) fn note_emptied(&self, bit: u8) {
        if bit == OUT || self.known() & (FINISHED | BROKEN | URGENT) == 0 {
            self.forget(bit);
        }
    }

    fn known(&self) -> u8 {
        self.inner.sources.borrow_mut().get_mut(self.index).map_or(0, |state| state.known)
    }

    fn forget(&self, bit: u8) {
        if let Some(state) = self.inner.sources.borrow_mut().get_mut(self.index) {
            state.known &= !bit;
        }
    }

    /// Ready when any of these is known. An error is that of a kernel that cannot report it.
    #[inline]
    pub(crate) fn poll_known(&self, bits: u8) -> Poll<io::Result<()>> {
        if self.known() & bits != 0 { Poll::Ready(Ok(())) } else { self.park(bits) }
    }

    /// Has the current task woken when there is something new. Pending, or the error of a kernel that cannot report it.
    fn park<T>(&self, bits: u8) -> Poll<io::Result<T>> {
        let mut sources = self.inner.sources.borrow_mut();
        let Some(state) = sources.get_mut(self.index) else { return Poll::Pending };
        state.waiter = context::task();
        let wanted = if bits == OUT { WATCHED | WATCHED_OUT } else { WATCHED };
        if state.known & wanted == wanted {
            return Poll::Pending;
        }
        let was_watched = state.known & WATCHED != 0;
        // One that is being connected is written to next: both are reported from the beginning.
        state.known |= wanted;
        let key = EventData::new_u64(key_of(state.generation, self.index));
        let mut flags = EventFlags::IN | EventFlags::PRI | EventFlags::RDHUP | EventFlags::ET;
        if state.known & WATCHED_OUT != 0 {
            flags |= EventFlags::OUT;
        }
        drop(sources);
        let watched = if was_watched {
            epoll::modify(&self.inner.epoll, self, key, flags)
        } else {
            #[cfg(debug_assertions)]
            self.inner.inspect(self, key);
            epoll::add(&self.inner.epoll, self, key, flags)
        };
        match watched {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.fd {
            Some(fd) => fd.as_fd(),
            None => self.inner.epoll.as_fd(),
        }
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Source").field(&self.fd).finish()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.inner.sources.borrow_mut().remove(self.index);
        if let Some(fd) = self.fd.take() {
            #[cfg(test)]
            super::simulation::closing(&fd);
            self.inner.closing.borrow_mut().push(fd);
        }
    }
}
