//! No thread can be started, for a moment or from the start: what runs goes on, and what cannot start says why.

#[cfg(feature = "s3")]
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
#[cfg(feature = "s3")]
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::gate::Gate;
use support::http::get;
use support::lab::{Parts, Setup};
use support::peer::Peer;
use support::until;
use support::wire::{Hello, tcp4};

/// A user of nobody else's: the limit counts the threads of a user.
fn as_a_user(parts: &Parts) -> Vec<String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let user = 100_000 + std::process::id() * 16 + NEXT.fetch_add(1, Ordering::Relaxed);
    std::fs::set_permissions(parts.files.path(), PermissionsExt::from_mode(0o755)).unwrap();
    // To read the program wherever it was built.
    let [inherited, ambient] = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"];
    let user = user.to_string();
    let words = ["setpriv", "--clear-groups", "--reuid", &user, "--regid", &user, inherited, ambient, "--"];
    words.map(str::to_owned).to_vec()
}

/// From here on it starts no thread.
fn stop_threads(gate: &Gate, user: &[String]) {
    let [setpriv, rest @ ..] = user else { panic!("no command") };
    // A container's root may not limit another user's processes, but that user may.
    let limit = ["prlimit", "--nproc=1:1", "--pid", &gate.child.id().to_string()];
    let limited = Command::new(setpriv).args(rest).args(limit).status();
    assert!(limited.unwrap().success());
}

fn threads(gate: &Gate) -> usize {
    std::fs::read_dir(format!("/proc/{}/task", gate.child.id())).unwrap().count()
}

#[test]
fn without_another_thread_it_reloads_and_drains() {
    let parts = Parts::make(&Setup { drain: "delay: 0s, timeout: 15s", ..Setup::default() });
    let user = as_a_user(&parts);
    let mut gate = Gate::started_by(&user, parts, 256, &[("LATTICEGATE_SHADOW", "shadow.yaml")]);
    stop_threads(&gate, &user);
    let before = threads(&gate);
    let (mut client, mut upstream) = gate.pair();
    // By the look at the file, and by SIGHUP.
    for (times, list) in [(2.0, "- deny: 198.51.100.7\n- allow: all"), (3.0, "- allow: all")] {
        std::fs::write(gate.parts.files.path().join("shadow.yaml"), format!("rules:\n{list}\n")).unwrap();
        std::fs::write(gate.parts.files.path().join("ipcontrol.yaml"), format!("rules:\n{list}\n")).unwrap();
        gate.signal(Signal::SIGHUP);
        until("reloaded", || gate.metric("latticegate_policy_reload_total{result=\"loaded\"}") >= times);
    }
    until("the shadow list is loaded", || gate.said().contains("shadow list loaded"));
    assert_eq!(gate.metric("latticegate_policy_in_step"), 1.0);
    gate.parts.dns.set("new.example.com", support::dns::addresses(&[gate.parts.upstream.address.ip()]));
    let (mut late, name) = (Peer::connect(gate.address("tls")), Hello::to(b"new.example.com").record());
    late.say([tcp4(&[]), name.clone()].concat());
    assert_eq!(gate.parts.upstream.accept().hear(name.len()), name);
    gate.signal(Signal::SIGTERM);
    let health = gate.address("health");
    until("draining", || get(health, "/readyz").0 == 503);
    upstream.say(b"whole").finish();
    assert_eq!(client.hear_all().0, b"whole");
    drop((client, late));
    assert_eq!(gate.child.exit_status().code(), Some(0), "{}", gate.said());
    assert!(!gate.said().contains("panicked"), "{}", gate.said());
    assert!(before > 4, "{before}");
}

#[test]
fn without_its_threads_it_says_so_and_does_not_start() {
    for limit in 1..20 {
        let parts = Parts::make(&Setup { log: "output: ./access.log", ..Setup::default() });
        let mut command: Vec<String> = vec!["prlimit".into(), format!("--nproc={limit}:{limit}")];
        command.extend(as_a_user(&parts));
        // So that the log can be made.
        std::fs::set_permissions(parts.files.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let mut gate = Gate::spawned_by(&command, parts, 256, &[("LATTICEGATE_METRICS__EMF", "{ interval: 60s }")]);
        until("it has started, or ended", || gate.said().contains(" started ") || !gate.child.is_running());
        let Some(status) = gate.child.try_wait().unwrap() else {
            // All threads are there with one that could not be at the limit before.
            assert_eq!(threads(&gate), limit);
            assert!(limit > 1, "no limit was too low");
            return;
        };
        let said = gate.said();
        assert_eq!(status.code(), Some(1), "{limit}: {said}");
        assert!(said.contains("no thread can be started") && said.contains("ulimit -u"), "{limit}: {said}");
        assert!(!said.contains("panicked"), "{limit}: {said}");
    }
    panic!("it never started");
}

/// The name of its endpoint is looked up by a thread of the runtime, which without work would have ended after 10 s.
#[cfg(feature = "s3")]
#[test]
fn without_another_thread_a_list_in_s3_is_reloaded() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://localhost:{}", server.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for (number, stream) in server.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 8192]).unwrap();
            let list = format!("rules:\n- allow: all\n- deny: 10.0.0.{number}\n");
            let head = format!(
                "HTTP/1.1 200 OK\r\nETag: \"{number}\"\r\nLast-Modified: Sat, 28 Nov 2026 10:00:00 GMT\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n",
                list.len()
            );
            stream.write_all((head + &list).as_bytes()).unwrap();
        }
    });
    let parts = Parts::make(&Setup::default());
    let user = as_a_user(&parts);
    let environment = [
        ("LATTICEGATE_POLICY", "s3://lists/ipcontrol.yaml"),
        ("LATTICEGATE_POLICY_POLL", "1h"),
        ("AWS_ENDPOINT_URL", &endpoint),
        ("AWS_ALLOW_HTTP", "1"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ];
    let mut gate = Gate::started_by(&user, parts, 256, &environment);
    let before = threads(&gate);
    stop_threads(&gate, &user);
    std::thread::sleep(Duration::from_secs(11));
    assert_eq!(threads(&gate), before);
    gate.signal(Signal::SIGHUP);
    until("reloaded", || gate.metric("latticegate_policy_reload_total{result=\"loaded\"}") == 2.0);
    gate.signal(Signal::SIGTERM);
    assert_eq!(gate.child.exit_status().code(), Some(0), "{}", gate.said());
}
