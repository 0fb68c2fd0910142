//! Names, addresses and credentials of the demo, all made up and each defined once.
//!
//! Everything is on loopback. `127.0.171.0/24` stands for Lattice's `169.254.171.0/24`, `127.0.172.0/24` for the public
//! addresses of the internet.

use std::net::{IpAddr, Ipv4Addr};

/// A Lattice service that is open to everyone.
pub(super) const ORDERS: &str = "orders.example.com";
/// A Lattice service whose auth policy asks for a SigV4 signature.
pub(super) const BILLING: &str = "billing.example.com";
/// A name that points at the address where an ECS task fetches its credentials.
pub(super) const METADATA: &str = "metadata.example.com";
/// A name that does not exist.
pub(super) const UNKNOWN: &str = "nobody.example.com";

/// Where the Lattice stand-in listens; both services share one address, as they may in VPC Lattice.
pub(super) const LATTICE: Ipv4Addr = Ipv4Addr::new(127, 0, 171, 10);
/// The only network that the demo's latticegate may dial for clients from outside AWS.
pub(super) const LATTICE_NETWORK: &str = "127.0.171.0/24";

/// A site on the internet that the access list lets one VPC reach.
pub(super) const PACKAGES: &str = "packages.example.org";
/// A site on the internet that is not in the access list.
pub(super) const BLOCKED: &str = "blocked.example.org";
/// In the access list, but whoever owns this name has pointed it at the task's credentials.
pub(super) const MIRROR: &str = "mirror.example.org";
/// Where the stand-in for the internet listens, with both sites.
pub(super) const SITES: Ipv4Addr = Ipv4Addr::new(127, 0, 172, 20);
/// The only network that the demo's latticegate may dial as an explicit proxy.
pub(super) const SITES_NETWORK: &str = "127.0.172.0/24";
/// What stands in `Via` and `Proxy-Status`.
pub(super) const VIA_NAME: &str = "latticegate";
/// SMTP: what an open CONNECT is misused for.
pub(super) const OTHER_PORT: u16 = 25;

/// The ECS task metadata and credentials endpoint.
pub(super) const TASK_METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 2);

/// The load balancer's node: the source of its connections to latticegate, and the only trusted one.
pub(super) const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 5));
/// The load balancer's address as its clients know it, sent in the PROXY header.
pub(super) const VIRTUAL_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 0, 10));

pub(super) const REGION: &str = "us-west-2";
/// The service name in a SigV4 scope for VPC Lattice.
pub(super) const SIGNING_NAME: &str = "vpc-lattice-svcs";
/// Credentials that only the demo's stand-in knows; AWS uses `EXAMPLE` keys like this in its documentation.
pub(super) const ACCESS_KEY: &str = "AKIDEMOEXAMPLE";
pub(super) const SECRET_KEY: &str = "latticegate-demo-secret-EXAMPLEKEY";

/// A client that the load balancer stand-in represents on front ports of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DemoClient {
    /// Whose client it is, for the reader.
    pub(super) who: &'static str,
    pub(super) address: Ipv4Addr,
    /// The VPC endpoint that it comes through.
    pub(super) endpoint: Option<&'static str>,
}

pub(super) const OFFICE: DemoClient =
    DemoClient { who: "a client on the company network", address: Ipv4Addr::new(192, 168, 1, 20), endpoint: None };

pub(super) const INTERNET: DemoClient =
    DemoClient { who: "a client on the internet", address: Ipv4Addr::new(203, 0, 113, 9), endpoint: None };

pub(super) const PARTNER: DemoClient = DemoClient {
    who: "a partner's VPC, through PrivateLink",
    address: Ipv4Addr::new(10, 20, 30, 40),
    endpoint: Some("vpce-0a1b2c3d4e5f67890"),
};

pub(super) const SPOKE: DemoClient = DemoClient {
    who: "a VPC of our own, through PrivateLink",
    address: Ipv4Addr::new(10, 50, 0, 9),
    endpoint: Some("vpce-0f9e8d7c6b5a43210"),
};

/// Preferred front ports on 127.0.0.1: HTTPS and HTTP of each client.
pub(super) const FRONTS: [(DemoClient, u16, u16); 3] =
    [(OFFICE, 8443, 8080), (INTERNET, 9443, 9080), (PARTNER, 7443, 7080)];

/// Preferred front ports of the explicit proxy.
pub(super) const PROXY_FRONTS: [(DemoClient, u16); 2] = [(SPOKE, 3128), (PARTNER, 3129)];
