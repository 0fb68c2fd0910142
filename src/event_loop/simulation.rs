//! A loop whose time and whose network are a test's: nothing waits, and the same seed makes the same run.
//!
//! Sockets are local pairs of the real kernel, which one thread uses in one order. Time stands still while anything is to be done, and
//! then goes on to the next deadline.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;

use rustix::net::{SocketAddrAny, SocketAddrUnix};

use super::executor::EventLoop;
use super::shared::Shared;
use crate::sys::instant::{Instant, set_turn};

pub(crate) type Connecting = Pin<Box<dyn Future<Output = io::Result<OwnedFd>>>>;

/// What is outside of the loop.
pub(crate) trait Network {
    fn connect(&self, address: SocketAddr) -> Connecting;

    /// The loop has accepted this socket; who is at its other end.
    fn accepted(&self, socket: BorrowedFd<'_>, peer: &SocketAddrUnix) -> Option<SocketAddr>;

    /// The loop closes it.
    fn closing(&self, socket: BorrowedFd<'_>);
}

thread_local! {
    static NETWORK: RefCell<Option<Rc<dyn Network>>> = const { RefCell::new(None) };
}

impl EventLoop {
    /// Its connections are the kernel's.
    pub(crate) fn in_virtual_time() -> io::Result<Self> {
        let event_loop = Self::new()?;
        // On a whole tick, as every moment that it goes on to.
        let first = Instant::of_tick(Instant::read().tick());
        event_loop.shared().simulated.set(Some(first));
        set_turn(Some(first));
        Ok(event_loop)
    }

    /// Its connections are those of `network`.
    pub(crate) fn simulated(network: Rc<dyn Network>) -> io::Result<Self> {
        let event_loop = Self::in_virtual_time()?;
        NETWORK.set(Some(network));
        Ok(event_loop)
    }

    /// Sockets that are open.
    pub(crate) fn sockets(&self) -> usize {
        self.shared().sources.borrow().len()
    }
}

fn network() -> Option<Rc<dyn Network>> {
    NETWORK.with_borrow(Clone::clone)
}

/// None: the kernel connects. It fails as the kernel does where there is no file for a socket.
pub(super) fn connect(address: SocketAddr, inner: &Shared) -> io::Result<Option<Connecting>> {
    let Some(network) = network() else { return Ok(None) };
    inner.opening(|| rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC))?;
    Ok(Some(network.connect(address)))
}

pub(super) fn accepted(socket: &OwnedFd, peer: Option<&SocketAddrAny>) -> Option<SocketAddr> {
    let peer = SocketAddrUnix::try_from(peer?.clone()).ok()?;
    network()?.accepted(socket.as_fd(), &peer)
}

pub(super) fn closing(socket: &OwnedFd) {
    if let Some(network) = network() {
        network.closing(socket.as_fd());
    }
}

impl Shared {
    /// Nothing is to be done now.
    pub(super) fn skip_to_deadline(&self) {
        if self.simulated.get().is_none() {
            return;
        }
        let next = self.tasks.borrow().next_deadline();
        let next = next.unwrap_or_else(|| panic!("every task waits, and nothing will ever wake one"));
        self.simulated.set(Some(Instant::of_tick(next)));
    }

    pub(super) fn clock(&self) -> Instant {
        self.simulated.get().unwrap_or_else(Instant::read)
    }
}
