//! Programs that run beside a test: bounded, captured, and killed when dropped.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use support::namespace::Namespace;

/// Far above what anything here takes, even with the machine busy: reached, it is a hang.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A service in the background.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Starts `command`, what it says going to `log`, and waits until every address accepts.
    pub(crate) fn start(
        namespace: &Namespace,
        mut command: Command,
        log: &std::path::Path,
        accepting: &[SocketAddr],
    ) -> Self {
        let out = std::fs::File::create(log).unwrap();
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        let mut running = Self { child: command.spawn().unwrap() };
        for &address in accepting {
            let up = eventually(|| {
                let connected = namespace.enter(|| TcpStream::connect_timeout(&address, Duration::from_secs(1)));
                connected.is_ok() || running.ended().is_some()
            });
            let ended = running.ended();
            assert!(
                up && ended.is_none(),
                "{command:?} does not accept on {address} (ended: {ended:?}): {}",
                std::fs::read_to_string(log).unwrap_or_default()
            );
        }
        running
    }

    /// A program whose output the test reads while it runs.
    pub(crate) fn piped(mut command: Command) -> (Self, ChildStdout) {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        (Self { child }, stdout)
    }

    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a finished program said.
#[derive(Debug)]
pub(crate) struct Output {
    /// `None` if a signal ended it, or if the deadline passed.
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    pub(crate) fn ok(&self) -> bool {
        self.status == Some(0)
    }
}

/// Runs a program to its end, for `limit` at most, with `input` on its standard input.
pub(crate) fn run(mut command: Command, input: &[u8], limit: Duration) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    thread::scope(|scope| {
        // It may end without having read: that is for its status to tell.
        scope.spawn(move || stdin.write_all(input));
        let out = scope.spawn(move || read(&mut stdout));
        let err = scope.spawn(move || read(&mut stderr));
        let start = Instant::now();
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status.code(),
                None if start.elapsed() > limit => {
                    let _ = child.kill();
                    let _ = child.wait();
                    break None;
                }
                None => thread::sleep(Duration::from_millis(5)),
            }
        };
        Output { status, stdout: out.join().unwrap(), stderr: err.join().unwrap() }
    })
}

fn read(from: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = from.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Asks again until it holds or the deadline passes; tells which.
pub(crate) fn eventually(mut holds: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < DEADLINE {
        if holds() {
            return true;
        }
        thread::sleep(Duration::from_millis(20));
    }
    false
}

pub(crate) fn which(tool: &str) -> Option<PathBuf> {
    // sbin is not in everybody's PATH, root's tools are.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(extra).map(|dir| dir.join(tool)).find(|candidate| candidate.is_file())
}
