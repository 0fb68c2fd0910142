//! The start of the real process: an address that somebody has, and signals that come early.

use crate::lab::{Parts, Setup};
use crate::process::Process;

/// The line that sets a listener's, health's or admin's address, set to `address` instead.
fn rebind(parts: &Parts, name: &str, address: &str) {
    let file = parts.files.path().join("latticegate.yaml");
    let config = std::fs::read_to_string(&file).unwrap();
    let of_name = |line: &str| line.starts_with(&format!("{name}:")) || line.contains(&format!("{{ name: {name},"));
    let lines = config.lines().map(|line| match line.split_once("bind: \"") {
        Some((before, rest)) if of_name(line) => {
            format!("{before}bind: \"{address}\"{}", rest.split_once('"').unwrap().1)
        }
        _ => line.to_owned(),
    });
    std::fs::write(file, lines.collect::<Vec<_>>().join("\n")).unwrap();
}

/// The same program of the same user, which the kernel would let share a port for the asking.
#[test]
fn an_address_that_another_latticegate_has_is_not_shared() {
    let first = Process::start(Parts::make(&Setup::default()), &[]);
    for name in ["tls", "health", "admin"] {
        let parts = Parts::make(&Setup::default());
        let address = first.address(name).to_string();
        rebind(&parts, name, &address);
        let mut second = Process::start(parts, &[]);
        crate::until("the second has given up", || !second.is_running());
        let said = second.said();
        assert!(!said.contains("started"), "{said}");
        assert!(said.contains(&format!("listener {name}: cannot listen on {address}:")), "{said}");
        assert!(said.contains("another process listens there"), "{said}");
        assert_eq!(second.wait().0.code(), Some(1));
    }
}

/// The access list is on its way still: its source takes the connection and says nothing.
#[test]
fn signals_that_come_before_it_listens_are_obeyed() {
    use std::net::TcpListener;

    use nix::sys::signal::Signal;

    for (early, status) in [(Signal::SIGTERM, true), (Signal::SIGINT, true), (Signal::SIGHUP, false)] {
        let source = TcpListener::bind("127.0.0.1:0").unwrap();
        let parts = Parts::make(&Setup::default());
        let file = parts.files.path().join("latticegate.yaml");
        let config = std::fs::read_to_string(&file).unwrap();
        let policy = format!("\npolicy: http://{}/list\n", source.local_addr().unwrap());
        std::fs::write(&file, config + &policy).unwrap();
        let mut process = Process::start(parts, &[]);
        let (asked, _) = source.accept().unwrap();
        process.signal(early);
        if status {
            assert_eq!(process.wait().0.code(), Some(0), "{early}");
        } else {
            // It goes on: what it was told to read anew it is reading.
            process.signal(Signal::SIGHUP);
            drop(asked);
            assert!(process.is_running());
            process.signal(Signal::SIGTERM);
            assert_eq!(process.wait().0.code(), Some(0));
        }
    }
}
