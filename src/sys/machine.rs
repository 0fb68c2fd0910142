//! What this machine, or the task's share of it, has: the defaults of `workers` and `limits` follow it.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use crate::sys::socket;
use latticegate_core::config::Machine;

/// What this process may use.
pub fn of_process() -> Machine {
    Machine {
        open_files: socket::fd_limit(),
        cpus: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        memory: memory(|file| std::fs::read_to_string(file).ok()).unwrap_or(UNKNOWN),
    }
}

/// Where not even /proc/meminfo can be read: what the smallest of machines has.
const UNKNOWN: u64 = 512 << 20;

/// The least of what the machine has and what the control groups of this process are limited to, whichever version of
/// them there is. A task's limit may stand on its own group or on one above it.
fn memory(read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let proc = |file: &str| read(&Path::new("/proc").join(file)).unwrap_or_default();
    let total = proc("meminfo").lines().find_map(|line| {
        let kib: u64 = line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok()?;
        kib.checked_mul(1024)
    });
    let (groups, mounts) = (proc("self/cgroup"), proc("self/mountinfo"));
    let limits = groups.lines().filter_map(ControlGroup::parse).flat_map(|group| {
        let mount = mounts.lines().find_map(|line| group.mounted(line));
        mount.map(|(root, at)| group.limits(&root, &at, &read)).unwrap_or_default()
    });
    limits.chain(total).min()
}

/// A control group that can limit memory.
struct ControlGroup<'a> {
    version: Version,
    path: &'a str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl<'a> ControlGroup<'a> {
    /// A line of /proc/self/cgroup: hierarchy, controllers, path (cgroups(7)).
    fn parse(line: &'a str) -> Option<Self> {
        let (hierarchy, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let version = match (hierarchy, controllers) {
            ("0", "") => Version::Two,
            (_, controllers) if controllers.split(',').any(|name| name == "memory") => Version::One,
            _ => return None,
        };
        Some(Self { version, path })
    }

    /// If a line of /proc/self/mountinfo is this hierarchy's: which group is mounted, and where. A container often sees
    /// only its own.
    fn mounted(&self, line: &str) -> Option<(PathBuf, PathBuf)> {
        let (mount, system) = line.split_once(" - ")?;
        let mut system = system.split(' ');
        let (kind, options) = (system.next()?, system.nth(1)?);
        let is_ours = match self.version {
            Version::One => kind == "cgroup" && options.split(',').any(|option| option == "memory"),
            Version::Two => kind == "cgroup2",
        };
        let mut fields = mount.split(' ').skip(3);
        Some((fields.next()?.into(), fields.next()?.into())).filter(|_| is_ours)
    }

    /// The limits of this group and of those above it, as far as they can be seen.
    fn limits(&self, root: &Path, at: &Path, read: impl Fn(&Path) -> Option<String>) -> Vec<u64> {
        let below = Path::new(self.path).strip_prefix(root).unwrap_or(Path::new(""));
        let (own, file) = match self.version {
            Version::One => (at.join(below), "memory.limit_in_bytes"),
            Version::Two => (at.join(below), "memory.max"),
        };
        let groups = own.ancestors().take_while(|group| group.starts_with(at));
        let mut limits: Vec<u64> = groups.filter_map(|group| read(&group.join(file))?.trim().parse().ok()).collect();
        // Version 1 says here what the groups above it allow, also those that a container cannot see.
        for group in [own.as_path(), at].iter().filter(|_| self.version == Version::One) {
            let stat = read(&group.join("memory.stat")).unwrap_or_default();
            let least: Option<u64> =
                stat.lines().find_map(|line| line.strip_prefix("hierarchical_memory_limit ")?.parse().ok());
            limits.extend(least);
        }
        limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const MEMINFO: (&str, &str) = ("/proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 1 kB\n");
    const V2: (&str, &str) = ("/proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");

    fn of(files: &[(&str, &str)]) -> Option<u64> {
        memory(|file| files.iter().find(|(name, _)| Path::new(name) == file).map(|(_, text)| (*text).to_owned()))
    }

    #[test]
    fn without_a_limit_it_is_the_machines() {
        let group = ("/proc/self/cgroup", "0::/\n");
        assert_eq!(of(&[MEMINFO]), Some(8 * GIB));
        assert_eq!(of(&[MEMINFO, V2, group]), Some(8 * GIB));
        assert_eq!(of(&[MEMINFO, V2, group, ("/sys/fs/cgroup/memory.max", "max\n")]), Some(8 * GIB));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn a_limit_of_version_2_may_stand_on_any_group_above() {
        let group = ("/proc/self/cgroup", "0::/ecs/task/container\n");
        let own = ("/sys/fs/cgroup/ecs/task/container/memory.max", "max\n");
        let task = ("/sys/fs/cgroup/ecs/task/memory.max", "1073741824\n");
        assert_eq!(of(&[MEMINFO, V2, group, own, task]), Some(GIB));
        assert_eq!(
            of(&[MEMINFO, V2, group, ("/sys/fs/cgroup/ecs/task/container/memory.max", "536870912\n"), task]),
            Some(GIB / 2)
        );
        // A group of its own name space.
        let group = ("/proc/self/cgroup", "0::/\n");
        assert_eq!(of(&[MEMINFO, V2, group, ("/sys/fs/cgroup/memory.max", "1073741824\n")]), Some(GIB));
    }

    #[test]
    fn version_1_tells_the_limits_that_a_container_cannot_see() {
        let mounts = (
            "/proc/self/mountinfo",
            "40 30 0:35 /ecs/task/c /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n\
             41 30 0:36 /ecs/task/c /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
        );
        let group = ("/proc/self/cgroup", "5:cpu,cpuacct:/ecs/task/c\n4:memory:/ecs/task/c\n");
        let own = ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        let stat = ("/sys/fs/cgroup/memory/memory.stat", "cache 0\nhierarchical_memory_limit 1073741824\n");
        assert_eq!(of(&[MEMINFO, mounts, group, own]), Some(8 * GIB));
        assert_eq!(of(&[MEMINFO, mounts, group, own, stat]), Some(GIB));
        let own = ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n");
        assert_eq!(of(&[MEMINFO, mounts, group, own, stat]), Some(GIB / 2));
    }

    #[test]
    fn both_versions_may_be_mounted() {
        let mounts = (
            "/proc/self/mountinfo",
            "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        );
        let group = ("/proc/self/cgroup", "4:memory:/gate\n0::/\n");
        let limit = ("/sys/fs/cgroup/memory/gate/memory.limit_in_bytes", "1073741824\n");
        assert_eq!(of(&[MEMINFO, mounts, group, limit]), Some(GIB));
    }

    #[test]
    fn nonsense_is_no_limit() {
        let group = ("/proc/self/cgroup", "nonsense\n0::/../..\n:::\n");
        let mounts = ("/proc/self/mountinfo", "\n - \nx - cgroup2\n30 23 0:26 / /sys/fs/cgroup rw - cgroup2 c rw\n");
        assert_eq!(of(&[MEMINFO, mounts, group, ("/sys/fs/cgroup/memory.max", "a lot")]), Some(8 * GIB));
    }

    #[test]
    fn this_machine_has_some() {
        let machine = of_process();
        assert!(machine.memory > 16 << 20 && machine.open_files > 16, "{machine:?}");
    }
}
