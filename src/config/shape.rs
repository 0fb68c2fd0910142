//! The configuration as it is written: every key, nothing decided. Private, so that nobody relies on it unchecked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use super::values::{AccountId, Connections, ListenerName, Workers};
use super::{Ipv6, LogFormat, LogOutput, OnReload, PolicyRefusal, PolicySource, Protocol, ProxyProtocol};
use crate::hostname::Hostname;
use crate::yaml::{Many, Read};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "keys such as `listeners:` and `policy:`")]
pub(super) struct RawConfig {
    pub(super) listeners: Option<Vec<RawListener>>,
    pub(super) proxy_protocol: Option<RawProxyProtocol>,
    pub(super) policy: Option<Read<PolicySource>>,
    pub(super) policy_poll: Option<Read<Duration>>,
    pub(super) policy_fallback: Option<Read<PathBuf>>,
    pub(super) policy_owner: Option<Read<AccountId>>,
    pub(super) on_reload: Option<Read<OnReload>>,
    pub(super) policy_refusal: Option<Read<PolicyRefusal>>,
    pub(super) dns: Option<RawDns>,
    pub(super) upstream: Option<RawUpstream>,
    pub(super) timeouts: Option<RawTimeouts>,
    pub(super) limits: Option<RawLimits>,
    pub(super) drain: Option<RawDrain>,
    pub(super) workers: Option<Read<Workers>>,
    pub(super) health: Option<RawHealth>,
    pub(super) admin: Option<RawAdmin>,
    pub(super) access_log: Option<RawAccessLog>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a listener, like { name: tls, bind: \"[::]:8443\", protocol: tls }")]
pub(super) struct RawListener {
    pub(super) name: Option<Read<ListenerName>>,
    pub(super) bind: Option<Read<SocketAddr>>,
    pub(super) protocol: Option<Read<Protocol>>,
    pub(super) upstream_port: Option<Read<NonZeroU16>>,
    pub(super) public_port: Option<Read<NonZeroU16>>,
    pub(super) proxy_protocol: Option<Read<ProxyProtocol>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "{ trusted: [the load balancer's subnets] }")]
pub(super) struct RawProxyProtocol {
    pub(super) trusted: Option<Many<IpNet>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "{ server: \"169.254.169.253:53\" }")]
pub(super) struct RawDns {
    pub(super) server: Option<Read<SocketAddr>>,
    pub(super) ipv6: Option<Read<Ipv6>>,
    pub(super) timeout: Option<Read<Duration>>,
    pub(super) min_ttl: Option<Read<Duration>>,
    pub(super) max_ttl: Option<Read<Duration>>,
    pub(super) negative_ttl: Option<Read<Duration>>,
    pub(super) max_stale: Option<Read<Duration>>,
    pub(super) cache_size: Option<Read<NonZeroUsize>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "{ allowed_networks: [169.254.171.0/24] }")]
pub(super) struct RawUpstream {
    pub(super) allowed_networks: Option<Many<IpNet>>,
    pub(super) names: Option<BTreeMap<String, Read<Hostname>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "{ handshake: 10s, connect: 3s, idle: 610s }")]
pub(super) struct RawTimeouts {
    pub(super) handshake: Option<Read<Duration>>,
    pub(super) connect: Option<Read<Duration>>,
    pub(super) idle: Option<Read<Duration>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "keys such as `connections:` and `per_client:`")]
pub(super) struct RawLimits {
    pub(super) connections: Option<Read<Connections>>,
    pub(super) half_open: Option<Read<NonZeroUsize>>,
    pub(super) half_open_per_client: Option<Read<NonZeroU32>>,
    pub(super) handshake_rate: Option<Read<u32>>,
    pub(super) per_client: Option<RawQuota>,
    pub(super) per_name: Option<RawQuota>,
    pub(super) lookups_per_second: Option<Read<NonZeroU32>>,
    pub(super) lookups_per_client: Option<Read<NonZeroU32>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "{ connections: 100, per_second: 20 }")]
pub(super) struct RawQuota {
    pub(super) connections: Option<Read<NonZeroU32>>,
    pub(super) per_second: Option<Read<NonZeroU32>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "{ delay: 10s, timeout: 100s }")]
pub(super) struct RawDrain {
    pub(super) delay: Option<Read<Duration>>,
    pub(super) timeout: Option<Read<Duration>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "{ bind: \"[::]:9901\" }")]
pub(super) struct RawHealth {
    pub(super) bind: Option<Read<SocketAddr>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "{ bind: \"127.0.0.1:9900\" }")]
pub(super) struct RawAdmin {
    pub(super) bind: Option<Read<SocketAddr>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "{ format: json, output: stdout }")]
pub(super) struct RawAccessLog {
    pub(super) format: Option<Read<LogFormat>>,
    pub(super) output: Option<Read<LogOutput>>,
}
