//! Prometheus itself, with the alerts of `conf/` in a hurry.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use serde_json::Value;
use support::child::KillOnDrop;
use support::http::get;
use support::peer::Peer;
use support::within;
use tempfile::TempDir;

use crate::{result, shipped};

pub struct Prometheus {
    address: SocketAddr,
    _process: KillOnDrop,
    files: TempDir,
}

impl Prometheus {
    /// Scrapes this one.
    pub fn start(target: SocketAddr) -> Self {
        let files = tempfile::tempdir().unwrap();
        let config = format!(
            "global: {{ scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms }}\n\
             rule_files: [alerts.yml]\n\
             scrape_configs: [{{ job_name: latticegate, static_configs: [{{ targets: ['{target}'] }}] }}]\n"
        );
        std::fs::write(files.path().join("prometheus.yml"), config).unwrap();
        std::fs::write(files.path().join("alerts.yml"), hurried(&shipped::alerts_file())).unwrap();
        // Taken by nobody else in the moment until it is listened on, as far as anyone can know.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let log = File::create(files.path().join("log")).unwrap();
        let process = KillOnDrop::spawn(
            Command::new("prometheus")
                .arg(format!("--config.file={}", files.path().join("prometheus.yml").display()))
                .arg(format!("--storage.tsdb.path={}", files.path().join("data").display()))
                .arg(format!("--web.listen-address={address}"))
                .stdout(log.try_clone().unwrap())
                .stderr(log),
        );
        let prometheus = Self { address, _process: process, files };
        let is_ready = || std::net::TcpStream::connect(address).is_ok() && get(address, "/-/ready").0 == 200;
        assert!(within(support::PATIENCE, is_ready), "{}", prometheus.log());
        prometheus
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.files.path().join("log")).unwrap()
    }

    /// The samples of an instant query.
    pub fn query(&self, query: &str) -> Vec<Value> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self.ask(&format!("/api/v1/query?query={encoded}"));
        result(&answer).to_vec()
    }

    /// The alerts that fire now, with their annotations.
    pub fn firing(&self) -> BTreeMap<String, Value> {
        let answer = self.ask("/api/v1/alerts");
        let alerts = answer["data"]["alerts"].as_array().unwrap().iter();
        let firing = alerts.filter(|alert| alert["state"] == "firing");
        firing.map(|alert| (support::lab::word(&alert["labels"], "alertname"), alert["annotations"].clone())).collect()
    }

    fn ask(&self, path: &str) -> Value {
        let mut peer = Peer::connect(self.address);
        // To HTTP/1.0 it sends no chunks.
        peer.say(format!("GET {path} HTTP/1.0\r\nHost: prometheus\r\n\r\n"));
        let response = String::from_utf8(peer.hear_all().0).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.0 200 "), "{response}");
        serde_json::from_str(body).unwrap()
    }
}

/// The same rules with windows and patience of seconds.
fn hurried(rules: &str) -> String {
    let mut hurried = String::new();
    for line in rules.lines() {
        let line = if line.trim_start().starts_with("for: ") { "        for: 0s" } else { line };
        let line = ["[2m]", "[3m]", "[5m]", "[10m]", "[15m]", "[30m]"]
            .iter()
            .fold(line.to_owned(), |line, window| line.replace(window, "[8s]"));
        hurried.push_str(&line);
        hurried.push('\n');
    }
    hurried
}
