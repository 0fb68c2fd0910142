//! A file: every way in which editors, volumes and mistakes change one.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;
use support::until;

use crate::gate::{ALLOW, DENY, Gate};

/// What each failure must say.
const STAYS: &str = "the old one stays in force";

#[test]
fn a_write_in_place() {
    let gate = Gate::start(&[]);
    gate.admits();
    fs::write(gate.list(), DENY).unwrap();
    let line = gate.reloaded(1);
    for part in ["added=1", "removed=0", "moved=0", "version=", "live_connections_forbidden=0"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    gate.denies();
    // Touched, but the same: no news.
    fs::write(gate.list(), DENY).unwrap();
    fs::write(gate.list(), ALLOW).unwrap();
    gate.reloaded(2);
    gate.admits();
}

#[test]
fn an_editor_that_renames() {
    let gate = Gate::start(&[]);
    fs::write(gate.file(".ipcontrol.yaml.swp"), DENY).unwrap();
    fs::rename(gate.list(), gate.file("ipcontrol.yaml~")).unwrap();
    fs::rename(gate.file(".ipcontrol.yaml.swp"), gate.list()).unwrap();
    gate.reloaded(1);
    gate.denies();
    assert!(gate.in_step());
}

#[test]
fn a_symlink_that_is_switched() {
    let gate = Gate::start(&[]);
    // As Kubernetes mounts a ConfigMap: the file is a link through a link to a directory.
    for (directory, text) in [("one", ALLOW), ("two", DENY)] {
        fs::create_dir(gate.file(directory)).unwrap();
        fs::write(gate.file(directory).join("ipcontrol.yaml"), text).unwrap();
    }
    symlink("one", gate.file("data")).unwrap();
    symlink("data/ipcontrol.yaml", gate.file("link")).unwrap();
    fs::rename(gate.file("link"), gate.list()).unwrap();
    gate.admits();
    symlink("two", gate.file("data-next")).unwrap();
    fs::rename(gate.file("data-next"), gate.file("data")).unwrap();
    gate.reloaded(1);
    gate.denies();
}

#[test]
fn sighup_reads_at_once() {
    let gate = Gate::start(&[("LATTICEGATE_POLICY_POLL", "1h")]);
    gate.write(DENY);
    gate.process.signal(Signal::SIGHUP);
    gate.reloaded(1);
    gate.denies();
    gate.process.signal(Signal::SIGHUP);
    gate.wait_for(1, "the access list is the one in force");
    assert_eq!(gate.lines("SIGHUP").len(), 2);
}

/// Each leaves the old list in force, is reported in one line and seen in the metrics, and is over when a list is back.
#[track_caller]
fn survives(spoil: impl FnOnce(&Gate), expected: &str) {
    let gate = Gate::start(&[]);
    spoil(&gate);
    until("it is noticed", || gate.failed_reloads() > 0.0);
    assert!(!gate.in_step());
    gate.admits();
    let line = gate.wait_for(1, STAYS).remove(0);
    assert!(line.contains(expected) && line.contains("ipcontrol.yaml"), "{line}");
    assert!(line.contains("ERROR"), "{line}");
    gate.write(DENY);
    gate.reloaded(1);
    gate.denies();
    assert!(gate.in_step());
    // However often it was looked at.
    gate.wait_for(1, STAYS);
}

#[test]
fn a_file_that_vanishes() {
    survives(|gate| fs::remove_file(gate.list()).unwrap(), "does not exist");
}

#[test]
fn a_directory_in_its_place() {
    survives(
        |gate| {
            fs::create_dir(gate.file("directory")).unwrap();
            symlink("directory", gate.file("link")).unwrap();
            fs::rename(gate.file("link"), gate.list()).unwrap();
        },
        "is a directory",
    );
}

#[test]
fn a_list_with_a_mistake() {
    survives(|gate| gate.write("rules:\n- allow: 10.0.0.0/8\n- alow: 10.0.0.0/8\n"), "ipcontrol.yaml:3");
}

#[test]
fn broken_yaml() {
    survives(|gate| gate.write("rules: [\n"), "ipcontrol.yaml:");
}

#[test]
fn an_empty_file_is_no_list() {
    survives(|gate| gate.write(""), "is empty");
}

#[test]
fn a_list_without_rules_is_a_mistake_unless_it_says_so() {
    survives(|gate| gate.write("rules:\n"), "rules");
    let gate = Gate::start(&[]);
    gate.write("rules: []\n");
    assert!(gate.reloaded(1).contains("removed=1"));
    gate.denies();
}

#[test]
fn a_file_of_100_mb() {
    survives(|gate| fs::File::create(gate.list()).unwrap().set_len(100 << 20).unwrap(), "MiB");
}

#[test]
fn the_same_file_back_is_reported_too() {
    let gate = Gate::start(&[]);
    fs::rename(gate.list(), gate.file("away")).unwrap();
    gate.wait_for(1, STAYS);
    fs::rename(gate.file("away"), gate.list()).unwrap();
    gate.wait_for(1, "has the list in force again");
    assert!(gate.in_step());
    assert_eq!(gate.lines("access list reloaded").len(), 0);
}

#[test]
fn a_list_that_is_still_being_written_is_left_alone() {
    let gate = Gate::start(&[("LATTICEGATE_POLICY_POLL", "1s")]);
    let mut file = fs::File::create(gate.list()).unwrap();
    // Each of these pieces would be a list by itself.
    file.write_all(ALLOW.as_bytes()).unwrap();
    for n in 0..150 {
        writeln!(file, "- allow: 10.0.{n}.0/24").unwrap();
        sleep(Duration::from_millis(20));
    }
    writeln!(file, "- deny: all").unwrap();
    drop(file);
    let line = gate.reloaded(1);
    assert!(line.contains("added=151"), "{line}");
    assert_eq!(gate.failed_reloads(), 0.0);
}

#[test]
fn a_list_that_ends_in_the_middle_of_a_line_is_waited_for() {
    let gate = Gate::start(&[]);
    // By itself a valid list, that lets a quarter of the internet in.
    let mut file = fs::File::create(gate.file("next")).unwrap();
    file.write_all(b"rules:\n- allow: 192.0.0.0/2").unwrap();
    fs::rename(gate.file("next"), gate.list()).unwrap();
    sleep(Duration::from_secs(1));
    assert_eq!(gate.lines("access list reloaded").len(), 0, "it was taken");
    file.write_all(b"4\n").unwrap();
    gate.reloaded(1);
    gate.denies();
    // One that stays like this is taken in the end.
    gate.write("rules:\n- allow: 192.0.2.0/24");
    gate.reloaded(2);
    gate.admits();
}

#[test]
fn a_change_of_the_main_configuration_says_restart() {
    let gate = Gate::start(&[]);
    let config = gate.file("latticegate.yaml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}# changed\n")).unwrap();
    let line = gate.wait_for(1, "read at start only").remove(0);
    assert!(line.contains("then restart") && line.contains("latticegate.yaml") && line.contains("WARN"), "{line}");
    gate.process.signal(Signal::SIGHUP);
    until("SIGHUP says it again", || gate.lines("read at start only").len() == 2);
    fs::write(&config, text).unwrap();
    gate.wait_for(1, "again what the process was started with");
    gate.admits();
}
