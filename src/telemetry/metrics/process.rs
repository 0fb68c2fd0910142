//! The process as Prometheus' own client libraries describe it, and what it may use.

use std::time::SystemTime;

use super::exposition::Exposition;
use crate::sys::process::{self, Usage};
use crate::sys::{machine, socket};

/// What does not change while the process runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProcessMetrics {
    started: SystemTime,
    /// Bytes.
    memory_limit: u64,
}

impl Default for ProcessMetrics {
    fn default() -> Self {
        Self { started: process::started(), memory_limit: machine::of_process().memory }
    }
}

impl ProcessMetrics {
    pub(super) fn export(&self, text: &mut Exposition) {
        let Usage { cpu, resident_memory, virtual_memory } = process::usage();
        let started = self.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        text.counter("process_cpu_seconds_total", "User and system CPU time.", cpu.as_secs_f64());
        text.gauge("process_resident_memory_bytes", "Resident memory.", resident_memory);
        text.gauge("process_virtual_memory_bytes", "Virtual memory.", virtual_memory);
        text.gauge("process_open_fds", "Open file descriptors.", socket::open_fds());
        text.gauge("process_max_fds", "The limit of open file descriptors.", socket::fd_soft_limit());
        let help = "When the process started, in seconds since 1970.";
        text.gauge("process_start_time_seconds", help, started.as_secs_f64());
        let help = "Memory that this process may use: the limit of its control group, or the machine's memory.";
        text.gauge("latticegate_memory_limit_bytes", help, self.memory_limit);
    }
}
