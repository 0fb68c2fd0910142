//! Whether the ports of the configuration are free, or held by a latticegate with this configuration.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use super::{Finding, PROCESS_PATIENCE};
use crate::sys::listening::is_held_by;
use crate::sys::socket::may_listen;
use crate::web::health_socket::RunningProcess;
use latticegate_core::config::Config;

const CHECK: &str = "port";

/// The ports of the configuration, given the processes that run with it.
pub(super) fn all(config: &Config, running: &[RunningProcess]) -> Vec<Finding> {
    let listeners = config.listeners.iter().map(|listener| (listener.name.as_str(), listener.bind));
    let ports = listeners.chain([("health", config.health), ("admin", config.admin)]);
    let findings = ports.map(|(name, address)| {
        let holds = |process: &RunningProcess| is_held_by(address.port(), process.pid, process.uid);
        let ours = match running {
            [] => Ours::NotRunning,
            _ if running.iter().any(holds) => Ours::Holds,
            _ => Ours::HoldsNot,
        };
        judge(name, address, &may_listen(address), ours)
    });
    findings.collect()
}

/// What a process with this configuration has to do with a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ours {
    NotRunning,
    Holds,
    HoldsNot,
}

/// What each running process with this configuration says about itself.
pub(super) fn processes(running: Vec<RunningProcess>) -> Vec<Finding> {
    const CHECK: &str = "process";
    if running.is_empty() {
        return vec![Finding::pass(CHECK, "", "no latticegate with this configuration runs here")];
    }
    let finding = |process: RunningProcess| match process.readiness() {
        Ok(text) if text == "ready\n" => Finding::pass(CHECK, "", "runs and is ready"),
        Ok(text) => {
            let help = "it says what is wrong, or what it waits for; its log says more";
            Finding::warn(CHECK, "", format!("runs: {}", text.trim_end().replace('\n', "; ")), help)
        }
        Err(_) => {
            let text = format!("runs, but does not answer within {} s", PROCESS_PATIENCE.as_secs());
            Finding::fail(CHECK, "", text, "it is stopped or starved: look at its CPU, and restart the task")
        }
    };
    running.into_iter().map(finding).collect()
}

/// What an attempt to bind the port means.
fn judge(name: &str, address: SocketAddr, bound: &io::Result<()>, ours: Ours) -> Finding {
    let restart = "the running process has another configuration in force: restart it if the file has changed";
    let (text, help) = match (bound, ours) {
        (Ok(()), _) if address.port() == 0 => return Finding::pass(CHECK, name, format!("{address} is any free port")),
        (Ok(()), Ours::NotRunning) => return Finding::pass(CHECK, name, format!("{address} is free")),
        (Ok(()), _) => {
            let text = format!("{address} is free, though a latticegate with this configuration runs");
            return Finding::warn(CHECK, name, text, restart);
        }
        (Err(_), Ours::Holds) => return Finding::pass(CHECK, name, format!("{address} is held by latticegate")),
        (Err(error), Ours::NotRunning) if error.kind() == ErrorKind::AddrInUse => (
            "is in use, and no latticegate with this configuration can be seen here".to_owned(),
            "`ss -ltnp` shows by whom: end that process, or choose another port",
        ),
        (Err(error), Ours::HoldsNot) if error.kind() == ErrorKind::AddrInUse => (
            "is in use, and not by the latticegate that runs with this configuration".to_owned(),
            "`ss -ltnp` shows by whom: end that process, or choose another port; the file has changed since the start",
        ),
        (Err(error), _) => match error.kind() {
            ErrorKind::PermissionDenied => (
                "may not be bound by this user".to_owned(),
                "choose a port from 1024 on and let the load balancer map it, or set net.ipv4.ip_unprivileged_port_start",
            ),
            ErrorKind::AddrNotAvailable => {
                ("is not an address of this machine".to_owned(), "write \"[::]:PORT\" for every address")
            }
            _ => (format!("cannot be bound: {error}"), "choose another address or port"),
        },
    };
    Finding::fail(CHECK, name, format!("{address} {text}"), help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Grade;
    use crate::sys::socket;

    fn grade(address: &str, bound: &io::Result<()>, ours: Ours) -> (Grade, String) {
        let finding = judge("tls", address.parse().unwrap(), bound, ours);
        assert_eq!(finding.help.is_empty(), finding.grade == Grade::Pass, "{finding}");
        (finding.grade, finding.text)
    }

    #[test]
    fn a_port_is_free_or_ours_or_a_strangers() {
        let listener = socket::listen(([127, 0, 0, 1], 0).into(), None).unwrap();
        let address = listener.local_addr().unwrap();
        let of = |ours| grade(&address.to_string(), &may_listen(address), ours);
        assert_eq!(of(Ours::Holds).0, Grade::Pass);
        for (ours, words) in [(Ours::NotRunning, "is in use, and no latticegate"), (Ours::HoldsNot, "and not by the")] {
            let (fail, text) = of(ours);
            assert!(fail == Grade::Fail && text.contains(words), "{text}");
        }
        drop(listener);
        assert_eq!([Ours::NotRunning, Ours::HoldsNot].map(|ours| of(ours).0), [Grade::Pass, Grade::Warn]);
        assert_eq!(grade("127.0.0.1:0", &Ok(()), Ours::HoldsNot).0, Grade::Pass);
    }

    #[test]
    fn what_cannot_be_bound_fails() {
        let not_ours: SocketAddr = "192.0.2.1:8443".parse().unwrap();
        let (fail, text) = grade("192.0.2.1:8443", &may_listen(not_ours), Ours::HoldsNot);
        assert!(fail == Grade::Fail && text.contains("not an address of this machine"), "{text}");
        for (errno, words) in [(libc::EACCES, "may not be bound by this user"), (libc::ENOBUFS, "cannot be bound: ")] {
            let (fail, text) = grade("[::]:443", &Err(io::Error::from_raw_os_error(errno)), Ours::NotRunning);
            assert!(fail == Grade::Fail && text.contains(words), "{text}");
        }
    }

    /// Nobody who starts meanwhile is in the way of a mere question.
    #[test]
    fn asking_takes_no_port() {
        let address = socket::listen(([127, 0, 0, 1], 0).into(), None).unwrap().local_addr().unwrap();
        may_listen(address).unwrap();
        socket::listen(address, None).unwrap();
    }
}
