//! Benchmarks have one name each: the argument of `benches/run`, the folder, and the `[[bench]]` of Cargo.toml or a crate of
//! its own. The documentation uses no other.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
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
    folders().into_iter().chain(["connection", "egress", "growth"].map(str::to_owned)).collect()
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
        let unknown: Vec<_> = scripts.filter(|name| !["run", "plot", "results"].contains(&&**name)).collect();
        assert_eq!(unknown, [""; 0], "{}", file.display());
        used.extend(words_after(&text, "benches/run "));
    }
    assert_eq!(used, names());
}

#[test]
fn another_name_is_refused_with_the_list_of_names() {
    for arguments in [&[][..], &["list"], &["--quick"]] {
        let output = run(arguments);
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && printed.contains("  benches/run compare  "), "{printed}");
        assert!(
            arguments.iter().all(|name| printed.contains(&format!("no benchmark is called '{name}'"))),
            "{printed}"
        );
    }
}

/// The committed pictures and tables are what the committed result gives.
#[test]
fn the_pictures_of_growth_are_of_the_committed_result() {
    let docs = tempfile::tempdir().unwrap();
    // Without its tables, so that they are not compared with themselves.
    let page = fs::read_to_string(root().join("docs/growth.md")).unwrap();
    let (before, rest) = page.split_once(" begin -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- written by benches/plot: end").unwrap();
    let bare = format!("{before} begin -->\n<!-- written by benches/plot: end{after}");
    fs::write(docs.path().join("growth.md"), bare).unwrap();
    plot(&["--docs", docs.path().to_str().unwrap()]);
    let (drawn, committed) = (growth(docs.path()), growth(&root().join("docs")));
    assert_eq!(drawn.keys().collect::<Vec<_>>(), committed.keys().collect::<Vec<_>>());
    for (name, text) in &committed {
        assert!(drawn[name] == *text, "{name} is out of date: run benches/plot");
        assert!(name == "growth.md" || page.contains(&format!("]({name})")), "docs/growth.md does not show {name}");
    }
    assert!(committed.len() > 1, "there is no picture");
}

/// Quartiles, the scale and the table against a result that is known.
#[test]
fn a_picture_has_the_medians_and_quartiles() {
    let docs = tempfile::tempdir().unwrap();
    fs::write(
        docs.path().join("growth.md"),
        "a\n<!-- written by benches/plot: begin -->\nold\n<!-- written by benches/plot: end -->\nz\n",
    )
    .unwrap();
    let cell = |peer: &str, size: usize, round: usize, cpu: f64| {
        format!(
            r#"{{"curve": "hello", "size": {size}, "peer": "{peer}", "round": {round}, "cpu_micros": {cpu}, "held_cpus": 0, "p50_micros": 1,
            "p99_micros": 2, "units": 10, "failures": 0, "dns_queries": 0, "memory_empty": 1, "memory_held": 1,
            "memory_loaded": 1, "foreign": 0}}"#
        )
    };
    let cells: Vec<String> = [
        cell("nginx", 250, 0, 50.0),
        cell("nginx", 250, 1, 70.0),
        cell("nginx", 250, 2, 60.0),
        cell("latticegate", 250, 0, 25.0),
        cell("latticegate", 250, 1, 70.0),
        cell("latticegate", 250, 2, 45.0),
        cell("latticegate", 16_384, 0, 80.0),
    ]
    .into();
    let json = docs.path().join("result.json");
    let about = r#"[["commit", "abc <&> def"]]"#;
    let curves = r#"[{"name": "hello", "about": "hellos", "of": "bytes of the hello"}]"#;
    fs::write(
        &json,
        format!(r#"{{"format": 1, "about": {about}, "curves": {curves}, "cells": [{}]}}"#, cells.join(", ")),
    )
    .unwrap();
    plot(&["--docs", docs.path().to_str().unwrap(), "--json", json.to_str().unwrap()]);
    let drawn = growth(docs.path());
    assert_eq!(drawn.keys().collect::<Vec<_>>(), ["growth-hello.svg", "growth.md"]);
    let page = &drawn["growth.md"];
    assert!(page.starts_with("a\n") && page.ends_with("\nz\n") && !page.contains("old"), "{page}");
    // Ratios 0.5, 1 and 0.75.
    for row in [
        "| bytes of the hello | latticegate, µs/connection | nginx, µs/connection | **latticegate × nginx** |",
        "| 250 | 45.0 (35.0–57.5) | 60.0 (55.0–65.0) | 0.75 (0.62–0.88) |",
        "| 16\u{202f}384 | 80.0 | – | – |",
    ] {
        assert!(page.contains(row), "{row} is not in {page}");
    }
    let svg = &drawn["growth-hello.svg"];
    assert!(svg.contains("abc &lt;&amp;&gt; def") && svg.contains(">latticegate 80.0<"), "{svg}");
    // Two of latticegate, one of nginx.
    assert_eq!((svg.matches("<polyline").count(), svg.matches("<circle").count()), (2, 2));
}

/// Nothing is replaced then, and one sentence says why.
#[test]
fn what_cannot_be_drawn_leaves_what_is_there() {
    let docs = tempfile::tempdir().unwrap();
    let folder = docs.path().to_str().unwrap();
    let file = |name: &str, text: &str| {
        let file = docs.path().join(name);
        fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    file("growth-hello.svg", "old");
    let missing = docs.path().join("missing").to_str().unwrap().to_owned();
    let (empty, text) = (file("empty.json", "{}"), file("text.json", "nothing"));
    for (arguments, said) in [
        (["--json", &missing], "missing"),
        (["--json", &empty], "is no result of format 1"),
        (["--json", &text], "Expecting value"),
        (["--docs", &missing], "missing"),
        (["--docs", folder], "has no place for the tables"),
    ] {
        file("growth.md", "no marks");
        let output =
            Command::new(root().join("benches/plot")).args(["--docs", folder]).args(arguments).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && printed.contains(said), "{arguments:?}: {printed}");
        assert!(!printed.contains("Traceback"), "{printed}");
        let there = growth(docs.path());
        assert_eq!((&*there["growth-hello.svg"], &*there["growth.md"]), ("old", "no marks"));
    }
}

fn plot(arguments: &[&str]) {
    let output = Command::new(root().join("benches/plot")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The page and the pictures of a folder, by name.
fn growth(folder: &Path) -> BTreeMap<String, String> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let named = files.filter_map(|path| Some((path.file_name()?.to_str()?.to_owned(), path.clone())));
    let ours = named.filter(|(name, _)| name.starts_with("growth") && (name.ends_with(".svg") || name == "growth.md"));
    ours.map(|(name, path)| (name, fs::read_to_string(path).unwrap())).collect()
}
