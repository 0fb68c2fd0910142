//! The proxies that are compared: where their programs are, how they are started and stopped. Their configurations are
//! `benches/compare/peers/`; each runs alone, in a fresh directory of its own, as the leader of a process group.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::time::{sleep, timeout};

use crate::check;
use crate::client::Target;
use crate::machine;
use crate::quota::{Group, Periods, Quota};

const START_DEADLINE: Duration = Duration::from_secs(20);

#[derive(Clone)]
pub struct Peer {
    pub name: String,
    kind: Kind,
    role: Role,
    program: PathBuf,
    /// Where callgrind, if the program runs under it, writes what each function costs.
    profile: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Direct,
    Nginx,
    Haproxy,
    Envoy,
    Squid,
    Latticegate,
}

/// What the peers are: proxies in front of a service, or explicit ones, which are asked for a host.
#[derive(Clone, Copy, PartialEq)]
pub enum Role {
    Ingress,
    Egress,
}

impl Peer {
    /// `nginx`, `haproxy`, `envoy`, `squid`, `latticegate`, `direct`, or `NAME=PATH` for another build of latticegate.
    pub fn named(name: &str, role: Role, target_dir: &Path) -> Result<Self> {
        let (kind, program) = match name {
            "direct" => (Kind::Direct, PathBuf::new()),
            "nginx" => (Kind::Nginx, "/usr/sbin/nginx".into()),
            "haproxy" => (Kind::Haproxy, "/usr/sbin/haproxy".into()),
            "envoy" => (Kind::Envoy, target_dir.join("bench/envoy/bin/envoy")),
            "squid" => (Kind::Squid, "/usr/sbin/squid".into()),
            "latticegate" => (Kind::Latticegate, target_dir.join("release/latticegate")),
            other => match other.split_once('=') {
                Some((name, path)) => {
                    let program = fs::canonicalize(path).with_context(|| format!("no program at {path}"))?;
                    return Ok(Self { name: name.into(), kind: Kind::Latticegate, role, program, profile: None });
                }
                None => bail!("no peer is called {other}; write NAME=PATH for another build of latticegate"),
            },
        };
        ensure!(kind == Kind::Direct || program.exists(), "{name} is not installed: {} is missing", program.display());
        let explicit = [Kind::Squid, Kind::Latticegate].contains(&kind);
        let fits = if role == Role::Egress { explicit } else { kind != Kind::Squid };
        ensure!(fits, "{name} cannot do this work; explicit proxies are squid and latticegate");
        Ok(Self { name: name.into(), kind, role, program, profile: None })
    }

    pub fn under_callgrind(&self, profile: PathBuf) -> Self {
        Self { profile: Some(profile), ..self.clone() }
    }

    pub fn role(&self) -> Role {
        self.role
    }

    pub fn is_direct(&self) -> bool {
        self.kind == Kind::Direct
    }

    pub fn target(&self) -> Target {
        if self.is_direct() { Target::direct() } else { Target::peer() }
    }

    /// What the program says of its version, cut to the number.
    pub fn version(&self) -> String {
        let flag = match self.kind {
            Kind::Direct => return String::new(),
            Kind::Nginx | Kind::Haproxy | Kind::Squid => "-v",
            Kind::Envoy | Kind::Latticegate => "--version",
        };
        let Ok(output) = Command::new(&self.program).arg(flag).output() else { return "?".into() };
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let number = |word: &&str| word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.');
        let first = text.split(|c: char| c.is_whitespace() || c == '/').find(number).unwrap_or("?");
        first.trim_end_matches(',').to_owned()
    }

    /// Starts the program and waits until it relays.
    pub async fn start(&self, configurations: &Path, scratch: &Path, quota: Option<Quota>) -> Result<Running> {
        if self.is_direct() {
            return Ok(Running { child: None, group: None });
        }
        let group = quota.map(Quota::group).transpose()?;
        let directory = scratch.join(&self.name);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory)?;
        for entry in fs::read_dir(configurations)? {
            let path = entry?.path();
            fs::copy(&path, directory.join(path.file_name().context("a file has a name")?))?;
        }
        let child = self.command(&directory, group.as_ref())?.spawn().context("starting the peer")?;
        let mut running = Running { child: Some(child), group };
        let began = Instant::now();
        loop {
            let relays = check::relays(self.target(), self.role);
            if timeout(Duration::from_secs(1), relays).await.is_ok_and(|answer| answer.is_ok()) {
                return Ok(running);
            }
            let ended = running.child.as_mut().and_then(|child| child.try_wait().ok()).flatten();
            if ended.is_some() || began.elapsed() > START_DEADLINE {
                bail!("{} does not relay; it said:\n{}", self.name, last_words(&directory));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn command(&self, directory: &Path, group: Option<&Group>) -> Result<Command> {
        let mut command = match (group, &self.profile) {
            (Some(group), _) => group.command(&self.program),
            (None, Some(profile)) => callgrind(&self.program, profile),
            (None, None) => Command::new(&self.program),
        };
        // As many workers as the program itself chooses in such a group. The others keep two: `worker_processes auto` of
        // nginx counts the CPUs of the machine, whatever the quota is.
        if group.is_some() && self.kind == Kind::Latticegate {
            command.env("LATTICEGATE_WORKERS", "auto");
        }
        if self.kind == Kind::Latticegate {
            let (variable, value) = ALLOCATOR;
            command.env(variable, value);
        }
        match self.kind {
            Kind::Direct => bail!("direct is no program"),
            Kind::Nginx => command.arg("-p").arg(directory).args(["-c", "nginx.conf", "-e", "error.log"]),
            Kind::Haproxy => command.args(["-db", "-f", "haproxy.cfg"]),
            Kind::Envoy => command.args([
                "-c",
                "envoy.yaml",
                "--concurrency",
                "2",
                "--disable-hot-restart",
                "--log-level",
                "error",
            ]),
            Kind::Squid => {
                // It gives up the rights of root before it opens its log.
                fs::set_permissions(directory, fs::Permissions::from_mode(0o777))?;
                // A name of its own: of its shared memory there may be some already, left by another Squid of this machine.
                command.args(["-n", "latticegatebench", "-N", "-f", "squid.conf"])
            }
            Kind::Latticegate if self.role == Role::Egress => command.args(["run", "--config", "egress.yaml"]),
            Kind::Latticegate => command.args(["run", "--config", "latticegate.yaml"]),
        };
        command
            .current_dir(directory)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(File::create(directory.join("stdout"))?)
            .stderr(File::create(directory.join("stderr"))?);
        Ok(command)
    }
}

/// As the image sets it.
const ALLOCATOR: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=120");

/// Fails if what is measured does not run as the image does.
pub fn check() -> Result<()> {
    let (variable, value) = ALLOCATOR;
    let line = format!("\nENV {variable}={value}\n");
    ensure!(include_str!("../../docker/Dockerfile").contains(&line), "docker/Dockerfile has another {variable}");
    Ok(())
}

/// The command of a program under callgrind; arguments are appended to it.
fn callgrind(program: &Path, profile: &Path) -> Command {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--fair-sched=yes"]);
    command.arg(format!("--callgrind-out-file={}", profile.display())).arg(program);
    // It ends when it is told to, so that callgrind can say what it has counted.
    command.env("LATTICEGATE_DRAIN__DELAY", "0s");
    // Which of several workers has what to do is chance.
    command.env("LATTICEGATE_WORKERS", "1");
    command
}

/// A peer that runs; dropping it kills all its processes.
pub struct Running {
    child: Option<Child>,
    /// Dropped when no process is in it.
    group: Option<Group>,
}

impl Running {
    pub fn pids(&self) -> Vec<u32> {
        self.child.as_ref().map(|child| machine::group(child.id())).unwrap_or_default()
    }

    pub fn workers(&self) -> usize {
        machine::workers(&self.pids())
    }

    pub fn periods(&self) -> Option<Result<Periods>> {
        self.group.as_ref().map(Group::periods)
    }

    /// Ends it by SIGTERM and waits until it has.
    pub fn terminate(mut self) -> Result<()> {
        let Some(child) = &mut self.child else { return Ok(()) };
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("the peer has no pid")?;
        kill_process(pid, Signal::TERM)?;
        let status = child.wait()?;
        ensure!(status.success(), "the peer ended with {status}");
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = child.wait();
        // Workers of nginx are not our children: wait until the kernel has taken their sockets away.
        let deadline = Instant::now() + Duration::from_secs(5);
        while !machine::group(child.id()).is_empty() && Instant::now() < deadline {
            std::thread::yield_now();
        }
    }
}

fn last_words(directory: &Path) -> String {
    let mut words = String::new();
    for file in ["stdout", "stderr", "error.log", "cache.log"] {
        let text = fs::read_to_string(directory.join(file)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        words.push_str(&lines[lines.len().saturating_sub(15)..].join("\n"));
    }
    words
}
