//! A plan as lines, and as one object.

use std::fmt;

use latticegate_core::config::LogKeep;
use serde_json::{Map, Value, json};

use super::limits::{self, Limit};
use super::load::{Fleet, GIB, Load, LogLines};
use super::measured::Measured;
use super::plan::Plan;
use super::price::{Cost, HOURS, LOG_EVENT, PRICES, Prices};
use super::table::{Column, Table};

pub(super) struct Report<'a> {
    pub(super) load: &'a Load,
    pub(super) fleet: &'a Fleet,
    pub(super) measured: &'a Measured,
    pub(super) prices: &'a Prices,
    pub(super) log: &'a LogLines,
    pub(super) log_keep: &'a str,
    /// Sizes to compare.
    pub(super) plans: &'a [Plan],
    /// The one that costs and limits are of.
    pub(super) chosen: &'a Plan,
}

/// Each alone would take the whole of it.
struct Each {
    connections: f64,
    connections_warm: f64,
    requests: f64,
    gbits: f64,
    idle: f64,
}

impl Report<'_> {
    pub(super) fn fits(&self) -> bool {
        self.limits().iter().all(|(_, limit)| !limit.is_over())
    }

    /// With a word for each: `binds`, if it decides the number of tasks, `over` or `ok`.
    fn limits(&self) -> Vec<(&'static str, Limit)> {
        let tasks = self.chosen.tasks;
        let of_tasks = self.chosen.limits.iter().map(|limit| {
            let word = if self.chosen.binds == Some(limit.name) { "binds" } else { "ok" };
            (word, limit.among(tasks.left()))
        });
        let of_fleet = limits::of_fleet(self.load, self.fleet, tasks);
        let of_fleet = of_fleet.into_iter().map(|limit| (if limit.is_over() { "over" } else { "ok" }, limit));
        of_tasks.chain(of_fleet).collect()
    }

    fn cost(&self, plan: &Plan) -> Cost {
        Cost::of(self.load, plan.tasks, self.log, self.prices)
    }

    /// CPU in use, of all that the tasks have: while a zone is lost, and usually.
    fn utilisation(&self, plan: &Plan) -> (f64, f64) {
        let busy = self.load.busy(self.measured).cold / plan.tasks.size.vcpu() * 100.0;
        (busy / plan.tasks.left(), busy / plan.tasks.number())
    }

    /// Memory of one task, process and open connections, while a zone is lost.
    fn mib_each(&self, plan: &Plan) -> f64 {
        self.measured.empty + self.load.memory(self.measured) / plan.tasks.left() / f64::from(1 << 20)
    }

    pub(super) fn to_json(&self) -> Value {
        let busy = self.load.busy(self.measured);
        let (cost, each) = (self.cost(self.chosen), self.each());
        let notes = self.note_on_zones().map(str::to_owned).into_iter().chain(self.note_on_gbits());
        let limit = |(word, limit): &(&str, Limit)| {
            json!({
                "limit": limit.name, "state": word, "what": limit.what, "used": limit.used, "of": limit.of,
                "source": limit.source, "help": limit.help,
            })
        };
        let size = |plan: &Plan| {
            let (lost, usual) = self.utilisation(plan);
            json!({
                "size": plan.tasks.size.to_string(), "chosen": plan.tasks == self.chosen.tasks,
                "vcpu": plan.tasks.size.vcpu(), "memory_gb": plan.tasks.size.gb(),
                "tasks": plan.tasks.number(), "tasks_in_each_zone": plan.tasks.each_zone,
                "cpu_percent_zone_lost": lost, "cpu_percent": usual, "memory_mib_zone_lost": self.mib_each(plan),
                "fargate_arm_usd": Cost::fargate_arm(plan.tasks, self.prices),
                "fargate_x86_usd": Cost::fargate_x86(plan.tasks, self.prices),
                "bound_by": plan.binds,
            })
        };
        json!({
            "load": {
                "listener": self.load.listener.word(),
                "new_connections_per_second": self.load.new_per_second(),
                "of_them_opened_anew_per_second": self.load.renewed_per_second(),
                "requests_per_second": self.load.requests_per_second(),
                "gbits_per_second": self.load.gbits_per_second(),
                "open_connections": self.load.open(),
                "services": self.load.services, "names": self.load.names,
            },
            "needs": {
                "vcpu_busy": busy.cold, "vcpu_busy_warm": busy.warm,
                "connections_mib": self.load.memory(self.measured) / f64::from(1 << 20),
            },
            "one_vcpu": {
                "new_connections_per_second": each.connections,
                "new_connections_per_second_warm": each.connections_warm,
                "further_requests_per_second": each.requests, "gbits_per_second": each.gbits,
            },
            "one_gib": { "idle_connections": each.idle },
            "sizes": self.plans.iter().map(size).collect::<Vec<_>>(),
            "usd_a_month": {
                "fargate_arm": cost.arm, "fargate_x86": cost.x86, "nlb_hours": cost.nlb, "nlcu": cost.nlcu,
                "log": cost.log, "total_with_arm": cost.total_arm(),
            },
            "prices_usd": PRICES.map(|(price, name, _)| (name.to_owned(), self.prices.of(price).into())).into_iter().collect::<Map<_, _>>(),
            "nlcu": { "number": cost.nlcus, "by": cost.nlcu_by },
            "log_lines_per_second": cost.log_lines,
            "log_line_bytes": self.log.bytes + LOG_EVENT, "log_keep": self.log_keep,
            "limits": self.limits().iter().map(limit).collect::<Vec<_>>(),
            "notes": notes.collect::<Vec<_>>(),
            "measured": self.measured.about, "measured_kernel": self.measured.about_kernel,
        })
    }

    /// What one vCPU carries of each kind alone, and how many connections one GiB holds.
    fn each(&self) -> Each {
        let costs = self.load.listener.costs(self.measured);
        Each {
            connections: 1e6 / costs.connection,
            connections_warm: 1e6 / self.measured.connection_busy,
            requests: 1e6 / costs.request,
            gbits: 1e3 / self.measured.bulk * GIB * 8.0 / 1e9,
            idle: GIB / (self.measured.idle_user + self.measured.idle_kernel),
        }
    }

    fn write_load(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let load = self.load;
        writeln!(
            f,
            "load     {}/s, {}/s, {} Gbit/s; {}; listener {}, {}, {}",
            counted(load.new_per_second(), "new connection"),
            counted(load.requests_per_second(), "request"),
            number(load.gbits_per_second()),
            counted(load.open(), "open connection"),
            load.listener.word(),
            counted(load.services, "service"),
            counted(load.names, "name"),
        )?;
        if load.idle > 0.0 {
            let (renewed, seconds) = (number(load.renewed_per_second()), load.idle_seconds);
            writeln!(
                f,
                "         {renewed}/s of them anew: Lattice closes a connection after {seconds} s with nothing on it"
            )?;
        }
        let busy = load.busy(self.measured);
        writeln!(
            f,
            "needs    {} vCPU busy ({} where workers never sleep), {} MiB for open connections",
            number(busy.cold),
            number(busy.warm),
            number(load.memory(self.measured) / f64::from(1 << 20)),
        )?;
        let Each { connections, connections_warm, requests, gbits, idle } = self.each();
        let [connections, connections_warm, requests, gbits, idle] =
            [connections, connections_warm, requests, gbits, idle].map(|value| number(value.round()));
        writeln!(
            f,
            "1 vCPU   {connections} new connections/s ({connections_warm} where workers never sleep), or {requests} further requests/s, or {gbits} Gbit/s"
        )?;
        writeln!(f, "1 GiB    {idle} open connections on which nothing moves")
    }

    fn sizes(&self) -> Table<9> {
        let columns = [
            Column::Left(18),
            Column::Right(6),
            Column::Right(10),
            Column::Right(16),
            Column::Right(12),
            Column::Right(12),
            Column::Right(14),
            Column::Right(14),
            Column::Last,
        ];
        let head = [
            "  size",
            "tasks",
            "in a zone",
            "CPU, zone lost",
            "CPU usually",
            "MiB a task",
            "Fargate ARM",
            "Fargate x86",
            "   bound by",
        ];
        let mut rows = vec![(head.map(str::to_owned), String::new())];
        for plan in self.plans {
            let (lost, usual) = self.utilisation(plan);
            let mark = if plan.tasks == self.chosen.tasks { '*' } else { ' ' };
            let cells = [
                format!("{mark} {}", plan.tasks.size),
                number(plan.tasks.number()),
                number(plan.tasks.each_zone),
                percent(lost),
                percent(usual),
                number(self.mib_each(plan)),
                money(Cost::fargate_arm(plan.tasks, self.prices)),
                money(Cost::fargate_x86(plan.tasks, self.prices)),
                format!("   {}", plan.binds.unwrap_or("one task in each zone")),
            ];
            rows.push((cells, String::new()));
        }
        Table { columns, rows }
    }

    fn costs(&self) -> Table<3> {
        let cost = self.cost(self.chosen);
        let row =
            |what: &str, usd: f64, why: String| ([format!("  {what}"), money(usd), format!("   {why}")], String::new());
        let (lines, bytes) = (counted(cost.log_lines, "line"), number(self.log.bytes));
        let refused = if self.log.keep == LogKeep::All { "" } else { "; 1 % are assumed to be refused or to fail" };
        let rows = vec![
            row("Fargate ARM", cost.arm, format!("x86: {}", money(cost.x86))),
            row("NLB", cost.nlb, "one, by the hour".into()),
            row("NLCU", cost.nlcu, format!("{}, by {}", number(cost.nlcus), cost.nlcu_by)),
            row("log", cost.log, format!("{lines}/s of {bytes} + {LOG_EVENT} bytes, keep: {}{refused}", self.log_keep)),
            row(
                "sum",
                cost.total_arm(),
                "with ARM; without Lattice, data transfer, interface endpoints, alarms".into(),
            ),
        ];
        Table { columns: [Column::Left(18), Column::Right(12), Column::Last], rows }
    }

    fn table_of_limits(&self) -> Table<6> {
        let columns =
            [Column::Left(7), Column::Left(19), Column::Right(9), Column::Left(13), Column::Right(7), Column::Last];
        let row = |(word, limit): (&'static str, Limit)| {
            let Limit { name, what, used, of, source, help } = limit;
            let of_it = format!(" of {}", number(of));
            let share = percent(used / of * 100.0);
            let cells = [word.to_owned(), name.to_owned(), number(used), of_it, share, format!("   {what}")];
            let help = || format!("       help    {help}\n       source  {source}\n");
            (cells, if word == "ok" { String::new() } else { help() })
        };
        Table { columns, rows: self.limits().into_iter().map(row).collect() }
    }

    /// In one zone there is none to spare.
    fn note_on_zones(&self) -> Option<&'static str> {
        (self.fleet.zones < 2.0).then_some("in one zone there is none to spare: everything stops while it is lost")
    }

    fn note_on_gbits(&self) -> Option<String> {
        let gbits = self.load.gbits_per_second() / self.chosen.tasks.left();
        let unknown = "what a Fargate task of this size bears is not documented and was not tested; load test";
        (gbits > 1.0).then(|| format!("{} Gbit/s a task: {unknown}", number(gbits)))
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_load(f)?;
        write!(f, "\n{}", self.sizes())?;
        if let Some(note) = self.note_on_zones() {
            writeln!(f, "  {note}")?;
        }
        write!(f, "\ncost     of *, USD in {HOURS} hours\n{}", self.costs())?;
        let when = if self.fleet.zones < 2.0 { "in its one zone" } else { "while a zone is lost" };
        write!(f, "\nlimits   of *, {when}\n{}", self.table_of_limits())?;
        if let Some(note) = self.note_on_gbits() {
            writeln!(f, "\nnote     {note}")?;
        }
        let Measured { about, about_kernel, .. } = self.measured;
        writeln!(f, "\nCPU and memory of the process were measured on another machine than Fargate's: {about}")?;
        writeln!(f, "Memory of the kernel for open connections by hand, and elsewhere: {about_kernel}")
    }
}

fn counted(value: f64, noun: &str) -> String {
    let end = if value == 1.0 { "" } else { "s" };
    format!("{} {noun}{end}", number(value))
}

/// Three digits where there are no more before the point; thousands apart.
fn number(value: f64) -> String {
    if value > 0.0 && value < 0.0005 {
        return "<0.001".to_owned();
    }
    let decimals = match value {
        _ if value.fract() == 0.0 => 0,
        _ if value < 1.0 => 3,
        _ if value < 10.0 => 2,
        _ if value < 100.0 => 1,
        _ => 0,
    };
    grouped(&format!("{value:.decimals$}"))
}

fn percent(value: f64) -> String {
    grouped(&format!("{value:.0}")) + " %"
}

fn money(usd: f64) -> String {
    grouped(&format!("{usd:.2}"))
}

fn grouped(digits: &str) -> String {
    let (whole, rest) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut text = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_can_be_read() {
        for (value, text) in [
            (0.0, "0"),
            (0.000_5, "0.001"),
            (0.000_4, "<0.001"),
            (0.12345, "0.123"),
            (1.5, "1.50"),
            (54.32, "54.3"),
            (100.0, "100"),
            (1_000.4, "1 000"),
            (55_000.0, "55 000"),
            (1_048_576.0, "1 048 576"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(money(2_069.55), "2 069.55");
    }
}
