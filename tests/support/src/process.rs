//! The real binary as a child process: started with a file and an environment, ended with signals.

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Command, ExitStatus};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::child::KillOnDrop;
use crate::lab::Parts;
use crate::until;

/// `latticegate run`, killed when dropped.
pub struct Process {
    program: &'static str,
    child: KillOnDrop,
    parts: Parts,
}

impl Process {
    /// Its access log goes to a file, its own log to another. `program` is the caller's
    /// `env!("CARGO_BIN_EXE_latticegate")`, which Cargo sets for the package's own tests only.
    pub fn start(program: &'static str, parts: Parts, environment: &[(&str, &str)]) -> Self {
        let child = Self::spawn(program, &parts, environment);
        Self { program, child, parts }
    }

    fn spawn(program: &str, parts: &Parts, environment: &[(&str, &str)]) -> KillOnDrop {
        let file = |name: &str| {
            let path = parts.files.path().join(name);
            File::options().append(true).create(true).open(path).unwrap()
        };
        KillOnDrop::spawn(command(program, parts, environment).stdout(file("stdout")).stderr(file("stderr")))
    }

    /// What it was started with.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Its own log so far.
    pub fn said(&self) -> String {
        self.parts.read("stderr")
    }

    /// Where it says that it listens, health and admin included.
    pub fn address(&self, name: &str) -> SocketAddr {
        let mut found = None;
        until("it listens", || {
            found = listening(&self.said(), name);
            found.is_some()
        });
        found.unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.child.signal(signal);
    }

    /// Waits for its end; gives its access log.
    pub fn wait(mut self) -> (ExitStatus, Vec<Value>) {
        let status = self.child.exit_status();
        (status, self.parts.log())
    }

    /// Whether it has not exited.
    pub fn is_running(&mut self) -> bool {
        self.child.is_running()
    }

    /// `kill -9`, and the same again at once.
    pub fn kill_and_restart(&mut self, environment: &[(&str, &str)]) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = Self::spawn(self.program, &self.parts, environment);
    }
}

/// `latticegate run` with the files of these parts, and no environment but these variables.
pub fn command(program: &str, parts: &Parts, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    command.args(["run", "--config"]).arg(parts.files.path().join("latticegate.yaml"));
    command.env_clear().envs(environment.iter().copied());
    command
}

/// Where a listener, health or admin listens, by what the process has logged so far.
pub fn listening(log: &str, name: &str) -> Option<SocketAddr> {
    let (_, rest) = match log.lines().find(|line| line.contains(&format!("name={name} "))) {
        Some(line) => line.split_once("address=")?,
        None => log.lines().find(|line| line.contains("started"))?.split_once(&format!("{name}="))?,
    };
    rest.split(' ').next()?.parse().ok()
}

impl Parts {
    /// The content of one of its files.
    pub fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.files.path().join(file)).unwrap()
    }

    /// The access log that a process has written to its standard output.
    pub fn log(&self) -> Vec<Value> {
        self.read("stdout").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
