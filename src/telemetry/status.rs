//! Whether this process is ready, draining, or short of something: read by the health port and the metrics.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::sys::mutex::lock;

/// What makes a task ready. Once DNS has answered, a later outage is a warning and does not make the task unready,
/// unless `readiness.fail_on_dns` is set: the load balancer would cut live connections.
#[derive(Debug, Default)]
pub struct Status {
    fail_on_dns: bool,
    listening: AtomicBool,
    dns_answered: AtomicBool,
    dns_silent: AtomicBool,
    /// When fds or memory were last short.
    short: Mutex<Option<Instant>>,
    crowded: AtomicBool,
    draining: OnceLock<Instant>,
}

/// What is wrong with a task that is ready all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warning {
    Dns,
    Shortage,
    Crowded,
}

/// Why a task is not ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unready {
    NotListening,
    NoDns,
    DnsSilent,
    Draining,
}

/// How long a shortage is a warning after its last occurrence.
const SHORTAGE_LASTS: Duration = Duration::from_secs(30);

/// A Network Load Balancer has about 55 000 ports for one target address and port, where it does not preserve the
/// client's address. The warning has to come before.
const CROWDED: usize = 50_000;

impl Status {
    pub fn new(fail_on_dns: bool) -> Self {
        Self { fail_on_dns, ..Self::default() }
    }

    pub fn set_listening(&self) {
        self.listening.store(true, Ordering::Release);
    }

    pub fn set_dns_answered(&self) {
        // Read first: this is called for every lookup, and a plain read is shared between cores.
        if !self.dns_answered.load(Ordering::Relaxed) {
            self.dns_answered.store(true, Ordering::Release);
        }
    }

    pub fn set_draining(&self) {
        self.draining.get_or_init(Instant::now);
    }

    /// Zero before the drain.
    pub fn draining_for(&self) -> Duration {
        self.draining.get().map_or(Duration::ZERO, Instant::elapsed)
    }

    pub fn dns_answered(&self) -> bool {
        self.dns_answered.load(Ordering::Acquire)
    }

    /// Whether the resolver fails to answer our own query now. Returns whether that has changed.
    pub fn set_dns_silent(&self, silent: bool) -> bool {
        self.dns_silent.swap(silent, Ordering::AcqRel) != silent
    }

    pub fn set_short(&self) {
        *lock(&self.short) = Some(Instant::now());
    }

    /// Whether there are nearly as many connections as a load balancer can open. Returns whether that has changed.
    pub fn set_crowded(&self, open: usize) -> bool {
        let crowded = open >= CROWDED;
        self.crowded.swap(crowded, Ordering::AcqRel) != crowded
    }

    pub fn has(&self, warning: Warning) -> bool {
        match warning {
            Warning::Dns => self.dns_silent.load(Ordering::Acquire),
            Warning::Crowded => self.crowded.load(Ordering::Acquire),
            Warning::Shortage => {
                let short = *lock(&self.short);
                short.is_some_and(|since| since.elapsed() < SHORTAGE_LASTS)
            }
        }
    }

    pub fn warnings(&self) -> impl Iterator<Item = Warning> {
        Warning::ALL.into_iter().filter(|&warning| self.has(warning))
    }

    /// A policy is always loaded: without one the process does not start.
    pub fn ready(&self) -> Result<(), Unready> {
        if self.draining.get().is_some() {
            return Err(Unready::Draining);
        }
        if !self.listening.load(Ordering::Acquire) {
            return Err(Unready::NotListening);
        }
        if !self.dns_answered() {
            return Err(Unready::NoDns);
        }
        if self.fail_on_dns && self.has(Warning::Dns) {
            return Err(Unready::DnsSilent);
        }
        Ok(())
    }
}

impl Warning {
    pub const ALL: [Self; 3] = [Self::Dns, Self::Shortage, Self::Crowded];

    /// Its metric label.
    pub fn word(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Shortage => "shortage",
            Self::Crowded => "crowded",
        }
    }
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Dns => "dns.server does not answer; names already known go on being served",
            Self::Shortage => "out of open files or memory; new connections wait",
            Self::Crowded => "50 000 connections are open; a load balancer opens about 55 000 to one target",
        })
    }
}

impl std::fmt::Display for Unready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotListening => "the listeners are not bound yet",
            Self::NoDns => "dns.server has not answered yet",
            Self::DnsSilent => "dns.server does not answer, and readiness.fail_on_dns is set",
            Self::Draining => "shutting down",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(fail_on_dns: bool) -> Status {
        let status = Status::new(fail_on_dns);
        status.set_listening();
        status.set_dns_answered();
        status
    }

    #[test]
    fn once_ready_only_draining_makes_it_unready() {
        let status = ready(false);
        assert!(status.set_dns_silent(true));
        assert!(!status.set_dns_silent(true));
        status.set_short();
        assert!(status.set_crowded(CROWDED));
        assert_eq!(status.ready(), Ok(()));
        assert_eq!(status.warnings().collect::<Vec<_>>(), Warning::ALL);
        status.set_draining();
        assert_eq!(status.ready(), Err(Unready::Draining));
    }

    #[test]
    fn a_silent_resolver_makes_it_unready_with_fail_on_dns() {
        let status = ready(true);
        status.set_dns_silent(true);
        assert_eq!(status.ready(), Err(Unready::DnsSilent));
        status.set_dns_silent(false);
        assert_eq!(status.ready(), Ok(()));
    }

    #[test]
    fn a_warning_ends_with_its_cause() {
        let status = ready(false);
        assert!(status.set_crowded(CROWDED));
        assert!(status.set_crowded(CROWDED - 1));
        assert_eq!(status.warnings().next(), None);
    }
}
