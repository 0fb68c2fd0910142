//! `latticegate demo` as a user meets it: the check, the printed commands pasted into a shell, an edited list, Ctrl-C.

#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may panic, and says what it skipped")]

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use nix::sys::signal::Signal;
use rustix::pipe::fcntl_setpipe_size;
use support::child::KillOnDrop;
use support::{PATIENCE, until};

/// Part of a command's comment; curl's exit code; what curl prints; what the demo shows.
type Expected = (&'static str, i32, &'static [&'static str], &'static str);

const EXPECTED: [Expected; 20] = [
    ("allowed, TLS", 0, &["server name orders.example.com"], "relayed 192.168.1.20 → tls orders.example.com"),
    ("allowed, plain HTTP", 0, &["hello from orders"], "relayed 192.168.1.20 → http orders.example.com"),
    ("SigV4: not a byte", 0, &["your signature is good"], "relayed 192.168.1.20 → tls billing.example.com"),
    ("SigV4, plain HTTP", 0, &["your signature is good"], "relayed 192.168.1.20 → http billing.example.com"),
    ("not signed", 0, &["takes signed requests only"], "relayed 192.168.1.20 → tls billing.example.com"),
    ("PrivateLink", 0, &["hello from orders"], "relayed 10.20.30.40 via vpce-0a1b2c3d4e5f67890 → tls orders"),
    ("access list, TLS", 35, &["access denied"], "refused 203.0.113.9 → tls … client_denied (ipcontrol.yaml:13)"),
    (
        "access list, plain HTTP",
        0,
        &["client_denied"],
        "refused 203.0.113.9 → http … client_denied (ipcontrol.yaml:13)",
    ),
    ("does not exist", 35, &["unrecognized name"], "refused 192.168.1.20 → tls nobody.example.com name_unknown"),
    ("forbidden destination", 0, &["destination_forbidden"], "destination_forbidden: 169.254.170.2 leads to ECS task"),
    ("no SNI", 35, &["missing extension"], "refused 192.168.1.20 → tls sni_missing"),
    // 52: closed in good order, not reset.
    ("past the load balancer", 52, &["Empty reply from server"], "refused 127.0.0.1 → http … untrusted_peer"),
    (
        "HTTPS through CONNECT",
        0,
        &["hello from packages", "server name packages.example.org", "request    GET /, "],
        "relayed 10.50.0.9 via vpce-0f9e8d7c6b5a43210 → egress CONNECT packages.example.org → 127.0.172.20",
    ),
    (
        "sees an origin-form request",
        0,
        &["hello from packages", "request    GET /, ", "via        1.1 latticegate"],
        "request 10.50.0.9 via vpce-0f9e8d7c6b5a43210 → egress GET packages.example.org → 127.0.172.20 200,",
    ),
    (
        "not in the list, CONNECT",
        // Cannot receive from the proxy what was asked of it.
        56,
        &[REFUSED_BY_LIST, "CONNECT tunnel failed, response 403"],
        "refused 10.50.0.9 via vpce-0f9e8d7c6b5a43210 → egress CONNECT blocked.example.org name_denied (ipcontrol.yaml:13)",
    ),
    (
        "not in the list, plain HTTP",
        0,
        &[REFUSED_BY_LIST, "latticegate: Your address is not allowed to reach this host name. (reason: name_denied"],
        "request 10.50.0.9 via vpce-0f9e8d7c6b5a43210 → egress GET blocked.example.org 403, name_denied (ipcontrol.yaml:13)",
    ),
    (
        "another server name in the tunnel",
        35,
        &["access denied"],
        "CONNECT packages.example.org with SNI blocked.example.org → 127.0.172.20 tunnel_sni_denied (ipcontrol.yaml:13)",
    ),
    (
        "credentials",
        0,
        &["HTTP/1.1 502 ", "error=destination_ip_prohibited; details=\"destination_forbidden\""],
        "GET mirror.example.org → 169.254.170.2 destination_forbidden: 169.254.170.2 leads to ECS task",
    ),
    (
        "a port that the listener does not have",
        56,
        &["details=\"port_denied\"", "CONNECT tunnel failed, response 403"],
        "CONNECT packages.example.org port_denied",
    ),
    (
        "another VPC",
        56,
        &["details=\"client_denied\"", "CONNECT tunnel failed, response 403"],
        // What it asked for is there if it came with the header.
        "refused 10.20.30.40 via vpce-0a1b2c3d4e5f67890 → egress … client_denied (ipcontrol.yaml:13)",
    ),
];

const REFUSED_BY_LIST: &str = "Proxy-Status: latticegate; error=http_request_denied; details=\"name_denied\"";

#[test]
fn check_passes_and_says_so_without_colours_in_a_pipe() {
    let output = Command::new(env!("CARGO_BIN_EXE_latticegate")).args(["demo", "--check"]).output().unwrap();
    let text = all_text(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("pass  ")).count(), 21, "{text}");
    assert!(text.ends_with("21 of 21 passed\n"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn every_printed_curl_command_prints_what_it_should() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("SKIPPED: no curl here, so the demo's commands were not tried");
        return;
    }
    let readme = include_str!("../README.md");
    assert!(readme.contains(&format!("`demo` prints {} `curl` commands", EXPECTED.len())));
    let mut demo = Demo::start_with(&[], &MISLEADING);
    let commands = demo.commands();
    assert_eq!(commands.len(), EXPECTED.len(), "{commands:?}");
    for ((comment, command), (title, code, printed, shown)) in commands.iter().zip(EXPECTED) {
        assert!(comment.contains(title), "{comment} is not about {title}");
        let output = Command::new("sh").args(["-c", command]).envs(MISLEADING).output().unwrap();
        let text = all_text(&output);
        assert_eq!(output.status.code(), Some(code), "{command}\n{text}");
        for words in printed {
            assert!(text.contains(words), "{command}\n{text}\ndoes not say: {words}");
        }
        demo.shows(shown);
    }
    demo.stop();
}

/// A user's environment: a proxy that is not there, and names that need none.
const MISLEADING: [(&str, &str); 4] = [
    ("http_proxy", "http://127.0.0.1:9"),
    ("HTTPS_PROXY", "http://127.0.0.1:9"),
    ("ALL_PROXY", "http://127.0.0.1:9"),
    ("no_proxy", "example.org"),
];

#[test]
fn edited_list_holds_from_the_next_connection_on() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("a demo's directory");
    let mut demo = Demo::start(&["--dir", directory.to_str().unwrap()]);
    let list = directory.join("ipcontrol.yaml");
    let shipped = std::fs::read_to_string(&list).unwrap();
    let (port, proxy) = (demo.port_of("203.0.113.9", "http"), demo.port_of("10.50.0.9", "proxy"));

    assert!(get(port).contains("client_denied"));
    demo.shows("client_denied");
    std::fs::write(&list, shipped.replace("# - allow: 203.0.113.9", "- allow: 203.0.113.9")).unwrap();
    demo.shows("new access list: 6 rules");
    assert!(get(port).contains("hello from orders"));

    let blocked = format!("http://blocked.example.org:{}/", demo.site_port());
    assert!(request(proxy, &blocked, "blocked.example.org").contains("name_denied"));
    std::fs::write(&list, shipped.replace("to: [packages.", "to: [blocked.example.org, packages.")).unwrap();
    demo.shows("new access list: 5 rules");
    assert!(request(proxy, &blocked, "blocked.example.org").contains("hello from blocked"));
    assert!(get(port).contains("client_denied"));

    std::fs::write(&list, shipped.replace("deny: all", "denny: all")).unwrap();
    demo.shows("the old access list stays:");
    demo.shows("ipcontrol.yaml:13:");
    assert!(request(proxy, &blocked, "blocked.example.org").contains("hello from blocked"));
    demo.stop();
    assert!(list.exists(), "a directory of the user's stays");
}

#[test]
fn second_demo_takes_other_ports_and_each_clears_its_directory_away() {
    let (first, second) = (Demo::start(&[]), Demo::start(&[]));
    assert_eq!(first.ports().len(), 8, "{:?}", first.introduction);
    assert!(first.ports().is_disjoint(&second.ports()), "{:?} {:?}", first.ports(), second.ports());
    for demo in [first, second] {
        let directory = demo.directory();
        assert!(directory.join("ca.pem").exists());
        demo.stop();
        assert!(!directory.exists());
    }
}

#[test]
fn a_demo_whose_output_is_not_read_ends_with_ctrl_c() {
    let (_reader, mut writer) = std::io::pipe().unwrap();
    fcntl_setpipe_size(&writer, 4096).unwrap();
    writer.write_all(&[b'\n'; 4096]).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_latticegate"));
    let mut process = KillOnDrop::spawn(command.arg("demo").stdout(writer));
    until("it watches for signals", || catches_interrupts(&process));
    process.signal(Signal::SIGINT);
    assert_eq!(process.exit_status().code(), Some(0));
}

fn catches_interrupts(process: &Child) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & 2 != 0
}

#[test]
fn a_demo_ends_where_its_reader_has_gone() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_latticegate"));
    assert_eq!(command.arg("demo").stdout(writer).status().unwrap().code(), Some(0));
}

/// A running demo, its introduction read.
struct Demo {
    process: KillOnDrop,
    introduction: Vec<String>,
    lines: Receiver<String>,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_latticegate"));
        command
            .arg("demo")
            .args(arguments)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut process = KillOnDrop::spawn(&mut command);
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut demo = Self { process, introduction: Vec::new(), lines };
        while !demo.introduction.iter().any(|line| line.contains("Ctrl-C stops")) {
            let line = demo.lines.recv_timeout(PATIENCE).expect("the introduction is printed");
            demo.introduction.push(line);
        }
        demo
    }

    /// Each command with the comment above it.
    fn commands(&self) -> Vec<(String, String)> {
        let pairs = self.introduction.iter().zip(self.introduction.iter().skip(1));
        let commands = pairs.filter(|(_, line)| line.starts_with("  curl "));
        commands.map(|(comment, line)| (comment.clone(), line.clone())).collect()
    }

    /// Waits for a connection's line with these words, whatever its port and its spaces, and whatever stands for …
    fn shows(&mut self, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("no line shows: {words}"));
            let line = without_port(&line);
            let behind = |at: usize, part: &str| line.get(at..)?.find(part).map(|found| at + found + part.len());
            if words.split(" … ").try_fold(0, behind).is_some() {
                return;
            }
        }
    }

    /// The front port of this kind on which the load balancer plays this client.
    fn port_of(&self, client: &str, kind: &str) -> u16 {
        let line = self.introduction.iter().find(|line| line.trim().starts_with(client)).unwrap();
        let mut words = line.split_whitespace().skip_while(|word| *word != kind);
        words.nth(1).unwrap().parse().unwrap()
    }

    /// What stands for port 80 of the sites on the internet.
    fn site_port(&self) -> u16 {
        let line = self.introduction.iter().find(|line| line.starts_with("The internet: ")).unwrap();
        line.rsplit(':').next().unwrap().parse().unwrap()
    }

    /// The load balancer's ports, two for each client and one for each of the explicit proxy.
    fn ports(&self) -> HashSet<u16> {
        let fronts = self
            .introduction
            .iter()
            .filter(|line| line.starts_with("  ") && (line.contains(" https ") || line.contains(" proxy ")));
        fronts.flat_map(|line| line.split_whitespace()).filter_map(|word| word.parse().ok()).collect()
    }

    fn directory(&self) -> PathBuf {
        let list = self.introduction.iter().find(|line| line.ends_with("ipcontrol.yaml")).unwrap();
        Path::new(list.trim()).parent().unwrap().to_owned()
    }

    /// Ctrl-C: ends with 0.
    fn stop(mut self) {
        self.process.signal(Signal::SIGINT);
        assert_eq!(self.process.exit_status().code(), Some(0));
    }
}

/// `relayed  192.168.1.20:51234 → tls` → `relayed 192.168.1.20 → tls`
fn without_port(line: &str) -> String {
    let words = line.split_whitespace().map(|word| match word.split_once(':') {
        Some((address, port))
            if !port.is_empty()
                && port.bytes().all(|b| b.is_ascii_digit())
                && address.contains('.')
                && !address.ends_with(".yaml") =>
        {
            address
        }
        _ => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

fn get(port: u16) -> String {
    request(port, "/", "orders.example.com")
}

fn request(port: u16, target: &str, host: &str) -> String {
    use std::io::{Read, Write};
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = std::net::TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // A refused client may be reset after its answer.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn all_text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
