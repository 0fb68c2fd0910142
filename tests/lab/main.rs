//! The real-component lab: HAProxy as the load balancer, dnsmasq as the resolver, nginx as the Lattice service and
//! real clients, in network namespaces joined by veth, on the addresses that AWS uses.
//!
//! Needs root and what `tests/setup` installs. Where that lacks, every test here says SKIPPED with the reason, and
//! fails instead if `LAB_REQUIRED` is set. `LAB_PROXY=incumbent` puts nginx, configured as the
//! guidance that we replace, in latticegate's place: it proves the lab, and shows what the incumbent does.
#![allow(clippy::disallowed_methods, reason = "these tests are plain threads beside real programs, not a runtime")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a test talks to the person who runs it")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a broken lab must stop the test at once")]

mod balancer;
mod checks;
mod client;
mod lattice;
mod load;
mod matrix;
mod network;
mod path;
mod probes;
mod process;
mod proxy;
mod readme;
mod resolver;
mod rows;

use std::path::{Path, PathBuf};

use client::Client;
use lattice::Lattice;
use network::Network;
use process::Running;
use proxy::{Config, Proxy};
use support::skip::{Skipped, skip};
use tempfile::TempDir;

/// Everything around the proxy, up and answering. Dropped, nothing of it is left.
struct Lab {
    // Dropped in this order: the programs, then the namespaces, then their files.
    _balancer: Running,
    _resolver: Running,
    lattice: Lattice,
    network: Network,
    dir: TempDir,
}

impl Lab {
    /// `None` where this machine lacks something: said loudly, and a failure if the lab is required.
    fn up() -> Option<Self> {
        Self::up_with(balancer::Targets::shipped())
    }

    fn up_with(targets: balancer::Targets) -> Option<Self> {
        if let Err(reason) = able() {
            let required = std::env::var_os("LAB_REQUIRED").is_some();
            assert!(!required, "the lab is required, but {reason}");
            skip(Skipped::Test, &reason);
            return None;
        }
        support::namespace::sweep();
        let dir = support::namespace::folder();
        let network = Network::up();
        Some(Self {
            lattice: Lattice::start(&network, dir.path()),
            _resolver: resolver::start(&network, dir.path()),
            _balancer: balancer::start(&network, dir.path(), targets),
            network,
            dir,
        })
    }

    /// The proxy under test, in its own namespace, ready.
    fn proxy(&self, config: &Config) -> Proxy {
        Proxy::start(&self.network, self.dir.path(), config)
    }

    /// A client inside the shipped access list.
    fn client(&self) -> Client<'_> {
        Client::new(&self.network.client, self.dir.path())
    }

    /// A client with an IPv6 address only: 2001:db8:1::2.
    fn client6(&self) -> Client<'_> {
        Client::new(&self.network.client6, self.dir.path())
    }

    /// A client that is on nobody's list: 203.0.113.66.
    fn outsider(&self) -> Client<'_> {
        Client::new(&self.network.outsider, self.dir.path())
    }
}

/// What this machine lacks for the lab, if anything.
fn able() -> Result<(), String> {
    for tool in ["ip", "setpriv", "sysctl", "nginx", "haproxy", "dnsmasq", "curl", "openssl", "wget"] {
        process::which(tool).ok_or_else(|| format!("{tool} is not installed: run tests/setup"))?;
    }
    if !python().exists() {
        return Err(format!("{} is not there: run tests/setup", python().display()));
    }
    support::namespace::permitted()
}

/// The interpreter of the virtual environment that `tests/setup` made.
fn python() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    target.join("venv/core/bin/python3")
}

/// A file of this folder.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab").join(name)
}
