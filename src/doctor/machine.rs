//! Open files, memory and kernel settings, against the limits of the configuration.

use std::num::ParseIntError;

use super::Finding;
use crate::sys::socket::BACKLOG;
use latticegate_core::config::{Config, Limits, Machine};

/// Open files with all connections open, against what the process may have.
pub(super) fn files(limits: &Limits, machine: &Machine) -> Finding {
    const CHECK: &str = "files";
    let (needed, most, connections) = (limits.open_files(), machine.open_files, limits.connections);
    let text = format!("{connections} connections need {needed} open files; this process may have {most}");
    if needed > most {
        let help = "raise the limit (ulimits of the task definition, nofile; ulimit -Hn), or lower limits.connections";
        return Finding::fail(CHECK, "", text, help);
    }
    Finding::pass(CHECK, "", text)
}

/// Memory with all connections open, against that of the control group or machine.
pub(super) fn memory(limits: &Limits, machine: &Machine) -> Finding {
    const CHECK: &str = "memory";
    let (needed, most) = (limits.memory(), machine.memory);
    let [needed_mib, most_mib] = [needed, most].map(|bytes| bytes >> 20);
    let text = format!(
        "{} connections and limits.half_open_bytes may take {needed_mib} MiB; this process may use {most_mib} MiB (control group, or machine)",
        limits.connections
    );
    if needed > most {
        let help = "give the task more memory, or lower limits.connections or limits.half_open_bytes";
        return Finding::fail(CHECK, "", text, help);
    }
    Finding::pass(CHECK, "", text)
}

/// What the kernel starts with: enough local ports for the limits of a small task.
const USUAL_PORTS: u64 = 28_232;
/// Where to set them.
const WHERE: &str = "in `systemControls` of the task definition, or by sysctl(8)";

/// What a setting's value means for a configuration.
type Judge = fn(&str, &Config) -> Result<Finding, ParseIntError>;

/// `read` gives a file below /proc/sys.
pub(super) fn sysctls(config: &Config, read: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    let read = |name: &str| read(&name.replace('.', "/")).map(|text| text.trim().to_owned());
    let judges: [(&str, Judge); 3] =
        [(PORT_RANGE, local_ports), (TW_REUSE, |value, _| time_wait(value)), (SOMAXCONN, |value, _| backlog(value))];
    let found = judges.iter().map(|(name, judge)| {
        let judged = read(name).and_then(|value| judge(&value, config).ok());
        judged.unwrap_or_else(|| {
            let help = format!("look at it on the host: `sysctl {name}`");
            Finding::warn(CHECK, *name, "cannot be read here", help)
        })
    });
    found.collect()
}

const CHECK: &str = "sysctl";
const PORT_RANGE: &str = "net.ipv4.ip_local_port_range";
const TW_REUSE: &str = "net.ipv4.tcp_tw_reuse";
const SOMAXCONN: &str = "net.core.somaxconn";

/// Towards one address and port of a service, each connection takes one.
fn local_ports(value: &str, config: &Config) -> Result<Finding, ParseIntError> {
    let mut ends = value.split_whitespace().map(str::parse::<u64>);
    let (first, last) = (ends.next().unwrap_or(Ok(0))?, ends.next().unwrap_or(Ok(0))?);
    let ports = (last + 1).saturating_sub(first);
    let connections = config.limits.connections;
    let needed = u64::try_from(connections).unwrap_or(u64::MAX);
    let text = format!(
        "{first} {last}: {ports} connections at a time to one address of a service; limits.connections is {connections}"
    );
    let help = format!("set {PORT_RANGE} to \"10240 65535\" {WHERE}, or run more tasks");
    Ok(match ports {
        0..1024 => Finding::fail(CHECK, PORT_RANGE, text, help),
        ports if ports < needed.min(USUAL_PORTS) => Finding::warn(CHECK, PORT_RANGE, text, help),
        _ => Finding::pass(CHECK, PORT_RANGE, text),
    })
}

fn time_wait(value: &str) -> Result<Finding, ParseIntError> {
    let number: u8 = value.parse()?;
    if number == 1 {
        return Ok(Finding::pass(CHECK, TW_REUSE, "1: a local port is used again after one second"));
    }
    let text = format!("{number}: a local port that was used stays in TIME_WAIT for 60 s if this side closed first");
    Ok(Finding::warn(CHECK, TW_REUSE, text, format!("set it to 1 {WHERE}")))
}

fn backlog(value: &str) -> Result<Finding, ParseIntError> {
    let number: i32 = value.parse()?;
    if number >= BACKLOG {
        return Ok(Finding::pass(CHECK, SOMAXCONN, format!("{number} connections may wait to be accepted")));
    }
    let text = format!("{number}: of a burst of connections only so many wait to be accepted, the rest is dropped");
    Ok(Finding::warn(CHECK, SOMAXCONN, text, format!("set it to {BACKLOG} {WHERE}")))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::doctor::Grade;

    fn config(connections: usize, memory: u64, open_files: u64) -> (Config, Machine) {
        let machine = Machine { open_files, cpus: NonZeroUsize::MIN, memory };
        let env = [
            ("LATTICEGATE_PROXY_PROTOCOL__TRUSTED".to_owned(), "10.0.0.0/16".to_owned()),
            ("LATTICEGATE_LIMITS__CONNECTIONS".to_owned(), connections.to_string()),
        ];
        (Config::parse(None, env.into_iter(), &machine).unwrap().0, machine)
    }

    #[test]
    fn limits_that_the_machine_cannot_hold_fail() {
        let (config, machine) = config(10_000, 64 << 20, 19_999);
        for finding in [files(&config.limits, &machine), memory(&config.limits, &machine)] {
            assert!(finding.grade == Grade::Fail && !finding.help.is_empty(), "{finding}");
        }
        let roomy = Machine { open_files: 20_000, memory: 1 << 30, ..machine };
        for finding in [files(&config.limits, &roomy), memory(&config.limits, &roomy)] {
            assert!(finding.grade == Grade::Pass, "{finding}");
        }
    }

    #[test]
    fn kernel_settings_are_judged_by_what_they_mean_for_the_limits() {
        let (small, _) = config(1000, 1 << 30, 1 << 20);
        let (large, _) = config(20_000, 1 << 30, 1 << 20);
        let grades = |config: &Config, ports: &str, reuse: &str, backlog: &str| {
            let read = |name: &str| match name {
                "net/ipv4/ip_local_port_range" => Some(format!("{ports}\n")),
                "net/ipv4/tcp_tw_reuse" => Some(format!("{reuse}\n")),
                "net/core/somaxconn" => Some(format!("{backlog}\n")),
                _ => None,
            };
            sysctls(config, read).iter().map(|finding| finding.grade).collect::<Vec<_>>()
        };
        use Grade::{Fail, Pass, Warn};
        assert_eq!(grades(&large, "10240\t65535", "1", "4096"), [Pass, Pass, Pass]);
        assert_eq!(grades(&large, "32768\t60999", "2", "128"), [Pass, Warn, Warn]);
        assert_eq!(grades(&large, "50000\t60999", "0", "4095"), [Warn, Warn, Warn]);
        assert_eq!(grades(&small, "50000\t60999", "1", "65535"), [Pass, Pass, Pass]);
        assert_eq!(grades(&small, "60000\t60049", "1", "4096"), [Fail, Pass, Pass]);
        assert_eq!(grades(&small, "many", "", "-"), [Warn, Warn, Warn]);
        assert!(sysctls(&small, |_| None).iter().all(|finding| finding.grade == Warn && !finding.help.is_empty()));
    }
}
