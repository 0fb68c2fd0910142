//! A gate of its own for each test, with a resolver, an upstream and a network of its own inside 127.0.0.0/8.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};

use latticegate::control::gate::{Gate, StopRequest};
use latticegate::reload::SourceThread;
use latticegate::sys::clock::Clock;
use latticegate::sys::files;
use latticegate::telemetry::log_writer::Sink;
use latticegate::web::Token;
use latticegate_core::config::Listener;
use latticegate_core::outcome::Outcome;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::dns::{Dns, addresses};
use crate::metrics::scrape_with;
use crate::peer::Peer;
use crate::upstream::Upstream;
use crate::wire::{Hello, tcp4};
use crate::{PATIENCE, until};

/// What a test wants other than usual; each is YAML.
pub struct Setup {
    pub bind: &'static str,
    pub trusted: &'static str,
    pub rules: &'static str,
    pub policy_refusal: &'static str,
    pub dns: &'static str,
    pub allowed_networks: &'static str,
    pub names: &'static str,
    pub timeouts: &'static str,
    pub drain: &'static str,
    pub workers: u8,
    pub log: &'static str,
    pub limits: &'static str,
    pub on_reload: &'static str,
    /// With two listeners more, of protocol `forward`, and these keys; `PORT` in them is the upstream's port. Not given, the
    /// ports are that one and no other.
    pub forward: Option<&'static str>,
    /// More keys of `admin`.
    pub admin: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            bind: "",
            trusted: "[127.0.0.0/8]",
            rules: "- allow: [192.0.2.0/24, 2001:db8::/32, 127.0.0.0/8]\n- deny: all",
            policy_refusal: "answer",
            dns: "ipv6: off, timeout: 600ms, min_ttl: 50ms",
            allowed_networks: "[127.0.0.0/8]",
            names: "{}",
            timeouts: "handshake: 5s, connect: 3s, idle: 60s",
            drain: "delay: 0s, timeout: 5s",
            workers: 2,
            log: "format: json",
            limits: "",
            on_reload: "keep",
            forward: None,
            admin: "",
        }
    }
}

/// The listeners of every lab: TLS and HTTP, behind a load balancer and open to clients themselves; and those of a lab
/// [with forward](Setup::forward).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    Tls,
    Http,
    TlsDirect,
    HttpDirect,
    Forward,
    ForwardDirect,
}

/// A gate in a thread of its own, and what is around it.
pub struct Lab {
    pub dns: Dns,
    pub upstream: Upstream,
    pub health: SocketAddr,
    pub admin: SocketAddr,
    pub files: TempDir,
    /// The clock that people read.
    pub clock: Clock,
    /// What a request to the admin port brings, if it must bring something.
    credentials: String,
    network: u16,
    listeners: Vec<Listener>,
    stop: UnboundedSender<StopRequest>,
    gate: JoinHandle<()>,
    lines: Receiver<Vec<u8>>,
    records: Vec<Value>,
    unread: Vec<Value>,
    requests: Vec<Value>,
}

/// What a gate has reported when it ended: each connection in the log, or counted.
#[derive(Debug)]
pub struct Reported {
    pub records: Vec<Value>,
    /// The lines of absolute-form requests: what is in their `request`, and the `id` of their connection.
    pub requests: Vec<Value>,
    /// By outcome and reason.
    pub counted: BTreeMap<(String, String), u64>,
}

impl Lab {
    /// With nothing unusual.
    pub fn start() -> Self {
        Self::with(Setup::default())
    }

    /// With what the test wants otherwise.
    pub fn with(setup: Setup) -> Self {
        Self::of(Parts::make(&setup))
    }

    /// With files that the test may have edited.
    pub fn of(parts: Parts) -> Self {
        let config = parts.files.path().join("latticegate.yaml");
        let (config, _) = files::configuration(Some(&config), std::iter::empty()).unwrap();
        let source = SourceThread::start(&config.policy).unwrap();
        let policy = block_on(source.first()).unwrap();
        let token = Token::configured(&config).unwrap();
        let bearer = |token: &Token| format!("Authorization: Bearer {}\r\n", token.as_str());
        let credentials = token.as_ref().map_or_else(String::new, bearer);
        let (log, lines) = channel();
        let (stop, stopped) = unbounded_channel();
        let (tell, started) = channel();
        let gate = thread::spawn(move || {
            let mut gate = Gate::start(config, policy, Sink::Channel(log)).unwrap();
            token.into_iter().for_each(|token| gate.set_admin_token(token));
            gate.reload_from(source, None);
            let clock = gate.shared().clock.clone();
            tell.send((gate.listeners().to_vec(), gate.health_address(), gate.admin_address(), clock)).unwrap();
            gate.run(stopped).unwrap();
        });
        let (listeners, health, admin, clock) = started.recv().unwrap();
        let Parts { network, dns, upstream, files } = parts;
        let (records, unread, requests) = Default::default();
        Self {
            dns,
            upstream,
            health,
            admin,
            files,
            clock,
            credentials,
            network,
            listeners,
            stop,
            gate,
            lines,
            records,
            unread,
            requests,
        }
    }

    /// An address of this lab alone: 1 is the gate's, 53 the resolver's, 10 the upstream's.
    pub fn ip(&self, host: u8) -> IpAddr {
        ip(self.network, host)
    }

    /// Where this listener listens.
    pub fn address(&self, port: Port) -> SocketAddr {
        let name = port.name();
        self.listeners.iter().find(|listener| listener.name == name).unwrap().bind
    }

    /// A connection to this listener on which nothing is sent yet.
    pub fn connect(&self, port: Port) -> Peer {
        Peer::connect(self.address(port))
    }

    /// A client of 192.0.2.1 behind a load balancer, its hello sent.
    pub fn client(&self) -> Peer {
        Peer::client(self.address(Port::Tls))
    }

    /// The same, asking for another name.
    pub fn client_asking(&self, name: &[u8]) -> Peer {
        let mut client = self.connect(Port::Tls);
        client.say([tcp4(&[]), Hello::to(name).record()].concat());
        client
    }

    /// A client and the upstream that it was led to, the hello already read there.
    pub fn pair(&self) -> (Peer, Peer) {
        self.upstream.pair(self.address(Port::Tls))
    }

    /// The next record in the log.
    pub fn record(&mut self) -> Value {
        while self.unread.is_empty() {
            let piece = self.lines.recv_timeout(PATIENCE).expect("a line in the log");
            self.take(&piece);
        }
        self.unread.remove(0)
    }

    /// The next record, if there is one already.
    pub fn try_record(&mut self) -> Option<Value> {
        while let Ok(piece) = self.lines.try_recv() {
            self.take(&piece);
        }
        (!self.unread.is_empty()).then(|| self.unread.remove(0))
    }

    fn take(&mut self, piece: &[u8]) {
        assert_eq!(piece.last(), Some(&b'\n'), "a piece is whole lines");
        let lines = piece.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        for mut line in lines.map(|line| serde_json::from_slice::<Value>(line).unwrap()) {
            if let Some(request) = line.get_mut("request") {
                let mut request = request.take();
                request["id"] = line["id"].take();
                self.requests.push(request);
                continue;
            }
            self.records.push(line.clone());
            self.unread.push(line);
        }
    }

    /// The samples of `/metrics`, by name with labels.
    pub fn metrics(&self) -> HashMap<String, f64> {
        scrape_with(self.admin, &self.credentials)
    }

    /// Connections closed so far, by outcome and reason.
    pub fn counted(&self) -> BTreeMap<(String, String), u64> {
        let mut counted = BTreeMap::new();
        for (sample, value) in self.metrics() {
            let Some(labels) = sample.strip_prefix("latticegate_connections_total{") else { continue };
            let label = |name: &str| {
                let (_, rest) = labels.split_once(&format!("{name}=\"")).unwrap();
                rest.split_once('"').unwrap().0.to_owned()
            };
            if value > 0.0 {
                *counted.entry((label("outcome"), label("reason"))).or_default() += value as u64;
            }
        }
        counted
    }

    /// Waits until one of this listener's connections is accepted.
    pub fn is_open(&self, port: Port) {
        let active = format!("latticegate_connections_active{{listener=\"{}\"}}", port.name());
        until("the connection is accepted", || self.metrics()[&active] == 1.0);
    }

    /// Waits until no connection is open.
    pub fn quiet(&self) {
        until("all connections are closed", || {
            let active =
                |(name, value): (&String, &f64)| name.starts_with("latticegate_connections_active").then_some(*value);
            self.metrics().iter().filter_map(active).sum::<f64>() == 0.0
        });
    }

    /// Ends an idle gate. Log and metrics must tell the same of every connection, in numbers and in bytes.
    pub fn end(self) -> Reported {
        self.quiet();
        let (counted, metrics, listeners) = (self.counted(), self.metrics(), self.listeners.clone());
        let Logged { records, requests } = self.stop(StopRequest::Drain);
        let mut logged = BTreeMap::new();
        for record in &records {
            *logged.entry((word(record, "outcome"), word(record, "reason"))).or_default() += 1;
        }
        // Probes are counted and not logged.
        let logs = |((outcome, _), _): &(&(String, String), &u64)| *outcome != "probe";
        let all_but_probes: BTreeMap<_, u64> =
            counted.iter().filter(logs).map(|(key, count)| (key.clone(), *count)).collect();
        assert_eq!(logged, all_but_probes);
        for direction in ["up", "down"] {
            let bytes: u64 = records.iter().map(|record| record[&format!("bytes_{direction}")].as_u64().unwrap()).sum();
            let sample = format!("latticegate_bytes_total{{direction=\"{direction}\"}}");
            assert_eq!(metrics[&sample], bytes as f64, "{direction}");
        }
        assert_eq!(metrics["latticegate_access_log_dropped_lines_total"], 0.0);
        for record in &records {
            let listener = listeners.iter().find(|listener| listener.name == record["listener"]).unwrap();
            let outcome = Outcome::all().find(|outcome| record["reason"] == outcome.reason()).unwrap();
            assert!(listener.can_end_in(outcome), "{outcome:?} is said not to occur on {}", listener.name);
        }
        for record in &records {
            assert_requests(record, &requests);
        }
        Reported { records, requests, counted }
    }

    /// Ends a gate however it is busy; the log alone tells.
    pub fn cut(self) -> Reported {
        let Logged { records, requests } = self.stop(StopRequest::Cut);
        let mut counted = BTreeMap::new();
        for record in &records {
            *counted.entry((word(record, "outcome"), word(record, "reason"))).or_default() += 1;
        }
        Reported { records, requests, counted }
    }

    /// Ends an idle gate whose log is not in JSON, and returns its lines.
    pub fn text(self) -> Vec<String> {
        self.quiet();
        let _ = self.stop.send(StopRequest::Drain);
        let mut text = Vec::new();
        while let Ok(piece) = self.lines.recv_timeout(PATIENCE) {
            text.extend(piece);
        }
        self.gate.join().unwrap();
        String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
    }

    /// Tells the gate to end, and returns at once.
    pub fn send_stop(&self, stop: StopRequest) {
        self.stop.send(stop).unwrap();
    }

    fn stop(mut self, stop: StopRequest) -> Logged {
        // It may be on its way out already.
        let _ = self.stop.send(stop);
        // The sender goes with the gate's last thread.
        while let Ok(piece) = self.lines.recv_timeout(PATIENCE) {
            self.take(&piece);
        }
        let Self { gate, records, requests, .. } = self;
        gate.join().unwrap();
        Logged { records, requests }
    }
}

struct Logged {
    records: Vec<Value>,
    requests: Vec<Value>,
}

/// Each absolute-form request of a connection has one line, and together they have its bytes.
fn assert_requests(record: &Value, requests: &[Value]) {
    let own: Vec<&Value> = requests.iter().filter(|request| request["id"] == record["id"]).collect();
    let forward = &record["forward"];
    assert_eq!(own.len() as u64, forward["requests"].as_u64().unwrap_or_default(), "{record}: {own:?}");
    if own.is_empty() || forward["method"] == "CONNECT" {
        return;
    }
    for bytes in ["bytes_up", "bytes_down"] {
        let sum: u64 = own.iter().map(|request| request[bytes].as_u64().unwrap()).sum();
        assert_eq!(sum, record[bytes].as_u64().unwrap(), "{record}: {own:?}");
    }
}

impl Reported {
    /// One connection ended so, and others, if any, in good order.
    #[track_caller]
    pub fn assert_caused(&self, outcome: &str, reason: &str) {
        let key = (outcome.to_owned(), reason.to_owned());
        assert_eq!(self.counted.get(&key), Some(&1), "{:#?}", self.records);
        let done = ("relayed".to_owned(), "done".to_owned());
        assert!(self.counted.keys().all(|other| *other == key || *other == done), "{:?}", self.counted);
    }

    /// The record with this reason.
    #[track_caller]
    pub fn record_of(&self, reason: &str) -> &Value {
        self.records.iter().find(|record| word(record, "reason") == reason).unwrap()
    }

    /// Of a gate that had one connection: it ended so.
    #[track_caller]
    pub fn assert_only(&self, outcome: &str, reason: &str) {
        let expected = BTreeMap::from([((outcome.to_owned(), reason.to_owned()), 1)]);
        assert_eq!(self.counted, expected, "{:#?}", self.records);
        assert_eq!(self.records.len(), usize::from(outcome != "probe"));
    }

    /// The only record.
    #[track_caller]
    pub fn record(&self) -> &Value {
        assert_eq!(self.records.len(), 1, "{:#?}", self.records);
        &self.records[0]
    }
}

impl Port {
    pub const ALL: [Self; 4] = [Self::Tls, Self::Http, Self::TlsDirect, Self::HttpDirect];

    /// As the configuration names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Http => "http",
            Self::TlsDirect => "tls-direct",
            Self::HttpDirect => "http-direct",
            Self::Forward => "forward",
            Self::ForwardDirect => "forward-direct",
        }
    }
}

/// What a gate needs before it starts; also for a gate that is the real binary.
pub struct Parts {
    pub network: u16,
    pub dns: Dns,
    pub upstream: Upstream,
    /// latticegate.yaml and ipcontrol.yaml.
    pub files: TempDir,
}

impl Parts {
    /// A resolver and an upstream that run, and files that name them.
    pub fn make(setup: &Setup) -> Self {
        /// Two octets, beside which no test needs more. 127.0 is left to everyone else.
        static NEXT: AtomicU16 = AtomicU16::new(0x4000);
        let network = NEXT.fetch_add(1, Ordering::Relaxed);
        let dns = Dns::start(ip(network, 53));
        let upstream = Upstream::start(ip(network, 10), 0);
        dns.set("orders.example.com", addresses(&[upstream.address.ip()]));
        let files = tempfile::tempdir().unwrap();
        let Setup { trusted, policy_refusal, allowed_networks, names, timeouts, drain, workers, log, .. } = setup;
        let gate = ip(network, 1).to_string();
        let bind = if setup.bind.is_empty() { &gate } else { setup.bind };
        let listeners = Port::ALL.map(|port| {
            let name = port.name();
            let (protocol, direct) = name.split_once('-').unwrap_or((name, ""));
            let header = if direct.is_empty() { "required" } else { "off" };
            let to = upstream.address.port();
            format!(
                "- {{ name: {name}, bind: \"{bind}:0\", protocol: {protocol}, upstream_port: {to}, \
                 proxy_protocol: {header}, public_port: {} }}",
                if protocol == "tls" { 443 } else { 80 }
            )
        });
        let forward = setup.forward.map(|keys| {
            let keys = keys.replace("PORT", &upstream.address.port().to_string());
            [(Port::Forward, "required"), (Port::ForwardDirect, "off")].map(|(port, header)| {
                let (name, to) = (port.name(), upstream.address.port());
                let ports = if keys.contains("_ports") { "".into() } else { format!("connect_ports: [{to}], http_ports: [{to}], ") };
                format!(
                    "- {{ name: {name}, bind: \"{bind}:0\", protocol: forward, proxy_protocol: {header}, {ports}{keys} }}"
                )
            })
        });
        let listeners: Vec<String> = listeners.into_iter().chain(forward.into_iter().flatten()).collect();
        let config = [
            format!("listeners:\n{}", listeners.join("\n")),
            format!("proxy_protocol: {{ trusted: {trusted} }}"),
            format!("policy_refusal: {policy_refusal}"),
            format!("dns: {{ server: \"{}\", {} }}", dns.address, setup.dns),
            format!("upstream: {{ allowed_networks: {allowed_networks}, names: {names} }}"),
            format!("timeouts: {{ {timeouts} }}"),
            format!("drain: {{ {drain} }}"),
            format!("workers: {workers}"),
            format!("health: {{ bind: \"{bind}:0\" }}\nadmin: {{ bind: \"{gate}:0\", {} }}", setup.admin),
            format!("access_log: {{ {log} }}"),
            format!("limits: {{ {} }}", setup.limits),
            format!("policy_poll: 50ms\non_reload: {}\n", setup.on_reload),
        ];
        std::fs::write(files.path().join("latticegate.yaml"), config.join("\n")).unwrap();
        std::fs::write(files.path().join("ipcontrol.yaml"), format!("rules:\n{}\n", setup.rules)).unwrap();
        Self { network, dns, upstream, files }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn ip(network: u16, host: u8) -> IpAddr {
    let [high, low] = network.to_be_bytes();
    Ipv4Addr::new(127, high, low, host).into()
}

/// A field of a record that is a string.
pub fn word(record: &Value, key: &str) -> String {
    record[key].as_str().unwrap_or_else(|| panic!("no {key} in {record}")).to_owned()
}
