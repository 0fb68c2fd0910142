//! The plan of the code base: each room uses only those before it, and no modules import each other in a circle.
//!
//! A reference is whatever begins with `crate::` or `super::`, in imports, paths and macros alike. What a parent re-exports
//! counts as the module that has it. A module may use its own parent; what stands under `#[cfg(test)]` is left out.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The rooms of the program in the order of their layers. Before all of them stands the core crate.
const ROOMS: &[&str] = &[
    "sys",
    "event_loop",
    "runtime",
    "limits",
    "telemetry",
    "dns",
    "reload",
    "proxy",
    "web",
    "control",
    "doctor",
    "demo",
    "cli",
];
/// The modules of the core crate, in their order.
const CORE: &[&str] = &[
    "canonical_ip",
    "hostname",
    "hostname_help",
    "networks",
    "never_dialled",
    "special_purpose",
    "diagnostic",
    "outcome",
    "client",
    "protocol",
    "yaml",
    "config",
    "policy",
    "explain",
    "replay",
    "advice",
];
/// What the core may depend on: each of these only computes.
const CORE_CRATES: &[&str] = &[
    "tls-parser",
    "httparse",
    "ppp",
    "crc32c",
    "ipnet",
    "prefix-trie",
    "memchr",
    "http",
    "serde",
    "serde_yaml",
    "serde_path_to_error",
    "saphyr-parser",
    "serde_json",
    "strsim",
    "jiff",
];

#[test]
fn each_room_uses_only_those_before_it() {
    assert_eq!(declared("src/lib.rs"), ROOMS, "src/lib.rs lists the rooms in the order of their layers");
    let found = up(&Tree::of("src", &["src/core"]), ROOMS);
    assert!(found.is_empty(), "these run up:\n{}", found.join("\n"));
}

#[test]
fn each_module_of_the_core_uses_only_those_before_it() {
    assert_eq!(declared("src/core/lib.rs"), CORE, "src/core/lib.rs lists the modules in the order of their layers");
    let found = up(&Tree::of("src/core", &[]), CORE);
    assert!(found.is_empty(), "these run up:\n{}", found.join("\n"));
}

#[test]
fn no_modules_import_each_other_in_a_circle() {
    for tree in [Tree::of("src", &["src/core"]), Tree::of("src/core", &[])] {
        let circles = tree.circles();
        assert!(circles.is_empty(), "circles:\n{}", circles.join("\n"));
    }
}

#[test]
fn the_core_depends_on_nothing_that_acts() {
    let manifest = fs::read_to_string(root().join("src/core/Cargo.toml")).unwrap();
    let sections: Vec<&str> = manifest.lines().filter(|line| line.starts_with('[')).collect();
    assert_eq!(sections, ["[package]", "[lib]", "[dependencies]", "[dev-dependencies]", "[lints]"]);
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let lines = section.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let expected: Vec<String> = CORE_CRATES.iter().map(|name| format!("{name} = {{ workspace = true }}")).collect();
    assert!(lines.clone().count() > 5);
    let others: Vec<&str> = lines.filter(|line| !expected.iter().any(|allowed| allowed == line)).collect();
    assert!(others.is_empty(), "not among the crates that the core may use: {others:?}");
}

/// clippy holds what no import shows; the attribute that switches it on must stand.
#[test]
fn the_fences_are_switched_on() {
    let types = "#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]";
    let calls = "#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_methods))]";
    for (file, attribute) in [
        ("src/core/lib.rs", calls),
        ("src/proxy/mod.rs", types),
        ("src/limits/mod.rs", types),
        ("src/telemetry/record.rs", types),
    ] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        assert!(text.lines().any(|line| line == attribute), "{file} lacks {attribute}");
    }
}

/// What runs on a worker for each connection, and waits for what `runtime` offers only: it names no other one, and nothing
/// that `runtime` is made of.
#[test]
fn the_data_path_knows_no_other_runtime() {
    let tree = Tree::of("src", &["src/core"]);
    let on_a_worker = ["proxy", "limits", "telemetry::record", "telemetry::reporter", "telemetry::access_log"];
    let mut seen = 0;
    for (module, file) in &tree.modules {
        let name = module.join("::");
        if !on_a_worker.iter().any(|part| name == *part || name.starts_with(&format!("{part}::"))) {
            continue;
        }
        seen += 1;
        for foreign in ["tokio", "mio", "socket2", "rustix", "nix", "libc"] {
            // splice(2) works on pipes, which are no sockets and wait for nothing.
            let pipe = name == "proxy::relay::pipe" && foreign == "rustix";
            assert!(!names(&file.tokens).contains(foreign) || pipe, "{name}: {foreign} belongs beneath runtime");
        }
        for path in references(&file.tokens, "crate") {
            let within =
                path.starts_with(&["event_loop".into()]) || path.starts_with(&["sys".into(), "instant".into()]);
            assert!(!within, "{name}: crate::{} is reached through runtime", path.join("::"));
        }
        let dials = file.tokens.to_string().contains("Stream :: connect");
        assert!(
            !dials || name == "proxy::dial",
            "{name} connects; only proxy::dial does, behind the destination guard"
        );
    }
    assert!(seen > 20, "{seen}");
}

/// The checks themselves: an arrow that runs up and a circle are found, however they are written.
#[test]
fn what_is_wrong_is_found() {
    let tree = |files: &[(&str, &str)]| {
        let module =
            |name: &str| name.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect::<Module>();
        let file = |text: &str| File { tokens: without_tests(text.parse().unwrap()) };
        Tree { modules: files.iter().map(|(name, text)| (module(name), file(text))).collect() }
    };
    for text in [
        "use crate::high::f;",
        "use super::high::f;",
        "fn g() { crate::high::f() }",
        "use crate::{high::f};",
        "m!(super::high::f());",
    ] {
        let tree = tree(&[("", ""), ("low", text), ("high", "")]);
        assert_eq!(up(&tree, &["low", "high"]), ["  low uses high"], "{text}");
        assert!(tree.circles().is_empty(), "{text}");
    }
    let deep = tree(&[("", ""), ("low", "mod a;"), ("low::a", "use super::super::high;"), ("high", "")]);
    assert_eq!(up(&deep, &["low", "high"]), ["  low::a uses high"]);
    let parent = tree(&[("", ""), ("a", "mod b; use self::b::X;"), ("a::b", "use super::Y; use crate::a::Y;")]);
    assert!(parent.circles().is_empty());
    let circle = tree(&[("", ""), ("a", "use crate::b;"), ("b", "use crate::c::X;"), ("c", "use crate::a::X;")]);
    assert_eq!(circle.circles().len(), 1);
    // Through what the parent re-exports.
    let facade = tree(&[
        ("", ""),
        ("p", "mod a; mod b; pub use self::b::B; pub use a::A;"),
        ("p::a", "use super::B;"),
        ("p::b", "use crate::p::A;"),
    ]);
    assert_eq!(facade.circles().len(), 1);
}

/// Imports, paths and macros are seen; tests, strings and comments are not.
#[test]
fn the_reader_of_imports_sees_them_all() {
    let text = r#"
        use crate::a::{b::C, d};
        use crate::{e, f::g::{self, H}};
        fn f() -> crate::i::J { log!("crate::no", x = crate::k::L) }
        #[cfg(test)]
        mod tests { use crate::no; }
        #[cfg(test)]
        use crate::no;
        // crate::no
    "#;
    let tokens = without_tests(text.parse().unwrap());
    let found: BTreeSet<String> = references(&tokens, "crate").iter().map(|path| path.join("::")).collect();
    let expected = ["a::b::C", "a::d", "e", "f::g", "f::g::H", "i::J", "k::L"];
    assert_eq!(found, expected.map(str::to_owned).into());
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

type Module = Vec<String>;

struct File {
    tokens: TokenStream,
}

/// The modules of one crate, each with its file.
struct Tree {
    modules: BTreeMap<Module, File>,
}

/// One module uses another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Arrow {
    from: Module,
    to: Module,
}

impl Tree {
    fn of(source: &str, except: &[&str]) -> Self {
        let except: Vec<PathBuf> = except.iter().map(|path| root().join(path)).collect();
        let mut modules = BTreeMap::new();
        add(&root().join(source), &mut Vec::new(), &except, &mut modules);
        assert!(modules.len() > 10, "{source} has only {} modules", modules.len());
        Self { modules }
    }

    /// What is referred to, as the module that has it.
    fn arrows(&self) -> BTreeSet<Arrow> {
        let mut arrows = BTreeSet::new();
        for (module, file) in &self.modules {
            let absolute = references(&file.tokens, "crate");
            let relative = references(&file.tokens, "super").into_iter().map(|path| {
                let levels = 1 + path.iter().take_while(|name| *name == "super").count();
                let above = module.get(..module.len().saturating_sub(levels)).unwrap_or_default();
                above.iter().cloned().chain(path.into_iter().skip(levels - 1)).collect()
            });
            for path in absolute.into_iter().chain(relative) {
                arrows.insert(Arrow { from: module.clone(), to: self.owner(&path) });
            }
        }
        arrows
    }

    /// The module that has what `path` names, through re-exports.
    fn owner(&self, path: &[String]) -> Module {
        let len = (0..=path.len()).rev().find(|len| self.modules.contains_key(&path[..*len])).unwrap_or_default();
        let (module, rest) = path.split_at(len);
        let reexported = rest.first().and_then(|name| self.reexport(module, name));
        reexported.unwrap_or_else(|| module.to_vec())
    }

    /// Where `module` has `name` from, if it only re-exports it from one of its children.
    fn reexport(&self, module: &[String], name: &str) -> Option<Module> {
        let tokens: Vec<TokenTree> = self.modules.get(module)?.tokens.clone().into_iter().collect();
        let mut rest = &tokens[..];
        while let [token, after @ ..] = rest {
            rest = after;
            if token.to_string() != "use" {
                continue;
            }
            let mut found = Vec::new();
            let [TokenTree::Ident(start), after @ ..] = after else { continue };
            // `use child::Name` is the same as `use self::child::Name`.
            let mut so_far = match start.to_string() {
                this if this == "self" => Vec::new(),
                child if self.modules.contains_key(&[module, std::slice::from_ref(&child)].concat()) => vec![child],
                _ => continue,
            };
            path(&mut &*after, &mut so_far, &mut found);
            if let Some(path) = found.iter().find(|path| path.last().is_some_and(|last| last == name)) {
                let own = [module, path].concat();
                return (1..own.len()).rev().map(|len| own[..len].to_vec()).find(|to| self.modules.contains_key(to));
            }
        }
        None
    }

    /// For each module its children that depend on each other in a circle, with an arrow of each.
    fn circles(&self) -> Vec<String> {
        let mut graphs: BTreeMap<Module, BTreeMap<String, BTreeMap<String, Arrow>>> = BTreeMap::new();
        for arrow in self.arrows() {
            let shared = arrow.from.iter().zip(&arrow.to).take_while(|(a, b)| a == b).count();
            // A parent and its own child: the child is a part of it.
            let (Some(from), Some(to)) = (arrow.from.get(shared), arrow.to.get(shared)) else { continue };
            let graph = graphs.entry(arrow.from[..shared].to_vec()).or_default();
            graph.entry(from.clone()).or_default().insert(to.clone(), arrow);
        }
        let mut found = Vec::new();
        for graph in graphs.values() {
            let start = graph.keys().find(|start| reaches(graph, start, start));
            if let Some(circle) = start.and_then(|start| circle(graph, start)) {
                found.push(circle);
            }
        }
        found
    }
}

/// Whether there is a way from `from`, of one arrow at least, to `to`.
fn reaches(graph: &BTreeMap<String, BTreeMap<String, Arrow>>, from: &str, to: &str) -> bool {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(name) = next.pop() {
        for target in graph.get(name).into_iter().flat_map(BTreeMap::keys) {
            if target == to {
                return true;
            }
            if seen.insert(target) {
                next.push(target);
            }
        }
    }
    false
}

fn circle(graph: &BTreeMap<String, BTreeMap<String, Arrow>>, start: &str) -> Option<String> {
    let (mut text, mut at) = (String::new(), start.to_owned());
    loop {
        let (next, arrow) = graph.get(&at)?.iter().find(|(next, _)| *next == start || reaches(graph, next, start))?;
        writeln!(text, "  {} uses {}", arrow.from.join("::"), arrow.to.join("::")).unwrap();
        if next == start || text.lines().count() > 20 {
            return Some(text);
        }
        at.clone_from(next);
    }
}

fn add(directory: &Path, module: &mut Module, except: &[PathBuf], modules: &mut BTreeMap<Module, File>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if except.contains(&path) {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name == "tests" {
            continue;
        }
        if path.is_dir() {
            module.push(name);
            add(&path, module, except, modules);
            module.pop();
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let root = module.is_empty() && matches!(name.as_str(), "lib" | "main");
            let own: Module = if root || name == "mod" { module.clone() } else { [&module[..], &[name]].concat() };
            let text = fs::read_to_string(&path).unwrap();
            let tokens = text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            modules.insert(own, File { tokens: without_tests(tokens) });
        }
    }
}

fn up(tree: &Tree, order: &[&str]) -> Vec<String> {
    let place = |module: &Module| order.iter().position(|name| module.first().is_some_and(|first| first == name));
    let mut found = Vec::new();
    for arrow in tree.arrows() {
        if let (Some(from), Some(to)) = (place(&arrow.from), place(&arrow.to))
            && to > from
        {
            found.push(format!("  {} uses {}", arrow.from.join("::"), arrow.to.join("::")));
        }
    }
    found
}

/// The modules that a file declares, in their order.
fn declared(file: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(file)).unwrap();
    let tokens: Vec<TokenTree> = text.parse::<TokenStream>().unwrap().into_iter().collect();
    let declared = tokens.windows(2).filter(|pair| pair[0].to_string() == "mod").map(|pair| pair[1].to_string());
    declared.collect()
}

/// Leaves out what stands under `#[cfg(test)]`.
fn without_tests(tokens: TokenStream) -> TokenStream {
    let (mut kept, mut tokens) = (Vec::new(), tokens.into_iter().peekable());
    while let Some(token) = tokens.next() {
        let attribute = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '#');
        let is_test = |next: &TokenTree| next.to_string().replace(' ', "") == "[cfg(test)]";
        if attribute && tokens.peek().is_some_and(is_test) {
            let is_end = |token: &TokenTree| match token {
                TokenTree::Punct(punct) => matches!(punct.as_char(), ';' | ','),
                TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                _ => false,
            };
            // `use a::{b};` ends with the semicolon behind its braces.
            let _ = tokens.by_ref().find(is_end);
            tokens.next_if(|token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ';'));
            continue;
        }
        kept.push(match token {
            TokenTree::Group(group) => {
                let inner = without_tests(group.stream());
                TokenTree::Group(proc_macro2::Group::new(group.delimiter(), inner))
            }
            token => token,
        });
    }
    kept.into_iter().collect()
}

/// Every identifier.
fn names(tokens: &TokenStream) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for token in tokens.clone() {
        match token {
            TokenTree::Ident(name) => drop(found.insert(name.to_string())),
            TokenTree::Group(group) => found.extend(names(&group.stream())),
            _ => {}
        }
    }
    found
}

/// All paths that begin with `start::`, without it; of an import in braces each one.
fn references(tokens: &TokenStream, start: &str) -> Vec<Module> {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let mut found = Vec::new();
    let mut rest = &tokens[..];
    while let [token, after @ ..] = rest {
        rest = after;
        match token {
            TokenTree::Ident(name) if name == start => {
                let mut at = rest;
                path(&mut at, &mut Vec::new(), &mut found);
            }
            TokenTree::Group(group) => found.extend(references(&group.stream(), start)),
            _ => {}
        }
    }
    found
}

/// What follows a name of a path: `::name`, `::{…}`, or its end.
fn path(rest: &mut &[TokenTree], so_far: &mut Module, found: &mut Vec<Module>) {
    let is_colon = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ':');
    let [first, second, next, after @ ..] = *rest else { return finish(so_far, found) };
    if !(is_colon(first) && is_colon(second)) {
        return finish(so_far, found);
    }
    match next {
        TokenTree::Ident(name) => {
            so_far.push(name.to_string());
            *rest = after;
            path(rest, so_far, found);
            so_far.pop();
        }
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
            let inner: Vec<TokenTree> = group.stream().into_iter().collect();
            for branch in inner.split(|token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',')) {
                let [TokenTree::Ident(name), after @ ..] = branch else { continue };
                if name == "self" {
                    finish(so_far, found);
                    continue;
                }
                so_far.push(name.to_string());
                path(&mut &*after, so_far, found);
                so_far.pop();
            }
        }
        _ => finish(so_far, found),
    }
}

fn finish(so_far: &[String], found: &mut Vec<Module>) {
    if !so_far.is_empty() {
        found.push(so_far.to_vec());
    }
}
