//! The checked configuration: what the rest of the program may rely on.
//!
//! The modules below turn YAML and environment variables into a [`Config`], or report what is wrong with them, where,
//! and how to fix it.

mod access_log;
mod changed;
mod check;
mod defaults;
pub mod env;
mod injected;
mod listener;
mod wrong_file;
mod raw;
mod settings;
mod timeout;
mod values;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU8, NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::canonical_ip::CanonicalIp;
use crate::diagnostic::{Diagnostic, Origin};
use crate::hostname::Hostname;
use crate::networks::Networks;
use crate::yaml::{self, Document};
pub use access_log::{AccessLog, LogField, LogFormat, LogKeep, LogOutput};
pub use changed::Source as SettingSource;
use check::Checker;
pub use listener::{Forward, Listener, Protocol, ProxyProtocol, Tunnel};
pub use settings::{Setting, WrittenAt};
pub use timeout::Timeout;
pub(crate) use wrong_file::configuration_as_list;

#[derive(Debug, Clone)]
pub struct Config {
    pub listeners: Vec<Listener>,
    /// TCP peers whose PROXY header is accepted: the load balancer's subnets.
    pub trusted: Networks,
    /// The access list, `ipcontrol.yaml`.
    pub policy: PolicySource,
    /// How often the source is checked for a new list.
    pub policy_poll: Timeout,
    /// The list to start with if a remote source does not answer.
    pub policy_fallback: Option<PathBuf>,
    pub on_reload: OnReload,
    /// A list that decides nothing: where it would have decided otherwise is logged and counted.
    pub shadow: Option<PathBuf>,
    pub policy_refusal: PolicyRefusal,
    pub dns: Dns,
    pub upstream: Upstream,
    pub timeouts: Timeouts,
    pub limits: Limits,
    pub drain: Drain,
    pub workers: NonZeroUsize,
    /// Where `/healthz` and `/readyz` are.
    pub health: SocketAddr,
    /// Whether `/readyz` turns 503 while the resolver does not answer. The load balancer then cuts the task's live
    /// connections.
    pub fail_on_dns: bool,
    /// Where `/metrics` and the operator's page are.
    pub admin: SocketAddr,
    /// How many refused connections `/refused` shows the first bytes of; `None`: it is off.
    pub refused_bytes: Option<NonZeroU8>,
    pub admin_access: AdminAccess,
    pub access_log: AccessLog,
    /// CloudWatch metrics as lines on standard output, if they are on.
    pub emf: Option<Emf>,
    /// Every key with the value that is in force, and where that was written.
    pub settings: Vec<Setting>,
}

impl Config {
    /// Parses the text of a file (`None`: the defaults alone), applies the environment over it, and checks the result
    /// against the machine it is for.
    ///
    /// Returns the configuration with warnings, or all errors that were found.
    pub fn parse(
        file: Option<File<'_>>,
        env: impl Iterator<Item = (String, String)>,
        machine: &Machine,
    ) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        Self::read(file, env, Trusted::Required, machine)
    }

    /// Like [`parse`](Self::parse), but `proxy_protocol.trusted` may be missing: an access list can be explained without
    /// it.
    pub fn parse_for_list(
        file: Option<File<'_>>,
        env: impl Iterator<Item = (String, String)>,
        machine: &Machine,
    ) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        Self::read(file, env, Trusted::MayBeMissing, machine)
    }

    fn read(
        file: Option<File<'_>>,
        env: impl Iterator<Item = (String, String)>,
        trusted: Trusted,
        machine: &Machine,
    ) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let mut document = file
            .map_or_else(|| Ok(Document::empty()), |File { path, text }| Document::parse(text, Origin::file(path)))?;
        if let Some(diagnostic) = wrong_file::list_as_configuration(&document) {
            return Err(vec![diagnostic]);
        }
        let mut diagnostics = Vec::new();
        // Before the environment is applied, so that a variable can change one key of a default listener.
        if !document.has(&yaml::Path::root().key("listeners")) {
            document.set(&["listeners"], defaults::LISTENERS, Origin::Defaults)?;
        }
        let injected = env::apply(&mut document, env, &mut diagnostics);
        let raw = document.read(&mut diagnostics);
        for diagnostic in &mut diagnostics {
            // A diagnostic with a value is about a key that exists.
            if let (Origin::Variable(name), None) = (&diagnostic.origin, &diagnostic.value)
                && let Some(meant) = env::with_two_underscores(name)
            {
                diagnostic.help = format!("did you mean {meant}? Two underscores separate levels").into();
            }
        }
        let warnings = injected::warning(&injected).into_iter().collect();
        let file = file.map(|file| file.path);
        let mut checker = Checker { document: &document, file, machine, errors: diagnostics, warnings };
        let mut config = checker.config(raw, trusted);
        let Checker { errors, warnings, .. } = checker;
        config.settings = settings::of(&config, &document);
        if errors.is_empty() { Ok((config, warnings)) } else { Err(errors) }
    }

    /// Whether a PROXY header from this TCP peer is accepted.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.contains(CanonicalIp::new(peer))
    }
}

/// A configuration file that has been read.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// Relative paths in the file start at its directory.
    pub path: &'a Path,
    pub text: &'a str,
}

/// What a configuration is checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Open files that the process may have: the hard limit.
    pub open_files: u64,
    /// CPUs that the process may run on.
    pub cpus: NonZeroUsize,
    /// Bytes of memory that the process may use, its sockets included.
    pub memory: u64,
}

/// Whether `proxy_protocol.trusted` must be there if a listener requires the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trusted {
    Required,
    MayBeMissing,
}

/// Where the access list is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicySource {
    File(PathBuf),
    Http(LoopbackUrl),
    S3(S3Object),
}

/// `http://127.0.0.1:2772/…`: plain HTTP is allowed on loopback only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoopbackUrl {
    pub address: SocketAddr,
    /// The path, from its `/` on, and the query.
    pub path: Box<str>,
}

/// `s3://bucket/key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Object {
    pub bucket: Box<str>,
    pub key: Box<str>,
    /// The account that must own the bucket, 12 digits: a bucket of the same name of another account is refused.
    pub owner: Option<Box<str>>,
}

/// What happens to live connections that a new list forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnReload {
    Keep,
    Close,
}

/// What a client that the access list refuses receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyRefusal {
    /// A TLS alert or an HTTP status.
    Answer,
    /// Nothing: the connection is closed.
    Silent,
}

#[derive(Debug, Clone)]
pub struct Dns {
    pub server: SocketAddr,
    pub ipv6: Ipv6,
    /// For one query with all its retries; a query waits at most as long for its turn.
    pub timeout: Timeout,
    /// Bounds for the TTL of an answer.
    pub min_ttl: Duration,
    pub max_ttl: Duration,
    /// How long it is cached that a name does not exist, and at most how long a failure is (RFC 9520 §3.2).
    pub negative_ttl: Duration,
    /// How long past its TTL an answer may be used while the resolver does not answer.
    pub max_stale: Duration,
    /// Names held in the cache at most.
    pub cache_size: NonZeroUsize,
}

/// Whether AAAA records are queried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ipv6 {
    /// If there is a route to an IPv6 network that a listener may dial.
    Auto,
    On,
    Off,
}

/// `upstream`, without the networks: each listener has its own or these.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Requested name → name to resolve instead.
    pub names: BTreeMap<Hostname, Hostname>,
}

impl Upstream {
    /// The name to resolve for a requested one: its entry in `upstream.names`, or the name itself.
    pub fn name_to_resolve<'a>(&'a self, requested: &'a Hostname) -> &'a Hostname {
        self.names.get(requested).unwrap_or(requested)
    }
}

#[derive(Debug, Clone)]
pub struct Timeouts {
    /// PROXY header and ClientHello or request head together, from accept.
    pub handshake: Timeout,
    /// For all attempts to reach the upstream together.
    pub connect: Timeout,
    /// How long a relayed connection may move no byte in either direction.
    pub idle: Timeout,
}

/// Limits on connections, memory and lookups. [`RefuseReason`](crate::outcome::RefuseReason) has what happens at each limit.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections open at a time, on all listeners together.
    pub connections: usize,
    /// Of them, those that have not sent a complete header and hello. Past it, the one that has waited longest is closed.
    pub half_open: NonZeroUsize,
    /// Bytes buffered for half-open connections, all together. Past it, the one that has waited longest is closed.
    pub half_open_bytes: u64,
    /// Half-open connections of one client.
    pub half_open_per_client: NonZeroU32,
    /// Bytes of hello a second, on average, from 3 s after the first byte on.
    pub handshake_rate: u32,
    pub per_client: Quota,
    pub per_name: Quota,
    /// DNS lookups a second of names that are not in the cache; renewals of names in use are not counted.
    pub lookups_per_second: NonZeroU32,
    /// Of them, the share of one client, which goes before what others look up beyond theirs; alone it may use all.
    pub lookups_per_client: NonZeroU32,
}

impl Limits {
    /// Open files with all connections open.
    pub fn open_files(&self) -> u64 {
        self.every_connection(defaults::FDS_PER_CONNECTION)
    }

    /// Bytes of memory with all connections open.
    pub fn memory(&self) -> u64 {
        self.every_connection(defaults::BYTES_PER_CONNECTION).saturating_add(self.half_open_bytes)
    }

    fn every_connection(&self, each: u64) -> u64 {
        u64::try_from(self.connections).unwrap_or(u64::MAX).saturating_mul(each)
    }
}

/// What one client or one name may have; `None`: unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    pub concurrent: Option<u32>,
    pub per_second: Option<NonZeroU32>,
}

impl Quota {
    pub fn is_some(&self) -> bool {
        self.concurrent.is_some() || self.per_second.is_some()
    }
}

#[derive(Debug, Clone)]
pub struct Drain {
    /// After SIGTERM, how long connections are still accepted while the load balancer notices.
    pub delay: Duration,
    /// After that, how long live connections may take to end on their own.
    pub timeout: Duration,
}

/// Who may read the admin port.
#[derive(Debug, Clone, Default)]
pub struct AdminAccess {
    /// Has the token that every request must bring. There unless the port is on loopback.
    pub token_file: Option<PathBuf>,
    /// Names in Host that are answered, beside IP addresses and localhost.
    pub hosts: Vec<Hostname>,
}

/// `metrics.emf`.
#[derive(Debug, Clone)]
pub struct Emf {
    pub interval: Timeout,
    pub namespace: Box<str>,
    pub dimensions: BTreeMap<Box<str>, Box<str>>,
}

impl Emf {
    /// Names of metrics and of other keys at the top level of a line: no dimension may have one of them.
    pub const TAKEN_NAMES: &[&str] = &[
        "_aws",
        "reason",
        "ActiveConnections",
        "NewConnections",
        "Requests",
        "Refused",
        "Failed",
        "BytesUp",
        "BytesDown",
        "DnsFailures",
        "ConnectP99",
        "LookupP99",
        "Starts",
        "ListOutOfStep",
        "LinesLost",
        "LimitsUsed",
        "WorkerBusy",
    ];
}

#[cfg(test)]
mod tests;

/// Without the query, which may be a secret.
impl std::fmt::Display for LoopbackUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { address, path } = self;
        match path.split_once('?') {
            Some((path, _)) => write!(f, "http://{address}{path}?…"),
            None => write!(f, "http://{address}{path}"),
        }
    }
}

impl std::fmt::Display for PolicySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Http(url) => url.fmt(f),
            Self::S3(object) => write!(f, "s3://{}/{}", object.bucket, object.key),
        }
    }
}
