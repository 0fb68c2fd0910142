//! The operations that are counted: each is what one connection costs at one step.

use std::cell::Cell;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use latticegate::sys::blocking::Pending;
use latticegate::sys::clock::Clock;
use latticegate::telemetry::access_log::AccessLogger;
use latticegate::telemetry::log_writer::{LineKind, Sink, Writer};
use latticegate::telemetry::metrics::Metrics;
use latticegate::telemetry::record::HelloFacts;
use latticegate::telemetry::reporter::Reporter;
use latticegate_core::client::{Client, EndpointId};
use latticegate_core::config::{AccessLog, Listener, LogFormat, LogKeep, LogOutput, Protocol, ProxyProtocol};
use latticegate_core::diagnostic::Origin;
use latticegate_core::hostname::Hostname;
use latticegate_core::networks::DestinationNetworks;
use latticegate_core::outcome::Side;
use latticegate_core::outcome::{Close, Outcome};
use latticegate_core::policy::{ListenerView, Policy, RequestedPort};
use latticegate_core::protocol::Verdict;
use latticegate_core::protocol::client_hello;
use latticegate_core::protocol::first_bytes;
use latticegate_core::protocol::forward_head::ForwardParser;
use latticegate_core::protocol::http_head;
use latticegate_core::protocol::proxy_header;

/// A header as a Network Load Balancer writes it, for [`CLIENT`]; hellos of curl and Chromium for [`NAME`].
const PROXY_HEADER: &[u8] = include_bytes!("../fixtures/proxy-header.bin");
const CURL: &[u8] = include_bytes!("../fixtures/hello-curl-7.88.bin");
const CHROMIUM: &[u8] = include_bytes!("../fixtures/hello-chromium-156.bin");
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 3);
const NAME: &str = "n00000.orders.lattice.example";

pub(crate) fn names() -> &'static [&'static str] {
    &[
        "proxy_header",
        "hello_517",
        "hello_2033",
        "hello_16k",
        "hello_40_records",
        "refused_name_2033",
        "head",
        "refused_name_head",
        "forward_connect",
        "forward_get",
        "policy_10",
        "policy_1000",
        "record_json",
        "record_nginx",
    ]
}

pub(crate) fn run(name: &str, times: u32) -> Result<()> {
    match name {
        "proxy_header" => repeat(times, || found(&proxy_header::parse(black_box(PROXY_HEADER)))),
        "hello_517" => hello(times, CURL),
        "hello_2033" => hello(times, CHROMIUM),
        "hello_16k" => hello(times, &padded(CURL, 16_000)),
        "hello_40_records" => hello(times, &in_records(CHROMIUM, 40)),
        "refused_name_2033" => repeat(times, || first_bytes::name(black_box(CHROMIUM)).is_some()),
        "refused_name_head" => repeat(times, || first_bytes::name(black_box(HEAD)).is_some()),
        "head" => repeat(times, || found(&http_head::parse(black_box(HEAD), 80))),
        "forward_connect" => forward(times, CONNECT),
        "forward_get" => forward(times, ABSOLUTE),
        "policy_10" => policy(times, 10),
        "policy_1000" => policy(times, 1000),
        "record_json" => record(times, LogFormat::Json),
        "record_nginx" => record(times, LogFormat::Nginx),
        other => bail!("no case is called {other}"),
    }
}

/// What happens once in a process (a clock that is calibrated, a table that grows) is over before the counting.
const WARM_UP: u32 = 100;

fn repeat(times: u32, mut operation: impl FnMut() -> bool) -> Result<()> {
    for _ in 0..WARM_UP {
        ensure!(operation(), "the operation gave another answer than the case is about");
    }
    counted(times, &mut operation);
    Ok(())
}

/// Callgrind collects while this runs, on this thread; see [`super::COUNTED`].
#[inline(never)]
fn counted(times: u32, operation: &mut dyn FnMut() -> bool) {
    for _ in 0..times {
        black_box(operation());
    }
}

fn found<T>(verdict: &Verdict<T>) -> bool {
    matches!(black_box(verdict), Verdict::Found { .. })
}

fn forward(times: u32, head: &[u8]) -> Result<()> {
    repeat(times, || found(&ForwardParser::default().parse(black_box(head), "latticegate")))
}

fn hello(times: u32, bytes: &[u8]) -> Result<()> {
    repeat(times, || found(&client_hello::parse(black_box(bytes))))
}

/// The hello with a padding extension (RFC 7685) that brings it to about `size` bytes in one record.
fn padded(hello: &[u8], size: usize) -> Vec<u8> {
    let padding = size - hello.len() - 4;
    let mut bytes = hello.to_vec();
    // Session id, cipher suites and compression methods stand before the extensions' length; the captured hello ends with them.
    let session = 43 + 1 + usize::from(bytes[43]);
    let suites = session + 2 + usize::from(u16::from_be_bytes([bytes[session], bytes[session + 1]]));
    let extensions = suites + 1 + usize::from(bytes[suites]);
    bytes.extend_from_slice(&[0, 21]);
    bytes.extend_from_slice(&(padding as u16).to_be_bytes());
    bytes.resize(bytes.len() + padding, 0);
    for (at, length) in [(3, bytes.len() - 5), (7, bytes.len() - 9), (extensions, bytes.len() - extensions - 2)] {
        bytes[at..at + 2].copy_from_slice(&(length as u16).to_be_bytes());
    }
    bytes
}

/// The same handshake bytes in so many records.
fn in_records(hello: &[u8], records: usize) -> Vec<u8> {
    let handshake = &hello[5..];
    let mut bytes = Vec::new();
    for part in handshake.chunks(handshake.len().div_ceil(records)) {
        bytes.extend_from_slice(&[0x16, 0x03, 0x01]);
        bytes.extend_from_slice(&(part.len() as u16).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

/// What a signed request of an AWS SDK looks like.
const HEAD: &[u8] = b"POST /orders/42/lines?expand=price HTTP/1.1\r\n\
    Host: n00000.orders.lattice.example\r\n\
    Accept-Encoding: identity\r\n\
    User-Agent: Boto3/1.35.0 md/Botocore#1.35.0 ua/2.0 os/linux#6.1 lang/python#3.12\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 128\r\n\
    X-Amz-Date: 20261121T101500Z\r\n\
    X-Amz-Content-Sha256: UNSIGNED-PAYLOAD\r\n\
    Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261121/us-west-2/vpc-lattice-svcs/aws4_request, \
    SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date, \
    Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7\r\n\
    Accept: */*\r\n\
    Connection: keep-alive\r\n\r\n";

/// As curl asks a proxy: for a tunnel, and for a URL of `http`.
const CONNECT: &[u8] = b"CONNECT n00000.orders.lattice.example:443 HTTP/1.1\r\n\
    Host: n00000.orders.lattice.example:443\r\n\
    User-Agent: curl/7.88.1\r\n\
    Proxy-Connection: Keep-Alive\r\n\r\n";
const ABSOLUTE: &[u8] = b"GET http://n00000.orders.lattice.example/orders/42/lines?expand=price HTTP/1.1\r\n\
    Host: n00000.orders.lattice.example\r\n\
    User-Agent: curl/7.88.1\r\n\
    Accept: */*\r\n\
    Proxy-Connection: Keep-Alive\r\n\r\n";

/// Both questions about a client that only the last of the networks lets in.
fn policy(times: u32, networks: u32) -> Result<()> {
    let mut text = String::from("rules:\n");
    for number in 1..networks {
        text.push_str(&format!("  - deny: 172.{}.{}.0/24\n", 16 + number / 256, number % 256));
    }
    text.push_str("  - allow: 10.0.0.0/8\n  - deny: all\n");
    let policy = match Policy::parse(&text, Origin::file("ipcontrol.yaml")) {
        Ok(policy) => policy,
        Err(problems) => bail!("the access list has {} problems", problems.len()),
    };
    let client = client()?;
    let listener = ListenerView { name: "tls", port: RequestedPort::Public(443), now: SystemTime::UNIX_EPOCH };
    let name = Hostname::parse(NAME.as_bytes()).ok().context("the name is valid")?;
    repeat(times, || {
        black_box(policy.admit(black_box(&client), &listener));
        policy.route(black_box(&client), &listener, &name).allowed
    })
}

fn client() -> Result<Client> {
    let endpoint = EndpointId::parse(b"vpce-0a1b2c3d4e5f60718").context("the endpoint id is valid")?;
    Ok(Client::new(SocketAddr::new(IpAddr::V4(CLIENT), 40_000), Some(endpoint)))
}

/// One connection's record from its opening to its report: log line and metrics. The lines go to /dev/null.
fn record(times: u32, format: LogFormat) -> Result<()> {
    let metrics = Metrics::default();
    let sink = Sink::open(&LogOutput::File("/dev/null".into()))?;
    let (writer, _flush) = Writer::start(LineKind::AccessLog, sink, metrics.lines_dropped.clone(), Pending::default())?;
    let listener = Listener {
        name: "tls".into(),
        bind: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8443)),
        protocol: Protocol::Tls,
        upstream_port: 443,
        public_port: 443,
        proxy_protocol: ProxyProtocol::Required,
        forward: None,
        networks: DestinationNetworks::default(),
    };
    let config = AccessLog { format, output: LogOutput::Stdout, keep: LogKeep::All, fields: None };
    let reporter = Rc::new(Reporter {
        log: AccessLogger::new(&config, writer, metrics.lines_omitted.clone(), Clock::default()),
        metrics: metrics.listener(&listener),
        listener,
        recent: Rc::default(),
        stopping: Rc::new(Cell::new(false)),
    });
    let Verdict::Found { value: hello, .. } = client_hello::parse(CURL) else { bail!("the hello is not read") };
    let client = client()?;
    // As a worker has it ready.
    let rule: Rc<str> = "ipcontrol.yaml:12".into();
    repeat(times, || {
        let mut record = reporter.open(7, SocketAddr::from(([192, 168, 7, 8], 31_000)));
        record.client = Some(client);
        record.rule = Some(Rc::clone(&rule));
        record.name = Some(NAME.into());
        record.upstream = Some(SocketAddr::from(([169, 254, 171, 10], 443)).into());
        record.hello = Some(HelloFacts::from(&hello));
        record.bytes.up = 1_541;
        record.bytes.down = 4_824;
        record.closed_by = Some(Side::Client);
        record.times.header = Some(Duration::from_micros(31).into());
        record.times.hello = Some(Duration::from_micros(45).into());
        record.times.dns = Some(Duration::from_micros(52).into());
        record.times.connect = Some(Duration::from_micros(730).into());
        record.close(Outcome::Relayed(Close::Done));
        true
    })
}
