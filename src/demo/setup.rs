//! All parts of the demo, started in order and ended together.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Error;
use super::addresses::{Addresses, EgressAddresses, PortPair};
use super::authority::Authority;
use super::directory::Directory;
use super::dns::DnsServer;
use super::gate::{self, RunningGate};
use super::internet;
use super::lattice;
use super::load_balancer::{self, Front};
use super::log_line::LogLine;
use super::names::{self, DemoClient};
use super::ports::{self, Preference};
use super::web_server::WebServer;

pub(super) struct DemoSetup {
    pub(super) addresses: Addresses,
    /// Those of the explicit proxy.
    pub(super) egress: EgressAddresses,
    pub(super) directory: Directory,
    pub(super) dns: DnsServer,
    pub(super) lattice: WebServer,
    pub(super) internet: WebServer,
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
        let (lattice, internet) = (lattice::start(&authority).await?, internet::start(&authority).await?);
        std::fs::write(directory.config(), gate::config_yaml(dns.address, &lattice, &internet))
            .map_err(Error::of("the demo's directory"))?;
        let (gate, log) = gate::start(&directory.config()).await?;
        let mut fronts = JoinSet::new();
        let mut addresses = Addresses { fronts: Vec::new(), gate: gate.ports };
        for (client, tls, http) in names::FRONTS {
            let tls = front(&mut fronts, client, (tls, 443), gate.ports.tls, preference).await?;
            let http = front(&mut fronts, client, (http, 80), gate.ports.http, preference).await?;
            addresses.fronts.push((client, PortPair { tls, http }));
        }
        let (https_port, http_port) = (internet.tls.port(), internet.http.port());
        let mut egress = EgressAddresses { fronts: Vec::new(), https_port, http_port };
        for (client, port) in names::PROXY_FRONTS {
            let proxy = front(&mut fronts, client, (port, 3128), gate.proxy, preference).await?;
            egress.fronts.push((client, proxy));
        }
        let tls = Arc::new(authority.client()?);
        Ok(Self { addresses, egress, directory, dns, lattice, internet, tls, gate, log, _fronts: fronts })
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
