//! The real program as a child process, with a limit of open files and an output of the test's choice; and what
//! /proc tells about it.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use support::lab::{Parts, get};
use support::peer::Peer;
use support::until;

pub struct Gate {
    pub child: Child,
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
        let child = prlimit
            .arg(format!("--nofile={files}:{files}"))
            .args(command)
            .args([env!("CARGO_BIN_EXE_latticegate"), "run", "--config"])
            .arg(parts.files.path().join("latticegate.yaml"))
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(environment.iter().copied())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap();
        Self { child, parts }
    }

    pub fn until_ready(self) -> Self {
        until("ready", || self.find("health").is_some_and(|health| get(health, "/readyz").0 == 200));
        self
    }

    pub fn said(&self) -> String {
        fs::read_to_string(self.parts.files.path().join("stderr")).unwrap()
    }

    /// Where a listener, health or admin says that it listens.
    pub fn address(&self, name: &str) -> SocketAddr {
        self.find(name).unwrap()
    }

    fn find(&self, name: &str) -> Option<SocketAddr> {
        let said = self.said();
        let (_, rest) = match said.lines().find(|line| line.contains(&format!("name={name} "))) {
            Some(line) => line.split_once("address=")?,
            None => said.lines().find(|line| line.contains("started"))?.split_once(&format!("{name}="))?,
        };
        rest.split(' ').next()?.parse().ok()
    }

    /// One sample, 0 if it is not there.
    pub fn metric(&self, sample: &str) -> f64 {
        let (_, body) = get(self.address("admin"), "/metrics");
        let value = body.lines().find_map(|line| line.strip_prefix(sample)?.trim().parse().ok());
        value.unwrap_or(0.0)
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

    /// A number of `limits` in `/status.json`: what is taken, and the limit.
    pub fn limit(&self, name: &str) -> (u64, u64) {
        // Not by the usual name, under which this page is not to be had.
        let mut page = Peer::connect(self.address("admin"));
        page.say("GET /status.json HTTP/1.0\r\nHost: localhost\r\n\r\n");
        let answer = String::from_utf8(page.hear_all().0).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let limit = serde_json::from_str::<Value>(body).unwrap()["limits"][name].clone();
        (limit["taken"].as_u64().unwrap(), limit["limit"].as_u64().unwrap())
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Its access log so far.
    pub fn log(&self) -> Vec<Value> {
        let log = fs::read_to_string(self.parts.files.path().join("stdout")).unwrap();
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Asks it to end and waits; gives its access log.
    pub fn end(mut self) -> Vec<Value> {
        self.signal(Signal::SIGTERM);
        until("the process has ended", || self.child.try_wait().unwrap().is_some());
        self.log()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
