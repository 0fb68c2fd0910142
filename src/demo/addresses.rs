//! Where everything listens that a client of the demo connects to.

use std::net::SocketAddr;

use super::names::DemoClient;

/// The front ports of one client of the load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PortPair {
    pub(super) tls: SocketAddr,
    pub(super) http: SocketAddr,
}

/// For clients of the services behind latticegate.
#[derive(Debug, Clone)]
pub(super) struct Addresses {
    pub(super) fronts: Vec<(DemoClient, PortPair)>,
    /// latticegate's own listeners.
    pub(super) gate: PortPair,
}

/// For clients of the explicit proxy.
#[derive(Debug, Clone)]
pub(super) struct EgressAddresses {
    /// The load balancer's front ports.
    pub(super) fronts: Vec<(DemoClient, SocketAddr)>,
    /// What stands for ports 443 and 80 of all sites; only root could listen there.
    pub(super) https_port: u16,
    pub(super) http_port: u16,
}
