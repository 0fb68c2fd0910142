//! The parsers, the access list and the log line by instruction count, which a busy machine does not change.
//! `benches/run instructions` builds and starts this.
//!
//! Each case runs under callgrind, which collects only what the repeated operation costs on its own thread.
#![allow(clippy::print_stderr, reason = "a measuring tool prints")]
#![allow(clippy::as_conversions, clippy::indexing_slicing, reason = "fixtures are cut and counts become percentages")]

mod cases;
#[path = "../compare/print.rs"]
#[allow(unreachable_pub, reason = "compare has it public")]
mod print;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Parser;

use self::print::print;

/// Counts instructions of the parsers, the access list and the access-log line.
#[derive(Parser)]
#[command(bin_name = "benches/run instructions")]
struct Arguments {
    /// Fail if a count differs by more than 6 % from the committed one (same compiler only)
    #[arg(long)]
    check: bool,
    /// Write the counts into the file that is committed
    #[arg(long)]
    update: bool,
    /// Run one case (valgrind does)
    #[arg(long, hide = true)]
    case: Option<String>,
    #[arg(long, hide = true, default_value_t = 1)]
    times: u32,
    #[arg(long, hide = true)]
    bench: bool,
}

/// A change of less than this is the noise of inlining: a build of the same source in another directory decides otherwise here and
/// there (`forward_connect` 5 950 in one, 6 239 in the other, 4.9 %; no other case moves by more than 1.1 %).
const TOLERANCE: f64 = 0.06;
const TIMES: u32 = 1000;
/// The function in which callgrind collects.
const COUNTED: &str = "*cases::counted";

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(name) = &arguments.case {
        cases::run(name, arguments.times)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !(arguments.bench || arguments.check || arguments.update) {
        print(format_args!("started as a test: nothing to do; see benches/run instructions"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/counts.txt");
    let committed = Counts::read(&path)?;
    let counted = Counts::now()?;
    if arguments.update {
        fs::write(&path, counted.text())?;
        print(format_args!("{}", counted.text().trim_end()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let same_compiler = counted.compiler == committed.compiler;
    let mut worst = 0.0_f64;
    for (name, count) in &counted.counts {
        let before = committed.counts.get(name);
        let change = before.map_or(f64::INFINITY, |before| *count as f64 / *before as f64 - 1.0);
        worst = worst.max(change.abs());
        let before = before.map_or("new".into(), u64::to_string);
        print(format_args!("{name:22}{count:>10}   committed {before:>10}   {:+.1} %", change * 100.0))?;
    }
    if committed.counts.keys().ne(counted.counts.keys()) {
        worst = f64::INFINITY;
    }
    if !arguments.check || worst <= TOLERANCE {
        return Ok(ExitCode::SUCCESS);
    }
    if !same_compiler {
        print(format_args!("not judged: counted with {}, committed with {}", counted.compiler, committed.compiler))?;
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "counts changed by more than {:.0} %; if that is meant: benches/run instructions --update",
        TOLERANCE * 100.0
    );
    Ok(ExitCode::FAILURE)
}

#[derive(Default)]
struct Counts {
    compiler: String,
    counts: BTreeMap<String, u64>,
}

impl Counts {
    fn read(path: &Path) -> Result<Self> {
        let mut read = Self::default();
        for line in fs::read_to_string(path).unwrap_or_default().lines() {
            match line.split_once(' ') {
                Some(("compiler", version)) => read.compiler = version.into(),
                Some((name, count)) if name != "#" => {
                    let count = count.trim().parse().with_context(|| format!("{}: {line}", path.display()))?;
                    read.counts.insert(name.into(), count);
                }
                _ => {}
            }
        }
        Ok(read)
    }

    /// Two cases at a time: counts do not mind the company.
    fn now() -> Result<Self> {
        let output = Command::new("rustc").arg("--version").output().context("asking rustc for its version")?;
        let compiler = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let names = cases::names();
        let half = names.len().div_ceil(2);
        let counted: Vec<Result<Vec<(String, u64)>>> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                names.chunks(half).map(|names| scope.spawn(|| names.iter().map(count).collect())).collect();
            threads.into_iter().map(|thread| thread.join().expect("counting does not panic")).collect()
        });
        let counts = counted.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        Ok(Self { compiler, counts })
    }

    fn text(&self) -> String {
        let mut text = String::from("# Instructions by operation. Written by: benches/run instructions --update\n");
        text.push_str(&format!("compiler {}\n", self.compiler));
        for (name, count) in &self.counts {
            text.push_str(&format!("{name} {count}\n"));
        }
        text
    }
}

fn count(name: &&str) -> Result<(String, u64)> {
    Ok((name.to_string(), collected(name, TIMES)? / u64::from(TIMES)))
}

/// What callgrind collected in all.
fn collected(name: &str, times: u32) -> Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(std::env::current_exe()?)
        .args(["--case", name, "--times", &times.to_string()])
        .output()
        .context("starting valgrind; tests/setup instructions installs it")?;
    let printed = String::from_utf8_lossy(&output.stderr);
    let number = printed.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    match number {
        Some(number) if output.status.success() => Ok(number),
        _ => bail!("{name}: {printed}"),
    }
}
