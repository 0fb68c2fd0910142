//! The configuration as written: every key, nothing checked. Private, so that it cannot be used unchecked.

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use super::values::{
    AccountId, AdminAddress, Connections, Destination, HealthAddress, ListenerAddress, ListenerName, Memory,
    MetricWord, RefusedBytes, ResolverAddress, ViaName, Workers,
};
use super::{
    Ipv6, LogField, LogFormat, LogKeep, LogOutput, OnReload, PolicyRefusal, PolicySource, Protocol, ProxyProtocol,
    Timeout, Tunnel,
};
use crate::hostname::Hostname;
use crate::yaml::{Many, Read};

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "keys such as `listeners:` and `policy:`")]
pub(super) struct RawConfig {
    /// What clients connect to. Unless set: tls on 8443 and http on 8080.
    pub(super) listeners: Option<Vec<RawListener>>,
    /// Whose PROXY header is accepted.
    pub(super) proxy_protocol: Option<RawProxyProtocol>,
    /// The access list: a file, relative to this one, or s3://bucket/key, or http://127.0.0.1:PORT/PATH.
    pub(super) policy: Option<Read<PolicySource>>,
    /// How often the access list's source is checked for a new list.
    pub(super) policy_poll: Option<Read<Timeout>>,
    /// The list to start with if a remote source does not answer.
    pub(super) policy_fallback: Option<Read<PathBuf>>,
    /// The account that must own the bucket: 12 digits in quotes.
    pub(super) policy_owner: Option<Read<AccountId>>,
    /// What happens to live connections that a new list forbids.
    pub(super) on_reload: Option<Read<OnReload>>,
    /// A second access list that decides nothing: where it would have decided otherwise is counted and logged.
    pub(super) shadow: Option<Read<PathBuf>>,
    /// What a client refused by the access list sees: `answer` (a TLS alert, or 403) or `silent`.
    pub(super) policy_refusal: Option<Read<PolicyRefusal>>,
    /// Which resolver is asked, and how long its answers are used.
    pub(super) dns: Option<RawDns>,
    /// Which addresses may be dialled.
    pub(super) upstream: Option<RawUpstream>,
    /// How long each step may take.
    pub(super) timeouts: Option<RawTimeouts>,
    /// Limits on connections, memory and lookups.
    pub(super) limits: Option<RawLimits>,
    /// What happens after SIGTERM. ECS kills a task 120 s after it.
    pub(super) drain: Option<RawDrain>,
    /// Threads: `auto` = one for each CPU that the process may use.
    pub(super) workers: Option<Read<Workers>>,
    /// Where /healthz and /readyz are.
    pub(super) health: Option<RawHealth>,
    /// What makes a ready task unready again.
    pub(super) readiness: Option<RawReadiness>,
    /// Where /metrics and the rest for the operator are; keep it on loopback.
    pub(super) admin: Option<RawAdmin>,
    /// One line for each connection.
    pub(super) access_log: Option<RawAccessLog>,
    /// Metrics for CloudWatch.
    pub(super) metrics: Option<RawMetrics>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a listener, like { name: tls, bind: \"[::]:8443\", protocol: tls }")]
pub(super) struct RawListener {
    /// Shown in logs and metrics; rules can name it in `listener`.
    #[cfg_attr(test, schemars(required))]
    pub(super) name: Option<Read<ListenerName>>,
    /// Address and port, like `[::]:8443`; `[::]` accepts IPv4, too.
    #[cfg_attr(test, schemars(required))]
    pub(super) bind: Option<Read<ListenerAddress>>,
    /// `tls` reads the server name of the ClientHello, `http` the Host field; `forward` is a proxy that clients ask by
    /// CONNECT or with a whole URL.
    #[cfg_attr(test, schemars(required))]
    pub(super) protocol: Option<Read<Protocol>>,
    /// The port dialled; 443 for tls, 80 for http. Not for forward, whose clients ask for a port.
    pub(super) upstream_port: Option<Read<NonZeroU16>>,
    /// The port that clients connect to and may write in a Host field; 443 for tls, 80 for http, 3128 for forward.
    pub(super) public_port: Option<Read<NonZeroU16>>,
    /// Whether a load balancer sends a PROXY v2 header first; `required` unless set.
    pub(super) proxy_protocol: Option<Read<ProxyProtocol>>,
    /// Only for forward: what CONNECT may ask for; 443 unless set.
    pub(super) connect_ports: Option<Many<NonZeroU16>>,
    /// Only for forward: what a request for `http://…` may ask for; 80 unless set.
    pub(super) http_ports: Option<Many<NonZeroU16>>,
    /// Only for forward: `tls` lets only TLS through CONNECT whose server name the client may reach, `any` all that
    /// comes; `tls` unless set.
    pub(super) tunnel: Option<Read<Tunnel>>,
    /// Only for forward: this proxy's name in the Via field, the same for all tasks of a fleet, another for each fleet;
    /// `latticegate` unless set.
    pub(super) via_name: Option<Read<ViaName>>,
    /// Which addresses this listener may dial; those of the section `upstream` unless set, for forward `public` if there
    /// are none either.
    pub(super) upstream: Option<RawNetworks>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "{ allowed_networks: [public] }")]
pub(super) struct RawNetworks {
    /// The only networks that this listener dials; `public` is every public address.
    pub(super) allowed_networks: Option<Many<Destination>>,
    /// Never dialled by this listener, whatever is allowed; those of the section `upstream` are not either.
    pub(super) denied_networks: Option<Many<IpNet>>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "{ trusted: [the load balancer's subnets] }")]
pub(super) struct RawProxyProtocol {
    /// The load balancer's subnets. A host in them can claim any client address.
    pub(super) trusted: Option<Many<IpNet>>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "{ server: \"169.254.169.253:53\" }")]
pub(super) struct RawDns {
    /// Address and port of the resolver; 169.254.169.253:53, the VPC's own.
    pub(super) server: Option<Read<ResolverAddress>>,
    /// Whether AAAA records are queried; `auto`: if there is a route to an allowed IPv6 network.
    pub(super) ipv6: Option<Read<Ipv6>>,
    /// For one query with its retries; a query waits at most as long for its turn.
    pub(super) timeout: Option<Read<Timeout>>,
    /// An answer is used for at least this long.
    pub(super) min_ttl: Option<Read<Duration>>,
    /// An answer is used for at most this long.
    pub(super) max_ttl: Option<Read<Duration>>,
    /// How long it is cached that a name does not exist, and at most how long a failure is.
    pub(super) negative_ttl: Option<Read<Duration>>,
    /// How long an expired answer is used while the resolver does not answer.
    pub(super) max_stale: Option<Read<Duration>>,
    /// Names in the cache at most.
    pub(super) cache_size: Option<Read<NonZeroUsize>>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "{ allowed_networks: [169.254.171.0/24] }")]
pub(super) struct RawUpstream {
    /// The only networks that are dialled; VPC Lattice's unless set. `public` is every public address.
    pub(super) allowed_networks: Option<Many<Destination>>,
    /// Never dialled, by any listener, whatever is allowed.
    pub(super) denied_networks: Option<Many<IpNet>>,
    /// Requested name: name to resolve instead.
    pub(super) names: Option<BTreeMap<String, Read<Hostname>>>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "{ handshake: 10s, connect: 3s, idle: 610s }")]
pub(super) struct RawTimeouts {
    /// PROXY header and ClientHello or request head together.
    pub(super) handshake: Option<Read<Timeout>>,
    /// All attempts to reach the service together.
    pub(super) connect: Option<Read<Timeout>>,
    /// How long a connection may move no byte in either direction.
    pub(super) idle: Option<Read<Timeout>>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "keys such as `connections:` and `per_client:`")]
pub(super) struct RawLimits {
    /// Open at a time, on all listeners together; `auto`: as many as open files and half of the memory allow.
    pub(super) connections: Option<Read<Connections>>,
    /// Of them, those without a complete header and hello; `auto`: half of them, and what fits an eighth of the memory.
    pub(super) half_open: Option<Read<Connections>>,
    /// Bytes buffered for half-open connections, all together; `auto`: an eighth of the memory.
    pub(super) half_open_bytes: Option<Read<Memory>>,
    /// Half-open connections of one client.
    pub(super) half_open_per_client: Option<Read<NonZeroU32>>,
    /// Bytes of hello a second at least, from the third second on.
    pub(super) handshake_rate: Option<Read<u32>>,
    /// For each client address.
    pub(super) per_client: Option<RawQuota>,
    /// For each name.
    pub(super) per_name: Option<RawQuota>,
    /// DNS lookups of names that are not in the cache a second; more wait for their turn.
    pub(super) lookups_per_second: Option<Read<NonZeroU32>>,
    /// Of them, the share of one client, which goes before what others look up beyond theirs.
    pub(super) lookups_per_client: Option<Read<NonZeroU32>>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "{ connections: 100, per_second: 20 }")]
pub(super) struct RawQuota {
    /// Open at a time.
    pub(super) connections: Option<Read<NonZeroU32>>,
    /// New ones a second.
    pub(super) per_second: Option<Read<NonZeroU32>>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "{ delay: 10s, timeout: 100s }")]
pub(super) struct RawDrain {
    /// How long connections are still accepted, while the load balancer notices.
    pub(super) delay: Option<Read<Duration>>,
    /// How long live connections may then take to end.
    pub(super) timeout: Option<Read<Duration>>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "{ bind: \"[::]:9901\" }")]
pub(super) struct RawHealth {
    /// Address and port.
    pub(super) bind: Option<Read<HealthAddress>>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "{ fail_on_dns: false }")]
pub(super) struct RawReadiness {
    /// Whether /readyz turns 503 while the resolver does not answer; the load balancer then cuts live connections.
    pub(super) fail_on_dns: Option<Read<bool>>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "{ bind: \"127.0.0.1:9900\" }")]
pub(super) struct RawAdmin {
    /// Address and port. One that other machines reach needs `token_file`.
    pub(super) bind: Option<Read<AdminAddress>>,
    /// How many refused connections /refused shows the first bytes of, PROXY header and ClientHello; `off` unless set.
    pub(super) refused_bytes: Option<Read<RefusedBytes>>,
    /// A file with the token that every request must have: 16 characters at least, relative to this file.
    pub(super) token_file: Option<Read<PathBuf>>,
    /// Names by which browsers and scrapers may address this port, beside IP addresses and localhost.
    pub(super) hosts: Option<Many<Hostname>>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "{ format: json, output: stdout }")]
pub(super) struct RawAccessLog {
    /// `json`, or `nginx` for the line of the solution that this replaces, or `squid` for Squid's native line.
    pub(super) format: Option<Read<LogFormat>>,
    /// `stdout`, or a file's path, relative to this file.
    pub(super) output: Option<Read<LogOutput>>,
    /// Which connections have a line: `all`, `failures` (all but relayed ones), or `sample 1/N` (and one of N relayed ones).
    /// But for `all`, equal refusals are one line a second with their number.
    pub(super) keep: Option<Read<LogKeep>>,
    /// What is in a JSON line, in this order; everything unless set.
    pub(super) fields: Option<Many<LogField>>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "{ emf: { namespace: latticegate } }")]
pub(super) struct RawMetrics {
    /// Metrics in CloudWatch's embedded metric format on standard output; off unless set.
    pub(super) emf: Option<RawEmf>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "{ namespace: latticegate, interval: 60s }")]
pub(super) struct RawEmf {
    /// How often a line is written.
    pub(super) interval: Option<Read<Timeout>>,
    /// The namespace in CloudWatch.
    pub(super) namespace: Option<Read<MetricWord>>,
    /// Dimensions of the metrics, like { cluster: edge, service: gate }.
    pub(super) dimensions: Option<BTreeMap<String, Read<MetricWord>>>,
}
