//! Sockets, and what is known of them: whether a read or write would block, whether the peer has ended.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::{Poll, ready};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, acceptfrom_with, connect, ipproto, socket_with, sockopt};
use slab::Slab;

use super::context;
use super::executor::Inner;
use super::tasks::TaskId;

/// What is known of a socket.
const IN: u8 = 1;
const OUT: u8 = 1 << 1;
/// The peer has sent its FIN.
const FINISHED: u8 = 1 << 2;
/// Reset, or another error.
const BROKEN: u8 = 1 << 3;
/// There was urgent data: a read ends where it stands, so a short one does not mean that there is no more.
const URGENT: u8 = 1 << 4;
/// Events are being reported: of reading, and of writing as well.
const WATCHED: u8 = 1 << 5;
const WATCHED_OUT: u8 = 1 << 6;
/// A listener: it is reported at each turn as long as there is a connection.
const LISTENS: u8 = 1 << 7;

struct State {
    generation: u32,
    known: u8,
    waiter: TaskId,
}

pub(super) struct Sources {
    states: Slab<State>,
    next_generation: u32,
    /// Those that listen, which the loop itself has to silence.
    listeners: Vec<(u64, Rc<OwnedFd>)>,
}

impl Sources {
    pub(super) const fn new() -> Self {
        Self { states: Slab::new(), next_generation: 0, listeners: Vec::new() }
    }

    fn insert(&mut self, known: u8) -> u32 {
        let generation = self.next_generation;
        // The highest one is the inbox's.
        self.next_generation = generation.wrapping_add(1) % u32::MAX;
        let index = self.states.insert(State { generation, known, waiter: TaskId::NONE });
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    fn get_mut(&mut self, index: u32) -> Option<&mut State> {
        self.states.get_mut(usize::try_from(index).ok()?)
    }

    fn remove(&mut self, index: u32) {
        if let Ok(index) = usize::try_from(index) {
            self.states.try_remove(index);
        }
    }

    /// An event has come. Returns whom it concerns: nobody, if the socket is not there any more.
    pub(super) fn note(&mut self, epoll: impl AsFd, key: u64, flags: EventFlags) -> TaskId {
        let Some(state) = state_of(&mut self.states, key) else { return TaskId::NONE };
        if state.known & (LISTENS | IN) == LISTENS | IN {
            // Not accepted from since the last turn: it would be reported again and again.
            state.known &= !WATCHED;
            if let Some((_, fd)) = self.listeners.iter().find(|(listener, _)| *listener == key) {
                let _ = epoll::modify(epoll, fd, EventData::new_u64(key), EventFlags::empty());
            }
            return TaskId::NONE;
        }
        let pairs = [
            (EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR, IN),
            (EventFlags::OUT | EventFlags::HUP | EventFlags::ERR, OUT),
            (EventFlags::RDHUP | EventFlags::HUP, FINISHED),
            (EventFlags::ERR, BROKEN),
            (EventFlags::PRI, URGENT),
        ];
        for (flags_of, known) in pairs {
            if flags.intersects(flags_of) {
                state.known |= known;
            }
        }
        state.waiter
    }

    /// Whether a task waits for a socket that is not known to be readable.
    #[cfg(debug_assertions)]
    pub(super) fn is_parked(&mut self, key: u64) -> bool {
        state_of(&mut self.states, key).is_some_and(|state| state.known & IN == 0 && state.waiter != TaskId::NONE)
    }
}

fn state_of(states: &mut Slab<State>, key: u64) -> Option<&mut State> {
    let index = usize::try_from(key & u64::from(u32::MAX)).ok()?;
    states.get_mut(index).filter(|state| u64::from(state.generation) == key >> 32)
}

/// A socket, and its place in the loop. It is never duplicated: closing it is what ends the reports.
pub struct Source {
    /// None only while it is dropped.
    fd: Option<OwnedFd>,
    index: u32,
    inner: Rc<Inner>,
}

impl Source {
    /// Of a socket that is connected. Whether it is readable is found out by asking it.
    pub fn connected(fd: OwnedFd) -> io::Result<Self> {
        Self::new(fd, IN | OUT)
    }

    fn new(fd: OwnedFd, known: u8) -> io::Result<Self> {
        let inner = context::current().ok_or_else(no_loop)?;
        let index = inner.sources.borrow_mut().insert(known);
        Ok(Self { fd: Some(fd), index, inner })
    }

    /// Connects. `prepare` sets what has to be set before.
    pub async fn connect(address: SocketAddr, prepare: impl FnOnce(&OwnedFd) -> io::Result<()>) -> io::Result<Self> {
        let inner = context::current().ok_or_else(no_loop)?;
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

    /// Reads by `call`, once there is something to read. It returns how many bytes it has moved, and whether another call
    /// would block as far as it can tell; it fails with EAGAIN only where there is nothing.
    pub fn poll_read(&self, call: impl FnMut(BorrowedFd<'_>) -> io::Result<(usize, bool)>) -> Poll<io::Result<usize>> {
        self.poll_io(IN, call)
    }

    /// The same for writing.
    pub fn poll_write(&self, call: impl FnMut(BorrowedFd<'_>) -> io::Result<(usize, bool)>) -> Poll<io::Result<usize>> {
        self.poll_io(OUT, call)
    }

    #[inline]
    fn poll_io(
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
                    self.emptied(bit);
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

    /// Ready when the socket takes a byte, as far as is known.
    pub fn poll_writable(&self) -> Poll<io::Result<()>> {
        self.poll_known(OUT)
    }

    /// Ready when the connection has broken: a reset, or an error of the network.
    pub fn poll_broken(&self) -> Poll<io::Result<()>> {
        self.poll_any(BROKEN)
    }

    /// Ready when the peer has sent its FIN, whatever it sent before, or the connection has broken.
    pub fn poll_finished(&self) -> Poll<io::Result<()>> {
        self.poll_any(FINISHED | BROKEN)
    }

    /// A read without waiting, which brought less than it could have.
    pub fn note_emptied(&self) {
        self.emptied(IN);
    }

    /// A short read or write has left nothing, unless it ended at urgent data, or the end is behind it.
    fn emptied(&self, bit: u8) {
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

    #[inline]
    fn poll_known(&self, bit: u8) -> Poll<io::Result<()>> {
        if self.known() & bit != 0 { Poll::Ready(Ok(())) } else { self.park(bit) }
    }

    fn poll_any(&self, bits: u8) -> Poll<io::Result<()>> {
        if self.known() & bits != 0 { Poll::Ready(Ok(())) } else { self.park(IN) }
    }

    /// Has the current task woken when there is something new. Pending, or the error of a kernel that cannot report it.
    fn park<T>(&self, bit: u8) -> Poll<io::Result<T>> {
        let mut sources = self.inner.sources.borrow_mut();
        let Some(state) = sources.get_mut(self.index) else { return Poll::Pending };
        state.waiter = context::task();
        let wanted = if bit == OUT { WATCHED | WATCHED_OUT } else { WATCHED };
        if state.known & wanted == wanted {
            return Poll::Pending;
        }
        let was_watched = state.known & WATCHED != 0;
        // One that is being connected is written to next: both are reported from the beginning.
        state.known |= wanted;
        let key = EventData::new_u64(u64::from(state.generation) << 32 | u64::from(self.index));
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
            self.inner.close_later(fd);
        }
    }
}

/// Connections taken in one turn in which others wait as well.
const ACCEPTS: u32 = 32;

/// A listening socket. It is reported at each turn in which it has a connection, so it need not be emptied.
pub struct Listener {
    fd: Rc<OwnedFd>,
    key: u64,
    index: u32,
    /// How many more may be taken in this turn.
    left: Cell<u32>,
    inner: Rc<Inner>,
}

impl Listener {
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let inner = context::current().ok_or_else(no_loop)?;
        let fd = Rc::new(fd);
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

    /// A connection; one at a time if nothing else has happened, so that it is served before the next is looked for.
    pub fn poll_accept(&self) -> Poll<io::Result<(Source, SocketAddr)>> {
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
        let accepted = self.accept();
        if accepted.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            if let Some(state) = self.inner.sources.borrow_mut().get_mut(self.index) {
                state.known &= !IN;
            }
            return self.poll_accept();
        }
        Poll::Ready(accepted)
    }

    /// A connection that is there now, if there is one.
    pub fn accept_now(&self) -> Option<io::Result<(Source, SocketAddr)>> {
        match self.accept() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            accepted => Some(accepted),
        }
    }

    fn accept(&self) -> io::Result<(Source, SocketAddr)> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (fd, peer) = self.inner.opening(|| acceptfrom_with(self, flags))?;
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        // Nothing but TCP over IP is listened on.
        Ok((Source::connected(fd)?, peer.ok_or(Errno::CONNABORTED)?))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        (*self.fd).as_fd()
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Listener").field(&self.fd).finish()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut sources = self.inner.sources.borrow_mut();
        sources.remove(self.index);
        sources.listeners.retain(|(key, _)| *key != self.key);
    }
}

fn no_loop() -> io::Error {
    io::Error::other("this thread runs no event loop")
}
