//! Whether this process is alive, ready, and where it is on its way: read by the health port and the metrics.

use std::sync::atomic::{AtomicBool, Ordering};

/// Facts that make a task ready. Once DNS has answered, a later outage does not make it unready: the load
/// balancer would cut live connections for it.
#[derive(Debug, Default)]
pub struct Status {
    listening: AtomicBool,
    dns_answered: AtomicBool,
    leaving: AtomicBool,
}

/// Why a task is not ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unready {
    NotListening,
    NoDns,
    Leaving,
}

impl Status {
    pub fn set_listening(&self) {
        self.listening.store(true, Ordering::Release);
    }

    pub fn set_dns_answered(&self) {
        // Read first: this is called for every lookup, and a plain read is shared between cores.
        if !self.dns_answered.load(Ordering::Relaxed) {
            self.dns_answered.store(true, Ordering::Release);
        }
    }

    pub fn set_leaving(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    pub fn dns_answered(&self) -> bool {
        self.dns_answered.load(Ordering::Acquire)
    }

    /// A policy is always loaded: without one the process does not start.
    pub fn ready(&self) -> Result<(), Unready> {
        if self.leaving.load(Ordering::Acquire) {
            return Err(Unready::Leaving);
        }
        if !self.listening.load(Ordering::Acquire) {
            return Err(Unready::NotListening);
        }
        if !self.dns_answered() {
            return Err(Unready::NoDns);
        }
        Ok(())
    }
}

impl std::fmt::Display for Unready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotListening => "the listeners are not bound yet",
            Self::NoDns => "dns.server has not answered yet",
            Self::Leaving => "shutting down",
        })
    }
}
