//! Every command that the README gives: the lines of its `sh` blocks, and inline code that begins like one.
//!
//! One list for all who run them: `tests/readme.rs` those of the program itself, `tests/lab` every curl.

use std::path::Path;

/// How a command begins. Options alone are to be added to a command that stands before them.
const BEGINNINGS: [&str; 7] =
    ["latticegate ", "target/release/latticegate ", "cargo ", "curl ", "tests/", "benches/", "cfn/"];

/// In the order of the README, blanks made single, each once.
pub fn commands() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let text = std::fs::read_to_string(path).expect("the README is there");
    let mut commands: Vec<String> = Vec::new();
    // Fenced blocks are every second part; inline code is every second part of what is between them.
    for (number, part) in text.split("```").enumerate() {
        let found: Vec<&str> = match part.strip_prefix("sh\n") {
            Some(block) if number % 2 == 1 => {
                block.lines().map(|line| line.split(" #").next().unwrap_or(line)).collect()
            }
            _ if number % 2 == 1 => continue,
            _ => part.split('`').skip(1).step_by(2).filter(|code| is_command(code)).collect(),
        };
        let found = found.iter().map(|code| code.split_whitespace().collect::<Vec<_>>().join(" "));
        for command in found.filter(|command| !command.is_empty()) {
            if !commands.contains(&command) {
                commands.push(command);
            }
        }
    }
    commands
}

fn is_command(code: &str) -> bool {
    BEGINNINGS.iter().any(|beginning| code.starts_with(beginning)) || (code.starts_with("--") && code.contains(' '))
}

/// What `tests/lab` runs, as it stands.
pub fn is_curl(command: &str) -> bool {
    command.starts_with("curl ") || is_signing(command)
}

/// What is added to a curl command for a service that asks for SigV4.
pub fn is_signing(command: &str) -> bool {
    command.starts_with("--aws-sigv4 ")
}
