//! The parsers against what real clients and a real load balancer send (`tests/fixtures/`, made by
//! `tests/fixtures/capture`), and the fuzz targets' invariants over the same bytes, without libFuzzer.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use latticegate_core::hostname::Hostname;
use latticegate_core::outcome::RefuseReason;
use latticegate_core::protocol::Verdict;
use latticegate_core::protocol::client_hello;
use latticegate_core::protocol::http_head;
use latticegate_core::protocol::proxy_header;
use latticegate_core::protocol::proxy_header::Header;
use proptest::prelude::*;

/// A line of the manifest and the bytes that it is about.
struct Capture {
    file: String,
    /// What the client was reported to ask for, or the word of the refusal; no parser's opinion.
    expected: String,
    records: String,
    bytes: Vec<u8>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn captures(kind: &str) -> Vec<Capture> {
    let manifest = fs::read_to_string(fixtures().join("manifest.tsv")).unwrap();
    let mut captures = Vec::new();
    for line in manifest.lines().filter(|line| line.starts_with(kind) && !line.starts_with('#')) {
        let [file, _client, expected, records, len] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let bytes = fs::read(fixtures().join(file)).unwrap();
        assert_eq!(bytes.len().to_string(), len, "{file}");
        captures.push(Capture { file: file.into(), expected: expected.into(), records: records.into(), bytes });
    }
    captures
}

/// The verdict in the words of the manifest.
fn reported<T>(verdict: &Verdict<T>, found: impl Fn(&T) -> String) -> String {
    match verdict {
        Verdict::Found { value, .. } => found(value),
        Verdict::NeedMore => "more bytes".into(),
        Verdict::Refuse(reason) => reason.word().into(),
    }
}

fn reported_of_header(header: &Header) -> String {
    match header {
        Header::Local => "local".into(),
        Header::Proxy(client) => {
            let id = client.endpoint.map_or_else(String::new, |id| format!(" {id}"));
            format!("{}{id}", client.ip.with_port(client.port))
        }
    }
}

#[test]
fn the_manifest_names_every_capture() {
    let mut files = BTreeSet::new();
    for kind in ["heads", "hellos", "proxy", "streams"] {
        for entry in fs::read_dir(fixtures().join(kind)).unwrap() {
            files.insert(format!("{kind}/{}", entry.unwrap().file_name().to_str().unwrap()));
        }
    }
    let named: BTreeSet<String> = captures("").into_iter().map(|capture| capture.file).collect();
    assert_eq!(files, named);
}

#[test]
fn every_hello_gives_the_name_that_its_client_was_given() {
    let hellos = captures("hellos/");
    for Capture { file, expected, records, bytes } in &hellos {
        let verdict = invariants::client_hello::check(bytes);
        assert_eq!(&reported(&verdict, |hello| hello.name.to_string()), expected, "{file}");
        if let Verdict::Found { value, .. } = verdict {
            assert_eq!(&value.records.to_string(), records, "{file}");
        }
    }
    assert!(hellos.len() >= 45, "only {} hellos", hellos.len());
}

#[test]
fn every_head_gives_the_host_that_its_client_was_given() {
    let heads = captures("heads/");
    for Capture { file, expected, bytes, .. } in &heads {
        let verdict = invariants::http_head::check(bytes);
        assert_eq!(&reported(&verdict, |head| head.name.to_string()), expected, "{file}");
        if let Verdict::Found { len, .. } = verdict {
            assert_eq!(len, bytes.len(), "{file}");
        }
    }
    assert!(heads.len() >= 20, "only {} heads", heads.len());
}

#[test]
fn every_header_tells_the_address_that_the_client_had() {
    let headers = captures("proxy/");
    for Capture { file, expected, bytes, .. } in &headers {
        let verdict = invariants::proxy_header::check(bytes);
        assert_eq!(&reported(&verdict, reported_of_header), expected, "{file}");
    }
    assert!(headers.len() >= 14, "only {} headers", headers.len());
}

/// A second host on the same connection is refused before a byte of its request goes on; all else goes through.
#[test]
fn every_stream_is_forwarded_up_to_a_change_of_host() {
    let streams = captures("streams/");
    for Capture { file, expected, records, bytes } in &streams {
        let seen = invariants::request_stream::check(bytes).unwrap();
        if expected.contains(' ') {
            assert_eq!((seen.requests.len(), seen.refused), (1, Some(RefuseReason::HostChanged)), "{file}");
            assert!(seen.forwarded < bytes.len(), "{file}");
        } else {
            assert_eq!((&seen.requests.len().to_string(), seen.refused), (records, None), "{file}");
            assert_eq!(seen.forwarded, bytes.len(), "{file}");
        }
    }
    assert!(streams.len() >= 11, "only {} streams", streams.len());
}

/// Flipping any bit, or writing an extreme, must neither panic nor let a name through that is none.
#[test]
fn no_changed_byte_breaks_a_parser() {
    let mut tried = 0;
    for Capture { file, bytes, .. } in captures("").into_iter().filter(|capture| !capture.file.starts_with("streams/"))
    {
        let mut changed = bytes.clone();
        // The one hello that is too long is sampled.
        for at in (0..bytes.len()).step_by(if bytes.len() > 4096 { 41 } else { 1 }) {
            for value in (0..8).map(|bit| bytes[at] ^ (1 << bit)).chain([0, 0xff]) {
                changed[at] = value;
                let name = match file.split('/').next().unwrap() {
                    "hellos" => found(client_hello::parse(&changed)).map(|hello| hello.name),
                    "heads" => found(http_head::parse(&changed, 80)).map(|head| head.name),
                    "proxy" => found(proxy_header::parse(&changed)).and(None),
                    kind => panic!("{kind} has no parser"),
                };
                if let Some(name) = name {
                    assert_eq!(Hostname::parse(name.as_str().as_bytes()), Ok(name.clone()), "{file} at {at}");
                }
                tried += 1;
            }
            changed[at] = bytes[at];
        }
    }
    assert!(tried > 400_000, "only {tried} changes");
}

fn found<T>(verdict: Verdict<T>) -> Option<T> {
    if let Verdict::Found { value, .. } = verdict { Some(value) } else { None }
}

/// And none of its bytes, if it is another, makes the two readers differ.
#[test]
fn every_seed_of_the_responses_holds() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds/response_stream");
    let mut tried = 0;
    for entry in fs::read_dir(seeds).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        assert!(invariants::response_stream::check(&bytes).is_some());
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            for value in [bytes[at] ^ 1, bytes[at] ^ 0x20, 0, b'\r', b'\n', b'0', b' '] {
                changed[at] = value;
                invariants::response_stream::check(&changed);
                tried += 1;
            }
        }
    }
    assert!(tried > 5000, "only {tried}");
}

#[test]
fn every_head_to_the_forward_proxy_holds() {
    holds_if_changed("forward_head", 1500, |bytes| drop(invariants::forward_head::check(bytes)));
}

#[test]
fn every_stream_to_the_forward_proxy_holds() {
    holds_if_changed("forward_stream", 1500, |bytes| drop(invariants::forward_stream::check(bytes)));
}

#[test]
fn every_response_to_the_forward_proxy_holds() {
    holds_if_changed("forward_response", 1500, |bytes| drop(invariants::forward_response::check(bytes)));
}

/// The seeds of a fuzz target, and each with a byte changed: every third, since a head is parsed at each of its lengths.
fn holds_if_changed(target: &str, least: usize, check: impl Fn(&[u8])) {
    let mut tried = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(target)).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        check(&bytes);
        for at in (0..bytes.len()).step_by(3) {
            let mut changed = bytes.clone();
            for value in [bytes[at] ^ 0x20, b'\r', b'\n', b'0', b','] {
                changed[at] = value;
                check(&changed);
                tried += 1;
            }
        }
    }
    assert!(tried > least, "{target}: only {tried}");
}

#[test]
fn every_seed_of_the_targets_that_read_yaml_holds() {
    let mut seeds = 0;
    for directory in ["conf", "tests/fuzz/seeds/policy", "tests/fuzz/seeds/configuration", "tests/fuzz/seeds/yaml"] {
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)).unwrap() {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            invariants::policy::check(&bytes);
            invariants::configuration::check(&bytes);
            invariants::yaml::check(&bytes);
            seeds += 1;
        }
    }
    assert!(seeds >= 13, "only {seeds} seeds");
}

proptest! {
    /// What libFuzzer finds by coverage, here by pieces of which YAML is made.
    #[test]
    fn both_readers_of_yaml_agree(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..24)) {
        invariants::yaml::check(pieces.concat().as_bytes());
    }
}

const PIECES: &[&str] = &[
    "\n",
    "\n",
    "\n  ",
    "\n    ",
    "\n- ",
    "\n  - ",
    " ",
    "\t",
    "\r\n",
    "a",
    "b",
    "c: ",
    "d: ",
    "e:",
    ": ",
    ":",
    "- ",
    "? ",
    ", ",
    ",",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "'",
    "#",
    " # x",
    "|",
    ">",
    "|-\n",
    "1.10",
    "0x1F",
    "0o17",
    "017",
    "true",
    "yes",
    "null",
    "~",
    "1_000",
    "1:30",
    "::/0",
    "10.0.0.0/8",
    "9999-12-31",
    "é",
    "\\n",
    "\\",
    "&x ",
    "*x",
    "!t ",
    "%",
    "@",
    "`",
    "---",
    "...",
    "<<",
    ".inf",
    "\u{a0}",
    "\u{feff}",
    "\u{2028}",
    "\u{85}",
    "\0",
];
