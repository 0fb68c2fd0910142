//! Whether this process is alive, ready, and where it is on its way: read by the health port and the metrics.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Facts that make a task ready. Once DNS has answered, a later outage is a warning and does not make it unready,
/// unless `readiness.fail_on_dns` says so: the load balancer would cut live connections for it.
#[derive(Debug, Default)]
pub struct Status {
    fail_on_dns: bool,
    listening: AtomicBool,
    dns_answered: AtomicBool,
    dns_silent: AtomicBool,
    /// The last time that fds or memory were short.
    short: Mutex<Option<Instant>>,
    crowded: AtomicBool,
    leaving: AtomicBool,
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

/// How long a shortage is told after it was last met.
const SHORTAGE_TOLD: Duration = Duration::from_secs(30);

/// A Network Load Balancer has about 55 000 ports towards one target address and port, where it does not preserve
/// the client's address. Counted over all listeners, so that the warning comes early rather than late.
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
        self.leaving.store(true, Ordering::Release);
    }

    pub fn dns_answered(&self) -> bool {
        self.dns_answered.load(Ordering::Acquire)
    }

    /// Whether the resolver answers our own question now. Says whether that is news.
    pub fn set_dns_silent(&self, silent: bool) -> bool {
        self.dns_silent.swap(silent, Ordering::AcqRel) != silent
    }

    pub fn set_short(&self) {
        *self.short.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether there are nearly as many connections as a load balancer opens. Says whether that is news.
    pub fn set_crowded(&self, open: usize) -> bool {
        let crowded = open >= CROWDED;
        self.crowded.swap(crowded, Ordering::AcqRel) != crowded
    }

    pub fn has(&self, warning: Warning) -> bool {
        match warning {
            Warning::Dns => self.dns_silent.load(Ordering::Acquire),
            Warning::Crowded => self.crowded.load(Ordering::Acquire),
            Warning::Shortage => {
                let short = *self.short.lock().unwrap_or_else(PoisonError::into_inner);
                short.is_some_and(|since| since.elapsed() < SHORTAGE_TOLD)
            }
        }
    }

    pub fn warnings(&self) -> impl Iterator<Item = Warning> {
        Warning::ALL.into_iter().filter(|&warning| self.has(warning))
    }

    /// A policy is always loaded: without one the process does not start.
    pub fn ready(&self) -> Result<(), Unready> {
        if self.leaving.load(Ordering::Acquire) {
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
    fn once_ready_only_leaving_makes_it_unready() {
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
    fn a_silent_resolver_makes_it_unready_where_that_is_asked_for() {
        let status = ready(true);
        status.set_dns_silent(true);
        assert_eq!(status.ready(), Err(Unready::DnsSilent));
        status.set_dns_silent(false);
        assert_eq!(status.ready(), Ok(()));
    }

    #[test]
    fn a_warning_goes_with_its_cause() {
        let status = ready(false);
        assert!(status.set_crowded(CROWDED));
        assert!(status.set_crowded(CROWDED - 1));
        assert_eq!(status.warnings().next(), None);
    }
}
