//! From the written shape to a [`Config`]: defaults, and everything that concerns more than one key.
//!
//! Every mistake is noted with its place and the reading goes on, so that an operator sees them all at once.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use super::raw::{
    RawAccessLog, RawAdmin, RawConfig, RawDns, RawDrain, RawEmf, RawHealth, RawLimits, RawListener, RawMetrics,
    RawProxyProtocol, RawQuota, RawReadiness, RawTimeouts, RawUpstream,
};
use super::values::{AccountId, Connections, Memory, Workers};
use super::{
    AccessLog, Config, Dns, Drain, Emf, Limits, Listener, LogOutput, Machine, PolicySource, Protocol, ProxyProtocol,
    Quota, S3Object, Timeouts, Trusted, Upstream, defaults,
};
use crate::diagnostic::{Diagnostic, Origin};
use crate::hostname::Hostname;
use crate::networks::Networks;
use crate::yaml::{Document, Path, Read};

/// The document under examination and what was found so far.
pub(super) struct Check<'a> {
    pub(super) document: &'a Document,
    /// The configuration file, where there is one: relative paths start beside it.
    pub(super) file: Option<&'a FilePath>,
    pub(super) machine: &'a Machine,
    pub(super) diagnostics: Vec<Diagnostic>,
    pub(super) warnings: Vec<Diagnostic>,
}

impl Check<'_> {
    /// Worth something only if `problems` is empty afterwards.
    pub(super) fn config(&mut self, raw: RawConfig, need: Trusted) -> Config {
        let RawConfig {
            listeners,
            proxy_protocol,
            policy,
            policy_poll,
            policy_fallback,
            policy_owner,
            on_reload,
            shadow,
            policy_refusal,
            dns,
            upstream,
            timeouts,
            limits,
            drain,
            workers,
            health,
            readiness,
            admin,
            access_log,
            metrics,
        } = raw;
        let RawProxyProtocol { trusted } = proxy_protocol.unwrap_or_default();
        let RawHealth { bind: health } = health.unwrap_or_default();
        let RawReadiness { fail_on_dns } = readiness.unwrap_or_default();
        let RawAdmin { bind: admin } = admin.unwrap_or_default();
        let RawAccessLog { format, output, keep } = access_log.unwrap_or_default();

        let policy = self.policy(policy, policy_owner);
        let usual = match policy {
            PolicySource::File(_) => defaults::POLICY_POLL_FILE,
            PolicySource::Http(_) | PolicySource::S3(_) => defaults::POLICY_POLL_REMOTE,
        };
        let policy_poll = self.above_zero(policy_poll, &Path::root().key("policy_poll"), usual);
        let listeners = self.listeners(listeners.unwrap_or_default());
        let (health, admin) =
            (health.map_or(defaults::HEALTH, |read| read.0.0), admin.map_or(defaults::ADMIN, |read| read.0.0));
        let trusted = Networks::new(trusted.map(|list| list.0).unwrap_or_default());
        self.trusted(&listeners, &trusted, need);
        self.addresses_are_distinct(&listeners, health, admin);
        let workers = self.workers(workers, listeners.len());
        Config {
            listeners: listeners.into_iter().filter_map(|(_, listener)| listener).collect(),
            trusted,
            policy,
            policy_poll,
            policy_fallback: policy_fallback.map(|read| self.beside(&read.0)),
            shadow: shadow.map(|read| self.beside(&read.0)),
            on_reload: or(on_reload, defaults::ON_RELOAD),
            policy_refusal: or(policy_refusal, defaults::POLICY_REFUSAL),
            dns: self.dns(dns.unwrap_or_default()),
            upstream: self.upstream(upstream.unwrap_or_default()),
            timeouts: self.timeouts(timeouts.unwrap_or_default()),
            limits: self.limits(limits.unwrap_or_default()),
            drain: self.drain(drain.unwrap_or_default()),
            workers,
            health,
            fail_on_dns: or(fail_on_dns, defaults::FAIL_ON_DNS),
            admin,
            access_log: AccessLog {
                format: or(format, defaults::LOG_FORMAT),
                output: match output.map_or(defaults::LOG_OUTPUT, |read| read.0) {
                    LogOutput::File(path) => LogOutput::File(self.beside(&path)),
                    LogOutput::Stdout => LogOutput::Stdout,
                },
                keep: or(keep, defaults::LOG_KEEP),
            },
            emf: self.emf(metrics.unwrap_or_default()),
        }
    }

    /// Each with its path in the document; one that lacks something is `None`, so that the rest can be checked.
    fn listeners(&mut self, raw: Vec<RawListener>) -> Vec<(Path, Option<Listener>)> {
        let section = Path::root().key("listeners");
        if raw.is_empty() && self.document.is_empty_list(&section) {
            self.diagnostic(&section, "there is no listener", "write at least one, or remove the key for tls and http");
        }
        if !self.diagnostics.is_empty() && raw.len() != self.document.lines(&section).len() {
            // A listener that is none was left out and told; the others cannot be placed without it.
            return Vec::new();
        }
        let mut listeners = Vec::new();
        for (index, raw) in raw.into_iter().enumerate() {
            let path = section.index(index);
            let listener = self.listener(raw, &path);
            listeners.push((path, listener));
        }
        self.names_are_distinct(&listeners);
        listeners
    }

    fn listener(&mut self, raw: RawListener, path: &Path) -> Option<Listener> {
        let RawListener { name, bind, protocol, upstream_port, public_port, proxy_protocol } = raw;
        let name = self.required(name, path, "name", "add a name for logs and metrics, like `name: tls`");
        let bind = self.required(bind, path, "bind", "add where to listen, like `bind: \"[::]:8443\"`");
        let protocol = self.required(protocol, path, "protocol", "add `protocol: tls` or `protocol: http`");
        let protocol = protocol?;
        let usual = match protocol {
            Protocol::Tls => 443,
            Protocol::Http => 80,
        };
        let port = |port: Option<Read<NonZeroU16>>| port.map_or(usual, |read| read.0.get());
        Some(Listener {
            name: name?.0,
            bind: bind?.0,
            protocol,
            upstream_port: port(upstream_port),
            public_port: port(public_port),
            proxy_protocol: or(proxy_protocol, defaults::PROXY_PROTOCOL),
        })
    }

    fn names_are_distinct(&mut self, listeners: &[(Path, Option<Listener>)]) {
        let mut seen: HashMap<&str, &Path> = HashMap::new();
        for (path, listener) in listeners {
            let Some(Listener { name, .. }) = listener else { continue };
            match seen.get(name.as_str()) {
                Some(first) => {
                    let message = format!("is also the name of {first}");
                    self.diagnostic(&path.key("name"), message, "give each listener its own name");
                }
                None => drop(seen.insert(name, path)),
            }
        }
    }

    /// Who may tell the client's address must be said: a default would be wrong somewhere, and believed there.
    fn trusted(&mut self, listeners: &[(Path, Option<Listener>)], trusted: &Networks, need: Trusted) {
        let path = Path::root().key("proxy_protocol").key("trusted");
        for network in trusted.iter().filter(|network| network.prefix_len() == 0) {
            let message = format!("contains {network}: anyone who reaches a listener can pretend any client address");
            self.warning(&path, message, "write the load balancer's subnets");
        }
        let refused_before = self.document.has(&path) && !self.document.is_empty_list(&path);
        let requires = |listener: &Option<Listener>| {
            listener.as_ref().is_some_and(|l| l.proxy_protocol == ProxyProtocol::Required)
        };
        if need == Trusted::MayBeMissing || trusted.iter().next().is_some() || refused_before {
            return;
        }
        if let Some((listener, _)) = listeners.iter().find(|(_, listener)| requires(listener)) {
            let message = format!("is missing or empty, but {listener} requires the PROXY header");
            let help = "write the CIDRs of the load balancer's subnets, like \
                        `proxy_protocol: { trusted: [192.168.0.0/16] }` or \
                        LATTICEGATE_PROXY_PROTOCOL__TRUSTED='[192.168.0.0/16]'";
            let mut diagnostic = self.document.diagnostic(listener, message, help);
            (diagnostic.key, diagnostic.value) = (path.to_string().into(), None);
            if let (Origin::Defaults, Some(file)) = (&diagnostic.origin, self.file) {
                (diagnostic.origin, diagnostic.at) = (Origin::file(file), None);
            }
            self.diagnostics.push(diagnostic);
        }
    }

    fn addresses_are_distinct(
        &mut self,
        listeners: &[(Path, Option<Listener>)],
        health: SocketAddr,
        admin: SocketAddr,
    ) {
        let root = Path::root();
        let mut binds: Vec<(Path, SocketAddr)> =
            listeners.iter().filter_map(|(path, listener)| Some((path.key("bind"), listener.as_ref()?.bind))).collect();
        binds.push((root.key("health").key("bind"), health));
        binds.push((root.key("admin").key("bind"), admin));
        for (path, bind) in &binds {
            if let Err((message, help)) = can_be_own(*bind) {
                self.diagnostic(path, message, help);
            }
        }
        for (index, (path, bind)) in binds.iter().enumerate() {
            let earlier = binds.iter().take(index).find(|(_, other)| overlap(*bind, *other));
            if let Some((other_path, other)) = earlier {
                // Told about the one that the operator wrote; the other may be a default.
                let later = (path, other_path, other);
                let (path, other_path, other) = if self.document.has(path) { later } else { (other_path, path, bind) };
                let message = format!("collides with {other_path} ({other})");
                self.diagnostic(path, message, "give each its own port");
            }
        }
    }

    fn policy(&self, policy: Option<Read<PolicySource>>, owner: Option<Read<AccountId>>) -> PolicySource {
        match policy.map(|read| read.0) {
            Some(PolicySource::File(path)) => PolicySource::File(self.beside(&path)),
            Some(PolicySource::S3(object)) => {
                PolicySource::S3(S3Object { owner: owner.map(|read| read.0.0), ..object })
            }
            Some(url @ PolicySource::Http(_)) => url,
            None if self.file.is_some() => PolicySource::File(self.beside(FilePath::new(defaults::POLICY))),
            None => PolicySource::File(defaults::POLICY_WITHOUT_FILE.into()),
        }
    }

    fn emf(&mut self, raw: RawMetrics) -> Option<Emf> {
        /// CloudWatch takes 30 of them; `reason` is ours.
        const MAX_DIMENSIONS: usize = 29;
        let path = Path::root().key("metrics").key("emf");
        let RawEmf { interval, namespace, dimensions } = raw.emf?;
        let interval = self.above_zero(interval, &path.key("interval"), defaults::EMF_INTERVAL);
        let namespace = namespace.map_or_else(|| defaults::EMF_NAMESPACE.into(), |read| read.0.0);
        let raw = dimensions.unwrap_or_default();
        if raw.len() > MAX_DIMENSIONS {
            self.plain_problem(&path.key("dimensions"), "has more than 29 keys", "CloudWatch takes no more");
        }
        let mut dimensions = BTreeMap::new();
        for (name, Read(value)) in raw {
            let valid = name.bytes().all(|b| b.is_ascii_graphic()) && (1..=255).contains(&name.len());
            if !valid || name.starts_with(':') || Emf::TAKEN_NAMES.contains(&name.as_str()) {
                let message = "the key cannot be the name of a dimension";
                self.plain_problem(&path.key("dimensions").key(&name), message, "use another, like `cluster`");
            }
            dimensions.insert(name.into(), value.0);
        }
        Some(Emf { interval, namespace, dimensions })
    }

    /// A relative path starts where the configuration file is.
    fn beside(&self, path: &FilePath) -> PathBuf {
        match self.file.and_then(FilePath::parent) {
            Some(directory) => directory.join(path),
            None => path.to_owned(),
        }
    }

    fn dns(&mut self, raw: RawDns) -> Dns {
        let path = Path::root().key("dns");
        let RawDns { server, ipv6, timeout, min_ttl, max_ttl, negative_ttl, max_stale, cache_size } = raw;
        let dns = Dns {
            server: server.map_or(defaults::DNS_SERVER, |read| read.0.0),
            ipv6: or(ipv6, defaults::DNS_IPV6),
            timeout: self.above_zero(timeout, &path.key("timeout"), defaults::DNS_TIMEOUT),
            min_ttl: or(min_ttl, defaults::DNS_MIN_TTL),
            max_ttl: or(max_ttl, defaults::DNS_MAX_TTL),
            negative_ttl: or(negative_ttl, defaults::DNS_NEGATIVE_TTL),
            max_stale: or(max_stale, defaults::DNS_MAX_STALE),
            cache_size: or(cache_size, defaults::DNS_CACHE_SIZE),
        };
        if dns.server.port() == 0 || dns.server.ip().is_unspecified() {
            self.diagnostic(&path.key("server"), "cannot be asked", "write \"169.254.169.253:53\"");
        }
        if dns.min_ttl > dns.max_ttl {
            let key = if self.document.has(&path.key("min_ttl")) { "min_ttl" } else { "max_ttl" };
            let message = format!("min_ttl ({:?}) is above max_ttl ({:?})", dns.min_ttl, dns.max_ttl);
            self.plain_problem(&path.key(key), message, "lower min_ttl or raise max_ttl");
        }
        dns
    }

    fn upstream(&mut self, raw: RawUpstream) -> Upstream {
        let path = Path::root().key("upstream");
        let RawUpstream { allowed_networks, names } = raw;
        let networks = path.key("allowed_networks");
        let allowed = allowed_networks.map_or_else(defaults::allowed_networks, |list| list.0);
        if allowed.is_empty() && self.document.is_empty_list(&networks) {
            self.diagnostic(&networks, "is empty, so nothing could be reached", "remove the key, or write networks");
        }
        for network in allowed.iter().filter(|network| network.prefix_len() == 0) {
            let message = format!("contains {network}: every name leads everywhere, like an open relay");
            self.warning(&networks, message, "write the networks that your services are in");
        }
        Upstream {
            allowed_networks: Networks::new(allowed),
            names: self.names(names.unwrap_or_default(), &path.key("names")),
        }
    }

    fn names(&mut self, raw: BTreeMap<String, Read<Hostname>>, path: &Path) -> BTreeMap<Hostname, Hostname> {
        let mut names = BTreeMap::new();
        for (asked, Read(instead)) in raw {
            match Hostname::parse(asked.as_bytes()) {
                Err(error) => {
                    let message = format!("the key is not a DNS name: {error}");
                    self.plain_problem(&path.key(&asked), message, "write it like orders.example.com");
                }
                Ok(name) => {
                    if names.insert(name, instead).is_some() {
                        let message = "the same name stands twice, in different spellings";
                        self.plain_problem(&path.key(&asked), message, "remove one of the two");
                    }
                }
            }
        }
        names
    }

    /// Each has files open before the first connection comes.
    fn workers(&mut self, raw: Option<Read<Workers>>, listeners: usize) -> NonZeroUsize {
        let workers = match or(raw, Workers::Auto) {
            Workers::Number(number) => number,
            Workers::Auto => self.machine.cpus,
        };
        let each = listeners.saturating_add(defaults::FDS_PER_WORKER);
        let needed = workers.get().saturating_mul(each).saturating_add(defaults::FDS_AT_START);
        let fds = self.machine.open_files;
        if u64::try_from(needed).unwrap_or(u64::MAX) > fds {
            let message = format!("{workers} workers need {needed} open files to start; this process may have {fds}");
            self.plain_problem(
                &Path::root().key("workers"),
                message,
                "lower it, or raise the limit (ulimit -n, nofile of the task)",
            );
        }
        workers
    }

    fn timeouts(&mut self, raw: RawTimeouts) -> Timeouts {
        let path = Path::root().key("timeouts");
        let RawTimeouts { handshake, connect, idle } = raw;
        Timeouts {
            handshake: self.above_zero(handshake, &path.key("handshake"), defaults::HANDSHAKE),
            connect: self.above_zero(connect, &path.key("connect"), defaults::CONNECT),
            idle: self.above_zero(idle, &path.key("idle"), defaults::IDLE),
        }
    }

    fn limits(&mut self, raw: RawLimits) -> Limits {
        let path = Path::root().key("limits");
        let RawLimits {
            connections,
            half_open,
            half_open_bytes,
            half_open_per_client,
            handshake_rate,
            per_client,
            per_name,
            lookups_per_second,
            lookups_per_client,
        } = raw;
        let fit = Fit::of(self.machine);
        let connections = match or(connections, Connections::Auto) {
            Connections::Auto => fit.connections(),
            Connections::Number(number) => number.get(),
        };
        if connections > fit.files {
            let (fds, fit) = (self.machine.open_files, fit.files);
            let message = format!("takes more than the {fds} open files that this process may have; {fit} fit");
            self.warning(&path.key("connections"), message, "raise the limit (ulimit -n, nofile of the task)");
        }
        let half_open = match or(half_open, Connections::Auto) {
            Connections::Auto => fit.half_open(connections),
            Connections::Number(number) => number,
        };
        let half_open_bytes = match or(half_open_bytes, Memory::Auto) {
            Memory::Auto => fit.half_open_bytes,
            Memory::Bytes(bytes) => bytes,
        };
        self.memory_suffices(&path, connections, half_open_bytes);
        Limits {
            connections,
            half_open,
            half_open_bytes,
            half_open_per_client: or(half_open_per_client, defaults::HALF_OPEN_PER_CLIENT),
            handshake_rate: or(handshake_rate, defaults::HANDSHAKE_RATE),
            per_client: quota(per_client),
            per_name: quota(per_name),
            lookups_per_second: or(lookups_per_second, defaults::LOOKUPS_PER_SECOND),
            lookups_per_client: or(lookups_per_client, defaults::LOOKUPS_PER_CLIENT),
        }
    }

    /// Whether what was written, if it was, can be had beside what else takes memory.
    fn memory_suffices(&mut self, limits: &Path, connections: usize, half_open_bytes: u64) {
        let relayed = u64::try_from(connections).unwrap_or(u64::MAX).saturating_mul(defaults::BYTES_PER_CONNECTION);
        let (needed, memory) = (relayed.saturating_add(half_open_bytes), self.machine.memory);
        let written = ["connections", "half_open_bytes"].map(|key| limits.key(key));
        if needed > memory
            && let Some(path) = written.iter().find(|path| self.document.has(path))
        {
            let (needed, memory) = (needed >> 20, memory >> 20);
            let message = format!("may take {needed} MiB with all connections open; this process may use {memory} MiB");
            self.warning(path, message, "lower it, or give the task more memory");
        }
    }

    fn drain(&mut self, raw: RawDrain) -> Drain {
        /// ECS sends SIGKILL at most this long after SIGTERM (`stopTimeout` on Fargate).
        const STOP_TIMEOUT: Duration = Duration::from_secs(120);
        let RawDrain { delay, timeout } = raw;
        let drain = Drain { delay: or(delay, defaults::DRAIN_DELAY), timeout: or(timeout, defaults::DRAIN_TIMEOUT) };
        let total = drain.delay.saturating_add(drain.timeout);
        if total >= STOP_TIMEOUT {
            let message = format!("delay and timeout together are {total:?}; ECS kills a task 120 s after SIGTERM");
            self.plain_warning(&Path::root().key("drain"), message, "keep the sum below 120 s on Fargate");
        }
        drain
    }

    fn required<T>(&mut self, value: Option<Read<T>>, path: &Path, key: &str, help: &str) -> Option<T> {
        let path = path.key(key);
        // What stands there but could not be read has been told already.
        if value.is_none() && !self.document.has(&path) {
            self.diagnostic(&path, "is missing", help);
        }
        value.map(|read| read.0)
    }

    fn above_zero(&mut self, value: Option<Read<Duration>>, path: &Path, default: Duration) -> Duration {
        let duration = or(value, default);
        if duration.is_zero() {
            self.diagnostic(path, "is no time at all", "write how long to wait, or remove the key for the default");
        }
        duration
    }

    fn diagnostic(&mut self, path: &Path, message: impl Into<Box<str>>, help: &str) {
        self.diagnostics.push(self.document.diagnostic(path, message, help));
    }

    /// A problem whose message is a sentence of its own, not one about the value.
    fn plain_problem(&mut self, path: &Path, message: impl Into<Box<str>>, help: &str) {
        let diagnostic = self.document.diagnostic(path, message, help);
        self.diagnostics.push(Diagnostic { value: None, ..diagnostic });
    }

    fn warning(&mut self, path: &Path, message: impl Into<Box<str>>, help: &str) {
        self.warnings.push(self.document.diagnostic(path, message, help));
    }

    fn plain_warning(&mut self, path: &Path, message: impl Into<Box<str>>, help: &str) {
        let warning = self.document.diagnostic(path, message, help);
        self.warnings.push(Diagnostic { value: None, ..warning });
    }
}

/// What fits the machine.
struct Fit {
    /// Connections that find open files.
    files: usize,
    /// Connections, and half-open ones, that find memory.
    relayed: usize,
    waiting: usize,
    half_open_bytes: u64,
}

impl Fit {
    fn of(machine: &Machine) -> Self {
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).max(1);
        let reserved = defaults::FDS_RESERVED.min(machine.open_files / 4);
        let files = machine.open_files.saturating_sub(reserved) / defaults::FDS_PER_CONNECTION;
        Self {
            files: number(files),
            relayed: number(machine.memory / defaults::CONNECTIONS_SHARE / defaults::BYTES_PER_CONNECTION),
            waiting: number(machine.memory / defaults::HALF_OPEN_SHARE / defaults::BYTES_PER_HALF_OPEN),
            half_open_bytes: machine.memory / defaults::HALF_OPEN_BYTES_SHARE,
        }
    }

    fn connections(&self) -> usize {
        self.files.min(self.relayed)
    }

    /// Half of all at most, so that it is those who wait that go, and not those who are served or come.
    fn half_open(&self, connections: usize) -> NonZeroUsize {
        NonZeroUsize::new(self.waiting.min(connections / 2)).unwrap_or(NonZeroUsize::MIN)
    }
}

/// Off unless written: many clients may stand behind one address.
fn quota(raw: Option<RawQuota>) -> Quota {
    let RawQuota { connections, per_second } = raw.unwrap_or_default();
    Quota { concurrent: connections.map(|read| read.0.get()), per_second: per_second.map(|read| read.0) }
}

fn or<T>(value: Option<Read<T>>, default: T) -> T {
    value.map_or(default, |read| read.0)
}

/// Whether a machine can have this address and take connections there; if not, why.
fn can_be_own(address: SocketAddr) -> Result<(), (&'static str, &'static str)> {
    const MEND: &str = "write an address of this machine, or \"[::]\" for all of them";
    let link_local_without_zone = |address: SocketAddr| match address {
        SocketAddr::V6(address) => address.ip().is_unicast_link_local() && address.scope_id() == 0,
        SocketAddr::V4(_) => false,
    };
    let (is_multicast, is_reserved) = match address.ip().to_canonical() {
        // 0.0.0.0/8 but for the wildcard, and 240.0.0.0/4 (RFC 6890 §2.2.2).
        IpAddr::V4(ip) => (ip.is_multicast(), !ip.is_unspecified() && matches!(ip.octets(), [0 | 240.., ..])),
        IpAddr::V6(ip) => (ip.is_multicast(), false),
    };
    match (is_multicast, is_reserved) {
        (true, _) => Err(("is a multicast address, which takes no connections", MEND)),
        (_, true) => Err(("is a reserved address, which no machine has", MEND)),
        _ if link_local_without_zone(address) => {
            Err(("is on a link, but does not say on which", "add the interface's number, like \"[fe80::1%2]:8443\""))
        }
        _ => Ok(()),
    }
}

/// Whether both cannot be bound: the same port, and one address or a wildcard that covers the other's.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    // Port 0 is a free port of the kernel's choice, never the same twice.
    if a.port() != b.port() || a.port() == 0 {
        return false;
    }
    let covers = |wide: IpAddr, other: IpAddr| match wide {
        // `[::]` is dual-stack: it takes IPv4 too.
        IpAddr::V6(address) => address.is_unspecified(),
        IpAddr::V4(address) => address.is_unspecified() && (other.is_ipv4() || other.is_unspecified()),
    };
    let (a, b) = (a.ip().to_canonical(), b.ip().to_canonical());
    a == b || covers(a, b) || covers(b, a)
}
