//! A control group with a CPU quota, as a Fargate task of less than one vCPU runs in: so much CPU time in each period, and no
//! process of it runs when that is used up until the next period. Version 1 or 2, whichever has the machine's `cpu` controller.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

/// The default of the kernel, and of the ECS agent (`ECS_CGROUP_CPU_PERIOD`).
const PERIOD_MILLIS: u32 = 100;
/// Below the root of the hierarchy, whose limits are the machine's.
const NAME: &str = "latticegate-compare";

#[derive(Clone, Copy)]
pub struct Quota {
    /// CPU time in each period.
    pub millis: u32,
}

pub struct Group {
    directory: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// How often the group had something to run, and how often it had used up its quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Periods {
    pub all: u64,
    pub throttled: u64,
}

impl Quota {
    /// Fails with the reason where no such group can be made.
    pub fn group(self) -> Result<Group> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("reading /proc/self/mountinfo")?;
        let mut reasons = Vec::new();
        for (version, root) in mounts.lines().filter_map(hierarchy) {
            match Group::make(version, &root, self.millis) {
                Ok(group) => return Ok(group),
                Err(error) => reasons.push(format!("{error:#}")),
            }
        }
        if reasons.is_empty() {
            reasons.push("no hierarchy with the cpu controller is mounted".into());
        }
        bail!("no control group with a CPU quota can be made here (it takes root): {}", reasons.join("; "))
    }

    pub fn description(self) -> String {
        format!("{} ms of CPU in every {PERIOD_MILLIS} ms for each peer, in a control group of its own", self.millis)
    }
}

/// If a line of /proc/self/mountinfo (proc(5)) is a hierarchy that may limit CPU time: where it is mounted.
fn hierarchy(line: &str) -> Option<(Version, PathBuf)> {
    let (mount, system) = line.split_once(" - ")?;
    let at = mount.split(' ').nth(4)?.into();
    let mut system = system.split(' ');
    match (system.next()?, system.nth(1)?) {
        ("cgroup", options) if options.split(',').any(|option| option == "cpu") => Some((Version::One, at)),
        ("cgroup2", _) => Some((Version::Two, at)),
        _ => None,
    }
}

impl Group {
    fn make(version: Version, root: &Path, millis: u32) -> Result<Self> {
        let directory = root.join(NAME);
        // One that an interrupted run has left is empty.
        let _ = fs::remove_dir(&directory);
        fs::create_dir(&directory).with_context(|| format!("making {}", directory.display()))?;
        let group = Self { directory };
        let (quota, period) = (millis * 1000, PERIOD_MILLIS * 1000);
        match version {
            Version::One => {
                group.write("cpu.cfs_period_us", &period.to_string())?;
                group.write("cpu.cfs_quota_us", &quota.to_string())?;
            }
            Version::Two => {
                if !group.directory.join("cpu.max").exists() {
                    let control = root.join("cgroup.subtree_control");
                    fs::write(&control, "+cpu").with_context(|| format!("writing +cpu to {}", control.display()))?;
                }
                group.write("cpu.max", &format!("{quota} {period}"))?;
            }
        }
        Ok(group)
    }

    fn write(&self, file: &str, value: &str) -> Result<()> {
        let path = self.directory.join(file);
        fs::write(&path, value).with_context(|| format!("writing {value} to {}", path.display()))
    }

    /// The command of a program that starts in this group; arguments are appended to it.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        // 0 is the process that writes, in any pid namespace.
        command.args(["-c", "echo 0 >\"$0\" && exec \"$@\""]).arg(self.directory.join("cgroup.procs")).arg(program);
        command
    }

    pub fn periods(&self) -> Result<Periods> {
        let path = self.directory.join("cpu.stat");
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Periods::parse(&text).with_context(|| format!("{} has no nr_periods and nr_throttled", path.display()))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        match fs::remove_dir(&self.directory) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                eprintln!("{} stays: {error}", self.directory.display());
            }
            _ => {}
        }
    }
}

impl Periods {
    fn parse(stat: &str) -> Option<Self> {
        let count = |name: &str| stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        Some(Self { all: count("nr_periods ")?, throttled: count("nr_throttled ")? })
    }

    /// Known answers, as in `statistics`.
    pub fn check() -> Result<()> {
        let (one, two) =
            ("nr_periods 40\nnr_throttled 3\nthrottled_time 9\n", "usage_usec 5\nnr_periods 40\nnr_throttled 3\n");
        let known = Some(Self { all: 40, throttled: 3 });
        ensure!(
            Self::parse(one) == known && Self::parse(two) == known && Self::parse("usage_usec 5\n").is_none(),
            "cpu.stat"
        );
        let mounts = [
            (
                "35 31 0:32 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct",
                Some((Version::One, "/sys/fs/cgroup/cpu".into())),
            ),
            ("35 31 0:32 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset", None),
            (
                "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw",
                Some((Version::Two, "/sys/fs/cgroup".into())),
            ),
            ("22 1 8:1 / / rw - ext4 /dev/root rw", None),
        ];
        for (line, answer) in mounts {
            ensure!(hierarchy(line) == answer, "{line}");
        }
        Ok(())
    }

    pub fn since(self, start: Self) -> Self {
        Self { all: self.all - start.all, throttled: self.throttled - start.throttled }
    }
}
