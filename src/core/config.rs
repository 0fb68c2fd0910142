//! The checked configuration: what the rest of the program may rely on.
//!
//! Nothing here is read from a file; `config/` turns YAML and environment variables into a [`Config`] or says
//! what is wrong with them, where, and how to fix it.

mod check;
mod defaults;
pub mod env;
mod injected;
mod wrong_file;
mod raw;
mod values;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::diagnostic::{Diagnostic, Origin};
use crate::hostname::Hostname;
use crate::networks::Networks;
use crate::yaml::{self, Document};
use check::Check;
pub(crate) use wrong_file::configuration_as_list;

#[derive(Debug, Clone)]
pub struct Config {
    pub listeners: Vec<Listener>,
    /// Whose PROXY header is believed: the load balancer's subnets.
    pub trusted: Networks,
    /// The access list, `ipcontrol.yaml`.
    pub policy: PolicySource,
    /// How often the source is looked at for a new list.
    pub policy_poll: Duration,
    /// The list to start with where a remote source does not answer.
    pub policy_fallback: Option<PathBuf>,
    pub on_reload: OnReload,
    /// A list that decides nothing: where it would have is told.
    pub shadow: Option<PathBuf>,
    pub policy_refusal: PolicyRefusal,
    pub dns: Dns,
    pub upstream: Upstream,
    pub timeouts: Timeouts,
    pub limits: Limits,
    pub drain: Drain,
    pub workers: NonZeroUsize,
    /// `/healthz` and `/readyz`.
    pub health: SocketAddr,
    /// Whether a task whose resolver falls silent says that it is not ready. The load balancer then cuts its
    /// live connections.
    pub fail_on_dns: bool,
    /// `/metrics` and the rest of the operator's page.
    pub admin: SocketAddr,
    pub access_log: AccessLog,
    /// CloudWatch metrics as lines on standard output.
    pub emf: Option<Emf>,
}

impl Config {
    /// Reads the text of a file (none: defaults alone), lets the environment override it, and checks the whole against
    /// the machine it is for.
    ///
    /// With the configuration come warnings; without it, every problem that was found.
    pub fn parse(
        file: Option<File<'_>>,
        env: impl Iterator<Item = (String, String)>,
        machine: &Machine,
    ) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        Self::read(file, env, Trusted::Required, machine)
    }

    /// The same for a question about an access list, which does not depend on whose PROXY header is believed.
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
        // Before the environment, so that it can change one key of a default listener.
        if !document.has(&yaml::Path::root().key("listeners")) {
            document.set(&["listeners"], defaults::LISTENERS, Origin::Defaults)?;
        }
        let injected = env::apply(&mut document, env, &mut diagnostics);
        let raw = document.read(&mut diagnostics);
        for diagnostic in &mut diagnostics {
            // Where a value is told, its key is one.
            if let (Origin::Variable(name), None) = (&diagnostic.origin, &diagnostic.value)
                && let Some(meant) = env::with_two_underscores(name)
            {
                diagnostic.help = format!("did you mean {meant}? Two underscores stand between levels").into();
            }
        }
        let warnings = injected::warning(&injected).into_iter().collect();
        let file = file.map(|file| file.path);
        let mut check = Check { document: &document, file, machine, diagnostics, warnings };
        let config = check.config(raw, trusted);
        if check.diagnostics.is_empty() { Ok((config, check.warnings)) } else { Err(check.diagnostics) }
    }
}

/// A configuration file that has been read.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// Relative paths in it start beside it.
    pub path: &'a Path,
    pub text: &'a str,
}

/// The facts that a configuration is checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// What the process may raise its limit of open files to.
    pub open_files: u64,
    /// CPUs that it may run on.
    pub cpus: NonZeroUsize,
    /// Bytes of memory that it may use, sockets included.
    pub memory: u64,
}

/// Whether `proxy_protocol.trusted` must be there if a listener requires the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trusted {
    Required,
    MayBeMissing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Shown in logs and metrics: unique, 1 to 32 letters, digits, `-`, `_`.
    pub name: String,
    pub bind: SocketAddr,
    pub protocol: Protocol,
    /// The port dialled on the upstream address.
    pub upstream_port: u16,
    /// The port that clients connect to and may write in a Host field: 443 for tls, 80 for http unless set.
    pub public_port: u16,
    pub proxy_protocol: ProxyProtocol,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Tls,
    Http,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocol {
    Required,
    Off,
}

/// Where the access list is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicySource {
    File(PathBuf),
    Http(LoopbackUrl),
    S3(S3Object),
}

/// `http://127.0.0.1:2772/…`: plain HTTP never leaves this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoopbackUrl {
    pub address: SocketAddr,
    /// With its `/` and query.
    pub path: Box<str>,
}

/// `s3://bucket/key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Object {
    pub bucket: Box<str>,
    pub key: Box<str>,
    /// The account that must own the bucket, 12 digits: a bucket of the same name in other hands is refused.
    pub owner: Option<Box<str>>,
}

/// What happens to live connections that a new list forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnReload {
    Keep,
    Close,
}

/// What a client refused by the access list gets to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyRefusal {
    /// A TLS alert or an HTTP status.
    Answer,
    /// A bare close.
    Silent,
}

#[derive(Debug, Clone)]
pub struct Dns {
    pub server: SocketAddr,
    pub ipv6: Ipv6,
    /// For one question, all its retries included, and as long for the wait until it is asked.
    pub timeout: Duration,
    /// Bounds for the TTL that an answer tells.
    pub min_ttl: Duration,
    pub max_ttl: Duration,
    /// How long a name that does not exist is remembered, and a failure at most (RFC 9520 §3.2).
    pub negative_ttl: Duration,
    /// How long past its TTL an answer may serve while the resolver does not answer.
    pub max_stale: Duration,
    /// Names held in the cache at most.
    pub cache_size: NonZeroUsize,
}

/// Whether AAAA is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ipv6 {
    /// Where a route leads to an IPv6 network of `upstream.allowed_networks`.
    Auto,
    On,
    Off,
}

#[derive(Debug, Clone)]
pub struct Upstream {
    /// The only networks that are ever dialled.
    pub allowed_networks: Networks,
    /// Asked name → name to resolve instead.
    pub names: BTreeMap<Hostname, Hostname>,
}

#[derive(Debug, Clone)]
pub struct Timeouts {
    /// PROXY header and ClientHello or request head together, from accept.
    pub handshake: Duration,
    /// All attempts to reach the upstream together.
    pub connect: Duration,
    /// A relayed connection on which no byte moved either way.
    pub idle: Duration,
}

/// How much may be taken; what a limit does when it is reached is told by its reason word in `core/outcome.rs`.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections open at a time, on all listeners together.
    pub connections: usize,
    /// Of them, those that have not sent a whole header and hello: past it the longest waiting has to go.
    pub half_open: NonZeroUsize,
    /// Bytes that these hold together of what they have sent: past it, too, the longest waiting has to go.
    pub half_open_bytes: u64,
    /// Of these, those whose client is known.
    pub half_open_per_client: NonZeroU32,
    /// Bytes of hello a second, on average, from 3 s after the first byte on.
    pub handshake_rate: u32,
    pub per_client: Quota,
    pub per_name: Quota,
    /// Names asked of the resolver because no answer was known, a second; renewals of names in use come on top.
    pub lookups_per_second: NonZeroU32,
    /// Of them, those of one client that go before what others ask beyond theirs; alone it may have all.
    pub lookups_per_client: NonZeroU32,
}

/// What one client or one name may have; none: as much as it likes.
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
    /// After that, how long live connections may take to end by themselves.
    pub timeout: Duration,
}

/// `metrics.emf`.
#[derive(Debug, Clone)]
pub struct Emf {
    pub interval: Duration,
    pub namespace: Box<str>,
    pub dimensions: BTreeMap<Box<str>, Box<str>>,
}

impl Emf {
    /// Names of metrics and of what else stands at a line's top level: no dimension may be called so.
    pub const TAKEN_NAMES: &[&str] = &[
        "_aws",
        "reason",
        "ActiveConnections",
        "NewConnections",
        "Refused",
        "Failed",
        "BytesUp",
        "BytesDown",
        "DnsFailures",
        "ConnectP99",
    ];
}

#[derive(Debug, Clone)]
pub struct AccessLog {
    pub format: LogFormat,
    pub output: LogOutput,
    pub keep: LogKeep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Json,
    /// The incumbent's nginx line.
    Nginx,
}

/// Which connections have a line in the log; metrics count all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKeep {
    All,
    /// Those that were refused, failed or did not finish.
    Refused,
    /// Those, and one of so many that were relayed.
    Sample(NonZeroU32),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogOutput {
    Stdout,
    File(PathBuf),
}

#[cfg(test)]
mod tests;

impl std::fmt::Display for PolicySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Http(url) => write!(f, "http://{}{}", url.address, url.path),
            Self::S3(object) => write!(f, "s3://{}/{}", object.bucket, object.key),
        }
    }
}
