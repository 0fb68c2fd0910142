//! Every default, once, with its reason. All are meant for Fargate behind a Network Load Balancer.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Ipv6, LogFormat, LogKeep, LogOutput, OnReload, PolicyRefusal, ProxyProtocol};

/// 8443 and 8080 because a container that is not root cannot bind below 1024; the load balancer maps 443 and 80.
pub(super) const LISTENERS: &str = "
- { name: tls,  bind: '[::]:8443', protocol: tls,  upstream_port: 443 }
- { name: http, bind: '[::]:8080', protocol: http, upstream_port: 80 }
";

/// Without a configuration file; with one, beside it.
pub(super) const POLICY_WITHOUT_FILE: &str = "/etc/latticegate/ipcontrol.yaml";
pub(super) const POLICY: &str = "ipcontrol.yaml";

/// Behind a load balancer the peer is never the client: judging it would let everyone in.
pub(super) const PROXY_PROTOCOL: ProxyProtocol = ProxyProtocol::Required;

/// A file is one stat(2); a remote source is asked over the network.
pub(super) const POLICY_POLL_FILE: Duration = Duration::from_millis(500);
pub(super) const POLICY_POLL_REMOTE: Duration = Duration::from_secs(10);
/// An edit of the list must not cut who is working, unless the operator says so.
pub(super) const ON_RELOAD: OnReload = OnReload::Keep;

/// A refused user should read why; `silent` is for those who hide.
pub(super) const POLICY_REFUSAL: PolicyRefusal = PolicyRefusal::Answer;

/// The resolver of every VPC, which alone knows its private zones.
pub(super) const DNS_SERVER: SocketAddr = v4([169, 254, 169, 253], 53);
pub(super) const DNS_IPV6: Ipv6 = Ipv6::Auto;
/// The resolver answers in milliseconds and drops in silence above 1024 packets/s: one question may be lost and
/// asked again, and the client still has most of its patience.
pub(super) const DNS_TIMEOUT: Duration = Duration::from_secs(2);
/// A TTL of 0 must not turn every connection into a query.
pub(super) const DNS_MIN_TTL: Duration = Duration::from_secs(1);
/// A service that moved is followed within five minutes, whatever its zone says.
pub(super) const DNS_MAX_TTL: Duration = Duration::from_secs(300);
/// Long enough to shield the resolver from a client that repeats itself, short enough for a name just created, and for
/// the end of an outage.
pub(super) const DNS_NEGATIVE_TTL: Duration = Duration::from_secs(5);
/// Lattice addresses live as long as their service; an outage of DNS seldom lasts longer.
pub(super) const DNS_MAX_STALE: Duration = Duration::from_secs(3600);
/// Far above the names of one service network, and a bound on what clients that invent names can take: some MB.
pub(super) const DNS_CACHE_SIZE: NonZeroUsize = NonZeroUsize::new(10_000).expect("it is not 0");

/// Where VPC Lattice services are, by IPv4 and IPv6; nowhere else does this proxy lead.
pub(super) fn allowed_networks() -> Vec<IpNet> {
    let v4 = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 171, 0), 24);
    let v6 = Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0xec2, 0x80, 0, 0, 0, 0, 0), 64);
    vec![v4.into(), v6.into()]
}

/// Header and hello follow the client's first byte; a person's slow link needs less.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);
/// Lattice is in the same data centre: 3 s is several retransmitted SYNs.
pub(super) const CONNECT: Duration = Duration::from_secs(3);
/// Above the longest idle timeout of a Lattice service (600 s), so that Lattice, which knows, ends it first.
pub(super) const IDLE: Duration = Duration::from_secs(610);

/// Each connection takes two fds, client and upstream; some are needed for pipes, logs and ports: so many, or a
/// quarter where there are few.
pub(super) const FDS_PER_CONNECTION: u64 = 2;
pub(super) const FDS_RESERVED: u64 = 256;
/// Before any connection, counted in /proc/self/fd: a worker's runtime and its spare, beside a socket for each listener;
/// and what the process has once.
pub(super) const FDS_PER_WORKER: usize = 5;
pub(super) const FDS_AT_START: usize = 13;
/// A relayed connection on which nothing moves: 3.6 KB of this process and 8.2 KB of the kernel for its two sockets
/// (4 000 of them on Linux 6.18, x86-64: resident memory, and half of what the slabs of both ends grew by). Connections
/// may take half of the memory. What is on its way comes on top, in the kernel's buffers, which `net.ipv4.tcp_mem` bounds.
pub(super) const BYTES_PER_CONNECTION: u64 = 12 * 1024;
/// A half-open one, measured alike: 4.4 KB of this process, 4.1 KB of the kernel. They may take an eighth of the memory,
/// and what they hold of what they were sent another eighth, so that a quarter is left for all else.
pub(super) const BYTES_PER_HALF_OPEN: u64 = 9 * 1024;
/// These shares of the memory.
pub(super) const CONNECTIONS_SHARE: u64 = 2;
pub(super) const HALF_OPEN_SHARE: u64 = 8;
pub(super) const HALF_OPEN_BYTES_SHARE: u64 = 8;
/// Many users may stand behind one address, but their hellos are seldom late.
pub(super) const HALF_OPEN_PER_CLIENT: NonZeroU32 = NonZeroU32::new(512).expect("it is not 0");
/// A modem is fifty times faster; a client that sends a byte now and then is none.
pub(super) const HANDSHAKE_RATE: u32 = 100;
/// With A and AAAA 400 of the resolver's 1024 packets/s: as many are left for renewals and retries.
pub(super) const LOOKUPS_PER_SECOND: NonZeroU32 = NonZeroU32::new(200).expect("it is not 0");
/// More new names a second than a client of real services asks for.
pub(super) const LOOKUPS_PER_CLIENT: NonZeroU32 = NonZeroU32::new(20).expect("it is not 0");

/// The load balancer goes on sending new connections for some seconds after it was told.
pub(super) const DRAIN_DELAY: Duration = Duration::from_secs(10);
/// With the delay below the 120 s after which ECS kills the task.
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(100);

/// Open to the load balancer's and the container's health checks.
pub(super) const HEALTH: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 9901);
/// ECS kills tasks whose target turns unhealthy, and their live connections with them: a resolver's outage is over
/// sooner than a fleet of new tasks is up, which would have no resolver either.
pub(super) const FAIL_ON_DNS: bool = false;
/// Closed to all but this machine: it tells who connects.
pub(super) const ADMIN: SocketAddr = v4([127, 0, 0, 1], 9900);

pub(super) const LOG_FORMAT: LogFormat = LogFormat::Json;
/// ECS takes a container's standard output to CloudWatch.
pub(super) const LOG_OUTPUT: LogOutput = LogOutput::Stdout;
/// A log without gaps answers every question; what it costs is the operator's to weigh.
pub(super) const LOG_KEEP: LogKeep = LogKeep::All;

/// CloudWatch's own grain; a scaling policy that reads more often would see the same.
pub(super) const EMF_INTERVAL: Duration = Duration::from_secs(60);
pub(super) const EMF_NAMESPACE: &str = "latticegate";

const fn v4([a, b, c, d]: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(a, b, c, d)), port)
}
