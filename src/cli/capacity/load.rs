//! The load that a fleet is to carry, what follows from it, and where the fleet runs.

use latticegate_core::config::LogKeep;

use super::measured::Measured;

/// VPC Lattice ends a connection after ten minutes, whatever is on it.
pub(super) const LATTICE_SECONDS: f64 = 600.0;

/// Bytes of a connection that is opened anew to `tls` and then idle: a handshake, both directions together. Assumed, not
/// measured: hellos, a chain of two or three certificates, and a session ticket or two.
pub(super) const HANDSHAKE_BYTES: f64 = 5_000.0;

pub(super) const GIB: f64 = 1_073_741_824.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Listener {
    Tls,
    Http,
}

impl Listener {
    pub(super) fn costs(self, measured: &Measured) -> Costs {
        match self {
            Self::Tls => Costs { connection: measured.connection_tls, request: measured.request_tls },
            Self::Http => Costs { connection: measured.connection_cold, request: measured.request_http },
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Http => "http",
        }
    }
}

/// µs of CPU, as each event comes to a worker that slept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Costs {
    pub(super) connection: f64,
    /// Each but the first of a connection.
    pub(super) request: f64,
}

#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) listener: Listener,
    pub(super) connections_per_second: f64,
    pub(super) requests_per_connection: f64,
    pub(super) seconds_per_connection: f64,
    pub(super) bytes_per_second: f64,
    /// Open at a time, with nothing on them.
    pub(super) idle: f64,
    /// How long Lattice keeps one of them.
    pub(super) idle_seconds: f64,
    pub(super) services: f64,
    pub(super) names: f64,
}

/// Where the tasks run, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fleet {
    pub(super) zones: f64,
    /// Share of CPU and memory that may be used while a zone is lost.
    pub(super) utilisation: f64,
    pub(super) open_files: u64,
    pub(super) wide_ports: bool,
}

/// What the access log writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogLines {
    pub(super) keep: LogKeep,
    pub(super) bytes: f64,
}

/// vCPU that are busy: as each connection comes to a worker that slept, and as its caches are warm.
#[derive(Debug, Clone, Copy)]
pub(super) struct Busy {
    pub(super) cold: f64,
    pub(super) warm: f64,
}

impl Load {
    /// Idle connections are opened anew once Lattice has closed them.
    pub(super) fn renewed_per_second(&self) -> f64 {
        self.idle / self.idle_seconds
    }

    pub(super) fn new_per_second(&self) -> f64 {
        self.connections_per_second + self.renewed_per_second()
    }

    pub(super) fn open(&self) -> f64 {
        self.connections_per_second * self.seconds_per_connection + self.idle
    }

    /// One on each connection that is opened anew.
    pub(super) fn requests_per_second(&self) -> f64 {
        self.connections_per_second * self.requests_per_connection + self.renewed_per_second()
    }

    pub(super) fn gbits_per_second(&self) -> f64 {
        self.bytes_per_second * 8.0 / 1e9
    }

    /// The first request of a connection is in the connection's own cost.
    pub(super) fn busy(&self, measured: &Measured) -> Busy {
        let costs = self.listener.costs(measured);
        let further = (self.requests_per_second() - self.new_per_second()).max(0.0) * costs.request / 1e6;
        let bulk = self.bytes_per_second / GIB * measured.bulk / 1e3;
        let with = |connection: f64| self.new_per_second() * connection / 1e6 + further + bulk;
        Busy { cold: with(costs.connection), warm: with(measured.connection_busy) }
    }

    /// Bytes of memory for the connections that are open.
    pub(super) fn memory(&self, measured: &Measured) -> f64 {
        self.open() * (measured.idle_user + measured.idle_kernel)
    }
}
