//! The report, for people and as JSON, and lines of progress on the way to it.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::arguments::{Allowed, Arguments};
use crate::plan::Load;
use crate::say::say;
use crate::tally::{Phase, Tally};
use crate::target::Target;

/// Above this the latencies are the generator's and not the service's.
const LATE_MS: f64 = 10.0;

/// What was asked for, and what became of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    pub urls: Vec<String>,
    /// How many generators' report this is.
    pub generators: u32,
    pub users: usize,
    pub rate: f64,
    pub ramp_s: f64,
    pub steady_s: f64,
    pub keep_alive: bool,
    pub seeds: Vec<u32>,
    pub interrupted: bool,
    pub tally: Tally,
}

impl Report {
    pub fn new(arguments: &Arguments, load: Load, seed: u32, interrupted: bool, tally: Tally) -> Self {
        Self {
            urls: arguments.urls.iter().map(Target::url).collect(),
            generators: 1,
            users: load.users,
            rate: load.rate,
            ramp_s: load.ramp.as_secs_f64(),
            steady_s: load.steady.as_secs_f64(),
            keep_alive: !arguments.no_keep_alive,
            seeds: vec![seed],
            interrupted,
            tally,
        }
    }

    pub fn total(&self) -> Phase {
        self.tally.total()
    }

    /// Why it is no success. Where nothing was sent nothing is known, however many may fail.
    pub fn fault(&self, allowed: Allowed) -> Option<String> {
        let total = self.total();
        let failed = total.failed();
        if total.planned == 0 {
            return Some("no request was planned; give more --duration or --rate".into());
        }
        if self.tally.bytes_sent == 0 {
            return Some(format!("nothing was sent; {failed} requests failed"));
        }
        let too_many = !allowed.permit(failed, total.planned);
        too_many.then(|| format!("{failed} requests failed, more than --allowed-errors {allowed}"))
    }

    /// One line.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("it has string keys and finite numbers only")
    }

    /// Of all generators together. A file may have other lines as well, as the log of a task has.
    pub fn merged(files: &[PathBuf]) -> Result<Self> {
        let mut sum: Option<Self> = None;
        for file in files {
            let shown = file.display();
            let text = fs::read_to_string(file).with_context(|| format!("reading {shown}"))?;
            let mut found = 0;
            for (number, line) in text.lines().enumerate().filter(|(_, line)| line.starts_with('{')) {
                let report: Self = serde_json::from_str(line)
                    .with_context(|| format!("{shown}:{}: no report of this program", number + 1))?;
                found += 1;
                match &mut sum {
                    None => sum = Some(report),
                    Some(sum) => sum.add(&report).with_context(|| format!("{shown}:{}", number + 1))?,
                }
            }
            ensure!(found > 0, "{shown}: it has no line of JSON; the generator must be started with --json");
        }
        sum.context("no report")
    }

    fn add(&mut self, other: &Self) -> Result<()> {
        if let Some(seed) = other.seeds.iter().find(|seed| self.seeds.contains(seed)) {
            bail!("seed {seed}: this report is there twice");
        }
        ensure!(
            self.urls == other.urls && self.keep_alive == other.keep_alive,
            "it is of another test: {}",
            other.urls.join(" ")
        );
        self.generators += other.generators;
        self.users += other.users;
        self.rate += other.rate;
        self.seeds.extend(&other.seeds);
        self.interrupted |= other.interrupted;
        self.tally += &other.tally;
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tally, .. } = self;
        let connections = if self.keep_alive { "connections kept" } else { "a connection for each request" };
        writeln!(
            f,
            "{} generator(s), {} users, {:.1} requests/s, ramp {} s, steady {} s, {connections}",
            self.generators, self.users, self.rate, self.ramp_s, self.steady_s
        )?;
        self.urls.iter().try_for_each(|url| writeln!(f, "{url}"))?;
        let phases = [&tally.ramp, &tally.steady];
        let mut row = |name: &str, value: &dyn Fn(&Phase) -> String| {
            let [ramp, steady] = phases.map(value);
            writeln!(f, "{name:<22}{ramp:>14}{steady:>14}")
        };
        row("", &|phase| if std::ptr::eq(phase, phases[0]) { "ramp".into() } else { "steady".into() })?;
        row("planned", &|phase| phase.planned.to_string())?;
        row("answered", &|phase| phase.answered().to_string())?;
        row("succeeded", &|phase| phase.succeeded().to_string())?;
        row("failed", &|phase| phase.failed().to_string())?;
        row("open", &|phase| phase.open().to_string())?;
        row("answered per second", &|phase| per_second(phase))?;
        for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
            row(&format!("latency {name}, ms"), &|phase| phase.latency.shown(quantile))?;
        }
        for (name, quantile) in [("p99", 0.99), ("max", 1.0)] {
            row(&format!("sent late {name}, ms"), &|phase| phase.late.shown(quantile))?;
        }
        let total = self.total();
        let example = |of: &str| tally.examples.get(of).map_or(String::new(), |text| format!("   first: {text}"));
        for (status, count) in &total.statuses {
            writeln!(f, "status {status}: {count}{}", example(&status.to_string()))?;
        }
        for (kind, count) in &total.failures {
            writeln!(f, "{}: {count}{}", kind.word(), example(kind.word()))?;
        }
        writeln!(
            f,
            "connections {}, made anew {}; bytes sent {}, received {}",
            tally.connections, tally.reconnected, tally.bytes_sent, tally.bytes_received
        )?;
        if self.interrupted {
            writeln!(f, "interrupted before its end")?;
        }
        if total.late.quantile(0.99) > LATE_MS {
            writeln!(
                f,
                "WARNING: 1 % of the requests were sent more than {LATE_MS} ms late: the generator has too little CPU, and the \
                 latencies are its own; use more --generators"
            )?;
        }
        Ok(())
    }
}

fn per_second(phase: &Phase) -> String {
    if phase.seconds > 0.0 { format!("{:.1}", phase.answered() as f64 / phase.seconds) } else { "-".into() }
}

/// Lines on standard error while it runs.
pub struct Progress {
    begun: Instant,
    last: Instant,
    answered: u64,
    examples: usize,
}

impl Progress {
    pub fn new(begun: Instant) -> Self {
        Self { begun, last: begun, answered: 0, examples: 0 }
    }

    /// What has come since the last one.
    pub fn line(&mut self, tally: &Tally) {
        let (now, total) = (Instant::now(), tally.total());
        let answered = total.answered();
        let rate =
            (answered - self.answered) as f64 / now.saturating_duration_since(self.last).as_secs_f64().max(0.001);
        say(format_args!(
            "{:>6.0} s  planned {}  answered {}  open {}  failed {}  {rate:.1}/s  p50 {} ms  p99 {} ms  late p99 {} ms",
            now.saturating_duration_since(self.begun).as_secs_f64(),
            total.planned,
            answered,
            total.open(),
            total.failed(),
            tally.recent.shown(0.5),
            tally.recent.shown(0.99),
            total.late.shown(0.99),
        ));
        if tally.examples.len() > self.examples {
            for (of, text) in &tally.examples {
                say(format_args!("          {of}: {text}"));
            }
        }
        (self.last, self.answered, self.examples) = (now, answered, tally.examples.len());
    }
}
