//! `tests/run` itself, with stand-ins for everything that it calls: which steps it runs, and what it says of the others.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use support::cli::{stderr, stdout};
use tempfile::TempDir;

/// Notes that it was called, fails if it was called with `$FAILS`, and prints what nextest does.
const STAND_IN: &str = r#"#!/bin/sh
echo "${0##"$PWD/"} $*" >>calls
case "$*" in *"$FAILS"*) [ -z "$FAILS" ] || exit 1 ;; esac
case "$*" in "nextest run"*) echo "     Summary [   1.000s] 5 tests run: 5 passed, 0 skipped" ;; esac
"#;

const QUICK: [&str; 8] = [
    "tests/setup core s3 prometheus",
    "bin/cargo fmt --all --check",
    "bin/cargo clippy --locked --workspace --all-features --all-targets -- -D warnings",
    "bin/cargo clippy --locked --workspace --no-default-features --lib --bins --benches -- -D warnings",
    "bin/cargo nextest --version",
    "bin/cargo nextest run --locked --workspace --all-features",
    "bin/cargo test --locked --workspace --all-features --doc",
    "bin/cargo doc --locked --workspace --all-features --no-deps --document-private-items",
];

/// What only the whole run does, by its call and its name in the summary.
const MORE: [(&str, &str); 8] = [
    ("tests/simulate 300..3300", "simulation, 3 000 seeds"),
    ("target/debug/latticegate check --config conf/a.yaml", "conf/a.yaml"),
    ("benches/run instructions --check", "instruction counts"),
    ("bin/cargo test --locked --all-features --bench compare", "benchmark arithmetic"),
    ("tests/cfn/run ", "CloudFormation"),
    ("tests/docker/run --once", "container image"),
    ("tests/deny ", "dependencies"),
    ("tests/fuzz/run 5", "fuzzing, 5 s a target"),
];

/// Runs it with these arguments; `fails` is what makes a stand-in fail. Returns the calls too.
fn run(arguments: &[&str], fails: &str) -> (Output, Vec<String>) {
    let repository = repository();
    let root = repository.path();
    let output = Command::new(root.join("tests/run"))
        .args(arguments)
        .env_clear()
        .env("PATH", format!("{}/bin:/usr/sbin:/usr/bin:/sbin:/bin", root.display()))
        .env("FAILS", fails)
        .output()
        .unwrap();
    let calls = fs::read_to_string(root.join("calls")).unwrap_or_default();
    (output, calls.lines().map(str::to_owned).collect())
}

fn repository() -> TempDir {
    let repository = tempfile::tempdir().unwrap();
    let root = repository.path();
    let stand_ins = [
        "bin/cargo",
        "target/debug/latticegate",
        "benches/run",
        "tests/setup",
        "tests/cfn/run",
        "tests/docker/run",
        "tests/deny",
        "tests/fuzz/run",
        "tests/simulate",
    ];
    for path in stand_ins.map(|path| root.join(path)) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, STAND_IN).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::create_dir(root.join("conf")).unwrap();
    fs::write(root.join("conf/a.yaml"), "listeners: []\n").unwrap();
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/run"), root.join("tests/run")).unwrap();
    repository
}

#[test]
fn the_whole_run_does_everything() {
    let (output, calls) = run(&[], "");
    let expected: Vec<&str> = QUICK.into_iter().chain(MORE.map(|(call, _)| call)).collect();
    assert_eq!(calls, expected);
    let reported = stdout(&output);
    assert!(output.status.success() && !reported.contains("quick"), "{reported}");
    // Each step counts as one, the tests as five.
    assert!(reported.ends_with("\n19 passed, 0 failed, 10 skipped\n"), "{reported}");
}

#[test]
fn the_quick_run_says_what_it_leaves_out() {
    let (output, calls) = run(&["quick"], "");
    assert_eq!(calls, QUICK);
    let reported = stdout(&output);
    for (_, name) in MORE {
        assert!(reported.contains(&format!("   {name}: not part of the quick run; tests/run runs it\n")), "{reported}");
    }
    assert!(output.status.success() && reported.ends_with("\n11 passed, 0 failed, 18 skipped\n"), "{reported}");
}

#[test]
fn a_step_that_fails_fails_the_run_and_ends_no_other() {
    for (arguments, passed, skipped) in [(&[][..], 18, 10), (&["quick"], 10, 18)] {
        let (output, calls) = run(arguments, "--all-features --doc");
        assert!(calls.iter().any(|call| call.contains(" doc ")), "{calls:?}");
        let reported = stdout(&output);
        assert_eq!(output.status.code(), Some(1), "{reported}");
        assert!(reported.contains("documentation tests") && reported.contains("FAILED, see "), "{reported}");
        assert!(reported.ends_with(&format!("\n{passed} passed, 1 failed, {skipped} skipped\n")), "{reported}");
    }
}

#[test]
fn other_arguments_are_refused() {
    for arguments in [&["quik"][..], &["--quick"], &["quick", "quick"], &[""]] {
        let (output, calls) = run(arguments, "");
        assert_eq!((output.status.code(), stdout(&output), calls), (Some(2), String::new(), vec![]), "{arguments:?}");
        assert!(stderr(&output).starts_with("usage: tests/run [quick]"), "{}", stderr(&output));
    }
}
