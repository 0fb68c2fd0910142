//! Standard output and standard error as they are found: one pipe whose reader stands still, non-blocking, a socket.
//! Lines are whole or lost and counted, and nothing waits for them.

use std::io::{BufRead, BufReader, PipeReader, Read};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pipe::fcntl_setpipe_size;
use support::child::KillOnDrop;
use support::http::get;
use support::lab::{Parts, Setup, word};
use support::metrics::sample;
use support::peer::Peer;
use support::process::command;
use support::until;
use support::wire::{Hello, tcp4};

const LOST: &str = "latticegate_process_log_dropped_lines_total";
const LOST_OF_ACCESS_LOG: &str = "latticegate_access_log_dropped_lines_total";

/// A process whose outputs are one pipe, that is read when the test wants.
struct OnePipe {
    child: KillOnDrop,
    parts: Parts,
    output: BufReader<PipeReader>,
    health: SocketAddr,
    admin: SocketAddr,
    tls: SocketAddr,
    tls_direct: SocketAddr,
}

impl OnePipe {
    /// Read as far as to where it says that it has started.
    fn start(nonblocking: bool, environment: &[(&str, &str)]) -> Self {
        let parts = Parts::make(&Setup::default());
        let (reader, writer) = std::io::pipe().unwrap();
        fcntl_setpipe_size(&writer, 4096).unwrap();
        if nonblocking {
            fcntl_setfl(&writer, fcntl_getfl(&writer).unwrap() | OFlags::NONBLOCK).unwrap();
        }
        let mut command = command(env!("CARGO_BIN_EXE_latticegate"), &parts, environment);
        let child = KillOnDrop::spawn(command.stdout(writer.try_clone().unwrap()).stderr(writer));
        // It holds the pipe's ends that the process has: without it, the process' end is the pipe's.
        drop(command);
        let mut output = BufReader::new(reader);
        let mut said = String::new();
        while !said.lines().last().unwrap_or_default().contains(" started ") {
            assert!(output.read_line(&mut said).unwrap() > 0, "{said}");
        }
        let address = |what: &str| -> SocketAddr {
            let (_, rest) = said.rsplit_once(what).unwrap_or_else(|| panic!("no {what} in {said}"));
            rest.split_whitespace().next().unwrap().parse().unwrap()
        };
        let (health, admin) = (address(" health="), address(" admin="));
        let (tls, tls_direct) = (address("name=tls address="), address("name=tls-direct address="));
        Self { child, parts, output, health, admin, tls, tls_direct }
    }

    fn metric(&self, name: &str) -> f64 {
        sample(self.admin, name)
    }

    fn signal(&self, signal: Signal) {
        self.child.signal(signal);
    }

    /// Makes it log more than the pipe and the queue behind it take.
    fn fill(&self) {
        // A line each, if the one before has been taken.
        until("lines are lost, and counted", || {
            for _ in 0..200 {
                self.signal(Signal::SIGUSR2);
                std::thread::sleep(Duration::from_micros(200));
            }
            self.metric(LOST) > 0.0
        });
    }

    fn end(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.child.exit_status()
    }
}

#[test]
fn a_reader_that_stands_still_stops_neither_names_nor_health_nor_signals() {
    let mut process = OnePipe::start(false, &[("LATTICEGATE_POLICY_POLL", "1h")]);
    process.fill();
    // A name that nobody has asked for yet.
    let address = process.parts.upstream.address.ip();
    process.parts.dns.set("new.example.com", support::dns::addresses(&[address]));
    let (mut client, hello) = (Peer::connect(process.tls), Hello::to(b"new.example.com").record());
    client.say([tcp4(&[]), hello.clone()].concat());
    assert_eq!(process.parts.upstream.accept().hear(hello.len()), hello);
    assert_eq!(get(process.health, "/healthz").0, 200);
    assert_eq!(get(process.health, "/readyz").0, 200);
    std::fs::write(process.parts.files.path().join("ipcontrol.yaml"), "rules:\n- deny: all\n").unwrap();
    process.signal(Signal::SIGHUP);
    until("SIGHUP is obeyed", || process.metric("latticegate_policy_reload_total{result=\"loaded\"}") == 2.0);
    until("it is seen how long the writer has waited", || {
        process.metric("latticegate_file_blocked_seconds{file=\"process_log\"}") > 0.5
    });
    assert_eq!(process.end().code(), Some(0));
}

#[test]
fn a_reader_that_comes_back_learns_how_many_lines_it_missed() {
    let mut process = OnePipe::start(false, &[]);
    process.fill();
    let mut line = String::new();
    let mut lines = 0;
    while !line.contains("this many of its lines were lost") {
        line.clear();
        assert!(process.output.read_line(&mut line).unwrap() > 0);
        assert!(line.contains("SIGUSR2: debug lines are o") || line.contains("of its lines were lost"), "{line}");
        lines += 1;
    }
    assert!(lines > 1000, "{lines}");
    assert!(line.contains("WARN") && line.contains(&format!("lines={}", process.metric(LOST))), "{line}");
    assert_eq!(process.end().code(), Some(0));
}

#[test]
fn lines_to_a_non_blocking_pipe_are_whole_or_counted() {
    const LINES: usize = 400;
    let mut process = OnePipe::start(true, &[]);
    for _ in 0..LINES {
        Peer::connect(process.tls_direct).say(b"x").hear_all();
    }
    // The pipe is full of a page of them by now, and the others wait.
    let mut lines = Vec::new();
    let mut read = |process: &mut OnePipe, enough: &dyn Fn(usize) -> bool| {
        let mut line = String::new();
        while !enough(lines.len()) {
            line.clear();
            assert!(process.output.read_line(&mut line).unwrap() > 0, "{lines:?}");
            if !line.contains("access log") {
                lines.push(serde_json::from_str::<serde_json::Value>(&line).unwrap_or_else(|_| panic!("{line}")));
            }
        }
        lines.len()
    };
    let lost = process.metric(LOST_OF_ACCESS_LOG) as usize;
    assert_eq!(read(&mut process, &|read| read + lost >= LINES) + lost, LINES);
    assert!(lines.iter().all(|line| word(line, "listener") == "tls-direct"));
    assert_eq!(process.end().code(), Some(0));
}

#[test]
fn lines_that_are_not_written_in_the_end_are_counted_in_the_last_line() {
    let parts = Parts::make(&Setup::default());
    let (reader, writer) = std::io::pipe().unwrap();
    fcntl_setpipe_size(&writer, 4096).unwrap();
    let mut gate = crate::gate::Gate::writing_to(parts, 1024, &[], writer.into());
    const LINES: usize = 100;
    for _ in 0..LINES {
        Peer::connect(gate.address("tls-direct")).say(b"x").hear_all();
    }
    until("it is logged", || gate.said().contains("the access log accepts no lines"));
    assert!(gate.metric("latticegate_file_blocked_seconds{file=\"access_log\"}") >= 3.0);
    let warnings = gate.status()["warnings"].to_string();
    assert!(warnings.contains("the access log accepts no lines, which are lost once the queue is full"), "{warnings}");
    gate.signal(Signal::SIGTERM);
    assert_eq!(gate.child.exit_status().code(), Some(0));
    let said = gate.said();
    let (_, lines) =
        said.split_once("ended before all lines were written").and_then(|(_, rest)| rest.split_once("lines=")).unwrap();
    let unwritten: usize = lines.split_whitespace().next().unwrap().parse().unwrap();
    let mut written = String::new();
    BufReader::new(reader).read_to_string(&mut written).unwrap();
    let whole = written.matches('\n').count();
    assert!(whole < LINES);
    assert_eq!(whole + unwritten, LINES, "{said}");
}

/// The signal that the kernel sends for it would end the process.
#[test]
fn a_log_that_may_not_grow_loses_lines_and_no_connection() {
    const LINES: usize = 40;
    let parts = Parts::make(&Setup { log: "output: ./access.log", ..Setup::default() });
    let log = parts.files.path().join("access.log");
    let mut gate = crate::gate::Gate::started_by(&["prlimit".into(), "--fsize=6000".into()], parts, 1024, &[]);
    for _ in 0..LINES {
        Peer::connect(gate.address("tls-direct")).say(b"x").hear_all();
    }
    let whole = || std::fs::read_to_string(&log).unwrap().matches('\n').count();
    // The line that is written in part is on its way still.
    until("the others are counted", || gate.metric(LOST_OF_ACCESS_LOG) as usize + whole() + 1 == LINES);
    assert_eq!(std::fs::metadata(&log).unwrap().len(), 6000);
    assert_eq!(gate.status()["log_lines_lost"].as_u64().unwrap() as usize + whole() + 1, LINES);
    assert!(gate.page("/").contains("<dt>Log lines lost</dt>"));
    gate.signal(Signal::SIGTERM);
    assert_eq!(gate.child.exit_status().code(), Some(0));
}

#[test]
fn a_log_at_a_path_that_is_a_socket_says_what_to_write() {
    for path in ["/dev/stdout", "/proc/self/fd/1", "/dev/fd/1", "./link"] {
        let parts = Parts::make(&Setup::default());
        std::os::unix::fs::symlink("/dev/stdout", parts.files.path().join("link")).unwrap();
        for verb in ["run", "check"] {
            let (_reader, socket) = UnixStream::pair().unwrap();
            let output = Command::new(env!("CARGO_BIN_EXE_latticegate"))
                .args([verb, "--config"])
                .arg(parts.files.path().join("latticegate.yaml"))
                .env_clear()
                .env("LATTICEGATE_ACCESS_LOG__OUTPUT", path)
                .stdout(Stdio::from(OwnedFd::from(socket)))
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
                .wait_with_output()
                .unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains("access_log.output") && said.contains("write `output: stdout`"), "{said}");
        }
    }
}

/// The resolver's library would write three lines for each name: it sees none of them, and we write one a minute.
#[test]
fn forged_dns_messages_do_not_fill_the_log() {
    const NAMES: usize = 40;
    let setup = Setup { limits: "lookups_per_client: 1000", ..Setup::default() };
    let gate = crate::gate::Gate::start(Parts::make(&setup), 1024, &[]);
    gate.parts.dns.set_otherwise(support::dns::Reply::Spoofed(vec!["192.0.2.9".parse().unwrap()], None));
    let clients = (0..NAMES).map(|number| {
        let mut client = Peer::connect(gate.address("tls"));
        client.say([tcp4(&[]), Hello::to(format!("n{number}.example.com").as_bytes()).record()].concat());
        client
    });
    let clients: Vec<_> = clients.collect();
    clients.into_iter().for_each(|mut client| drop(client.hear_all()));
    let said = gate.said();
    let lines = |of: &str| said.lines().filter(|line| line.contains(of)).count();
    assert_eq!((lines("belong to no query"), lines(" hickory_")), (1, 0), "{said}");
}
