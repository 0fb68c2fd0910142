//! A helper in Python, in a process of its own, for what the standard library of Rust lacks.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use support::child::KillOnDrop;

/// Started with `input` on its standard input, which stays open; returns when it has printed `ready`.
#[track_caller]
pub fn python(arguments: &[&str], input: &[u8], ready: &str) -> KillOnDrop {
    let mut command = Command::new("python3");
    let mut child = KillOnDrop::spawn(command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()));
    child.stdin.as_mut().unwrap().write_all(input).unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim_end(), ready);
    child
}
