//! `latticegate doctor`, the real program: each line that fails is caused here, or beside the code that says it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;
use support::child::KillOnDrop;
use support::cli::{self, stderr, stdout};
use support::dns::{Dns, Reply, addresses};
use support::upstream::{BlackHole, Upstream};
use support::{http, private_network, until};
use tempfile::TempDir;

const LATTICEGATE: &str = env!("CARGO_BIN_EXE_latticegate");
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A configuration, its list and its resolver.
struct Fixture {
    dns: Dns,
    files: TempDir,
}

impl Fixture {
    /// With these listeners and rules, each as YAML, and other keys.
    fn new(listeners: &[String], rules: &[&str], more: &str) -> Self {
        let dns = Dns::start(HERE);
        let config = format!(
            "listeners:\n{}\nproxy_protocol: {{ trusted: [10.9.0.0/16] }}\n\
             dns: {{ server: \"{}\", ipv6: off, timeout: 5s }}\nhealth: {{ bind: \"127.0.0.1:0\" }}\n\
             admin: {{ bind: \"127.0.0.1:0\" }}\nupstream: {{ allowed_networks: [127.0.0.0/8] }}\n{more}\n",
            listeners.join("\n"),
            dns.address
        );
        let rules: String = rules.iter().map(|rule| format!("  - {rule}\n")).collect();
        let list = format!("rules:\n{rules}  - deny: all\n");
        Self { dns, files: cli::directory(Some(config.as_bytes()), Some(list.as_bytes())) }
    }

    fn doctor(&self, arguments: &[&str]) -> Found {
        Found::run(self.files.path(), arguments)
    }

    fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.files.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
    }
}

/// A listener of this name and protocol, with the port that it dials.
fn listener(name: &str, protocol: &str, upstream: SocketAddr) -> String {
    let port = upstream.port();
    format!("  - {{ name: {name}, bind: \"127.0.0.1:0\", protocol: {protocol}, upstream_port: {port} }}")
}

/// What was found, and the exit status.
struct Found {
    status: i32,
    findings: Vec<Value>,
}

impl Found {
    fn run(directory: &Path, arguments: &[&str]) -> Self {
        // No time service in a test: a port at which nobody answers is refused at once.
        let usual = ["doctor", "--json", "--config", "latticegate.yaml", "--time-server", "127.0.0.1:9"];
        let output = cli::run(LATTICEGATE, directory, &[&usual, arguments].concat(), &[]);
        let json: Value = serde_json::from_str(&stdout(&output)).unwrap_or_else(|_| panic!("{}", stderr(&output)));
        let findings = json["findings"].as_array().unwrap().clone();
        for finding in &findings {
            assert_eq!(finding["help"] == "", finding["grade"] == "pass", "{finding}: each fault has help");
        }
        let status = output.status.code().unwrap();
        assert_eq!(json["ok"] == true, status == 0);
        assert_eq!(findings.iter().any(|finding| finding["grade"] == "fail"), status == 1);
        Self { status, findings }
    }

    /// The only line of this check whose subject and text have these words.
    #[track_caller]
    fn only(&self, check: &str, words: &str) -> (&str, &str) {
        let text =
            |finding: &Value| format!("{}: {}", finding["about"].as_str().unwrap(), finding["text"].as_str().unwrap());
        let found: Vec<_> =
            self.findings.iter().filter(|finding| finding["check"] == check && text(finding).contains(words)).collect();
        let [finding] = found[..] else { panic!("{check} {words:?}: {:#?}", self.findings) };
        (finding["grade"].as_str().unwrap(), finding["help"].as_str().unwrap())
    }

    #[track_caller]
    fn fails(&self, check: &str, words: &str, help: &str) {
        let (grade, advice) = self.only(check, words);
        assert!(grade == "fail" && advice.contains(help), "{grade}: {advice}");
    }

    #[track_caller]
    fn warns(&self, check: &str, words: &str, help: &str) {
        let (grade, advice) = self.only(check, words);
        assert!(grade == "warn" && advice.contains(help), "{grade}: {advice}");
    }

    #[track_caller]
    fn passes(&self, check: &str, words: &str) {
        assert_eq!(self.only(check, words).0, "pass");
    }

    fn has_line(&self, check: &str, text: &str) -> bool {
        self.findings.iter().any(|finding| finding["check"] == check && finding["text"] == text)
    }

    fn has(&self, check: &str) -> bool {
        self.findings.iter().any(|finding| finding["check"] == check)
    }
}

/// The address of a server that answers every request so.
fn http_server(response: &'static str) -> SocketAddr {
    let url = http::serve(response);
    url.trim_start_matches("http://").trim_end_matches("/ipcontrol.yaml").parse().unwrap()
}

/// An address at which nothing listens.
fn closed() -> SocketAddr {
    TcpListener::bind((HERE, 0)).unwrap().local_addr().unwrap()
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const LIST: &[&str] = &["allow: 10.0.0.0/8\n    to: [orders.example.com, \"*.shop.example.com\"]"];

#[test]
fn a_sound_path_passes_from_configuration_to_answer() {
    let fixture = Fixture::new(&[listener("http", "http", http_server(OK))], LIST, "");
    fixture.dns.set("orders.example.com", addresses(&[HERE]));
    let found = fixture.doctor(&[]);
    assert_eq!(found.status, 0, "{:#?}", found.findings);
    found.passes("configuration", "latticegate.yaml: loads");
    found.passes("list", "ipcontrol.yaml: 2 rules, ");
    found.passes("list", " s old");
    found.passes("process", "no latticegate with this configuration runs here");
    found.passes("port", "http: 127.0.0.1:0");
    found.passes("files", "open files");
    found.passes("memory", "MiB");
    found.warns("clock", "not compared with 127.0.0.1:9", "--time-server");
    found.passes("dns", "answers queries for A in ");
    found.passes("dns", "AAAA is not queried");
    found.passes("names", "1 of the list; 1 patterns stand for others");
    found.passes("name", "orders.example.com: A 127.0.0.1 (TTL 60 s, in ");
    found.passes("destination", "orders.example.com by http: may be dialled: 127.0.0.1");
    found.passes("connect", "accepts in ");
    found.passes("http", "answers 200 OK in ");

    // The same for people.
    let arguments = ["doctor", "--config", "latticegate.yaml", "--time-server", "127.0.0.1:9"];
    let output = cli::run(LATTICEGATE, fixture.files.path(), &arguments, &[]);
    let text = stdout(&output);
    assert!(text.contains("\npass  http          orders.example.com by http: 127.0.0.1:"), "{text}");
    assert!(text.contains("\nwarn  clock         not compared with 127.0.0.1:9"), "{text}");
    assert!(text.contains("\n      help: name a time server"), "{text}");
    assert!(text.ends_with(" warn, 0 fail\n"), "{text}");
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

#[test]
fn mistakes_in_files_fail_with_their_line() {
    let fixture = Fixture::new(&[listener("http", "http", closed())], LIST, "workers: none");
    let found = fixture.doctor(&[]);
    found.fails("configuration", "latticegate.yaml:8:10: workers: \"none\"", "write");
    assert!(!found.has("dns"), "nothing else can be examined");

    fixture.edit("latticegate.yaml", "workers: none", "workers: 1");
    fixture.edit("ipcontrol.yaml", "10.0.0.0/8", "10.0.0.1/8");
    let found = fixture.doctor(&["orders.example.com"]);
    found.fails("list", "ipcontrol.yaml:2:12: ", "10.0.0.0/8");
    // What does not depend on the list is examined all the same.
    found.fails("name", "orders.example.com: ", "private hosted zone");
    std::fs::remove_file(fixture.files.path().join("ipcontrol.yaml")).unwrap();
    fixture.doctor(&[]).fails("list", "does not exist", "");
}

/// Without them `run` does not start, or does without the list.
#[test]
fn files_that_the_configuration_names_are_examined_too() {
    let more = "access_log: { output: ./none/access.log }\npolicy_fallback: none.yaml\nshadow: ./shadow.yaml";
    let fixture = Fixture::new(&[listener("http", "http", closed())], LIST, more);
    fixture.edit("latticegate.yaml", "admin: { bind", "admin: { token_file: ./admin.token, bind");
    std::fs::write(fixture.files.path().join("admin.token"), "short\n").unwrap();
    std::fs::write(fixture.files.path().join("shadow.yaml"), "rules: [{ permit: all }]\n").unwrap();
    let found = fixture.doctor(&["orders.example.com"]);
    found.fails("configuration", "latticegate.yaml:6:22: admin.token_file: ", "openssl rand");
    found.fails("configuration", "latticegate.yaml:8:23: access_log.output: ", "create its directory");
    assert!(!found.has_line("configuration", "loads"));
    found.warns("list", "policy_fallback: ", "");
    found.warns("list", "shadow: ", "");
    found.passes("list", "2 rules");
}

#[test]
fn a_source_that_does_not_answer_fails_and_the_fallback_is_named() {
    let source = closed();
    let more = format!("policy: \"http://{source}/list\"\npolicy_fallback: ipcontrol.yaml");
    let fixture = Fixture::new(&[listener("http", "http", closed())], LIST, &more);
    let found = fixture.doctor(&[]);
    found.fails("list", "cannot connect", "until then a start uses policy_fallback");

    let dated = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\nrules: []";
    let address = http_server(dated);
    fixture.edit("latticegate.yaml", &source.to_string(), &address.to_string());
    fixture.doctor(&[]).passes("list", "0 rules, 1");
}

#[test]
fn a_port_is_ours_or_in_the_way() {
    let (taken, health) = (closed(), closed());
    let listener = format!("  - {{ name: web, bind: \"{taken}\", protocol: http }}");
    let fixture = Fixture::new(&[listener], LIST, "");
    fixture.edit("latticegate.yaml", "health: { bind: \"127.0.0.1:0\" }", &format!("health: {{ bind: \"{health}\" }}"));
    let other = TcpListener::bind(taken).unwrap();
    let found = fixture.doctor(&["a.example"]);
    found.fails("port", &format!("web: {taken} is in use, and no latticegate"), "ss -ltnp");
    found.passes("port", &format!("health: {health} is free"));
    drop(other);

    let config = fixture.files.path().join("latticegate.yaml");
    let mut run = Command::new(LATTICEGATE);
    run.args(["run", "--config"]).arg(&config).env_clear().stdout(Stdio::null()).stderr(Stdio::null());
    // As in the image, while commands that are run in it from outside are root's.
    run.uid(65534).gid(65534);
    for readable in [fixture.files.path(), &config, &fixture.files.path().join("ipcontrol.yaml")] {
        std::fs::set_permissions(readable, Permissions::from_mode(0o755)).unwrap();
    }
    let process = KillOnDrop::spawn(&mut run);
    until("it is ready", || fixture.doctor(&["a.example"]).has_line("process", "runs and is ready"));
    let found = fixture.doctor(&["a.example"]);
    found.passes("process", "runs and is ready");
    found.passes("port", &format!("web: {taken} is held by latticegate"));
    found.passes("port", &format!("health: {health} is held by latticegate"));
    // It was started with another address than the file has by now.
    let moved = closed();
    fixture.edit("latticegate.yaml", &taken.to_string(), &moved.to_string());
    fixture.doctor(&["a.example"]).warns("port", &format!("web: {moved} is free, though"), "restart it");
    let _other = TcpListener::bind(moved).unwrap();
    fixture.doctor(&["a.example"]).fails("port", &format!("web: {moved} is in use, and not by"), "ss -ltnp");

    process.signal(Signal::SIGSTOP);
    fixture.doctor(&["a.example"]).fails("process", "runs, but does not answer within 2 s", "restart");
    process.signal(Signal::SIGCONT);
}

#[test]
fn a_resolver_that_does_not_answer_fails() {
    let fixture = Fixture::new(&[listener("http", "http", http_server(OK))], LIST, "");
    fixture.edit("latticegate.yaml", "timeout: 5s", "timeout: 600ms");
    fixture.dns.set_otherwise(Reply::Silence);
    let found = fixture.doctor(&["orders.example.com"]);
    found.fails("dns", "query for A: no answer within 600ms (dns_timeout)", "169.254.169.253:53");
    found.fails("name", "orders.example.com: query for A: no answer", "169.254.169.253:53");

    fixture.dns.set_otherwise(Reply::Code(support::dns::REFUSED));
    let found = fixture.doctor(&["orders.example.com"]);
    found.fails("dns", "query for A: it fails", "dig @");
    found.fails("name", "query for A: it fails", "dig @");

    // One family of two.
    fixture.edit("latticegate.yaml", "ipv6: off", "ipv6: on");
    fixture.dns.set_otherwise(Reply::Code(support::dns::NXDOMAIN));
    let both = Reply::ByKind(addresses(&[HERE]).into(), Reply::Silence.into());
    fixture.dns.set("orders.example.com", both);
    let found = fixture.doctor(&["orders.example.com", "none.example.com"]);
    found.passes("dns", "answers queries for AAAA");
    found.passes("name", "orders.example.com: A 127.0.0.1");
    found.warns("name", "query for AAAA: no answer", "dns.server");
    found.fails("name", "none.example.com: ", "is the private hosted zone associated with this VPC");
}

#[test]
fn a_name_that_leads_elsewhere_is_found_out_and_not_dialled() {
    let upstream = Upstream::start(HERE, 0);
    let port = upstream.address.port();
    let own = closed();
    let lattice = format!(
        "  - {{ name: lattice, bind: \"127.0.0.1:0\", protocol: http, upstream_port: {port}, \
         upstream: {{ allowed_networks: [169.254.171.0/24] }} }}"
    );
    let looped = format!(
        "  - {{ name: loop, bind: \"{own}\", protocol: http, public_port: 81, upstream_port: {} }}",
        own.port()
    );
    let rules = [
        "allow: 10.0.0.0/8\n    to: [internal.example.com, internet.example.com, trusted.example.com, here.example.com]\n    listener: lattice",
        "allow: 10.0.0.0/8\n    to: [self.example.com, mixed.example.com]\n    listener: loop",
    ];
    let fixture = Fixture::new(&[lattice, looped], &rules, "");
    let set = |name: &str, list: &[&str]| {
        let list: Vec<IpAddr> = list.iter().map(|ip| ip.parse().unwrap()).collect();
        fixture.dns.set(&format!("{name}.example.com"), addresses(&list));
    };
    set("internal", &["10.0.3.7"]);
    set("internet", &["8.8.8.8"]);
    set("trusted", &["10.9.0.5"]);
    set("here", &["127.0.0.1"]);
    set("self", &["127.0.0.1"]);
    set("mixed", &["127.0.0.2", "10.0.3.7"]);
    let found = fixture.doctor(&[]);
    let zone = "is the private hosted zone associated with this VPC?";
    found.fails("destination", "internal.example.com by lattice: 10.0.3.7 is never dialled (destination_forbidden): a private address where one of Lattice is expected", zone);
    found.fails(
        "destination",
        "internet.example.com by lattice: 8.8.8.8 is never dialled (destination_forbidden): a public address",
        zone,
    );
    found.fails("destination", "trusted.example.com by lattice: 10.9.0.5 is never dialled (points_to_self)", zone);
    found.fails(
        "destination",
        "here.example.com by lattice: 127.0.0.1 is never dialled (destination_forbidden)",
        "this machine",
    );
    found.fails("destination", "self.example.com by loop: 127.0.0.1 is never dialled (points_to_self)", zone);
    found.passes("destination", "mixed.example.com by loop: may be dialled: 127.0.0.2");
    found.warns("destination", "mixed.example.com by loop: 10.0.3.7 is never dialled", zone);
    upstream.assert_untouched();
}

#[test]
fn an_address_that_does_not_accept_fails_unless_another_does() {
    let upstream = http_server(OK);
    let hole: SocketAddr = (Ipv4Addr::new(127, 0, 0, 3), upstream.port()).into();
    let _hole = BlackHole::start(hole);
    let fixture = Fixture::new(&[listener("http", "http", upstream)], LIST, "timeouts: { connect: 500ms }");
    fixture.dns.set("orders.example.com", addresses(&["127.0.0.2".parse().unwrap()]));
    fixture.doctor(&[]).fails("connect", "orders.example.com by http: 127.0.0.2:", "nothing listens");
    fixture.dns.set("orders.example.com", addresses(&[hole.ip()]));
    fixture.doctor(&[]).fails("connect", "connect_timeout", "security groups");
    fixture.dns.set("orders.example.com", addresses(&["127.0.0.2".parse().unwrap(), HERE]));
    let found = fixture.doctor(&[]);
    found.warns("connect", "connect_refused", "nothing listens");
    found.passes("connect", "127.0.0.1:");
    found.passes("http", "answers 200 OK");
    assert_eq!(found.status, 0);
}

#[test]
fn what_is_no_answer_in_http_fails() {
    let silent = Upstream::start(HERE, 0);
    let listeners = [
        listener("garbage", "http", http_server("\u{1b}[31mSSH-2.0\r\n\r\n")),
        listener("silent", "http", silent.address),
        listener("ill", "http", http_server("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")),
        listener("signed", "http", http_server("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")),
    ];
    let fixture = Fixture::new(&listeners, LIST, "");
    fixture.dns.set("orders.example.com", addresses(&[HERE]));
    let found = fixture.doctor(&[]);
    found.fails("http", "by garbage: 127.0.0.1:", "HTTP/1.1");
    found.fails("http", "by silent: 127.0.0.1:", "targets");
    found.warns("http", "answers 503 Service Unavailable", "targets");
    found.passes("http", "answers 403 Forbidden");
    let mut peer = silent.accept();
    let request = String::from_utf8(peer.hear(64)).unwrap();
    assert!(request.starts_with("HEAD / HTTP/1.1\r\nhost: orders.example.com\r\n"), "{request}");
}

#[test]
fn names_are_chosen_by_the_list_and_by_hand() {
    let upstream = http_server(OK);
    let port = upstream.port();
    let forward = format!(
        "  - {{ name: egress, bind: \"127.0.0.1:0\", protocol: forward, connect_ports: [{port}], http_ports: [81], tunnel: any, \
         upstream: {{ allowed_networks: [127.0.0.0/8] }} }}"
    );
    let listed: Vec<String> = (0..60).map(|number| format!("n{number}.example.com")).collect();
    let egress = format!("allow: 10.0.0.0/8\n    to: out.example.com\n    port: {port}\n    listener: egress");
    let many = format!("allow: 10.0.0.0/8\n    to: [{}]\n    listener: http", listed.join(", "));
    let ended = "allow: 10.0.0.0/8\n    to: ended.example.com\n    until: 2020-01-01";
    let fixture = Fixture::new(&[listener("http", "http", upstream), forward], &[&egress, &many, ended], "");
    fixture.dns.set("out.example.com", addresses(&[HERE]));
    let found = fixture.doctor(&[]);
    found.warns("names", "50 of 61 names of the list were examined", "latticegate doctor NAME");
    let examined = found.findings.iter().filter(|finding| finding["check"] == "name").count();
    assert_eq!(examined, 50);

    let found = fixture.doctor(&["out.example.com", "stranger.example.com", "a..b", "n1.example.com:1"]);
    found.passes("connect", &format!("out.example.com:{port} by egress: 127.0.0.1:{port} accepts"));
    assert!(!found.has("tls") && !found.has("http"), "whatever comes through this tunnel");
    found.warns("names", "stranger.example.com: no rule of the list lets anyone go there", "explain");
    found.fails("names", "a..b: not a DNS name", "write NAME");
    found.fails("names", "n1.example.com:1: ", "write NAME");
}

/// In a network namespace, whose kernel settings are its own.
#[test]
fn a_machine_that_is_too_small_fails() {
    private_network::run(|| {
        let limits = "limits: { connections: 100000000 }";
        let fixture = Fixture::new(&[listener("http", "http", closed())], LIST, limits);
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "60000 60099").unwrap();
        let found = fixture.doctor(&["a.example"]);
        found.fails("files", "100000000 connections need 200000000 open files", "nofile");
        found.fails("memory", "100000000 connections and limits.half_open_bytes may take ", "more memory");
        found.fails("sysctl", "net.ipv4.ip_local_port_range: 60000 60099: 100 connections", "systemControls");
    });
}

#[test]
fn wrong_arguments_are_no_finding() {
    let output = cli::run(LATTICEGATE, Path::new("/"), &["doctor", "--time-server", "clock"], &[]);
    assert_eq!(output.status.code(), Some(2));
}

/// The page that explains the lines has every check, and no other.
#[test]
fn every_check_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/doctor.md")).unwrap();
    let (_, table) = page.split_once("| Check | What is examined |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let documented: BTreeSet<String> = rows.map(|row| row.split('`').nth(1).unwrap().to_owned()).collect();
    let mut checks = BTreeSet::new();
    for file in std::fs::read_dir(root.join("src/doctor")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        checks.extend(text.split("CHECK: &str = \"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
    }
    assert_eq!(documented, checks);
}

#[cfg(not(feature = "tls"))]
#[test]
fn a_build_without_tls_says_so() {
    let fixture = Fixture::new(&[listener("tls", "tls", http_server(OK))], LIST, "");
    fixture.dns.set("orders.example.com", addresses(&[HERE]));
    fixture.doctor(&[]).warns("tls", "this build has no TLS library", "--features tls");
}

#[cfg(feature = "tls")]
mod tls {
    use std::io::Read;
    use std::sync::Arc;
    use std::thread;
    use std::time::{Duration, SystemTime};

    use jiff::Timestamp;
    use jiff::tz::TimeZone;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;
    use tokio_rustls::rustls::server::WebPkiClientVerifier;
    use tokio_rustls::rustls::version::{TLS12, TLS13};
    use tokio_rustls::rustls::{RootCertStore, ServerConfig, ServerConnection, Stream, SupportedProtocolVersion};

    use super::*;

    /// A server whose certificate is for these names, from and until so many days from now.
    struct Service {
        names: &'static [&'static str],
        days: (i64, i64),
        version: &'static SupportedProtocolVersion,
        asks: bool,
    }

    const SOUND: Service =
        Service { names: &["*.example.com", "example.com"], days: (-30, 90), version: &TLS13, asks: false };

    impl Service {
        fn start(&self) -> SocketAddr {
            let names: Vec<String> = self.names.iter().map(|name| (*name).to_owned()).collect();
            let mut params = CertificateParams::new(names).unwrap();
            let date = |days: i64| {
                let at = SystemTime::now() + Duration::from_hours(24 * 400);
                let at = at - Duration::from_hours(24 * u64::try_from(400 - days).unwrap());
                let date = Timestamp::try_from(at).unwrap().to_zoned(TimeZone::UTC).date();
                date_time_ymd(date.year().into(), date.month().try_into().unwrap(), date.day().try_into().unwrap())
            };
            (params.not_before, params.not_after) = (date(self.days.0), date(self.days.1));
            let key = KeyPair::generate().unwrap();
            let certificate = params.self_signed(&key).unwrap();
            let provider = Arc::new(ring::default_provider());
            let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(&[self.version])
                .unwrap();
            let builder = if self.asks {
                let mut roots = RootCertStore::empty();
                roots.add(certificate.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            } else {
                builder.with_no_client_auth()
            };
            let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
            let config = Arc::new(builder.with_single_cert(vec![certificate.der().clone()], key).unwrap());
            let listener = TcpListener::bind((HERE, 0)).unwrap();
            let address = listener.local_addr().unwrap();
            thread::spawn(move || {
                for mut stream in listener.incoming().flatten() {
                    let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                    let _ = Stream::new(&mut connection, &mut stream).read(&mut [0; 1]);
                }
            });
            address
        }
    }

    #[test]
    fn certificates_are_reported_and_judged_as_clients_will() {
        let silent = Upstream::start(HERE, 0);
        let listeners = [
            listener("sound", "tls", SOUND.start()),
            listener("old", "tls", Service { version: &TLS12, ..SOUND }.start()),
            listener("asks", "tls", Service { asks: true, ..SOUND }.start()),
            listener("asks-old", "tls", Service { asks: true, version: &TLS12, ..SOUND }.start()),
            listener("other", "tls", Service { names: &["other.example.net"], ..SOUND }.start()),
            listener("expired", "tls", Service { days: (-90, -2), ..SOUND }.start()),
            listener("early", "tls", Service { days: (3, 90), ..SOUND }.start()),
            listener("soon", "tls", Service { days: (-90, 7), ..SOUND }.start()),
            listener("plain", "tls", http_server("HTTP/1.1 400 Bad Request\r\n\r\n")),
            listener("silent", "tls", silent.address),
        ];
        let fixture = Fixture::new(&listeners, LIST, "");
        fixture.dns.set("orders.example.com", addresses(&[HERE]));
        let found = fixture.doctor(&[]);
        let about = "orders.example.com by ";
        found.passes("tls", &format!("{about}sound: TLS 1.3; certificate for *.example.com example.com until 2"));
        found.passes("tls", &format!("{about}old: TLS 1.2; certificate for"));
        found.passes("tls", &format!("{about}asks: TLS 1.3; it asks for a client certificate; certificate for"));
        found.passes("tls", &format!("{about}asks-old: TLS; it asks for a client certificate; certificate for"));
        found.fails("tls", &format!("{about}other: TLS 1.3; certificate for other.example.net"), "custom domain name");
        found.fails("tls", "by expired: ", "renew");
        found.fails("tls", "by early: ", "clock");
        found.warns("tls", "by soon: ", "renew");
        found.fails("tls", "by plain: handshake with 127.0.0.1:", "openssl s_client");
        found.fails("tls", "not complete within 5 s", "openssl s_client");
    }
}
