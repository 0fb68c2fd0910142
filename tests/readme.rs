//! README and program say the same: the table of keys is held against the keys that the program knows.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

/// What the program answers to a key that it does not know is the list of those it does.
fn known(section: &str, text: &str) -> BTreeSet<String> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("latticegate.yaml");
    fs::write(&file, text).unwrap();
    let check =
        Command::new(env!("CARGO_BIN_EXE_latticegate")).arg("check").arg("--config").arg(&file).output().unwrap();
    let told = String::from_utf8(check.stderr).unwrap();
    let line = told.lines().find(|line| line.contains("the keys known here are ")).unwrap_or_else(|| panic!("{told}"));
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
    for name in ["per_client", "per_name"] {
        assert!(keys.remove(&format!("limits.{name}")));
        keys.extend(known(&format!("limits.{name}."), &format!("limits: {{ {name}: {{ zzzz: 1 }} }}")));
    }

    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (_, table) = readme.split_once("| Key | Default | Meaning |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let told: BTreeSet<String> = rows
        .flat_map(|row| row.split('|').nth(1).unwrap().split(','))
        .map(|key| key.trim().trim_matches('`').to_owned())
        .collect();
    assert_eq!(told, keys);
}

/// The commands that take longer than this test may, and what runs them.
const RUN_ELSEWHERE: [(&str, &str); 5] = [
    ("cargo run --release -- demo", "tests/demo.rs"),
    ("tests/run", ".ci/run"),
    ("cargo build --release", "benches/run"),
    ("target/release/latticegate run   --config conf/latticegate.yaml", "tests/lab/main.rs"),
    ("cargo run --release -- demo --check", "tests/demo.rs"),
];

#[test]
fn every_command_is_run() {
    let root = env!("CARGO_MANIFEST_DIR");
    let readme = fs::read_to_string(format!("{root}/README.md")).unwrap();
    let blocks = readme.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap());
    let mut ran = 0;
    for line in blocks.flat_map(str::lines) {
        let command = line.split('#').next().unwrap().trim();
        if let Some((_, by)) = RUN_ELSEWHERE.iter().find(|(elsewhere, _)| *elsewhere == command) {
            assert!(fs::exists(format!("{root}/{by}")).unwrap(), "{by} runs {command}");
            continue;
        }
        let arguments =
            command.trim_start_matches("target/release/").strip_prefix("latticegate ").unwrap_or_else(|| {
                panic!("no test runs `{command}`");
            });
        let status = Command::new(env!("CARGO_BIN_EXE_latticegate"))
            .args(arguments.split_whitespace())
            .current_dir(root)
            .output()
            .unwrap();
        assert!(status.status.success(), "{command}: {}", String::from_utf8_lossy(&status.stderr));
        ran += 1;
    }
    assert_eq!(ran, 2, "both checks");
}
