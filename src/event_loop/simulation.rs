//! A loop whose time and whose network are a test's: nothing waits, and the same seed makes the same run.
//!
//! Sockets are local pairs of the real kernel, which one thread uses in one order. Time stands still while anything is to be done, and
//! then goes on to the next deadline.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;

use super::executor::EventLoop;
use super::instant::{Instant, set_turn};
use super::shared::Shared;

pub(crate) type Connecting = Pin<Box<dyn Future<Output = io::Result<OwnedFd>>>>;

type Network = Rc<dyn Fn(SocketAddr) -> Connecting>;

thread_local! {
    static NETWORK: RefCell<Option<Network>> = const { RefCell::new(None) };
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

    /// Its connections are made by `network`.
    pub(crate) fn simulated(network: impl Fn(SocketAddr) -> Connecting + 'static) -> io::Result<Self> {
        let event_loop = Self::in_virtual_time()?;
        NETWORK.set(Some(Rc::new(network)));
        Ok(event_loop)
    }
}

/// None: the kernel connects.
pub(super) fn connect(address: SocketAddr) -> Option<Connecting> {
    NETWORK.with_borrow(|network| network.as_ref().map(|network| network(address)))
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
