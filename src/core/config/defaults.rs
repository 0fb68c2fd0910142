//! All defaults, each with its reason. They are meant for Fargate behind a Network Load Balancer.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use ipnet::{Ipv4Net, Ipv6Net};

use super::{Ipv6, LogFormat, LogKeep, LogOutput, OnReload, PolicyRefusal, ProxyProtocol, Timeout, Tunnel};
use crate::networks::{DestinationNetworks, Networks};

/// 8443 and 8080 because a container that is not root cannot bind below 1024; the load balancer maps 443 and 80.
pub(super) const LISTENERS: &str = "
- { name: tls,  bind: '[::]:8443', protocol: tls,  upstream_port: 443 }
- { name: http, bind: '[::]:8080', protocol: http, upstream_port: 80 }
";

/// The access list: the first path without a configuration file; with one, the second, in the file's directory.
pub(super) const POLICY_WITHOUT_FILE: &str = "/etc/latticegate/ipcontrol.yaml";
pub(super) const POLICY: &str = "ipcontrol.yaml";

/// Behind a load balancer the TCP peer is never the client: rules applied to the peer would allow everyone.
pub(super) const PROXY_PROTOCOL: ProxyProtocol = ProxyProtocol::Required;

/// The ports of HTTPS and of HTTP: everything else that a client wants of the internet is for the operator to allow.
pub(super) const CONNECT_PORTS: [u16; 1] = [443];
pub(super) const HTTP_PORTS: [u16; 1] = [80];
/// The name in CONNECT is only the client's word; that in the ClientHello is what the server acts on.
pub(super) const TUNNEL: Tunnel = Tunnel::Tls;
/// Two fleets behind each other need different names; most have one.
pub(super) const VIA_NAME: &str = "latticegate";

/// Checking a file is one stat(2); checking a remote source is a request over the network.
pub(super) const POLICY_POLL_FILE: Timeout = timeout(Duration::from_millis(500));
pub(super) const POLICY_POLL_REMOTE: Timeout = timeout(Duration::from_secs(10));
/// An edit of the list must not cut live connections unless the operator says so.
pub(super) const ON_RELOAD: OnReload = OnReload::Keep;

/// A refused user should read why; `silent` is for gateways that should not be noticed.
pub(super) const POLICY_REFUSAL: PolicyRefusal = PolicyRefusal::Answer;

/// The resolver of every VPC; only it knows the VPC's private zones.
pub(super) const DNS_SERVER: SocketAddr = v4([169, 254, 169, 253], 53);
pub(super) const DNS_IPV6: Ipv6 = Ipv6::Auto;
/// The resolver answers in milliseconds, and silently drops what exceeds 1024 packets/s: time enough for one query to be
/// lost and sent again, and short enough for the client to wait.
pub(super) const DNS_TIMEOUT: Timeout = timeout(Duration::from_secs(2));
/// A TTL of 0 must not turn every connection into a query.
pub(super) const DNS_MIN_TTL: Duration = Duration::from_secs(1);
/// A service that has moved is found again within five minutes, whatever its zone says.
pub(super) const DNS_MAX_TTL: Duration = Duration::from_secs(300);
/// Long enough to shield the resolver from a client that retries, short enough for a name that was just created and
/// after an outage.
pub(super) const DNS_NEGATIVE_TTL: Duration = Duration::from_secs(5);
/// The addresses of a Lattice service do not change; an outage of DNS rarely lasts longer than this.
pub(super) const DNS_MAX_STALE: Duration = Duration::from_secs(3600);
/// Far more than the names of one service network. Full, the shared cache and those of two workers take 27 MiB (resident
/// memory after `names-2x` of benches/compare, less that of a process at rest), a twentieth of the smallest task.
pub(super) const DNS_CACHE_SIZE: NonZeroUsize = NonZeroUsize::new(20_000).expect("it is not 0");

/// The networks of VPC Lattice, IPv4 and IPv6. A listener that only Lattice is behind dials nothing else.
pub(super) fn lattice() -> DestinationNetworks {
    let v4 = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 171, 0), 24);
    let v6 = Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0xec2, 0x80, 0, 0, 0, 0, 0), 64);
    let allowed = Networks::new(vec![v4.into(), v6.into()]);
    DestinationNetworks { allowed, ..DestinationNetworks::default() }
}

/// A forward listener is the way to the internet, and never into the networks around it.
pub(super) fn internet() -> DestinationNetworks {
    DestinationNetworks { public: true, ..DestinationNetworks::default() }
}

/// Header and hello are the first bytes of a connection; even a slow link needs less.
pub(super) const HANDSHAKE: Timeout = timeout(Duration::from_secs(10));
/// Lattice is in the same data centre: 3 s is several retransmitted SYNs.
pub(super) const CONNECT: Timeout = timeout(Duration::from_secs(3));
/// Above the longest idle timeout of a Lattice service (600 s), so that Lattice closes first.
pub(super) const IDLE: Timeout = timeout(Duration::from_secs(610));

/// Every connection takes two open files, client and upstream. Pipes, logs and ports take some more: this many are
/// reserved, or a quarter of all where there are few.
pub(super) const FDS_PER_CONNECTION: u64 = 2;
pub(super) const FDS_RESERVED: u64 = 256;
/// Open files before the first connection, counted in /proc/self/fd: for each worker its runtime and its spare (a socket
/// for each listener comes on top), and for the process.
pub(super) const FDS_PER_WORKER: usize = 5;
pub(super) const FDS_AT_START: usize = 13;
/// A relayed connection on which nothing moves: 3.6 KB of this process and 8.2 KB of the kernel for its two sockets
/// (4 000 of them on Linux 6.18, x86-64: resident memory, and half of what the slabs of both ends grew by). Connections
/// may take half of the memory. Data in flight comes on top, in the kernel's buffers, which `net.ipv4.tcp_mem` bounds.
pub(super) const BYTES_PER_CONNECTION: u64 = 12 * 1024;
/// A half-open connection, measured the same way: 4.4 KB of this process, 4.1 KB of the kernel. They may take an eighth
/// of the memory, and the bytes buffered for them another eighth, so that a quarter is left for everything else.
pub(super) const BYTES_PER_HALF_OPEN: u64 = 9 * 1024;
/// The divisors of the memory that the shares above come from.
pub(super) const CONNECTIONS_SHARE: u64 = 2;
pub(super) const HALF_OPEN_SHARE: u64 = 8;
pub(super) const HALF_OPEN_BYTES_SHARE: u64 = 8;
/// Many users may share one address, but few of their hellos are late at the same time.
pub(super) const HALF_OPEN_PER_CLIENT: NonZeroU32 = NonZeroU32::new(512).expect("it is not 0");
/// A modem is fifty times faster; slower is only a client that sends a byte now and then on purpose.
pub(super) const HANDSHAKE_RATE: u32 = 100;
/// With A and AAAA 400 of the resolver's 1024 packets/s; the others are left for renewals and retries.
pub(super) const LOOKUPS_PER_SECOND: NonZeroU32 = NonZeroU32::new(200).expect("it is not 0");
/// More new names a second than a client of real services requests.
pub(super) const LOOKUPS_PER_CLIENT: NonZeroU32 = NonZeroU32::new(20).expect("it is not 0");

/// The load balancer goes on sending new connections for some seconds after a target has become unhealthy.
pub(super) const DRAIN_DELAY: Duration = Duration::from_secs(10);
/// Together with the delay below the 120 s after which ECS kills the task.
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(100);

/// Reachable for the health checks of the load balancer and of the container.
pub(super) const HEALTH: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 9901);
/// ECS kills tasks whose target turns unhealthy, and their live connections with them: an outage of the
/// resolver is over before new tasks are up, and they would have no resolver either.
pub(super) const FAIL_ON_DNS: bool = false;
/// Reachable from this machine only: it shows who connects.
pub(super) const ADMIN: SocketAddr = v4([127, 0, 0, 1], 9900);

pub(super) const LOG_FORMAT: LogFormat = LogFormat::Json;
/// ECS sends a container's standard output to CloudWatch.
pub(super) const LOG_OUTPUT: LogOutput = LogOutput::Stdout;
/// A log without gaps answers every question; what it costs is the operator's to weigh.
pub(super) const LOG_KEEP: LogKeep = LogKeep::All;

/// The resolution of CloudWatch's standard metrics; a scaling policy gains nothing from a shorter interval.
pub(super) const EMF_INTERVAL: Timeout = timeout(Duration::from_secs(60));
pub(super) const EMF_NAMESPACE: &str = "latticegate";

const fn timeout(duration: Duration) -> Timeout {
    Timeout::new(duration).expect("it is not 0")
}

const fn v4([a, b, c, d]: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(a, b, c, d)), port)
}
