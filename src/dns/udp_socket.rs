//! A UDP socket, and the queries that were sent on it. It is connected, so that the kernel drops what other hosts send
//! and reports ICMP errors, at a port that the kernel chooses at random. What a received message means is decided in
//! `message.rs`.

use std::cell::RefCell;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::{Domain, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::LookupError;
use super::ignored::IgnoredMessages;
use super::message::{Question, Response, SentQuery, random_id};

/// A server may send more than the query allows.
const MAX_DATAGRAM: usize = 4096;
/// More than this without a pause are not the responses to queries. Other tasks have their turn in between.
const MAX_AT_ONCE: usize = 1024;

pub(super) struct QuerySocket {
    socket: UdpSocket,
    sent: RefCell<Sent>,
}

/// All queries of a socket's life, so that no ID occurs twice, and a late or repeated response is known for what it is.
#[derive(Default)]
struct Sent {
    ids: Vec<u16>,
    /// None: it has its response, or nobody waits for it any more.
    waiting: Vec<Option<Box<Waiting>>>,
    /// The last one, whose memory the next one uses.
    message: Vec<u8>,
}

struct Waiting {
    query: SentQuery,
    response: Option<Result<Response, LookupError>>,
    waker: Option<Waker>,
}

impl QuerySocket {
    pub(super) fn open(server: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(server), Type::DGRAM.nonblocking().cloexec(), None)?;
        socket.connect(&server.into())?;
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, sent: RefCell::default() })
    }

    /// How many queries were sent on it.
    pub(super) fn len(&self) -> usize {
        self.sent.borrow().ids.len()
    }

    /// Sends a query, and returns its number.
    pub(super) fn send(&self, question: &Rc<Question>, edns: bool) -> io::Result<usize> {
        let mut sent = self.sent.borrow_mut();
        let id = loop {
            let id = random_id();
            if !sent.ids.contains(&id) {
                break id;
            }
        };
        let query = SentQuery::new(id, Rc::clone(question));
        query.write(edns, &mut sent.message);
        send(&self.socket, &sent.message, SendFlags::NOSIGNAL)?;
        sent.ids.push(id);
        sent.waiting.push(Some(Box::new(Waiting { query, response: None, waker: None })));
        Ok(sent.ids.len() - 1)
    }

    /// The response to a query, once it is there.
    pub(super) fn poll_response(&self, number: usize, cx: &mut Context<'_>) -> Poll<Result<Response, LookupError>> {
        let mut sent = self.sent.borrow_mut();
        let Some(waiting) = sent.waiting.get_mut(number).and_then(Option::as_mut) else {
            return Poll::Ready(Err(LookupError::Failed));
        };
        if let Some(response) = waiting.response.take() {
            return Poll::Ready(response);
        }
        if !waiting.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            waiting.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Nobody waits for the response any more.
    pub(super) fn forget(&self, number: usize) {
        if let Some(waiting) = self.sent.borrow_mut().waiting.get_mut(number) {
            *waiting = None;
        }
    }

    /// Passes each response on to its query, until a message arrives that belongs to none. An error is an ICMP error.
    pub(super) async fn receive(&self, ignored: &IgnoredMessages) -> io::Result<()> {
        // A closed port is an error alone.
        self.socket.async_io(Interest::READABLE | Interest::ERROR, || self.receive_ready(ignored)).await
    }

    /// The buffer is on the stack, so that a socket that waits holds none.
    fn receive_ready(&self, ignored: &IgnoredMessages) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); MAX_DATAGRAM];
        for _ in 0..MAX_AT_ONCE {
            let ((datagram, _), _) = recv(&self.socket, &mut buffer[..], RecvFlags::empty())?;
            if !self.pass_on(datagram) {
                ignored.add();
                return Ok(());
            }
        }
        Ok(())
    }

    /// Returns whether it belongs to a query.
    fn pass_on(&self, datagram: &[u8]) -> bool {
        let Some((id, _)) = datagram.split_first_chunk() else { return false };
        let id = u16::from_be_bytes(*id);
        let mut sent = self.sent.borrow_mut();
        // Most are among the last ones.
        let Some(number) = sent.ids.iter().rposition(|sent| *sent == id) else { return false };
        let Some(Some(waiting)) = sent.waiting.get_mut(number) else { return true };
        if waiting.response.is_some() {
            return true;
        }
        match waiting.query.classify(datagram) {
            Response::Unrelated => return false,
            response => waiting.answer(Ok(response)),
        }
        true
    }

    /// Fails all queries that wait for a response.
    pub(super) fn fail(&self, error: LookupError) {
        for waiting in self.sent.borrow_mut().waiting.iter_mut().flatten() {
            if waiting.response.is_none() {
                waiting.answer(Err(error));
            }
        }
    }
}

impl Waiting {
    fn answer(&mut self, response: Result<Response, LookupError>) {
        self.response = Some(response);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}
