//! `latticegate status` beside the real process.

use std::path::Path;
use std::process::Output;

use serde_json::Value;
use support::cli::{self, stderr, stdout};
use support::http::get_with;
use support::lab::{Parts, Setup};
use support::peer::Peer;
use support::process::Process;
use support::until;
use support::wire::{Hello, tcp4};

use crate::LATTICEGATE;

const TOKEN: &str = "0123456789abcdef";

/// A process whose admin port needs a token, and a client that it relays.
fn started() -> (Process, Peer, Peer) {
    let parts = Parts::make(&Setup { admin: "token_file: token", ..Setup::default() });
    std::fs::write(parts.files.path().join("token"), TOKEN).unwrap();
    let process = Process::start(LATTICEGATE, parts, &[]);
    let (admin, fields) = (process.address("admin"), format!("Authorization: Bearer {TOKEN}\r\n"));
    until("it is ready", || get_with(admin, "/status.json", &fields).1.contains("\"ready\": true"));
    let (client, upstream) = process.parts().upstream.pair(process.address("tls"));
    (process, client, upstream)
}

/// With a configuration that says where it listens: the one of the process has ports that the kernel chooses.
fn status(process: &Process, token: &str, arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let admin = process.address("admin");
    std::fs::write(directory.path().join("token"), token).unwrap();
    let config = format!("admin: {{ bind: \"{admin}\", token_file: token }}\n");
    std::fs::write(directory.path().join("status.yaml"), config).unwrap();
    cli::run(LATTICEGATE, directory.path(), &[&["status", "--config", "status.yaml"], arguments].concat(), &[])
}

#[test]
fn it_prints_what_the_page_shows_in_plain_lines() {
    let (process, client, upstream) = started();
    let mut refused = Peer::connect(process.address("tls"));
    refused.say([tcp4(&[]), Hello::to(b"unknown.example.com").record()].concat()).hear_all();
    let mut output = status(&process, TOKEN, &[]);
    // What the workers say may be that of a moment ago, and a refused client is open until it has read its answer.
    until("all of it is there", || {
        output = status(&process, TOKEN, &[]);
        let text = stdout(&output);
        ["last refusals", "newest, of 1\n", "\nopen 1 of "].iter().all(|part| text.contains(part))
    });
    let text = stdout(&output);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    assert!(!text.contains('\x1b'), "{text}");
    for part in [
        "latticegate 0.1.0  ready  up ",
        "\nopen 1 of ",
        "\nlisteners\n",
        "\nopen connections: newest, of 1\n",
        "orders.example.com",
        "192.0.2.1:40000",
        "\nupstream addresses\n",
        "ipcontrol.yaml:2",
        "\n  admin.token_file ",
        "latticegate.yaml:",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let json: Value = serde_json::from_str(&stdout(&status(&process, TOKEN, &["--json", "--find", "ORDERS"]))).unwrap();
    assert_eq!((&json["ready"], &json["live"]["found"]), (&Value::Bool(true), &Value::from(1)));
    let none: Value = serde_json::from_str(&stdout(&status(&process, TOKEN, &["--json", "--find", "a&b=c"]))).unwrap();
    assert_eq!((&none["live"]["relaying"], &none["live"]["found"]), (&Value::from(1), &Value::from(0)));
    drop((client, upstream));
}

#[test]
fn what_keeps_it_from_an_answer_is_said() {
    let (process, ..) = started();
    let output = status(&process, "another-token-of-some-length", &[]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(2), ""));
    assert!(stderr(&output).contains("wants another token"), "{}", stderr(&output));
    let output = status(&process, "short", &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("status.yaml:1:") && stderr(&output).contains("5 characters"),
        "{}",
        stderr(&output)
    );
    let nowhere = ("LATTICEGATE_ADMIN__BIND", "127.0.0.1:1");
    let output = cli::run(LATTICEGATE, Path::new("."), &["status"], &[nowhere]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).starts_with("error: nothing answers on 127.0.0.1:1, which is admin.bind: "),
        "{}",
        stderr(&output)
    );
    let output = cli::run(LATTICEGATE, Path::new("."), &["status"], &[("LATTICEGATE_ADMIN__BIND", "x")]);
    assert_eq!(output.status.code(), Some(2));
}
