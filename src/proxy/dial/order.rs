//! The order in which the addresses of a name are tried.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::runtime::Instant;
use crate::sys::random::Random;

/// Addresses whose last connect failed come last for a while. One for each worker, so that nothing is shared.
#[derive(Debug)]
pub(super) struct Order {
    failed: RefCell<HashMap<IpAddr, Instant>>,
    random: RefCell<Random>,
}

impl Order {
    pub(super) const MEMORY: Duration = Duration::from_secs(30);
    /// More than this many failing addresses are a failing network: forget them all.
    pub(super) const MAX: usize = 1024;

    pub(super) fn seeded(seed: u64) -> Self {
        Self { failed: RefCell::default(), random: RefCell::new(Random(seed)) }
    }

    /// Shuffled, IPv4 and IPv6 in turn (RFC 8305 §4), the failing ones last.
    pub(super) fn of(&self, addresses: &[IpAddr]) -> Vec<IpAddr> {
        let mut order = addresses.to_vec();
        if order.len() < 2 {
            return order;
        }
        order.sort_unstable_by_key(IpAddr::is_ipv6);
        let v4 = order.partition_point(IpAddr::is_ipv4);
        let mut random = self.random.borrow_mut();
        let (first, second) = order.split_at_mut(v4);
        for family in [first, second] {
            for last in (1..family.len()).rev() {
                family.swap(last, random.index(last + 1));
            }
        }
        for turn in 0..v4.min(order.len() - v4) {
            // The next of IPv6, in front of the IPv4 addresses that have not had their turn.
            if let Some(rest) = order.get_mut(2 * turn + 1..=v4 + turn) {
                rest.rotate_right(1);
            }
        }
        let failing = self.failed.borrow();
        if !failing.is_empty() {
            let now = Instant::now();
            // Stable: the others keep their order.
            order.sort_by_key(|ip| failing.get(ip).is_some_and(|since| now < *since + Self::MEMORY));
        }
        order
    }

    pub(super) fn note_failure(&self, ip: IpAddr) {
        let mut failed = self.failed.borrow_mut();
        if failed.len() >= Self::MAX {
            failed.clear();
        }
        failed.insert(ip, Instant::now());
    }

    pub(super) fn forget(&self, ip: IpAddr) {
        let mut failed = self.failed.borrow_mut();
        if !failed.is_empty() {
            failed.remove(&ip);
        }
    }

    #[cfg(test)]
    pub(super) fn failed(&self) -> usize {
        self.failed.borrow().len()
    }
}

#[cfg(test)]
mod tests;
