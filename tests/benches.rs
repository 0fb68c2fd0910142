//! Benchmarks have one name each: the argument of `benches/run`, the folder, and the `[[bench]]` of Cargo.toml or a crate of
//! its own. The documentation uses no other.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(arguments: &[&str]) -> Output {
    Command::new(root().join("benches/run")).args(arguments).output().unwrap()
}

/// What stands behind each `start`, up to the next blank or other mark.
fn words_after(text: &str, start: &str) -> BTreeSet<String> {
    let name = |rest: &str| rest.chars().take_while(|c| c.is_alphanumeric() || "_-".contains(*c)).collect();
    text.split(start).skip(1).map(name).filter(|name: &String| !name.is_empty()).collect()
}

fn folders() -> BTreeSet<String> {
    let entries = fs::read_dir(root().join("benches")).unwrap().map(Result::unwrap);
    let programs = entries.filter(|entry| entry.path().join("main.rs").exists());
    programs.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// What may be measured: each folder's, and the parts of compare that have names of their own.
fn names() -> BTreeSet<String> {
    folders().into_iter().chain(["connection".to_owned(), "egress".to_owned()]).collect()
}

#[test]
fn each_has_one_name() {
    let folders = folders();
    assert!(folders.len() >= 3, "{folders:?}");
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (crates, benches): (BTreeSet<_>, BTreeSet<_>) =
        folders.iter().cloned().partition(|name| root().join("benches").join(name).join("Cargo.toml").exists());
    let (members, _) = manifest.split_once("default-members").unwrap();
    assert_eq!(words_after(members, "\"benches/"), crates);
    assert_eq!(words_after(&manifest, "[[bench]]\nname = \""), benches);
    for name in &benches {
        assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"benches/{name}/main.rs\"")), "{name}");
    }
    let usage = run(&["--help"]);
    assert!(usage.status.success());
    assert_eq!(words_after(&String::from_utf8_lossy(&usage.stdout), "  benches/run "), names());
}

#[test]
fn the_documentation_uses_it() {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut used = BTreeSet::new();
    for file in docs.chain(["README.md", "SECURITY.md", "tests/run", "tests/setup"].map(|file| root().join(file))) {
        let text = fs::read_to_string(&file).unwrap();
        let scripts = words_after(&text, "benches/").into_iter().filter(|name| !folders().contains(name));
        assert_eq!(scripts.filter(|name| name != "run").collect::<Vec<_>>(), [""; 0], "{}", file.display());
        used.extend(words_after(&text, "benches/run "));
    }
    assert_eq!(used, names());
}

#[test]
fn another_name_is_refused_with_the_list_of_names() {
    for arguments in [&[][..], &["list"], &["--quick"]] {
        let output = run(arguments);
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && printed.contains("  benches/run compare  "), "{printed}");
        assert!(
            arguments.iter().all(|name| printed.contains(&format!("no benchmark is called '{name}'"))),
            "{printed}"
        );
    }
}
