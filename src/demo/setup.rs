//! All parts of the demo, started in order and ended together.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Error;
use super::authority::Authority;
use super::calls::{Addresses, PortPair};
use super::directory::Directory;
use super::dns::DnsServer;
use super::gate::{self, RunningGate};
use super::lattice::Lattice;
use super::load_balancer::{self, Front};
use super::log_line::LogLine;
use super::names::{self, DemoClient};
use super::ports::{self, Preference};

pub(super) struct DemoSetup {
    pub(super) addresses: Addresses,
    pub(super) directory: Directory,
    pub(super) dns: DnsServer,
    pub(super) lattice: Lattice,
    /// For clients that trust the demo's authority.
    pub(super) tls: Arc<ClientConfig>,
    pub(super) gate: RunningGate,
    /// The access log.
    pub(super) log: mpsc::UnboundedReceiver<LogLine>,
    _fronts: JoinSet<()>,
}

impl DemoSetup {
    pub(super) async fn start(directory: Option<&Path>, preference: Preference) -> Result<Self, Error> {
        let authority = Authority::new()?;
        let directory = Directory::set_up(directory, &authority.pem()).map_err(Error::of("the demo's directory"))?;
        let dns = DnsServer::start().await.map_err(Error::of("the stand-in for the resolver"))?;
        let lattice = Lattice::start(&authority).await?;
        let config = gate::config_yaml(dns.address, lattice.tls.port(), lattice.http.port());
        std::fs::write(directory.config(), config).map_err(Error::of("the demo's directory"))?;
        let (gate, log) = gate::start(&directory.config()).await?;
        let mut fronts = JoinSet::new();
        let mut addresses = Addresses { fronts: Vec::new(), gate: gate.ports };
        for client in names::CLIENTS {
            let tls = front(&mut fronts, client, (client.tls_port, 443), gate.ports.tls, preference).await?;
            let http = front(&mut fronts, client, (client.http_port, 80), gate.ports.http, preference).await?;
            addresses.fronts.push((client, PortPair { tls, http }));
        }
        let tls = Arc::new(authority.client()?);
        Ok(Self { addresses, directory, dns, lattice, tls, gate, log, _fronts: fronts })
    }
}

/// Opens one front port of the load balancer.
async fn front(
    fronts: &mut JoinSet<()>,
    client: DemoClient,
    (port, public_port): (u16, u16),
    target: SocketAddr,
    preference: Preference,
) -> Result<SocketAddr, Error> {
    let failed = Error::of("the stand-in for the load balancer");
    let listener = ports::listen(port, preference).await.map_err(&failed)?;
    let address = listener.local_addr().map_err(&failed)?;
    let front = Front {
        client: client.address.into(),
        endpoint: client.endpoint,
        virtual_address: SocketAddr::new(names::VIRTUAL_ADDRESS, public_port),
        node: names::NODE,
        target,
    };
    fronts.spawn(load_balancer::serve(listener, front));
    Ok(address)
}
