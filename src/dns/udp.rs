//! Queries over UDP. They share a few sockets, as a socket for each would cost more than all the rest of a lookup.
//!
//! Nobody but the server knows their ports: each is chosen by the kernel at random, and is used for a few seconds or a few
//! hundred queries. The first message on a socket that belongs to no query ends its use for new ones, so finding a port
//! gains nothing. A socket is closed once its use has ended and no query on it waits for a response; a process that
//! looks nothing up has none.

use std::cell::RefCell;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::{AbortHandle, spawn_local};
use tokio::time::timeout;

use super::LookupError;
use super::ignored::IgnoredMessages;
use super::message::{Question, Response};
use super::udp_socket::QuerySocket;
use crate::sys::random::Random;
use latticegate_core::hostname::Hostname;

pub(super) struct Udp {
    server: SocketAddr,
    sockets: Rc<Sockets>,
    /// Keyed at random: nobody can foresee which names share a socket.
    spread: RandomState,
    pub(super) ignored: Rc<IgnoredMessages>,
}

/// Those for new queries.
#[derive(Default)]
struct Sockets(RefCell<[Option<Rc<OpenSocket>>; Udp::SOCKETS]>);

/// A socket and the task that reads from it. Both end when it is neither for new queries nor waited for.
struct OpenSocket {
    socket: Rc<QuerySocket>,
    reader: AbortHandle,
}

/// Which socket the queries for a name go over: those for both families share one, so that both responses are read at
/// once, and each repetition goes over another one.
#[derive(Debug, Clone, Copy)]
pub(super) struct SocketChoice(usize);

impl Udp {
    const SOCKETS: usize = 8;
    /// A socket is used for so many queries, and for so long.
    const MAX_QUERIES: usize = 256;
    const MAX_AGE: Duration = Duration::from_secs(10);

    pub(super) fn new(server: SocketAddr) -> Self {
        Self { server, sockets: Rc::default(), spread: RandomState::new(), ignored: Rc::default() }
    }

    pub(super) fn choose(&self, name: &Hostname) -> SocketChoice {
        SocketChoice(Random(self.spread.hash_one(name)).index(Self::SOCKETS))
    }

    /// Sends a query once. `repeated`: how often it was sent before.
    pub(super) fn send(
        &self,
        question: &Rc<Question>,
        choice: SocketChoice,
        repeated: usize,
        edns: bool,
    ) -> Result<PendingQuery, LookupError> {
        let index = (choice.0 + repeated) % Self::SOCKETS;
        let known = self.sockets.0.borrow().get(index).cloned().flatten();
        if let Some(open) = known.filter(|open| open.socket.len() < Self::MAX_QUERIES) {
            match open.socket.send(question, edns) {
                Ok(number) => return Ok(PendingQuery { open, number }),
                // Its buffer is full.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // An ICMP error for an earlier query, most likely: reported here, it is not reported to the reader.
                Err(error) => open.socket.fail(LookupError::of(&error)),
            }
        }
        let open = self.open().map_err(|error| LookupError::of(&error))?;
        if let Some(slot) = self.sockets.0.borrow_mut().get_mut(index) {
            *slot = Some(Rc::clone(&open));
        }
        match open.socket.send(question, edns) {
            Ok(number) => Ok(PendingQuery { open, number }),
            Err(error) => {
                self.sockets.retire(&open.socket);
                Err(LookupError::of(&error))
            }
        }
    }

    fn open(&self) -> io::Result<Rc<OpenSocket>> {
        let socket = Rc::new(QuerySocket::open(self.server)?);
        let reader = read(Rc::clone(&socket), Rc::downgrade(&self.sockets), Rc::clone(&self.ignored));
        Ok(Rc::new(OpenSocket { socket, reader: spawn_local(reader).abort_handle() }))
    }
}

/// Reads from a socket until it is dropped.
async fn read(socket: Rc<QuerySocket>, sockets: Weak<Sockets>, ignored: Rc<IgnoredMessages>) {
    let mut received = timeout(Udp::MAX_AGE, socket.receive(&ignored)).await.unwrap_or(Ok(()));
    if let Some(sockets) = sockets.upgrade() {
        sockets.retire(&socket);
    }
    while received.is_ok() {
        received = socket.receive(&ignored).await;
    }
    if let Err(error) = received {
        socket.fail(LookupError::of(&error));
    }
}

impl Sockets {
    /// No new query is sent on the socket.
    fn retire(&self, socket: &Rc<QuerySocket>) {
        let is_it =
            |slot: &&mut Option<Rc<OpenSocket>>| slot.as_ref().is_some_and(|open| Rc::ptr_eq(&open.socket, socket));
        drop(self.0.borrow_mut().iter_mut().find(is_it).and_then(Option::take));
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// A query that was sent, and waits for its response.
pub(super) struct PendingQuery {
    open: Rc<OpenSocket>,
    number: usize,
}

impl Future for PendingQuery {
    type Output = Result<Response, LookupError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.open.socket.poll_response(self.number, cx)
    }
}

impl Drop for PendingQuery {
    fn drop(&mut self) {
        self.open.socket.forget(self.number);
    }
}

#[cfg(test)]
mod tests;
