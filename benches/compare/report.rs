//! The cells as tables: CPU per unit beside nginx, rates and latencies, memory and descriptors, DNS, system calls.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::cell::Cell;
use crate::quota::Periods;
use crate::statistics::{extremes, half_spread, median};
use crate::syscalls::Calls;
use crate::workloads::{IDLE_CONNECTIONS, Workload};

#[derive(Serialize)]
pub struct Report {
    /// Whether the peers had a CPU quota: then latency is the measure, in one table.
    pub quota: bool,
    /// The peer whose CPU time the others' is divided by.
    pub reference: &'static str,
    /// Machine, date, command, settings and versions, as they are printed.
    pub about: Vec<(String, String)>,
    pub cells: Vec<Cell>,
    pub calls: Vec<Calls>,
}

impl Report {
    pub fn markdown(&self, workloads: &[Workload], peers: &[String]) -> String {
        let mut text = String::new();
        for (key, value) in &self.about {
            let _ = writeln!(text, "- {key}: {value}");
        }
        if self.quota {
            self.under_quota(&mut text, workloads, peers);
            return text;
        }
        let proxies: Vec<&String> = peers.iter().filter(|peer| *peer != "direct").collect();
        self.cpu(&mut text, workloads, &proxies);
        self.rates(&mut text, workloads, peers);
        self.resources(&mut text, &proxies);
        self.system_calls(&mut text);
        text
    }

    fn cpu(&self, text: &mut String, workloads: &[Workload], peers: &[&String]) {
        heading(
            text,
            &format!(
                "CPU of the proxy per unit of work: median ± half the spread; × {} in the same round (median)",
                self.reference
            ),
            peers,
        );
        for workload in workloads {
            let mut row = format!("| {}, {} |", workload.name, workload.unit.name);
            for peer in peers {
                let values = self.values(workload.name, peer, |cell| cell.cpu_per_unit);
                let entry = match (median(&values), median(&self.ratios(workload.name, peer))) {
                    (Some(middle), ratio) => {
                        let ratio = ratio
                            .filter(|_| *peer != self.reference)
                            .map_or(String::new(), |r| format!(" **{r:.2} ×**"));
                        format!(
                            "{}{ratio} ±{:.0} %{}",
                            number(middle),
                            half_spread(&values),
                            self.failed(workload.name, peer)
                        )
                    }
                    (None, _) => "–".into(),
                };
                let _ = write!(row, " {entry} |");
            }
            let _ = writeln!(text, "{row}");
        }
    }

    fn rates(&self, text: &mut String, workloads: &[Workload], peers: &[String]) {
        let peers: Vec<&String> = peers.iter().collect();
        heading(text, "Rate (units/s; bulk GiB/s) · p50 / p99 in µs, medians over the rounds", &peers);
        for workload in workloads {
            let mut row = format!("| {} |", workload.name);
            for peer in &peers {
                let of = |value: fn(&Cell) -> f64| median(&self.values(workload.name, peer, value));
                let entry = match of(|cell| cell.rate) {
                    None => "–".into(),
                    Some(rate) => match of(|cell| f64::from(cell.p50_micros)) {
                        Some(p50) if p50 > 0.0 => {
                            let p99 = of(|cell| f64::from(cell.p99_micros)).unwrap_or_default();
                            format!("{} · {p50:.0} / {p99:.0}", number(rate))
                        }
                        _ => number(rate),
                    },
                };
                let _ = write!(row, " {entry} |");
            }
            let _ = writeln!(text, "{row}");
        }
    }

    fn under_quota(&self, text: &mut String, workloads: &[Workload], peers: &[String]) {
        let columns = [
            "workload",
            "program",
            "asked / done / failed",
            "p50, ms",
            "p99, ms",
            "p99.9, ms",
            "CPU by unit",
            "throttled periods",
            "load: CPUs busy",
            "load: p99 late, ms",
        ];
        let _ = writeln!(
            text,
            "\n**Under the quota: median of the rounds (least to greatest); asked, done, failed and periods in all rounds**\n"
        );
        let _ = writeln!(text, "| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()));
        for workload in workloads {
            for peer in peers.iter().filter(|peer| self.of(workload.name, peer).next().is_some()) {
                let _ = writeln!(text, "| {} |", self.quota_row(workload, peer).join(" | "));
            }
        }
    }

    fn quota_row(&self, workload: &Workload, peer: &str) -> Vec<String> {
        let of = |value: &dyn Fn(&Cell) -> f64| self.values(workload.name, peer, value);
        let spread = |values: Vec<f64>| {
            let (least, most) = extremes(&values);
            median(&values).map_or("–".into(), |middle| format!("{middle:.2} ({least:.2}–{most:.2})"))
        };
        let middle = |values: Vec<f64>| median(&values).map_or("–".into(), number);
        let total = |value: &dyn Fn(&Cell) -> u64| self.of(workload.name, peer).map(value).sum::<u64>();
        let (asked, failed) = (total(&|cell| cell.asked), total(&|cell| cell.failures));
        let counts = match asked {
            0 => format!("– / {} / {failed}", total(&|cell| cell.units)),
            _ => format!("{asked} / {} / {failed}", total(&|cell| cell.answered)),
        };
        let millis = |micros: fn(&Cell) -> u32| of(&|cell| f64::from(micros(cell)) / 1000.0);
        let periods = |which: fn(Periods) -> u64| total(&|cell| cell.periods.map_or(0, which));
        let (periods, throttled) = (periods(|periods| periods.all), periods(|periods| periods.throttled));
        let is_proxy = self.of(workload.name, peer).any(|cell| cell.workers > 0);
        vec![
            workload.name.to_owned(),
            peer.to_owned(),
            counts,
            spread(millis(|cell| cell.p50_micros)),
            spread(millis(|cell| cell.p99_micros)),
            spread(millis(|cell| cell.p999_micros)),
            match is_proxy {
                true => format!("{} {}", middle(of(&|cell| cell.cpu_per_unit)), workload.unit.name),
                false => "–".into(),
            },
            match periods {
                0 => "–".into(),
                _ => format!("{throttled} of {periods}, {:.1} %", throttled as f64 / periods as f64 * 100.0),
            },
            // Per unit and units per second are both in the workload's unit.
            middle(of(&|cell| cell.load_cpu_per_unit * cell.rate / 1e6)),
            spread(millis(|cell| cell.late_p99_micros)),
        ]
    }

    fn resources(&self, text: &mut String, peers: &[&String]) {
        heading(text, "Memory (PSS), descriptors, DNS", peers);
        let connections = IDLE_CONNECTIONS as f64;
        let is_idle = |cell: &&Cell| ["idle", "tunnel-idle"].contains(&&*cell.workload);
        let idle = self.cells.iter().find(is_idle).map_or("idle", |cell| &cell.workload);
        type Value = fn(&Cell) -> f64;
        let rows: [(&str, &str, f64, Value); 5] = [
            ("empty, MiB", "", 1_048_576.0, |cell| cell.memory_empty as f64),
            ("by idle connection, bytes", idle, connections, |cell| {
                cell.memory_loaded as f64 - cell.memory_empty as f64
            }),
            ("when these are closed, MiB", idle, 1_048_576.0, |cell| cell.memory_after as f64),
            ("descriptors empty", "", 1.0, |cell| cell.descriptors_empty as f64),
            ("descriptors by idle connection", idle, connections, |cell| {
                cell.descriptors_loaded as f64 - cell.descriptors_empty as f64
            }),
        ];
        for (title, workload, scale, value) in rows {
            self.resource_row(text, title, workload, peers, |cell| value(cell) / scale);
        }
        for workload in ["conn", "names", "names-2x", "refused-list", "refused-name"] {
            let title = format!("DNS queries, {workload}: by 1 000 units");
            self.resource_row(text, &title, workload, peers, |cell| {
                cell.dns_queries as f64 * 1000.0 / cell.units.max(1) as f64
            });
        }
    }

    fn resource_row(
        &self,
        text: &mut String,
        title: &str,
        workload: &str,
        peers: &[&String],
        value: impl Fn(&Cell) -> f64,
    ) {
        let mut row = format!("| {title} |");
        let mut any = false;
        for peer in peers {
            let middle = median(&self.values(workload, peer, &value));
            any |= middle.is_some();
            let _ = write!(row, " {} |", middle.map_or("–".into(), number));
        }
        if any {
            let _ = writeln!(text, "{row}");
        }
    }

    fn system_calls(&self, text: &mut String) {
        if self.calls.is_empty() {
            return;
        }
        let _ = writeln!(
            text,
            "\n**System calls per unit (strace -c)**\n\n| workload | peer | calls | which |\n|---|---|---|---|"
        );
        for calls in &self.calls {
            let kinds: Vec<String> = calls.kinds.iter().map(|(name, number)| format!("{name} {number:.2}")).collect();
            let _ = writeln!(
                text,
                "| {} | {} | {:.1} | {} |",
                calls.workload,
                calls.peer,
                calls.per_unit,
                kinds.join(", ")
            );
        }
    }

    /// A mark where more than one unit in a thousand failed.
    fn failed(&self, workload: &str, peer: &str) -> String {
        let cells = self.of(workload, peer);
        let (failures, units) = cells.fold((0, 0), |(f, u), cell| (f + cell.failures, u + cell.units));
        if failures * 1000 > units { format!(" ({failures} failed)") } else { String::new() }
    }

    /// The peer's CPU per unit by that of the reference in the same round.
    fn ratios(&self, workload: &str, peer: &str) -> Vec<f64> {
        let reference: BTreeMap<usize, f64> =
            self.of(workload, self.reference).map(|cell| (cell.round, cell.cpu_per_unit)).collect();
        self.of(workload, peer).filter_map(|cell| Some(cell.cpu_per_unit / reference.get(&cell.round)?)).collect()
    }

    fn values(&self, workload: &str, peer: &str, value: impl Fn(&Cell) -> f64) -> Vec<f64> {
        self.of(workload, peer).map(value).collect()
    }

    /// The cells of a peer; of all workloads where none is named.
    fn of(&self, workload: &str, peer: &str) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(move |cell| cell.peer == peer && (workload.is_empty() || cell.workload == workload))
    }
}

fn heading(text: &mut String, title: &str, peers: &[&String]) {
    let names: Vec<&str> = peers.iter().map(|peer| peer.as_str()).collect();
    let _ = writeln!(text, "\n**{title}**\n\n| | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
