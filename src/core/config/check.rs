//! From the keys as written to a [`Config`]: defaults, and all checks that concern more than one key.
//!
//! An error does not end the check, so that an operator sees all of them at once.

mod access_log;
mod emf;
mod forward;
mod limits;
mod listeners;
mod upstream;

use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use super::raw::{RawAdmin, RawConfig, RawDrain, RawHealth, RawProxyProtocol, RawReadiness, RawTimeouts};
use super::values::AccountId;
use super::{Config, Drain, Machine, PolicySource, S3Object, Timeouts, Trusted, defaults};
use crate::diagnostic::Diagnostic;
use crate::networks::Networks;
use crate::yaml::{Document, Path, Read};

/// The document that is checked, and what was found so far.
pub(super) struct Checker<'a> {
    pub(super) document: &'a Document,
    /// The configuration file, if there is one: relative paths start at its directory.
    pub(super) file: Option<&'a FilePath>,
    pub(super) machine: &'a Machine,
    pub(super) errors: Vec<Diagnostic>,
    pub(super) warnings: Vec<Diagnostic>,
}

impl Checker<'_> {
    /// Fills in the defaults and checks. The result may be used only if `errors` is empty afterwards.
    pub(super) fn config(&mut self, raw: RawConfig, need: Trusted) -> Config {
        let RawConfig {
            listeners,
            proxy_protocol,
            policy,
            policy_poll,
            policy_fallback,
            policy_owner,
            on_reload,
            shadow,
            policy_refusal,
            dns,
            upstream,
            timeouts,
            limits,
            drain,
            workers,
            health,
            readiness,
            admin,
            access_log,
            metrics,
        } = raw;
        let RawProxyProtocol { trusted } = proxy_protocol.unwrap_or_default();
        let RawHealth { bind: health } = health.unwrap_or_default();
        let RawReadiness { fail_on_dns } = readiness.unwrap_or_default();
        let RawAdmin { bind: admin, refused_bytes } = admin.unwrap_or_default();

        let policy = self.policy(policy, policy_owner);
        let usual = match policy {
            PolicySource::File(_) => defaults::POLICY_POLL_FILE,
            PolicySource::Http(_) | PolicySource::S3(_) => defaults::POLICY_POLL_REMOTE,
        };
        let policy_poll = or(policy_poll, usual);
        let (upstream, networks) = self.upstream(upstream.unwrap_or_default());
        let listeners = self.listeners(listeners.unwrap_or_default(), &networks);
        let (health, admin) =
            (health.map_or(defaults::HEALTH, |read| read.0.0), admin.map_or(defaults::ADMIN, |read| read.0.0));
        let trusted = Networks::new(trusted.map(|list| list.0).unwrap_or_default());
        self.trusted(&listeners, &trusted, need);
        self.addresses_are_distinct(&listeners, health, admin);
        let workers = self.workers(workers, listeners.len());
        Config {
            listeners: listeners.into_iter().filter_map(|(_, listener)| listener).collect(),
            trusted,
            policy,
            policy_poll,
            policy_fallback: policy_fallback.map(|read| self.beside(&read.0)),
            shadow: shadow.map(|read| self.beside(&read.0)),
            on_reload: or(on_reload, defaults::ON_RELOAD),
            policy_refusal: or(policy_refusal, defaults::POLICY_REFUSAL),
            dns: self.dns(dns.unwrap_or_default()),
            upstream,
            timeouts: self::timeouts(timeouts.unwrap_or_default()),
            limits: self.limits(limits.unwrap_or_default()),
            drain: self.drain(drain.unwrap_or_default()),
            workers,
            health,
            fail_on_dns: or(fail_on_dns, defaults::FAIL_ON_DNS),
            admin,
            refused_bytes: refused_bytes.and_then(|read| read.0.0),
            access_log: self.access_log(access_log.unwrap_or_default()),
            emf: self.emf(metrics.unwrap_or_default()),
            settings: Vec::new(),
        }
    }

    fn policy(&self, policy: Option<Read<PolicySource>>, owner: Option<Read<AccountId>>) -> PolicySource {
        match policy.map(|read| read.0) {
            Some(PolicySource::File(path)) => PolicySource::File(self.beside(&path)),
            Some(PolicySource::S3(object)) => {
                PolicySource::S3(S3Object { owner: owner.map(|read| read.0.0), ..object })
            }
            Some(url @ PolicySource::Http(_)) => url,
            None if self.file.is_some() => PolicySource::File(self.beside(FilePath::new(defaults::POLICY))),
            None => PolicySource::File(defaults::POLICY_WITHOUT_FILE.into()),
        }
    }

    /// Relative paths start at the directory of the configuration file.
    fn beside(&self, path: &FilePath) -> PathBuf {
        match self.file.and_then(FilePath::parent) {
            Some(directory) => directory.join(path),
            None => path.to_owned(),
        }
    }

    fn drain(&mut self, raw: RawDrain) -> Drain {
        /// ECS sends SIGKILL at most this long after SIGTERM (`stopTimeout` on Fargate).
        const STOP_TIMEOUT: Duration = Duration::from_secs(120);
        let RawDrain { delay, timeout } = raw;
        let drain = Drain { delay: or(delay, defaults::DRAIN_DELAY), timeout: or(timeout, defaults::DRAIN_TIMEOUT) };
        let total = drain.delay.saturating_add(drain.timeout);
        if total >= STOP_TIMEOUT {
            let message = format!("delay and timeout together are {total:?}; ECS kills a task 120 s after SIGTERM");
            self.key_warning(&Path::root().key("drain"), message, "keep the sum below 120 s on Fargate");
        }
        drain
    }

    fn required<T>(&mut self, value: Option<Read<T>>, path: &Path, key: &str, help: &str) -> Option<T> {
        let path = path.key(key);
        // A value that is there but could not be read has been reported already.
        if value.is_none() && !self.document.has(&path) {
            self.error(&path, "is missing", help);
        }
        value.map(|read| read.0)
    }

    fn error(&mut self, path: &Path, message: impl Into<Box<str>>, help: &str) {
        self.errors.push(self.document.diagnostic(path, message, help));
    }

    /// An error about a key or a section. Its message is a sentence of its own, so the value is left out.
    fn key_error(&mut self, path: &Path, message: impl Into<Box<str>>, help: &str) {
        let diagnostic = self.document.diagnostic(path, message, help);
        self.errors.push(Diagnostic { value: None, ..diagnostic });
    }

    fn warning(&mut self, path: &Path, message: impl Into<Box<str>>, help: &str) {
        self.warnings.push(self.document.diagnostic(path, message, help));
    }

    /// A warning like [`key_error`](Self::key_error).
    fn key_warning(&mut self, path: &Path, message: impl Into<Box<str>>, help: &str) {
        let warning = self.document.diagnostic(path, message, help);
        self.warnings.push(Diagnostic { value: None, ..warning });
    }
}

fn or<T>(value: Option<Read<T>>, default: T) -> T {
    value.map_or(default, |read| read.0)
}

fn timeouts(raw: RawTimeouts) -> Timeouts {
    let RawTimeouts { handshake, connect, idle } = raw;
    Timeouts {
        handshake: or(handshake, defaults::HANDSHAKE),
        connect: or(connect, defaults::CONNECT),
        idle: or(idle, defaults::IDLE),
    }
}
