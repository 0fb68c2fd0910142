//! Programs that run beside a test: bounded, captured, and killed when dropped.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use support::child::KillOnDrop;
use support::namespace::Namespace;
use support::within;

/// Far above what anything here takes, even with the machine busy: reached, it is a hang.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A service in the background.
pub(crate) struct Running {
    child: KillOnDrop,
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
        let mut running = Self { child: KillOnDrop::spawn(&mut command) };
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
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = KillOnDrop::spawn(command);
        let stdout = child.stdout.take().unwrap();
        (Self { child }, stdout)
    }

    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
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
    let mut child = KillOnDrop::spawn(&mut command);
    let mut stdin = child.stdin.take().unwrap();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    thread::scope(|scope| {
        // It may end without having read: that is for its status to tell.
        scope.spawn(move || stdin.write_all(input));
        let out = scope.spawn(move || read(&mut stdout));
        let err = scope.spawn(move || read(&mut stderr));
        let ended = within(limit, || !child.is_running());
        if !ended {
            let _ = child.kill();
        }
        let status = child.wait().unwrap().code().filter(|_| ended);
        Output { status, stdout: out.join().unwrap(), stderr: err.join().unwrap() }
    })
}

fn read(from: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = from.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether it becomes true before the deadline.
pub(crate) fn eventually(condition: impl FnMut() -> bool) -> bool {
    within(DEADLINE, condition)
}

pub(crate) fn which(tool: &str) -> Option<PathBuf> {
    // sbin is not in everybody's PATH, root's tools are.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(extra).map(|dir| dir.join(tool)).find(|candidate| candidate.is_file())
}
