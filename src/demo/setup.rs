//! Everything that plays, started in order and ended together.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Error;
use super::authority::Authority;
use super::calls::{Addresses, Doors};
use super::directory::Directory;
use super::dns::Dns;
use super::gate::{self, Running};
use super::lattice::Lattice;
use super::load_balancer::{self, Front};
use super::log_line::Seen;
use super::names::{self, Caller};
use super::ports::{self, Preference};

pub(super) struct Stage {
    pub(super) addresses: Addresses,
    pub(super) directory: Directory,
    pub(super) dns: Dns,
    pub(super) lattice: Lattice,
    /// For clients that trust the demo's authority.
    pub(super) tls: Arc<ClientConfig>,
    pub(super) gate: Running,
    pub(super) seen: mpsc::UnboundedReceiver<Seen>,
    _fronts: JoinSet<()>,
}

impl Stage {
    pub(super) async fn set(directory: Option<&Path>, preference: Preference) -> Result<Self, Error> {
        let authority = Authority::new()?;
        let directory = Directory::set_up(directory, &authority.pem()).map_err(Error::of("the demo's directory"))?;
        let dns = Dns::start().await.map_err(Error::of("the stand-in for the resolver"))?;
        let lattice = Lattice::start(&authority).await?;
        let config = gate::config_yaml(dns.address, lattice.tls.port(), lattice.http.port());
        std::fs::write(directory.config(), config).map_err(Error::of("the demo's directory"))?;
        let (gate, seen) = gate::start(&directory.config()).await?;
        let mut fronts = JoinSet::new();
        let mut addresses = Addresses { fronts: Vec::new(), gate: gate.doors };
        for caller in names::CALLERS {
            let tls = front(&mut fronts, caller, (caller.tls_port, 443), gate.doors.tls, preference).await?;
            let http = front(&mut fronts, caller, (caller.http_port, 80), gate.doors.http, preference).await?;
            addresses.fronts.push((caller, Doors { tls, http }));
        }
        let tls = Arc::new(authority.client()?);
        Ok(Self { addresses, directory, dns, lattice, tls, gate, seen, _fronts: fronts })
    }
}

/// Opens one front port of the load balancer.
async fn front(
    fronts: &mut JoinSet<()>,
    caller: Caller,
    (port, public_port): (u16, u16),
    target: SocketAddr,
    preference: Preference,
) -> Result<SocketAddr, Error> {
    let failed = Error::of("the stand-in for the load balancer");
    let listener = ports::listen(port, preference).await.map_err(&failed)?;
    let address = listener.local_addr().map_err(&failed)?;
    let front = Front {
        client: caller.address.into(),
        endpoint: caller.endpoint,
        virtual_address: SocketAddr::new(names::VIRTUAL_ADDRESS, public_port),
        node: names::NODE,
        target,
    };
    fronts.spawn(load_balancer::serve(listener, front));
    Ok(address)
}
