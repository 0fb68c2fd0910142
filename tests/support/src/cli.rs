//! The program as an operator's tool: run once, in a directory with the shipped files, and read.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// Runs `program`, the caller's `env!("CARGO_BIN_EXE_latticegate")`, in this directory, with no environment but these
/// variables.
pub fn run(program: &str, directory: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .expect("the program starts")
}

/// A directory with the shipped `latticegate.yaml` and `ipcontrol.yaml`, or these in their place.
pub fn directory(config: Option<&[u8]>, policy: Option<&[u8]>) -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conf");
    for (name, content) in [("latticegate.yaml", config), ("ipcontrol.yaml", policy)] {
        let copied = match content {
            Some(content) => std::fs::write(directory.path().join(name), content),
            None => std::fs::copy(conf.join(name), directory.path().join(name)).map(drop),
        };
        copied.expect("the directory takes the files");
    }
    directory
}

/// What it wrote to standard output.
pub fn stdout(output: &Output) -> String {
    text(&output.stdout)
}

/// What it wrote to standard error.
pub fn stderr(output: &Output) -> String {
    text(&output.stderr)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it prints UTF-8")
}
