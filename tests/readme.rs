//! README and program say the same: the table of keys is held against the keys that the program knows, and every
//! command is run, here or by the test that is named here.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use support::{http, readme};
use tempfile::TempDir;

/// What the program answers to a key that it does not know is the list of those it does.
fn known(section: &str, text: &str) -> BTreeSet<String> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("latticegate.yaml");
    fs::write(&file, text).unwrap();
    let check =
        Command::new(env!("CARGO_BIN_EXE_latticegate")).arg("check").arg("--config").arg(&file).output().unwrap();
    let reported = String::from_utf8(check.stderr).unwrap();
    let line =
        reported.lines().find(|line| line.contains("the keys known here are ")).unwrap_or_else(|| panic!("{reported}"));
    let keys = line.rsplit("the keys known here are ").next().unwrap();
    keys.split(", ").map(|key| format!("{section}{}", key.trim())).collect()
}

#[test]
fn the_table_of_keys_is_complete_and_has_no_other() {
    let mut keys = known("", "zzzz: 1");
    let sections = [
        ("proxy_protocol", "proxy_protocol."),
        ("dns", "dns."),
        ("upstream", "upstream."),
        ("timeouts", "timeouts."),
        ("limits", "limits."),
        ("drain", "drain."),
        ("health", "health."),
        ("readiness", "readiness."),
        ("admin", "admin."),
        ("access_log", "access_log."),
        ("metrics", "metrics."),
    ];
    for (name, prefix) in sections {
        assert!(keys.remove(name), "{name} is a section of the program");
        keys.extend(known(prefix, &format!("{name}: {{ zzzz: 1 }}")));
    }
    assert!(keys.remove("listeners"));
    keys.extend(known("listeners[].", "listeners: [{ zzzz: 1 }]"));
    assert!(keys.remove("listeners[].upstream"));
    keys.extend(known("listeners[].upstream.", "listeners: [{ upstream: { zzzz: 1 } }]"));
    for name in ["per_client", "per_name"] {
        assert!(keys.remove(&format!("limits.{name}")));
        keys.extend(known(&format!("limits.{name}."), &format!("limits: {{ {name}: {{ zzzz: 1 }} }}")));
    }

    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (_, table) = readme.split_once("| Key | Default | Meaning |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let reported: BTreeSet<String> = rows
        .flat_map(|row| row.split('|').nth(1).unwrap().split(','))
        .map(|key| key.trim().trim_matches('`').to_owned())
        .collect();
    assert_eq!(reported, keys);
}

/// Commands that take longer than this test may, or need more than it has: who runs them, and the words by which that
/// is seen there. For a path that is no program of its own the words are looked for in the file itself.
const RUN_ELSEWHERE: [(&str, &str, &str); 16] = [
    ("cargo run --release -- demo", "tests/demo.rs", "fn every_printed_curl_command_prints_what_it_should()"),
    ("cargo run --release -- demo --check", "tests/demo.rs", r#".args(["demo", "--check"])"#),
    ("cargo build --release", "benches/run", "cargo build --release"),
    (
        "cargo build --release --features s3",
        "docker/build",
        r#"cargo build --locked --release --target "$target" --no-default-features --features "$features""#,
    ),
    (
        "target/release/latticegate run --config conf/latticegate.yaml",
        "tests/lab/readme.rs",
        "lab.proxy(&Config::shipped())",
    ),
    (
        "latticegate healthcheck --config conf/latticegate.yaml",
        "tests/loopback/healthcheck.rs",
        r#"["healthcheck", "--config", "#,
    ),
    (
        "latticegate doctor --config conf/latticegate.yaml orders.example.com",
        "tests/doctor.rs",
        r#"["doctor", "--json", "--config", "latticegate.yaml""#,
    ),
    ("latticegate status", "tests/loopback/status.rs", r#"["status", "--config", "status.yaml"]"#),
    ("cfn/publish-policy", "tests/cfn/test_scripts.py", r#"run(moto, "publish-policy", "--yes", good)"#),
    ("cfn/", "tests/run", "tests/cfn/run"),
    ("benches/run compare", "tests/run", "benches/run compare: benchmark beside nginx"),
    ("benches/run growth", "tests/run", "benches/run growth:"),
    ("tests/run", ".ci/run", "tests/run"),
    ("tests/run quick", "tests/runner.rs", r#"run(&["quick"], "")"#),
    ("tests/fuzz/run", "tests/run", "tests/fuzz/run 5"),
    // This file.
    ("tests/readme.rs", "tests/readme.rs", "fn every_command_is_run()"),
];

/// Files as an operator has them, and the README's command by command.
#[test]
fn every_command_is_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let here = operators_directory(root);
    // Stands in for S3, which is one of the places that a list can be fetched from.
    let published = http::serve("HTTP/1.1 200 OK\r\nContent-Length: 29\r\n\r\nrules:\n  - allow: 10.0.0.0/8\n");
    let (mut ran, mut elsewhere, mut by_lab) = (0, 0, 0);
    for command in readme::commands() {
        if let Some((_, file, words)) = RUN_ELSEWHERE.iter().find(|(it, _, _)| *it == command) {
            let text = fs::read_to_string(root.join(file)).unwrap();
            assert!(text.contains(words), "{file} is said to run `{command}`, but has no {words}");
            elsewhere += 1;
            continue;
        }
        if readme::is_curl(&command) {
            by_lab += 1;
            continue;
        }
        let command = command.trim_start_matches("target/release/").replace("s3://bucket/key", &published);
        let arguments = match command.strip_prefix("latticegate ") {
            Some(arguments) => arguments.to_owned(),
            None if command.starts_with("--listener ") => {
                format!("explain --config conf/egress.yaml --from 10.20.0.5 {command}")
            }
            None if command.starts_with("--policy ") => format!("check --config conf/latticegate.yaml {command}"),
            None => panic!("no test runs `{command}`, which the README gives"),
        };
        let output = Command::new(env!("CARGO_BIN_EXE_latticegate"))
            .args(arguments.split(' ').map(|word| word.trim_matches(['"', '\''])))
            .current_dir(here.path())
            .env_clear()
            .output()
            .unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let (status, words) = match arguments.split(' ').next().unwrap() {
            "check" => (0, "ipcontrol.yaml: ok: "),
            "diff" => (1, "  + 203.0.113.0/24\n"),
            "import" => (0, "  - allow: 10.0.0.0/8"),
            "explain" if arguments.contains(" --listener ") => (0, "verdict   allowed\n"),
            "explain" if arguments.contains(" --log ") => {
                (1, "verdict   1 request that went through would be refused\n")
            }
            "explain" => (1, "verdict   refused: client_denied\n"),
            "capacity" => (0, "\nbinds  nlb-new "),
            _ => panic!("what should `{command}` print?"),
        };
        assert!(
            output.status.code() == Some(status) && out.contains(words),
            "{command}: {:?} {out}{err}",
            output.status
        );
        ran += 1;
    }
    assert!(ran >= 7 && elsewhere >= 12 && by_lab >= 7, "{ran} run here, {elsewhere} elsewhere, {by_lab} by tests/lab");
    // Who runs what `by_lab` counts.
    let lab = fs::read_to_string(root.join("tests/lab/readme.rs")).unwrap();
    assert!(lab.contains("readme::commands()") && lab.contains("readme::is_curl("));
}

/// Where the README's commands are typed: the shipped files, and those that it names.
fn operators_directory(root: &Path) -> TempDir {
    let here = tempfile::tempdir().unwrap();
    fs::create_dir(here.path().join("conf")).unwrap();
    for name in ["latticegate.yaml", "ipcontrol.yaml", "egress.yaml", "egress-ipcontrol.yaml"] {
        fs::copy(root.join("conf").join(name), here.path().join("conf").join(name)).unwrap();
    }
    let (old, new) = ("rules:\n  - allow: 10.0.0.0/8\n", "rules:\n  - allow: [10.0.0.0/8, 203.0.113.0/24]\n");
    for (name, text) in [
        ("old.yaml", old),
        ("new.yaml", new),
        ("ipcontrol.yaml", new),
        ("ipcontrol.conf", "allow 10.0.0.0/8;\ndeny all;\n"),
        ("squid.conf", "acl localnet src 10.0.0.0/8\nhttp_access allow localnet\nhttp_access deny all\n"),
        (
            "access.log",
            "2026-11-21T10:56:57+00:00 192.168.1.10 198.51.100.7 51034 TCP 443 200 169.254.171.10:443 1 2 0.005 0.001\n",
        ),
    ] {
        fs::write(here.path().join(name), text).unwrap();
    }
    here
}
