//! The program itself: exit status, output, signals, and that the documentation names its arguments.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use clap::CommandFactory;
use latticegate_load::{Arguments, Report};
use rustix::process::{Pid, Signal, kill_process};

use crate::service::{OK, answering};

const SHORT: [&str; 8] = ["--users", "2", "--rate", "100", "--duration", "200ms", "--report", "100ms"];

fn program(url: &str, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_latticegate-load"));
    command.args(["--url", url]).args(SHORT).args(more).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn its_exit_status_says_whether_too_many_failed() {
    let run = |url: &str, more: &[&str]| -> (Option<i32>, Output) {
        let output = program(url, more).output().unwrap();
        (output.status.code(), output)
    };
    let ((good, _), (bad, _)) = (answering(OK), answering("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"));
    let (good, bad) = (format!("http://{good}/"), format!("http://{bad}/"));
    let (code, output) = run(&good, &[]);
    assert_eq!(code, Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("latency p99.9, ms") && text(&output.stderr).contains(" planned "));
    let (code, output) = run(&bad, &["--json"]);
    assert_eq!(code, Some(1));
    let report: Report = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report.total().statuses[&503], report.total().planned);
    assert!(text(&output.stderr).contains("more than --allowed-errors 0"), "{}", text(&output.stderr));
    assert_eq!(run(&bad, &["--allowed-errors", "100%"]).0, Some(0));
    let (code, output) = run("https://orders.example.com/", &["--cacert", "/nonexistent.pem"]);
    assert_eq!(code, Some(2));
    assert!(text(&output.stderr).starts_with("error: --cacert /nonexistent.pem: "), "{}", text(&output.stderr));
}

/// A pipe whose reader has gone.
fn closed_pipe() -> Stdio {
    let (_, writer) = std::io::pipe().unwrap();
    writer.into()
}

/// Every write to it fails for want of space.
fn full() -> Stdio {
    fs::OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

#[test]
fn a_report_that_cannot_be_written_is_an_error() {
    let (address, _heads) = answering(OK);
    let url = format!("http://{address}/");
    let json: &[&str] = &["--json"];
    for more in [json, &[]] {
        let output = program(&url, more).stdout(full()).output().unwrap();
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        let last = errors.lines().last().unwrap();
        assert!(last.starts_with("error: writing the report: No space left"), "{errors}");
        assert_eq!(errors.lines().filter(|line| !line.contains(" planned ")).count(), 1, "{errors}");
    }
    let help = help().stdout(full()).output().unwrap();
    assert_eq!(help.status.code(), Some(2), "{}", text(&help.stderr));
}

fn help() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_latticegate-load"));
    command.arg("--help").stderr(Stdio::piped());
    command
}

/// As with `| head`.
#[test]
fn a_reader_that_has_had_enough_changes_no_exit_status() {
    let ((good, _heads), (bad, _)) = (answering(OK), answering("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"));
    for (address, status) in [(good, 0), (bad, 1)] {
        let output = program(&format!("http://{address}/"), &[]).stdout(closed_pipe()).output().unwrap();
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{errors}");
        assert_eq!(errors.lines().filter(|line| line.starts_with("error: writing")).count(), 0, "{errors}");
    }
    let help = help().stdout(closed_pipe()).output().unwrap();
    assert_eq!((help.status.code(), text(&help.stderr)), (Some(0), String::new()));
}

#[test]
fn progress_that_cannot_be_written_loses_nothing() {
    let ((good, _heads), (bad, _)) = (answering(OK), answering("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"));
    for shut in [full as fn() -> Stdio, closed_pipe] {
        for (address, status) in [(good, 0), (bad, 1)] {
            let output = program(&format!("http://{address}/"), &["--json"]).stderr(shut()).output().unwrap();
            assert_eq!(output.status.code(), Some(status));
            let report: Report = serde_json::from_slice(&output.stdout).unwrap();
            assert!(report.total().planned > 0 && report.total().open() == 0, "{report}");
        }
        let output = program("https://orders.example.com/", &["--cacert", "/nonexistent.pem"]).stderr(shut()).output();
        assert_eq!(output.unwrap().status.code(), Some(2));
    }
}

#[test]
fn a_run_that_sent_nothing_is_no_success() {
    let (address, heads) = answering(OK);
    let run = |url: &str, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_latticegate-load"));
        let output =
            command.args(["--url", url, "--allowed-errors", "100%", "--seed", "1"]).args(more).output().unwrap();
        (output.status.code(), text(&output.stderr), text(&output.stdout))
    };
    let url = format!("http://{address}/");
    let (code, errors, report) = run(&url, &["--rate", "0.001", "--duration", "1ms", "--json"]);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("error: no request was planned"), "{errors}");
    assert_eq!(heads.try_iter().count(), 0);
    // Nor where its report is merged.
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), report).unwrap();
    let merge = Command::new(env!("CARGO_BIN_EXE_latticegate-load")).arg("--merge").arg(file.path()).output().unwrap();
    assert_eq!(merge.status.code(), Some(1), "{}", text(&merge.stderr));
    // Nothing listens on this port.
    let (code, errors, _) = run("http://127.0.0.1:1/", &["--rate", "100", "--duration", "100ms"]);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("error: nothing was sent"), "{errors}");
    let (code, errors, _) = run(&url, &["--users", "3", "--generators", "5"]);
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.starts_with("error: --users 3: fewer than --generators 5"), "{errors}");
}

#[test]
fn interrupted_it_reports_what_it_has_done() {
    let (address, heads) = answering(OK);
    let mut command = Command::new(env!("CARGO_BIN_EXE_latticegate-load"));
    command.args(["--url", &format!("http://{address}/"), "--rate", "100", "--duration", "1h", "--json"]);
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_child(&child);
    // Some requests have come: it is under way.
    let before = heads.iter().take(5).count();
    kill_process(pid, Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let report: Report = serde_json::from_slice(&output.stdout).unwrap();
    let total = report.total();
    assert!(report.interrupted && output.status.success(), "{report}");
    assert_eq!(total.succeeded(), (before + heads.try_iter().count()) as u64, "{report}");
    assert_eq!((total.succeeded(), total.failed()), (total.planned, 0), "{report}");
    assert!(total.seconds < 3600.0, "{report}");
}

#[test]
fn the_documentation_and_the_template_name_its_arguments() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap();
    let command = Arguments::command();
    let known: BTreeSet<&str> = command.get_arguments().filter_map(|argument| argument.get_long()).collect();
    let page = read("docs/load-test.md");
    let (_, table) = page.split_once("## Arguments").unwrap();
    assert_eq!(arguments(table), known);
    // Every command in the page that starts it.
    for line in page.lines().filter(|line| line.starts_with("benches/run load ")) {
        assert!(arguments(line).is_subset(&known), "{line}");
    }
    let template = read("cfn/load-test.yaml");
    let (_, command) = template.split_once("          Command:\n").unwrap();
    let used = arguments(command.split_once("StopTimeout").unwrap().0);
    assert!(used.len() > 8 && used.is_subset(&known), "{used:?}");
}

/// What begins with two hyphens.
fn arguments(text: &str) -> BTreeSet<&str> {
    let end = |rest: &str| {
        rest.find(|c: char| !c.is_ascii_lowercase() && c != '-' && !c.is_ascii_digit()).unwrap_or(rest.len())
    };
    text.split("--")
        .skip(1)
        .map(|rest| &rest[..end(rest)])
        .filter(|name| !name.is_empty() && !name.starts_with('-'))
        .collect()
}
