//! The program under test, running in the task's namespace, and what it writes.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

use serde_json::Value;
use support::child::KillOnDrop;

use crate::file;
use crate::network::Network;
use crate::process::{DEADLINE, eventually};

/// What the proxy is started with.
pub(crate) struct Config {
    /// Edits of the shipped file: text to find, text to put there.
    edits: Vec<(&'static str, String)>,
    rules: Option<&'static str>,
}

impl Config {
    /// `conf/latticegate.yaml` as it is, where it is.
    pub(crate) fn shipped() -> Self {
        Self { edits: Vec::new(), rules: None }
    }

    /// With another access list.
    pub(crate) fn rules(mut self, rules: &'static str) -> Self {
        self.rules = Some(rules);
        self
    }

    /// With a piece of the shipped text replaced; it must be there.
    pub(crate) fn edit(mut self, find: &'static str, replace: impl Into<String>) -> Self {
        self.edits.push((find, replace.into()));
        self
    }

    fn write(&self, dir: &Path) -> PathBuf {
        let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
        if self.edits.is_empty() && self.rules.is_none() {
            return conf.join("latticegate.yaml");
        }
        let mut text = fs::read_to_string(conf.join("latticegate.yaml")).unwrap();
        for (find, replace) in &self.edits {
            assert!(text.contains(find), "conf/latticegate.yaml has no {find:?} to edit");
            text = text.replace(find, replace);
        }
        let rules = fs::read_to_string(conf.join("ipcontrol.yaml")).unwrap();
        fs::write(dir.join("ipcontrol.yaml"), self.rules.unwrap_or(&rules)).unwrap();
        fs::write(dir.join("latticegate.yaml"), text).unwrap();
        dir.join("latticegate.yaml")
    }
}

/// Which program is under test.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Latticegate,
    /// nginx as the guidance that we replace configures it: no records, no readiness.
    Incumbent,
}

impl Kind {
    pub(crate) fn chosen() -> Self {
        match std::env::var("LAB_PROXY").as_deref() {
            Err(_) | Ok("latticegate") => Self::Latticegate,
            Ok("incumbent") => Self::Incumbent,
            Ok(other) => panic!("LAB_PROXY is latticegate or incumbent, not {other}"),
        }
    }
}

pub(crate) struct Proxy {
    child: KillOnDrop,
    said: Arc<Said>,
}

/// What was read from the child so far.
#[derive(Default)]
struct Said {
    /// Access-log records that no test has taken yet.
    records: Mutex<VecDeque<Value>>,
    arrived: Condvar,
    stderr: Mutex<String>,
}

impl Proxy {
    pub(crate) fn start(network: &Network, dir: &Path, config: &Config) -> Self {
        let mut command = match Kind::chosen() {
            Kind::Latticegate => {
                let mut command = network.task.command(env!("CARGO_BIN_EXE_latticegate"));
                command.args(["run", "--config"]).arg(config.write(dir));
                command
            }
            Kind::Incumbent => {
                let mut command = network.task.command("nginx");
                command.arg("-p").arg(dir).arg("-c").arg(file("incumbent.conf")).args(["-e", "stderr"]);
                command
            }
        };
        // Only what the test says configures it.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LATTICEGATE_")) {
            command.env_remove(name);
        }
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = KillOnDrop::spawn(command);
        let said = Arc::new(Said::default());
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let reader = Arc::clone(&said);
        thread::spawn(move || reader.records_from(stdout));
        let reader = Arc::clone(&said);
        thread::spawn(move || reader.stderr_from(stderr));

        let mut proxy = Self { child, said };
        let ready = eventually(|| proxy.ended() || network.task.enter(ready));
        assert!(ready && !proxy.ended(), "the proxy did not get ready; it said:\n{}", proxy.stderr());
        proxy
    }

    /// The next record that no test has taken, waited for.
    pub(crate) fn record(&self) -> Value {
        self.next_record().unwrap_or_else(|| panic!("no record came; the proxy said:\n{}", self.stderr()))
    }

    /// The same, `None` if the deadline passed.
    pub(crate) fn next_record(&self) -> Option<Value> {
        let records = self.said.records.lock().unwrap();
        let wait = self.said.arrived.wait_timeout_while(records, DEADLINE, |records| records.is_empty());
        wait.unwrap().0.pop_front()
    }

    /// Every record that is there now and that no test has taken.
    pub(crate) fn records(&self) -> Vec<Value> {
        self.said.records.lock().unwrap().drain(..).collect()
    }

    pub(crate) fn stderr(&self) -> String {
        self.said.stderr.lock().unwrap().clone()
    }

    /// What `/metrics` tells; nothing from the incumbent.
    pub(crate) fn metrics(&self, network: &Network) -> String {
        network.task.enter(|| local(9900).map_or(String::new(), |admin| get(admin, "/metrics")))
    }

    fn ended(&mut self) -> bool {
        !self.child.is_running()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if thread::panicking() {
            // What it says in the end is wanted too.
            let _ = self.child.kill();
            let _ = self.child.wait();
            eprintln!("the proxy said:\n{}", self.stderr());
            eprintln!("records not taken: {:#?}", self.records());
        }
    }
}

impl Said {
    fn records_from(&self, stdout: impl Read) {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let record = serde_json::from_str(&line).unwrap_or(Value::String(line));
            self.records.lock().unwrap().push_back(record);
            self.arrived.notify_all();
        }
    }

    fn stderr_from(&self, stderr: impl Read) {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let mut text = self.stderr.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
        }
    }
}

/// Asked from inside the task's namespace.
fn ready() -> bool {
    match Kind::chosen() {
        Kind::Latticegate => local(9901).is_ok_and(|health| get(health, "/readyz").starts_with("HTTP/1.1 200")),
        Kind::Incumbent => local(8443).is_ok() && local(8080).is_ok(),
    }
}

fn local(port: u16) -> std::io::Result<TcpStream> {
    TcpStream::connect_timeout(&SocketAddr::new([127, 0, 0, 1].into(), port), DEADLINE)
}

/// A bare GET, bounded: whatever was answered, or nothing.
pub(crate) fn get(mut stream: TcpStream, path: &str) -> String {
    let start = Instant::now();
    let _ = stream.set_read_timeout(Some(DEADLINE));
    let _ = write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while start.elapsed() < DEADLINE {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(n) => answer.extend_from_slice(&piece[..n]),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}
