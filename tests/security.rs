//! `SECURITY.md` names tests as proof: each must exist under its name, in its file, and each fuzz target too.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

#[test]
fn every_test_that_security_md_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let mut named = 0;
    for quoted in page.split('`').skip(1).step_by(2) {
        if let Some((file, test)) = quoted.split_once(".rs::") {
            let file = format!("{file}.rs");
            let source = fs::read_to_string(root.join(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            let (before, _) = source.split_once(&format!("fn {test}(")).unwrap_or_else(|| panic!("{quoted} is gone"));
            let attributes = before.rsplit("\n\n").next().unwrap();
            assert!(attributes.contains("#[test]") || attributes.contains("::test"), "{quoted} is no test");
            named += 1;
        }
    }
    assert!(named >= 30, "only {named} tests are named");
}

#[test]
fn every_fuzz_target_is_named() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let targets = fs::read_dir(root.join("tests/fuzz/targets")).unwrap();
    let names = targets.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned());
    let missing: Vec<String> = names.filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
