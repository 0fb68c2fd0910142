//! One network namespace: made, entered, and gone with everything in it when dropped.
//!
//! Names carry the process id of the run, so that parallel runs never meet, and so that what a killed run left
//! behind can be reported from what is in use.

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, setns};
use tempfile::TempDir;

const PREFIX: &str = "lglab-";

/// One network namespace, removed when dropped.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// With a loopback interface that is up; `role` stands in its name.
    pub fn add(role: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{PREFIX}{}-{}-{role}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name]).unwrap_or_else(|error| panic!("ip netns add {name}: {error}"));
        let namespace = Self { name };
        namespace.configure("link set lo up");
        namespace
    }

    /// As `ip netns` lists it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs lines of `ip` in here.
    pub fn configure(&self, lines: &str) {
        let mut child = Command::new("ip")
            .args(["-n", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}: {lines}\n{}", self.name, String::from_utf8_lossy(&output.stderr));
    }

    /// A file that programs in here see below /etc.
    pub fn etc(&self, file: &str, text: &str) {
        let dir = etc_dir(&self.name);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(file), text).unwrap();
    }

    /// A command that runs in here and dies with the thread that started it.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "setpriv", "--pdeathsig", "KILL", "--"]).arg(program.as_ref());
        command
    }

    /// Runs `work` on a thread that is in here. Sockets made by it stay in here wherever they are taken.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = fs::File::open(Path::new("/run/netns").join(&self.name)).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Whether namespaces can be made here at all.
pub fn permitted() -> Result<(), String> {
    let name = format!("{PREFIX}{}-probe-{:?}", std::process::id(), std::thread::current().id());
    let name = name.replace(['(', ')'], "");
    let added = ip(&["netns", "add", &name]);
    remove(&name);
    added.map_err(|error| format!("network namespaces cannot be made here ({error}): run as root"))
}

/// A folder for the files of a run.
pub fn folder() -> TempDir {
    tempfile::Builder::new().prefix(&format!("{PREFIX}{}-", std::process::id())).tempdir().unwrap()
}

/// Removes what killed runs left behind: namespaces and folders of ours whose process is gone.
pub fn sweep() {
    for dir in ["/run/netns", "/etc/netns"] {
        for name in abandoned(Path::new(dir)) {
            remove(&name);
        }
    }
    let folders = std::env::temp_dir();
    for name in abandoned(&folders) {
        let _ = fs::remove_dir_all(folders.join(name));
    }
}

fn abandoned(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .filter(|name| {
            let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
            owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
        })
        .collect()
}

fn remove(name: &str) {
    // Whatever still runs in there was started by us; the namespace would outlive its name otherwise.
    let pids = Command::new("ip").args(["netns", "pids", name]).stderr(Stdio::null()).output();
    for pid in pids.iter().flat_map(|output| std::str::from_utf8(&output.stdout)).flat_map(str::lines) {
        if let Ok(pid) = pid.parse() {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
    let _ = ip(&["netns", "del", name]);
    let _ = fs::remove_dir_all(etc_dir(name));
}

fn etc_dir(name: &str) -> PathBuf {
    Path::new("/etc/netns").join(name)
}

fn ip(args: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(args).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; "))
}
