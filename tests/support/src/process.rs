//! The real binary as a child process: started with a file and an environment, ended with signals.

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::lab::Parts;
use crate::until;

pub struct Process {
    program: &'static str,
    child: Child,
    parts: Parts,
}

impl Process {
    /// Its access log goes to a file, its own log to another. `program` is the caller's
    /// `env!("CARGO_BIN_EXE_latticegate")`, which Cargo sets for the package's own tests only.
    pub fn start(program: &'static str, parts: Parts, environment: &[(&str, &str)]) -> Self {
        let child = Self::spawn(program, &parts, environment);
        Self { program, child, parts }
    }

    fn spawn(program: &str, parts: &Parts, environment: &[(&str, &str)]) -> Child {
        let file = |name: &str| {
            let path = parts.files.path().join(name);
            File::options().append(true).create(true).open(path).unwrap()
        };
        Command::new(program)
            .args(["run", "--config"])
            .arg(parts.files.path().join("latticegate.yaml"))
            .env_clear()
            .envs(environment.iter().copied())
            .stdout(Stdio::from(file("stdout")))
            .stderr(Stdio::from(file("stderr")))
            .spawn()
            .unwrap()
    }

    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    pub fn said(&self) -> String {
        self.parts.read("stderr")
    }

    /// Where it says that it listens, health and admin included.
    pub fn address(&self, name: &str) -> SocketAddr {
        let mut found = None;
        until("it listens", || {
            let said = self.said();
            let line = said.lines().find(|line| line.contains(&format!("name={name} ")));
            let started = said.lines().find(|line| line.contains("started")).filter(|_| line.is_none());
            let text = match (line, started) {
                (Some(line), _) => line.split_once("address=").map(|(_, rest)| rest),
                (None, Some(line)) => line.split_once(&format!("{name}=")).map(|(_, rest)| rest),
                (None, None) => None,
            };
            found = text.and_then(|text| text.split(' ').next()?.parse().ok());
            found.is_some()
        });
        found.unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Waits for its end; gives its access log.
    pub fn wait(mut self) -> (ExitStatus, Vec<Value>) {
        let mut status = None;
        until("the process has ended", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        (status.unwrap(), self.parts.log())
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// `kill -9`, and the same again at once.
    pub fn kill_and_restart(&mut self, environment: &[(&str, &str)]) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = Self::spawn(self.program, &self.parts, environment);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Parts {
    pub fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.files.path().join(file)).unwrap()
    }

    /// The access log that a process has written to its standard output.
    pub fn log(&self) -> Vec<Value> {
        self.read("stdout").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
