//! What the verbs print, where nobody reads it to the end, as with `| head`, and where it cannot be written, as on a full disk.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};
use std::thread;

use support::cli::{self, stderr};
use tempfile::TempDir;

const LATTICEGATE: &str = env!("CARGO_BIN_EXE_latticegate");

/// A pipe whose reader has gone.
fn gone() -> Stdio {
    let (_, writer) = std::io::pipe().unwrap();
    writer.into()
}

/// Every write to it fails for want of space.
fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

/// An admin port that answers this to everybody.
fn admin(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // To the end of the request: what is not read would reset the connection.
            for line in BufReader::new(&stream).lines() {
                if line.unwrap().is_empty() {
                    break;
                }
            }
            let _ = write!(stream, "HTTP/1.1 200 OK\r\n\r\n{answer}");
        }
    });
    address
}

/// Files for every verb.
fn directory() -> TempDir {
    let directory = cli::directory(None, Some(b"rules:\n  - allow: 10.0.0.0/8\n  - deny: all\n"));
    let write = |name: &str, content: &str| std::fs::write(directory.path().join(name), content).unwrap();
    write("new.yaml", "rules:\n  - allow: 10.1.0.0/16\n  - deny: all\n");
    write("broken.yaml", "listeners: 3\n");
    write("nginx.conf", "allow 10.0.0.0/8;\ndeny all;\n");
    write("squid.log", "1732892400.000 10 10.1.2.3 TCP_MISS/200 10 GET http://a.example/ - HIER_DIRECT/192.0.2.1 -\n");
    write(
        "egress.yaml",
        "listeners:\n  - { name: out, bind: \"127.0.0.1:3128\", protocol: forward, proxy_protocol: off }\n",
    );
    write("ready.yaml", &format!("admin: {{ bind: \"{}\" }}\n", admin("{\"ready\": true}")));
    write("not-ready.yaml", &format!("admin: {{ bind: \"{}\" }}\n", admin("{\"ready\": false}")));
    directory
}

/// Each with its exit status where everything is read.
const VERBS: [(&[&str], i32); 22] = [
    (&["--help"], 0),
    (&["--version"], 0),
    (&["capacity", "--help"], 0),
    (&["capacity", "--connections-per-second", "100"], 0),
    (&["capacity", "--connections-per-second", "100", "--json"], 0),
    (&["capacity", "--connections-per-second", "30000"], 1),
    (&["check", "--config", "latticegate.yaml"], 0),
    (&["check", "--config", "latticegate.yaml", "--format", "json"], 0),
    (&["check", "--config", "broken.yaml", "--format", "json"], 1),
    (&["explain", "--config", "latticegate.yaml", "--from", "10.1.2.3", "--to", "a.example"], 0),
    (&["explain", "--config", "latticegate.yaml", "--from", "192.0.2.1", "--to", "a.example"], 1),
    (&["explain", "--config", "egress.yaml", "--policy", "ipcontrol.yaml", "--log", "squid.log"], 1),
    (&["diff", "ipcontrol.yaml", "new.yaml"], 1),
    (&["import", "nginx.conf"], 0),
    (&["status", "--config", "ready.yaml"], 0),
    (&["status", "--config", "ready.yaml", "--json"], 0),
    (&["status", "--config", "not-ready.yaml"], 1),
    (&["doctor", "--config", "broken.yaml"], 1),
    (&["doctor", "--config", "broken.yaml", "--json"], 1),
    (&["status", "--help"], 0),
    (&["demo", "--help"], 0),
    (&["help", "check"], 0),
];

fn run(directory: &TempDir, arguments: &[&str], out: Stdio, err: Stdio) -> Output {
    let mut command = Command::new(LATTICEGATE);
    command.args(arguments).current_dir(directory.path()).env_clear().stdin(Stdio::null()).stdout(out).stderr(err);
    command.spawn().unwrap().wait_with_output().unwrap()
}

#[test]
fn a_reader_that_has_had_enough_changes_no_exit_status() {
    let directory = directory();
    for (arguments, status) in VERBS {
        let read = run(&directory, arguments, Stdio::piped(), Stdio::piped());
        assert_eq!(read.status.code(), Some(status), "{arguments:?}: {read:?}");
        assert!(!read.stdout.is_empty(), "{arguments:?}");
        let unread = run(&directory, arguments, gone(), Stdio::piped());
        assert_eq!((unread.status.code(), stderr(&unread)), (Some(status), stderr(&read)), "{arguments:?}");
    }
}

#[test]
fn what_cannot_be_written_is_status_2_and_one_line() {
    let directory = directory();
    for (arguments, _) in VERBS {
        let read = run(&directory, arguments, Stdio::piped(), Stdio::piped());
        let unwritten = run(&directory, arguments, full(), Stdio::piped());
        let line = "error: cannot write to standard output: No space left on device (os error 28)\n";
        assert_eq!((unwritten.status.code(), stderr(&unwritten)), (Some(2), stderr(&read) + line), "{arguments:?}");
    }
}

/// What is said on standard error may be lost, but not the status.
#[test]
fn diagnostics_that_cannot_be_written_change_no_exit_status() {
    let directory = directory();
    let wrong: [(&[&str], i32); 10] = [
        (&["capacity"], 2),
        (&["capacity", "--zones", "0"], 2),
        (&["check", "--config", "broken.yaml"], 1),
        (&["explain", "--config", "broken.yaml", "--to", "a.example"], 2),
        (&["explain", "--config", "latticegate.yaml", "--from", "10.1.2.3", "--to", "a..example"], 2),
        (&["diff", "ipcontrol.yaml", "missing.yaml"], 2),
        (&["import", "missing.conf"], 1),
        (&["import", "nginx.conf", "nginx.conf"], 1),
        (&["status", "--config", "broken.yaml"], 2),
        (&["healthcheck", "--config", "broken.yaml"], 1),
    ];
    for (arguments, status) in wrong {
        for err in [Stdio::piped(), gone(), full()] {
            let output = run(&directory, arguments, Stdio::null(), err);
            assert_eq!(output.status.code(), Some(status), "{arguments:?}: {output:?}");
        }
    }
}

/// It ends when its reader does, with the status of what it showed last.
#[test]
fn status_stops_watching_for_a_reader_that_has_gone() {
    let directory = directory();
    for (config, status) in [("ready.yaml", 0), ("not-ready.yaml", 1)] {
        let output = run(&directory, &["status", "--config", config, "--watch"], gone(), Stdio::piped());
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(status), ""));
    }
}

#[cfg(feature = "demo")]
#[test]
fn the_demo_checks_itself_without_a_reader_too() {
    let directory = directory();
    let unread = run(&directory, &["demo", "--check"], gone(), Stdio::piped());
    assert_eq!((unread.status.code(), stderr(&unread).as_str()), (Some(0), ""));
    for arguments in [&["demo"][..], &["demo", "--check"]] {
        let unwritten = run(&directory, arguments, full(), Stdio::piped());
        let line = "error: cannot write to standard output: No space left on device (os error 28)\n";
        assert_eq!((unwritten.status.code(), stderr(&unwritten).as_str()), (Some(2), line), "{arguments:?}");
    }
}
