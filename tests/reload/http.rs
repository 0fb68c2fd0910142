//! An HTTP URL on loopback, as the AppConfig agent offers: ETags, no redirects, a bound, a fallback.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use support::lab::{Parts, Setup};
use support::until;

use crate::gate::{ALLOW, DENY, Gate};
use crate::web_server::WebServer;

struct Site {
    parts: Parts,
    directory: PathBuf,
    address: SocketAddr,
}

fn site() -> Site {
    let parts = Parts::make(&Setup::default());
    let directory = parts.files.path().join("web");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("ipcontrol.yaml"), ALLOW).unwrap();
    let address = WebServer::free_address([127, 0, 0, 1].into());
    Site { parts, directory, address }
}

fn start(parts: Parts, url: &str, more: &[(&str, &str)]) -> Gate {
    Gate::of(parts, &[&[("LATTICEGATE_POLICY", url), ("LATTICEGATE_POLICY_POLL", "50ms")], more].concat())
}

#[test]
fn it_asks_with_the_etag_and_takes_what_is_new() {
    let Site { parts, directory, address } = site();
    let server = WebServer::start(address, &directory);
    let gate = start(parts, &WebServer::url(address, "/ipcontrol.yaml"), &[]);
    gate.admits();
    let requests = |status: &str| {
        let log = fs::read_to_string(directory.join("web.log")).unwrap();
        log.lines().filter(|line| line.contains(&format!(" {status} "))).count()
    };
    until("it is told that nothing has changed", || requests("304") >= 3);
    assert_eq!(requests("200"), 1);
    fs::write(directory.join("new"), DENY).unwrap();
    fs::rename(directory.join("new"), directory.join("ipcontrol.yaml")).unwrap();
    let line = gate.reloaded(1);
    gate.denies();
    // The version in the log is the server's ETag.
    let version = line.split_once("version=").unwrap().1;
    assert!(version.contains('"') && version.contains('-'), "{line}");
    assert_eq!(requests("200"), 2);
    // The server goes away, and comes back with what it had.
    drop(server);
    gate.wait_for(1, "the old one stays in force");
    until("it goes on asking", || gate.failed_reloads() > 3.0);
    gate.denies();
    assert_eq!(gate.lines("the old one stays in force").len(), 1);
    let _server = WebServer::start(address, &directory);
    gate.wait_for(1, "has the list in force again");
    assert!(gate.in_step());
}

#[test]
fn a_redirect_is_not_followed() {
    let Site { parts, directory, address } = site();
    let _server = WebServer::start(address, &directory);
    let gate = start(parts, &WebServer::url(address, "/moved"), &[]);
    ends_with(gate, "redirects are not followed");
}

#[test]
fn more_than_4_mib_is_refused() {
    let Site { parts, directory, address } = site();
    let _server = WebServer::start(address, &directory);
    let gate = start(parts, &WebServer::url(address, "/ipcontrol.yaml"), &[]);
    gate.admits();
    fs::write(directory.join("new"), format!("{DENY}# {}\n", "x".repeat(4 << 20))).unwrap();
    fs::rename(directory.join("new"), directory.join("ipcontrol.yaml")).unwrap();
    let line = gate.wait_for(1, "the old one stays in force").remove(0);
    assert!(line.contains("larger than 4 MiB"), "{line}");
    gate.admits();
}

#[test]
fn without_a_server_the_start_fails_with_the_reason() {
    let Site { parts, address, .. } = site();
    let gate = start(parts, &WebServer::url(address, "/ipcontrol.yaml"), &[]);
    ends_with(gate, "cannot connect");
}

#[test]
fn with_a_fallback_it_starts_and_takes_the_list_when_it_can_be_had() {
    let Site { parts, directory, address } = site();
    fs::write(parts.files.path().join("last-good.yaml"), DENY).unwrap();
    let url = WebServer::url(address, "/ipcontrol.yaml");
    let gate = start(parts, &url, &[("LATTICEGATE_POLICY_FALLBACK", "last-good.yaml")]);
    gate.denies();
    assert_eq!(gate.lines("does not answer").len(), 1);
    let _server = WebServer::start(address, &directory);
    gate.reloaded(1);
    gate.admits();
}

#[test]
fn a_bad_list_is_no_reason_for_the_fallback() {
    let Site { parts, directory, address } = site();
    fs::write(directory.join("ipcontrol.yaml"), "rules:\n- alow: all\n").unwrap();
    fs::write(parts.files.path().join("last-good.yaml"), ALLOW).unwrap();
    let _server = WebServer::start(address, &directory);
    let url = WebServer::url(address, "/ipcontrol.yaml");
    let gate = start(parts, &url, &[("LATTICEGATE_POLICY_FALLBACK", "last-good.yaml")]);
    ends_with(gate, "ipcontrol.yaml:2");
}

#[track_caller]
fn ends_with(gate: Gate, reason: &str) {
    let stderr = gate.file("stderr");
    until("it has said why", || fs::read_to_string(&stderr).unwrap().contains(reason));
    let (status, records) = gate.process.wait();
    assert_eq!((status.code(), records.len()), (Some(1), 0));
}
