//! A latticegate whose access list changes while it runs.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use support::lab::{Parts, Setup};
use support::metrics::scrape;
use support::peer::Peer;
use support::process::Process;
use support::until;

pub const ALLOW: &str = "rules:\n- allow: 192.0.2.0/24\n";
pub const DENY: &str = "rules:\n- deny: 192.0.2.1\n- allow: 192.0.2.0/24\n";

pub struct Gate {
    pub process: Process,
}

impl Gate {
    /// With [`ALLOW`] in its file, looked at often.
    pub fn start(environment: &[(&str, &str)]) -> Self {
        let parts = Parts::make(&Setup::default());
        fs::write(parts.files.path().join("ipcontrol.yaml"), ALLOW).unwrap();
        let gate = Self::of(parts, &[&[("LATTICEGATE_POLICY_POLL", "20ms")], environment].concat());
        gate.process.address("health");
        gate
    }

    pub fn of(parts: Parts, environment: &[(&str, &str)]) -> Self {
        Self { process: Process::start(crate::LATTICEGATE, parts, environment) }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.process.parts().files.path().join(name)
    }

    pub fn list(&self) -> PathBuf {
        self.file("ipcontrol.yaml")
    }

    /// Puts another file in its place, so that none of it is seen half done.
    pub fn write(&self, text: impl AsRef<[u8]>) {
        fs::write(self.file("next"), text).unwrap();
        fs::rename(self.file("next"), self.list()).unwrap();
    }

    /// A connection of 192.0.2.1 that is let through.
    pub fn pair(&self) -> (Peer, Peer) {
        self.process.parts().upstream.pair(self.process.address("tls"))
    }

    #[track_caller]
    pub fn admits(&self) {
        self.pair();
    }

    #[track_caller]
    pub fn denies(&self) {
        let mut client = Peer::client(self.process.address("tls"));
        client.hear_all();
        self.process.parts().upstream.assert_untouched();
    }

    /// Lines of its own log that contain this.
    pub fn lines(&self, what: &str) -> Vec<String> {
        self.process.said().lines().filter(|line| line.contains(what)).map(str::to_owned).collect()
    }

    #[track_caller]
    pub fn wait_for(&self, count: usize, what: &str) -> Vec<String> {
        until(&format!("{count} × {what}"), || self.lines(what).len() >= count);
        let lines = self.lines(what);
        assert_eq!(lines.len(), count, "{lines:#?}");
        lines
    }

    #[track_caller]
    pub fn reloaded(&self, times: usize) -> String {
        self.wait_for(times, "access list reloaded").pop().unwrap()
    }

    pub fn metrics(&self) -> HashMap<String, f64> {
        scrape(self.process.address("admin"))
    }

    pub fn failed_reloads(&self) -> f64 {
        self.metrics()["latticegate_policy_reload_total{result=\"failed\"}"]
    }

    pub fn in_step(&self) -> bool {
        self.metrics()["latticegate_policy_in_step"] == 1.0
    }
}

/// Says everything back, until its peer ends.
pub fn echo(mut stream: TcpStream) {
    let mut bytes = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut bytes) {
        if stream.write_all(&bytes[..n]).is_err() {
            return;
        }
    }
}
