//! Whether the ports of the configuration are free, or held by a latticegate with this configuration.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use super::{Finding, PROCESS_PATIENCE};
use crate::web::health_socket::RunningProcess;
use latticegate_core::config::Config;

const CHECK: &str = "port";

/// The ports of the configuration, by name.
pub(super) fn all(config: &Config) -> Vec<(String, SocketAddr)> {
    let listeners = config.listeners.iter().map(|listener| (listener.name.clone(), listener.bind));
    listeners.chain([("health".to_owned(), config.health), ("admin".to_owned(), config.admin)]).collect()
}

/// What each running process with this configuration says about itself.
pub(super) fn processes(running: Vec<RunningProcess>) -> Vec<Finding> {
    const CHECK: &str = "process";
    if running.is_empty() {
        return vec![Finding::pass(CHECK, "", "no latticegate with this configuration runs here")];
    }
    let finding = |process: RunningProcess| match process.readiness() {
        Ok(text) if text.starts_with("ready\n") => Finding::pass(CHECK, "", "runs and is ready"),
        Ok(text) => {
            let help = "the words say what it waits for; docs/reliability.md has each of them";
            Finding::warn(CHECK, "", format!("runs: {}", text.trim_end().replace('\n', "; ")), help)
        }
        Err(_) => {
            let text = format!("runs, but does not answer within {} s", PROCESS_PATIENCE.as_secs());
            Finding::fail(CHECK, "", text, "it is stopped or starved: look at its CPU, and restart the task")
        }
    };
    running.into_iter().map(finding).collect()
}

/// What an attempt to bind the port means, given whether a process with this configuration runs.
pub(super) fn judge(name: &str, address: SocketAddr, bound: &io::Result<()>, is_running: bool) -> Finding {
    let (text, help) = match (bound, is_running) {
        (Ok(()), false) => return Finding::pass(CHECK, name, format!("{address} is free")),
        (Ok(()), true) if address.port() == 0 => {
            return Finding::pass(CHECK, name, format!("{address} is any free port"));
        }
        (Ok(()), true) => {
            let text = format!("{address} is free, though a latticegate with this configuration runs");
            let help = "it was started with another address, or in another network namespace; restart it if the \
                        configuration has changed";
            return Finding::warn(CHECK, name, text, help);
        }
        (Err(error), true) if error.kind() == ErrorKind::AddrInUse => {
            return Finding::pass(
                CHECK,
                name,
                format!("{address} is in use, and latticegate runs with this configuration"),
            );
        }
        (Err(error), false) if error.kind() == ErrorKind::AddrInUse => (
            "is in use, and no latticegate of this user with this configuration runs here".to_owned(),
            "`ss -ltnp` shows by whom: end that process, or choose another port",
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

    fn grade(address: &str, bound: &io::Result<()>, is_running: bool) -> (Grade, String) {
        let finding = judge("tls", address.parse().unwrap(), bound, is_running);
        assert_eq!(finding.help.is_empty(), finding.grade == Grade::Pass, "{finding}");
        (finding.grade, finding.text)
    }

    #[test]
    fn a_port_is_free_or_ours_or_a_strangers() {
        let listener = socket::listen(([127, 0, 0, 1], 0).into(), None).unwrap();
        let address = listener.local_addr().unwrap();
        let bound = socket::may_listen(address);
        assert_eq!(grade(&address.to_string(), &bound, true).0, Grade::Pass);
        let (fail, text) = grade(&address.to_string(), &bound, false);
        assert!(fail == Grade::Fail && text.contains("is in use"), "{text}");
        drop(listener);
        let bound = socket::may_listen(address);
        assert_eq!(grade(&address.to_string(), &bound, false).0, Grade::Pass);
        assert_eq!(grade(&address.to_string(), &bound, true).0, Grade::Warn);
        assert_eq!(grade("127.0.0.1:0", &Ok(()), true).0, Grade::Pass);
    }

    #[test]
    fn what_cannot_be_bound_fails() {
        let not_ours: SocketAddr = "192.0.2.1:8443".parse().unwrap();
        let (fail, text) = grade("192.0.2.1:8443", &socket::may_listen(not_ours), true);
        assert!(fail == Grade::Fail && text.contains("not an address of this machine"), "{text}");
        for (errno, words) in [(libc::EACCES, "may not be bound by this user"), (libc::ENOBUFS, "cannot be bound: ")] {
            let (fail, text) = grade("[::]:443", &Err(io::Error::from_raw_os_error(errno)), false);
            assert!(fail == Grade::Fail && text.contains(words), "{text}");
        }
    }

    /// Nobody who starts meanwhile is in the way of a mere question.
    #[test]
    fn asking_takes_no_port() {
        let address = socket::listen(([127, 0, 0, 1], 0).into(), None).unwrap().local_addr().unwrap();
        socket::may_listen(address).unwrap();
        socket::listen(address, None).unwrap();
    }
}
