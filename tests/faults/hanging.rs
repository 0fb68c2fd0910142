//! Files on a file system that hangs: a pipe without a writer and a lease of another process imitate it. Only what
//! wants the file waits, one line and one metric say so, and it goes on when the file is there.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use support::child::KillOnDrop;
use support::http::get;
use support::lab::{Parts, Setup};
use support::peer::Peer;
use support::until;
use support::wire::{Hello, hello, tcp4};

use crate::gate::Gate;
use crate::python::python;

const FILES: u32 = 256;

/// A process that has promised itself to be asked before anybody opens the file, and does not answer.
struct Lease {
    _process: KillOnDrop,
}

impl Lease {
    fn on(file: &Path) -> Self {
        const PROGRAM: &str = "
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
file = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('held', flush=True)
sys.stdin.read()
";
        Self { _process: python(&["-c", PROGRAM, file.to_str().unwrap()], b"", "held") }
    }
}

fn pipe(parts: &Parts, name: &str) -> PathBuf {
    let path = parts.files.path().join(name);
    let _ = std::fs::remove_file(&path);
    mkfifo(&path, Mode::from_bits_truncate(0o644)).unwrap();
    path
}

/// Puts a file in another's place that cannot be opened until the lease is gone.
fn replace_by_leased(gate: &Gate, name: &str, text: &str) -> Lease {
    let files = gate.parts.files.path();
    let next = files.join(format!("{name}.next"));
    std::fs::write(&next, text).unwrap();
    let lease = Lease::on(&next);
    std::fs::rename(next, files.join(name)).unwrap();
    lease
}

fn blocked(gate: &Gate, file: &str) -> f64 {
    gate.metric(&format!("latticegate_file_blocked_seconds{{file=\"{file}\"}}"))
}

/// New names, health and what else does not want the file.
#[track_caller]
fn serves(gate: &Gate) {
    let name = format!("n{}.example.com", gate.parts.upstream.address.port());
    gate.parts.dns.set(&name, support::dns::addresses(&[gate.parts.upstream.address.ip()]));
    for hello in [hello(), Hello::to(name.as_bytes()).record()] {
        let mut client = Peer::connect(gate.address("tls"));
        client.say([tcp4(&[]), hello.clone()].concat());
        assert_eq!(gate.parts.upstream.accept().hear(hello.len()), hello);
    }
    assert_eq!(get(gate.address("health"), "/healthz").0, 200);
    assert_eq!(get(gate.address("health"), "/readyz").0, 200);
}

#[track_caller]
fn ends_well(gate: &mut Gate) {
    gate.signal(Signal::SIGTERM);
    assert_eq!(gate.child.exit_status().code(), Some(0), "{}", gate.said());
}

/// List, shadow list and configuration, each by itself.
#[test]
fn a_file_that_cannot_be_opened_keeps_only_its_own_reader() {
    // Beside each other: a file is reported when it has been waited for a while.
    thread::scope(|scope| {
        for (name, metric, called, back) in [
            ("ipcontrol.yaml", "policy", "waiting for the access list ", "access list reloaded"),
            ("shadow.yaml", "shadow", "waiting for the shadow list ", "shadow list loaded"),
            ("latticegate.yaml", "configuration", "waiting for the configuration ", "read at start only"),
        ] {
            scope.spawn(move || keeps_only_its_own_reader(name, metric, called, back));
        }
    });
}

fn keeps_only_its_own_reader(name: &str, metric: &str, called: &str, back: &str) {
    const LIST: &str = "rules:\n- allow: all\n";
    let mut gate = Gate::start(Parts::make(&Setup::default()), FILES, &[("LATTICEGATE_SHADOW", "shadow.yaml")]);
    let lease = replace_by_leased(&gate, name, LIST);
    until("it is waited for", || gate.said().contains(called));
    assert!(gate.said().lines().any(|line| line.contains(called) && line.contains("WARN") && line.contains(name)));
    assert!(blocked(&gate, metric) >= 3.0);
    assert_eq!(gate.metric("latticegate_policy_in_step"), if metric == "policy" { 0.0 } else { 1.0 });
    serves(&gate);
    if metric != "policy" {
        std::fs::write(gate.parts.files.path().join("ipcontrol.yaml"), LIST).unwrap();
        until("the list is reloaded", || gate.said().contains("access list reloaded"));
    }
    drop(lease);
    until("it is read", || gate.said().contains(back));
    until("it is reported", || gate.said().contains("can be reached again"));
    until("nothing is waited for", || blocked(&gate, metric) < 1.0);
    assert_eq!(gate.said().matches(called).count(), 1, "{}", gate.said());
    assert_eq!(gate.metric("latticegate_policy_in_step"), 1.0);
    ends_well(&mut gate);
}

#[test]
fn sigterm_ends_it_while_a_file_hangs() {
    let mut gate = Gate::start(Parts::make(&Setup::default()), FILES, &[]);
    let _lease = replace_by_leased(&gate, "ipcontrol.yaml", "rules: []\n");
    until("it is waited for", || gate.said().contains("waiting for the access list"));
    ends_well(&mut gate);
}

#[test]
fn a_pipe_in_place_of_the_list_is_a_failed_reload_and_not_the_last() {
    let mut gate = Gate::start(Parts::make(&Setup::default()), FILES, &[]);
    let files = gate.parts.files.path().to_owned();
    std::fs::rename(files.join("ipcontrol.yaml"), files.join("kept")).unwrap();
    pipe(&gate.parts, "ipcontrol.yaml");
    until("it is waited for", || gate.said().contains("waiting for the access list"));
    serves(&gate);
    until("it is given up", || gate.said().contains("the old one stays in force"));
    assert!(gate.said().contains("it is a pipe or a device, and nothing came for 10 s"), "{}", gate.said());
    assert_eq!(gate.metric("latticegate_policy_in_step"), 0.0);
    serves(&gate);
    std::fs::rename(files.join("kept"), files.join("ipcontrol.yaml")).unwrap();
    until("the list is back", || gate.said().contains("has the list in force again"));
    ends_well(&mut gate);
}

#[test]
fn a_log_that_cannot_be_opened_anew_stays_the_old_one() {
    let parts = Parts::make(&Setup { log: "output: ./access.log", ..Setup::default() });
    let mut gate = Gate::start(parts, FILES, &[]);
    let log = gate.parts.files.path().join("access.log");
    let moved = log.with_extension("1");
    std::fs::rename(&log, &moved).unwrap();
    pipe(&gate.parts, "access.log");
    gate.signal(Signal::SIGUSR1);
    until("it is waited for", || gate.said().contains("waiting for the access log"));
    assert!(blocked(&gate, "access_log_open") >= 3.0);
    serves(&gate);
    until("the old one is written", || std::fs::read_to_string(&moved).unwrap().lines().count() == 2);
    // Somebody reads the pipe: from here on it is the log.
    let reader = std::fs::File::open(&log).unwrap();
    until("it is opened", || gate.said().contains("access log opened anew"));
    serves(&gate);
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line).unwrap();
    serde_json::from_str::<serde_json::Value>(&line).unwrap();
    ends_well(&mut gate);
}

/// `run --config <(command)` of a shell: what is read once is not looked at again.
#[test]
fn a_configuration_from_a_pipe_is_read_once() {
    let parts = Parts::make(&Setup::default());
    let file = parts.files.path().join("latticegate.yaml");
    let text = std::fs::read(&file).unwrap();
    pipe(&parts, "latticegate.yaml");
    let gate = Gate::spawned_by(&[], parts, FILES, &[]);
    std::fs::write(&file, text).unwrap();
    let mut gate = gate.until_ready();
    serves(&gate);
    assert!(!gate.said().contains("waiting for"), "{}", gate.said());
    ends_well(&mut gate);
}

/// It says what it waits for, and can be stopped.
#[test]
fn a_file_that_hangs_at_the_start_is_named() {
    let hang = |setup: &Setup, environment: &[(&str, &str)], name: &str, called: &str, leased: bool| {
        let parts = Parts::make(setup);
        let path = parts.files.path().join(name);
        let lease = leased.then(|| Lease::on(&path));
        if !leased {
            pipe(&parts, name);
        }
        let mut gate = Gate::spawned_by(&[], parts, FILES, environment);
        until("it is waited for", || gate.said().contains(called));
        assert!(!gate.said().contains(" started "), "{}", gate.said());
        ends_well(&mut gate);
        drop(lease);
    };
    let usual = Setup::default();
    let (source, fallback) = (("LATTICEGATE_POLICY", "http://127.0.0.1:1/"), ("LATTICEGATE_POLICY_FALLBACK", "f.yaml"));
    let log = Setup { log: "output: ./access.log", ..Setup::default() };
    // Beside each other, as above.
    thread::scope(|scope| {
        scope.spawn(|| hang(&usual, &[], "latticegate.yaml", "waiting for the configuration ", true));
        scope.spawn(|| hang(&usual, &[], "ipcontrol.yaml", "waiting for the access list ", true));
        scope.spawn(|| hang(&usual, &[source, fallback], "f.yaml", "waiting for the access list ", false));
        scope.spawn(|| hang(&log, &[], "access.log", "waiting for the access log ", false));
    });
}

/// As a shell has it: `check --policy <(command)` is read, and one that brings nothing is given up.
#[test]
fn check_reads_a_pipe_and_does_not_wait_for_ever() {
    let parts = Parts::make(&Setup::default());
    let path = pipe(&parts, "list");
    let check = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_latticegate"));
        command.args(["check", "--config"]).arg(parts.files.path().join("latticegate.yaml")).arg("--policy").arg(&path);
        command.env_clear().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let read = check();
    std::fs::write(&path, "rules:\n- allow: 10.0.0.0/8\n").unwrap();
    let read = read.wait_with_output().unwrap();
    assert_eq!(read.status.code(), Some(0), "{}", String::from_utf8_lossy(&read.stderr));
    assert!(String::from_utf8_lossy(&read.stdout).contains("1 rules (1 allow"), "{read:?}");
    let given_up = check().wait_with_output().unwrap();
    assert_eq!(given_up.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&given_up.stderr).contains("nothing came for 10 s"));
}
