//! `latticegate healthcheck` beside the real process: it is asked, and not its file.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use support::child::KillOnDrop;
use support::cli::{self, stderr};
use support::http::until_ready;
use support::lab::{Parts, Setup};
use support::process::{Process, command};
use support::until;

use crate::LATTICEGATE;

/// Exit status and what was said.
fn check(config: impl AsRef<Path>, environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let arguments = ["healthcheck", "--config", config.as_ref().to_str().unwrap()];
    let output = cli::run(LATTICEGATE, Path::new("."), &arguments, environment);
    assert_eq!(output.stdout, b"");
    (output.status.code(), stderr(&output))
}

const HEALTHY: (Option<i32>, String) = (Some(0), String::new());

fn started(setup: Setup, environment: &[(&str, &str)]) -> (Process, PathBuf) {
    let process = Process::start(LATTICEGATE, Parts::make(&setup), environment);
    let config = process.parts().files.path().join("latticegate.yaml");
    until("it is ready", || check(&config, environment) == HEALTHY);
    (process, config)
}

/// ECS stops a task whose check fails: a mistake in a file that nobody reads by now is no ill health.
#[test]
fn what_became_of_the_file_is_no_ill_health() {
    let (process, config) = started(Setup::default(), &[]);
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("workers:", "wrokers:")).unwrap();
    assert_eq!(check(&config, &[]), HEALTHY, "a misspelt key");
    std::fs::write(&config, "listeners: [").unwrap();
    assert_eq!(check(&config, &[]), HEALTHY, "half a file");
    std::fs::write(&config, text.replace("health: { bind: \"", "health: { bind: \"127.0.0.9:9\" } #")).unwrap();
    assert_eq!(check(&config, &[]), HEALTHY, "another port");
    assert_eq!(check(&config, &[("LATTICEGATE_HEALTH__BIND", "127.0.0.9:9")]), HEALTHY, "another port by a variable");
    assert_eq!(check(&config, &[("LATTICEGATE_NONE", "x")]), HEALTHY, "an unknown variable");
    // As Kubernetes replaces the file of a ConfigMap.
    std::fs::remove_file(&config).unwrap();
    std::os::unix::fs::symlink("elsewhere/latticegate.yaml", &config).unwrap();
    assert_eq!(check(&config, &[]), HEALTHY, "a link to nowhere");
    std::fs::remove_file(&config).unwrap();
    assert_eq!(check(&config, &[]), HEALTHY, "no file");
    std::fs::write(&config, text).unwrap();
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait().0.code(), Some(0));
}

#[test]
fn a_relative_path_leads_to_the_same_process() {
    let (process, config) = started(Setup::default(), &[]);
    std::fs::remove_file(&config).unwrap();
    let arguments = ["healthcheck", "--config", "./latticegate.yaml"];
    let output = cli::run(LATTICEGATE, process.parts().files.path(), &arguments, &[]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_process_that_leaves_stands_still_or_is_gone_is_reported_in_one_sentence() {
    let setup = Setup { drain: "delay: 60s, timeout: 10s", ..Setup::default() };
    let (process, config) = started(setup, &[]);
    process.signal(Signal::SIGSTOP);
    assert_eq!(check(&config, &[]), (Some(1), "the process runs, but does not answer within 2 s\n".to_owned()));
    process.signal(Signal::SIGCONT);
    assert_eq!(check(&config, &[]), HEALTHY);
    process.signal(Signal::SIGTERM);
    let leaving = (Some(1), "not ready: shutting down\n".to_owned());
    until("it leaves", || check(&config, &[]) == leaving);
    let text = std::fs::read_to_string(&config).unwrap();
    let directory = tempfile::tempdir().unwrap();
    process.signal(Signal::SIGTERM);
    process.wait();
    // The process's own files are gone by now; what others name is no different.
    let other = directory.path().join("latticegate.yaml");
    for (content, says) in
        [(&*text, "no process of this user runs with"), ("listeners: [", "is not YAML"), ("", "is empty")]
    {
        std::fs::write(&other, content).unwrap();
        for path in [&config, &other] {
            let (code, said) = check(path, &[("LATTICEGATE_HEALTH__BIND", "127.0.0.1:1")]);
            assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
            assert!(path == &config || said.contains(says), "{said}");
        }
    }
}

#[test]
fn each_of_two_is_asked_by_its_own_file() {
    let ((one, first), (two, second)) = (started(Setup::default(), &[]), started(Setup::default(), &[]));
    drop(one);
    // Its file goes with it; the other's is of no use to whoever asks.
    std::fs::remove_file(&second).unwrap();
    assert_eq!(check(&first, &[]).0, Some(1));
    assert_eq!(check(&second, &[]), HEALTHY);
    drop(two);
}

/// Two processes may differ in variables alone; then the port identifies them, as long as the configuration can be read.
#[test]
fn two_of_one_file_are_distinguished_by_the_port() {
    let setup = Setup { drain: "delay: 60s, timeout: 10s", ..Setup::default() };
    let (one, config) = started(setup, &[]);
    let first = one.address("health").to_string();
    // Nobody else has addresses of this network.
    let [high, low] = one.parts().network.to_be_bytes();
    let second = format!("127.{high}.{low}.2:9901");
    let (first, health) = ([("LATTICEGATE_HEALTH__BIND", &*first)], [("LATTICEGATE_HEALTH__BIND", &*second)]);
    let mut two = command(LATTICEGATE, one.parts(), &health);
    let _two = KillOnDrop::spawn(two.stdout(Stdio::null()).stderr(Stdio::null()));
    until("the second listens", || std::net::TcpStream::connect(&*second).is_ok());
    until_ready(second.parse().unwrap());
    assert_eq!(check(&config, &health), HEALTHY);
    // A mistake in the file is no ill health: both are asked.
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, "listeners: [").unwrap();
    assert_eq!(check(&config, &health), HEALTHY);
    std::fs::write(&config, text).unwrap();
    one.signal(Signal::SIGTERM);
    until("the first leaves", || check(&config, &first).0 == Some(1));
    assert_eq!(check(&config, &health), HEALTHY);
    std::fs::write(&config, "listeners: [").unwrap();
    let (code, said) = check(&config, &health);
    assert_eq!((code, said.trim_end()), (Some(1), "not ready: shutting down"));
}

/// Another user on this machine may bind any name; the kernel knows who listens.
#[test]
fn another_user_cannot_pose_as_the_process() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("latticegate.yaml");
    let name = format!("latticegate/{:08x}/0", crc32c::crc32c(config.as_os_str().as_encoded_bytes()));
    let script = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.bind('\\0' + sys.argv[1])\ns.listen()\nprint()\n\
                  sys.stdout.flush()\nwhile True:\n  c, _ = s.accept()\n  c.send(b'ready\\n')\n  c.close()\n";
    for (uid, status) in [(65534, 1), (0, 0)] {
        let mut command = Command::new("python3");
        command.args(["-c", script, &name]).uid(uid).current_dir("/").stdout(Stdio::piped());
        let mut impostor = KillOnDrop::spawn(&mut command);
        impostor.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let (code, said) = check(&config, &[]);
        assert_eq!(code, Some(status), "{said}");
    }
}
