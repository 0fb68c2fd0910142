//! The real program as a child process, with a limit of open files and an output of the test's choice; and what
//! /proc tells about it.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;
use support::child::KillOnDrop;
use support::http::get;
use support::lab::Parts;
use support::metrics::sample;
use support::peer::{End, Peer};
use support::process::listening;
use support::until;

pub struct Gate {
    pub child: KillOnDrop,
    pub parts: Parts,
}

impl Gate {
    /// With at most so many open files.
    pub fn start(parts: Parts, files: u32, environment: &[(&str, &str)]) -> Self {
        let stdout = File::create(parts.files.path().join("stdout")).unwrap();
        Self::writing_to(parts, files, environment, stdout.into())
    }

    /// In a control group, from its first instruction on.
    pub fn in_group(parts: Parts, files: u32, group: &Path) -> Self {
        let stdout = File::create(parts.files.path().join("stdout")).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ >\"$0\" && exec prlimit \"$@\""]).arg(group.join("cgroup.procs"));
        Self::spawn(command, &[], parts, files, &[], stdout.into()).until_ready()
    }

    pub fn writing_to(parts: Parts, files: u32, environment: &[(&str, &str)], stdout: Stdio) -> Self {
        Self::spawn(Command::new("prlimit"), &[], parts, files, environment, stdout).until_ready()
    }

    /// By a command that takes the program as its arguments.
    pub fn started_by(command: &[String], parts: Parts, files: u32, environment: &[(&str, &str)]) -> Self {
        Self::spawned_by(command, parts, files, environment).until_ready()
    }

    /// The same, but it may not get as far as being ready.
    pub fn spawned_by(command: &[String], parts: Parts, files: u32, environment: &[(&str, &str)]) -> Self {
        let stdout = File::create(parts.files.path().join("stdout")).unwrap();
        Self::spawn(Command::new("prlimit"), command, parts, files, environment, stdout.into())
    }

    fn spawn(
        mut prlimit: Command,
        command: &[String],
        parts: Parts,
        files: u32,
        environment: &[(&str, &str)],
        stdout: Stdio,
    ) -> Self {
        let stderr = File::create(parts.files.path().join("stderr")).unwrap();
        prlimit
            .arg(format!("--nofile={files}:{files}"))
            .args(command)
            .args([env!("CARGO_BIN_EXE_latticegate"), "run", "--config"])
            .arg(parts.files.path().join("latticegate.yaml"))
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(environment.iter().copied())
            .stdout(stdout)
            .stderr(stderr);
        Self { child: KillOnDrop::spawn(&mut prlimit), parts }
    }

    pub fn until_ready(self) -> Self {
        until("ready", || self.find("health").is_some_and(|health| get(health, "/readyz").0 == 200));
        self
    }

    pub fn said(&self) -> String {
        self.parts.read("stderr")
    }

    /// Where a listener, health or admin says that it listens.
    pub fn address(&self, name: &str) -> SocketAddr {
        self.find(name).unwrap()
    }

    fn find(&self, name: &str) -> Option<SocketAddr> {
        listening(&self.said(), name)
    }

    /// One sample of its metrics, 0 if it is not there.
    pub fn metric(&self, name: &str) -> f64 {
        sample(self.address("admin"), name)
    }

    /// CPU time taken so far, in ticks of 10 ms.
    pub fn cpu(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let fields: Vec<u64> = fields.split(' ').skip(11).take(2).map(|field| field.parse().unwrap()).collect();
        fields[0] + fields[1]
    }

    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Of the open files, the ends of pipes.
    pub fn pipe_ends(&self) -> usize {
        let files = fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        // One may be closed while they are listed.
        let targets = files.filter_map(|file| fs::read_link(file.unwrap().path()).ok());
        targets.filter(|target| target.to_string_lossy().starts_with("pipe:")).count()
    }

    /// Resident memory, in MiB.
    pub fn resident(&self) -> u64 {
        self.memory("VmRSS:") >> 20
    }

    /// A line of /proc/PID/status, in bytes: `VmRSS:` now, `VmHWM:` at most so far.
    pub fn memory(&self, line: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|it| it.strip_prefix(line)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Of the admin port.
    pub fn page(&self, path: &str) -> String {
        // Not by the usual name, under which these pages are not to be had.
        let mut page = Peer::connect(self.address("admin"));
        page.say(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"));
        let answer = String::from_utf8(page.hear_all().0).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// `/status.json`.
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.page("/status.json")).unwrap()
    }

    /// A number of its `limits`: what is taken, and the limit.
    pub fn limit(&self, name: &str) -> (u64, u64) {
        let limit = &self.status()["limits"][name];
        (limit["taken"].as_u64().unwrap(), limit["limit"].as_u64().unwrap())
    }

    pub fn signal(&self, signal: Signal) {
        self.child.signal(signal);
    }

    /// A client of 192.0.2.1 whose hello is sent.
    pub fn client(&self) -> Peer {
        Peer::client(self.address("tls"))
    }

    /// The same, and the connection that the upstream is given for it.
    pub fn pair(&self) -> (Peer, Peer) {
        self.parts.upstream.pair(self.address("tls"))
    }

    /// One connection from hello to end.
    pub fn pass(&self) {
        let (mut client, mut upstream) = self.pair();
        upstream.say(b"ok").finish();
        assert_eq!(client.hear_all(), (b"ok".to_vec(), End::Fin));
    }

    /// Its access log so far.
    pub fn log(&self) -> Vec<Value> {
        self.parts.log()
    }

    /// Asks it to end and waits; gives its access log.
    pub fn end(mut self) -> Vec<Value> {
        self.signal(Signal::SIGTERM);
        self.child.exit_status();
        self.log()
    }
}
