//! Limits and workers, and whether they fit the machine.

use std::num::NonZeroUsize;

use super::{Checker, or};
use crate::config::raw::{RawLimits, RawQuota};
use crate::config::values::{Connections, Memory, Workers};
use crate::config::{Limits, Machine, Quota, defaults};
use crate::yaml::{Path, Read};

impl Checker<'_> {
    /// Every worker has files open before the first connection is accepted.
    pub(super) fn workers(&mut self, raw: Option<Read<Workers>>, listeners: usize) -> NonZeroUsize {
        let workers = match or(raw, Workers::Auto) {
            Workers::Number(number) => number,
            Workers::Auto => self.machine.cpus,
        };
        let each = listeners.saturating_add(defaults::FDS_PER_WORKER);
        let needed = workers.get().saturating_mul(each).saturating_add(defaults::FDS_AT_START);
        let fds = self.machine.open_files;
        if u64::try_from(needed).unwrap_or(u64::MAX) > fds {
            let message = format!("{workers} workers need {needed} open files to start; this process may have {fds}");
            self.key_error(
                &Path::root().key("workers"),
                message,
                "lower it, or raise the limit (ulimit -n, nofile of the task)",
            );
        }
        workers
    }

    pub(super) fn limits(&mut self, raw: RawLimits) -> Limits {
        let path = Path::root().key("limits");
        let RawLimits {
            connections,
            half_open,
            half_open_bytes,
            half_open_per_client,
            handshake_rate,
            per_client,
            per_name,
            lookups_per_second,
            lookups_per_client,
        } = raw;
        let fit = Fit::of(self.machine);
        let connections = match or(connections, Connections::Auto) {
            Connections::Auto => fit.connections(),
            Connections::Number(number) => number.get(),
        };
        if connections > fit.files {
            let (fds, fit) = (self.machine.open_files, fit.files);
            let message = format!("takes more than the {fds} open files that this process may have; {fit} fit");
            self.warning(&path.key("connections"), message, "raise the limit (ulimit -n, nofile of the task)");
        }
        let half_open = match or(half_open, Connections::Auto) {
            Connections::Auto => fit.half_open(connections),
            Connections::Number(number) => number,
        };
        let half_open_bytes = match or(half_open_bytes, Memory::Auto) {
            Memory::Auto => fit.half_open_bytes,
            Memory::Bytes(bytes) => bytes,
        };
        let limits = Limits {
            connections,
            half_open,
            half_open_bytes,
            half_open_per_client: or(half_open_per_client, defaults::HALF_OPEN_PER_CLIENT),
            handshake_rate: or(handshake_rate, defaults::HANDSHAKE_RATE),
            per_client: quota(per_client),
            per_name: quota(per_name),
            lookups_per_second: or(lookups_per_second, defaults::LOOKUPS_PER_SECOND),
            lookups_per_client: or(lookups_per_client, defaults::LOOKUPS_PER_CLIENT),
        };
        self.memory_suffices(&path, &limits);
        limits
    }

    /// Warns about limits that were set by the operator and need more memory than the process may use.
    fn memory_suffices(&mut self, path: &Path, limits: &Limits) {
        let (needed, memory) = (limits.memory(), self.machine.memory);
        let written = ["connections", "half_open_bytes"].map(|key| path.key(key));
        if needed > memory
            && let Some(path) = written.iter().find(|path| self.document.has(path))
        {
            let (needed, memory) = (needed >> 20, memory >> 20);
            let message = format!("may take {needed} MiB with all connections open; this process may use {memory} MiB");
            self.warning(path, message, "lower it, or give the task more memory");
        }
    }
}

/// What fits the machine.
struct Fit {
    /// Connections for which there are open files.
    files: usize,
    /// Relayed connections for which there is memory.
    relayed: usize,
    /// Half-open connections for which there is memory.
    waiting: usize,
    half_open_bytes: u64,
}

impl Fit {
    fn of(machine: &Machine) -> Self {
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).max(1);
        let reserved = defaults::FDS_RESERVED.min(machine.open_files / 4);
        let files = machine.open_files.saturating_sub(reserved) / defaults::FDS_PER_CONNECTION;
        Self {
            files: number(files),
            relayed: number(machine.memory / defaults::CONNECTIONS_SHARE / defaults::BYTES_PER_CONNECTION),
            waiting: number(machine.memory / defaults::HALF_OPEN_SHARE / defaults::BYTES_PER_HALF_OPEN),
            half_open_bytes: machine.memory / defaults::HALF_OPEN_BYTES_SHARE,
        }
    }

    fn connections(&self) -> usize {
        self.files.min(self.relayed)
    }

    /// At most half of all connections, so that a flood of half-open ones evicts its own and leaves the others alone.
    fn half_open(&self, connections: usize) -> NonZeroUsize {
        NonZeroUsize::new(self.waiting.min(connections / 2)).unwrap_or(NonZeroUsize::MIN)
    }
}

/// Unlimited unless set: many clients may share one address.
fn quota(raw: Option<RawQuota>) -> Quota {
    let RawQuota { connections, per_second } = raw.unwrap_or_default();
    Quota { concurrent: connections.map(|read| read.0.get()), per_second: per_second.map(|read| read.0) }
}
