//! `/refused`: what was refused, byte for byte, and read again by `explain --hello`.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::lab::{Lab, Port, Setup, word};
use support::peer::Peer;
use support::until;
use support::wire::{Hello, hello, tcp4};

/// Status and body.
fn ask(lab: &Lab, path: &str, host: &str) -> (u16, String) {
    let mut peer = Peer::connect(lab.admin);
    write!(peer.stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    peer.stream.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn refused(lab: &Lab) -> Vec<Value> {
    let (status, body) = ask(lab, "/refused", "localhost");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A gate that keeps so many.
fn keeping(setup: Setup) -> Lab {
    let parts = support::lab::Parts::make(&setup);
    let file = parts.files.path().join("latticegate.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, after) = text.split_once("\nadmin: { ").unwrap();
    std::fs::write(&file, format!("{before}\nadmin: {{ refused_bytes: 3, {after}")).unwrap();
    Lab::of(parts)
}

/// `latticegate explain` in the directory of this gate, with these bytes on standard input.
fn explain(directory: &Path, arguments: &[&str], recording: &str) -> String {
    let mut child = Command::new(crate::LATTICEGATE)
        .args(["explain", "--config", "latticegate.yaml"])
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(recording.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn it_is_off_unless_configured() {
    let lab = Lab::start();
    lab.connect(Port::Tls).say(b"garbage").hear_all();
    let (status, body) = ask(&lab, "/refused", "localhost");
    assert_eq!(
        (status, body.as_str()),
        (404, "off; set admin.refused_bytes to how many refused connections are to be kept, like 20\n")
    );
    lab.end();
}

/// From the client through the gate to `explain`, which says the same: for the header, the hello, the list and the name.
#[test]
fn what_was_refused_is_explained_from_its_bytes() {
    let rules = "- deny: 192.0.2.0/25\n- allow: 192.0.2.128/25\n  to: orders.example.com";
    let header = |last: u8| {
        let mut header = tcp4(&[]);
        header[19] = last;
        header
    };
    for (reason, bytes) in [
        ("proxy_v1", b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 443\r\n".to_vec()),
        ("proxy_malformed", [&header(1)[..12], &[0x31], &header(1)[13..], &hello()[..]].concat()),
        ("client_denied", [header(1), hello()].concat()),
        ("name_denied", [header(200), Hello::browser(b"other.example.com").record()].concat()),
        ("sni_ip_address", [header(200), Hello::to(b"192.0.2.1").record()].concat()),
        ("hello_malformed", [header(200), vec![22, 3, 1, 0, 4, 2, 0, 0, 0]].concat()),
    ] {
        let lab = keeping(Setup { rules, ..Setup::default() });
        lab.connect(Port::Tls).say(&bytes).hear_all();
        until("it is counted", || lab.counted().values().sum::<u64>() == 1);
        let kept = refused(&lab);
        assert_eq!(kept.len(), 1, "{reason}: {kept:?}");
        let one = &kept[0];
        assert_eq!((word(one, "reason").as_str(), word(one, "listener").as_str()), (reason, "tls"));
        assert_eq!(word(one, "hex"), hex(&bytes), "{reason}");
        assert_eq!(one["bytes"], bytes.len());
        let (status, recording) = ask(&lab, &format!("/refused?id={}", word(one, "id")), "127.0.0.1");
        assert_eq!((status, recording.trim()), (200, hex(&bytes).as_str()));
        let story = explain(lab.files.path(), &["--listener", "tls", "--hello", "-"], &recording);
        assert!(story.ends_with(&format!("verdict   refused: {reason}\n")), "{reason}: {story}");
        let id = word(one, "id");
        let reported = lab.end();
        assert_eq!(word(reported.record(), "id"), id, "by the id in the log");
    }
}

#[test]
fn only_the_last_are_kept_the_newest_first() {
    let lab = keeping(Setup::default());
    for n in 0..10 {
        lab.client_asking(format!("1.2.3.{n}").as_bytes()).hear_all();
    }
    until("all are counted", || lab.counted().values().sum::<u64>() == 10);
    let names: Vec<String> = refused(&lab).iter().map(|one| word(one, "name")).collect();
    assert_eq!(names, ["1.2.3.9", "1.2.3.8", "1.2.3.7"]);
    lab.end();
}

#[test]
fn of_a_request_there_is_its_method_and_host_and_of_anything_else_little() {
    let rules = "- allow: 127.0.0.0/8\n  to: any";
    let lab = keeping(Setup { forward: Some(""), rules, ..Setup::default() });
    let secret: [(Port, &[u8]); 3] = [
        (Port::HttpDirect, b"POST /secret HTTP/1.1\r\nAuthorization: secret\r\nHost: user:secret@other.example\r\n\r\nsecret"),
        (Port::TlsDirect, b"GET /secret HTTP/1.1\r\nCookie: secret\r\nHost: orders.example.com\r\n\r\n"),
        (Port::ForwardDirect, b"CONNECT orders.example.com:22 HTTP/1.1\r\nHost: orders.example.com:22\r\nProxy-Authorization: secret\r\n\r\n"),
    ];
    for (port, bytes) in secret {
        lab.connect(port).say(bytes).hear_all();
    }
    until("all are counted", || lab.counted().values().sum::<u64>() == 3);
    let kept = refused(&lab);
    let asked: Vec<(String, &Value)> = kept.iter().map(|one| (word(one, "reason"), &one["request"])).collect();
    let request = |method: &str, host: &str| serde_json::json!({ "method": method, "host": host });
    assert_eq!(
        asked,
        [
            ("port_denied".to_owned(), &request("CONNECT", "orders.example.com:22")),
            ("plain_http".to_owned(), &request("GET", "orders.example.com")),
            ("host_invalid".to_owned(), &request("POST", "other.example")),
        ]
    );
    let (_, body) = ask(&lab, "/refused", "localhost");
    assert!(!body.contains("secret") && !body.contains(&hex(b"secret")), "{body}");
    assert!(kept.iter().all(|one| word(one, "hex").is_empty()));
    lab.connect(Port::TlsDirect).say(b"\x05\x01\0 and behind it a secret").hear_all();
    until("it is counted", || lab.counted().values().sum::<u64>() == 4);
    let other = &refused(&lab)[0];
    assert_eq!((word(other, "hex"), word(other, "reason").as_str()), (hex(b"\x05\x01\0 and behind i"), "not_tls"));
    lab.end();
}

#[test]
fn the_hello_of_a_tunnel_is_kept_without_the_request_before_it() {
    let lab = keeping(Setup {
        forward: Some(""),
        rules: "- allow: 127.0.0.0/8\n  to: orders.example.com",
        ..Setup::default()
    });
    let target = format!("orders.example.com:{}", lab.upstream.address.port());
    let mut client = lab.connect(Port::ForwardDirect);
    client.say(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: secret\r\n\r\n"));
    client.hear(b"HTTP/1.1 200 Connection established\r\n\r\n".len());
    let other = Hello::to(b"other.example.com").record();
    client.say(&other).hear_all();
    until("it is counted", || lab.counted().values().sum::<u64>() == 1);
    let kept = refused(&lab);
    assert_eq!((kept.len(), word(&kept[0], "reason").as_str()), (1, "tunnel_sni_denied"));
    assert_eq!(word(&kept[0], "hex"), hex(&other));
    let arguments = ["--listener", "forward-direct", "--from", "127.0.0.1", "--to", &target, "--hello", "-"];
    let ports = format!("[{}]", lab.upstream.address.port());
    assert!(ports.len() > 2);
    let story = explain(lab.files.path(), &arguments, &word(&kept[0], "hex"));
    assert!(story.ends_with("verdict   refused: tunnel_sni_denied\n"), "{story}");
    drop(client);
    lab.end();
}

/// It shows who connects: like the rest of this port it is for a browser on this machine, not for one that was led here.
#[test]
fn it_is_not_for_web_sites() {
    let lab = keeping(Setup::default());
    assert_eq!(ask(&lab, "/refused", "evil.example").0, 421);
    assert_eq!(ask(&lab, "/refused?id=0000000000000000", "localhost").0, 404);
    assert_eq!(ask(&lab, "/refused", "localhost"), (200, "[]\n".to_owned()));
    lab.end();
}
