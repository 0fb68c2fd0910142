//! The last quarter of an hour and the last day as charts: lines drawn here, so that they are there without script.

use std::fmt::{self, Write};
use std::time::{Duration, SystemTime};

use super::units::{approximately, bandwidth, count, millis, rate, significant};
use crate::telemetry::history::{Sample, Series};
use crate::web::snapshot::Snapshot;

struct Chart {
    title: &'static str,
    unit: Unit,
    /// One or two lines, each with its name if there are two.
    lines: &'static [Line],
}

struct Line {
    name: &'static str,
    value: fn(&Sample) -> Option<f64>,
}

#[derive(Debug, Clone, Copy)]
enum Unit {
    Count,
    Rate,
    Bytes,
    Millis,
    Percent,
}

const CHARTS: [Chart; 6] = [
    Chart {
        title: "Open connections",
        unit: Unit::Count,
        lines: &[Line { name: "open", value: |sample| Some(approximately(sample.open)) }],
    },
    Chart {
        title: "New connections",
        unit: Unit::Rate,
        lines: &[Line { name: "new", value: |sample| each_second(sample, sample.opened) }],
    },
    Chart {
        title: "Throughput",
        unit: Unit::Bytes,
        lines: &[
            Line { name: "to clients", value: |sample| each_second(sample, sample.down) },
            Line { name: "to services", value: |sample| each_second(sample, sample.up) },
        ],
    },
    Chart {
        title: "Refused and failed",
        unit: Unit::Rate,
        lines: &[
            Line { name: "refused", value: |sample| each_second(sample, sample.refused) },
            Line { name: "failed", value: |sample| each_second(sample, sample.failed) },
        ],
    },
    Chart {
        title: "Connect to upstream",
        unit: Unit::Millis,
        lines: &[
            Line { name: "median", value: |sample| in_millis(sample.connect_p50) },
            Line { name: "99 %", value: |sample| in_millis(sample.connect_p99) },
        ],
    },
    Chart {
        title: "Busiest worker",
        unit: Unit::Percent,
        lines: &[Line { name: "of a CPU", value: |sample| Some(sample.busiest * 100.0) }],
    },
];

pub(super) fn write(out: &mut String, now: &Snapshot) -> fmt::Result {
    out.write_str(
        "<section id=history><h2>History</h2><fieldset data-keep><legend class=unseen>Time shown</legend>\
         <label><input type=radio name=span id=span-minutes checked> 15 minutes</label>\
         <label><input type=radio name=span id=span-hours> 24 hours</label></fieldset>",
    )?;
    let history = now.history.borrow();
    for (class, words, series) in [("minutes", "15 minutes", &history.minutes), ("hours", "24 hours", &history.hours)] {
        write!(out, "<div class=\"charts {class}\">")?;
        for chart in &CHARTS {
            chart.write(out, words, series)?;
        }
        out.write_str("</div>")?;
    }
    out.write_str("</section>")
}

/// Of the drawing, in its own units.
const HEIGHT: f64 = 60.0;

impl Chart {
    fn write(&self, out: &mut String, words: &str, series: &Series) -> fmt::Result {
        let Self { title, unit, lines } = self;
        let values = |line: &Line| series.samples.iter().map(line.value).collect::<Vec<_>>();
        let all: Vec<Vec<Option<f64>>> = lines.iter().map(values).collect();
        let highest = all.iter().flatten().flatten().copied().fold(0.0, f64::max);
        let top = unit.scale(highest);
        write!(out, "<figure><figcaption>{title}")?;
        let mut summary = format!("{title}, last {words}: ");
        for (line, values) in lines.iter().zip(&all) {
            let last = values.last().copied().flatten().map_or_else(|| "–".to_owned(), |value| unit.show(value));
            let name = if lines.len() > 1 { line.name } else { "" };
            write!(out, "<span>{name} <b>{last}</b></span>")?;
            write!(summary, "{} {last}, ", if name.is_empty() { "now" } else { name })?;
        }
        write!(
            out,
            "</figcaption><div class=plot role=img tabindex=0 aria-label=\"{summary}highest {}\" data-unit={} \
             data-step={} data-most={} data-end={}",
            unit.show(highest),
            unit.word(),
            series.step.as_secs(),
            series.most,
            series.samples.back().map_or(0, |last| seconds(last.at)),
        )?;
        for (place, (line, values)) in ["a", "b"].iter().zip(lines.iter().zip(&all)) {
            let numbers: Vec<String> = values.iter().map(|value| value.map_or_else(String::new, round)).collect();
            write!(out, " data-{place}=\"{}\" data-{place}-name=\"{}\"", numbers.join(","), line.name)?;
        }
        write!(out, "><svg viewBox=\"0 0 {} {HEIGHT}\" preserveAspectRatio=none aria-hidden=true>", series.most - 1)?;
        for (class, values) in ["a", "b"].iter().zip(&all) {
            if *class == "a" {
                write!(out, "<path class=area d=\"{}\"/>", path(values, series.most, top, true))?;
            }
            write!(out, "<path class={class} d=\"{}\"/>", path(values, series.most, top, false))?;
        }
        write!(
            out,
            "</svg><span class=top>{}</span><span class=from>−{words}</span><span class=to>now</span></div></figure>",
            unit.show(top)
        )
    }
}

impl Unit {
    fn word(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Rate => "rate",
            Self::Bytes => "bytes",
            Self::Millis => "millis",
            Self::Percent => "percent",
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::Count => count(whole(value)),
            Self::Rate => rate(value),
            Self::Bytes => bandwidth(value),
            Self::Millis => millis(Duration::from_secs_f64(value / 1000.0)),
            Self::Percent => format!("{} %", significant(value)),
        }
    }

    /// The top of the chart: 1, 2 or 5 times a power of ten, or of 1024 times that.
    fn scale(self, highest: f64) -> f64 {
        let base = if matches!(self, Self::Bytes) { 1024.0 } else { 1000.0 };
        let mut factor = 1.0;
        while highest / factor >= base {
            factor *= base;
        }
        let least = if matches!(self, Self::Millis) { 0.1 } else { 1.0 };
        let steps = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, base];
        let step = steps.into_iter().find(|step| *step >= least && step * factor >= highest);
        step.unwrap_or(base) * factor
    }
}

/// A line through the values, the last at the right edge, with gaps where there are none; or the area below it.
fn path(values: &[Option<f64>], most: usize, top: f64, area: bool) -> String {
    let mut d = String::new();
    let first = most.saturating_sub(values.len());
    let mut before: Option<usize> = None;
    for (at, value) in values.iter().enumerate() {
        let x = first + at;
        let Some(value) = value else {
            close(&mut d, before.take(), area);
            continue;
        };
        let y = HEIGHT - value / top * (HEIGHT - 2.0) - 1.0;
        // Writing to a String cannot fail.
        let _ = match before {
            Some(_) => write!(d, "L{x} {y:.1}"),
            None if area => write!(d, "M{x} {HEIGHT}L{x} {y:.1}"),
            // A value by itself is a dot.
            None => write!(d, "M{x} {y:.1}h0"),
        };
        before = Some(x);
    }
    close(&mut d, before, area);
    d
}

fn close(d: &mut String, last: Option<usize>, area: bool) {
    if let (Some(x), true) = (last, area) {
        // Writing to a String cannot fail.
        let _ = write!(d, "L{x} {HEIGHT}z");
    }
}

fn each_second(sample: &Sample, number: u64) -> Option<f64> {
    let span = sample.span.as_secs_f64();
    (span > 0.0).then(|| approximately(number) / span)
}

fn in_millis(duration: Option<Duration>) -> Option<f64> {
    duration.map(|duration| duration.as_secs_f64() * 1000.0)
}

/// As it is shown, for the script.
fn round(value: f64) -> String {
    if value >= 1000.0 { format!("{value:.0}") } else { significant(value) }
}

#[expect(clippy::as_conversions, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was a u64")]
fn whole(value: f64) -> u64 {
    value as u64
}

/// Since 1970.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_ends_above_its_highest_value_at_a_round_number() {
        for (unit, highest, top) in [
            (Unit::Rate, 0.0, "1/s"),
            (Unit::Rate, 1.0, "1/s"),
            (Unit::Rate, 3.0, "5/s"),
            (Unit::Rate, 3001.0, "5000/s"),
            (Unit::Count, 9000.0, "10\u{202f}000"),
            (Unit::Count, 999_999.0, "1\u{202f}000\u{202f}000"),
            (Unit::Millis, 0.06, "0.10 ms"),
            (Unit::Bytes, 700_000.0, "1 MiB/s"),
            (Unit::Bytes, 1_048_577.0, "2 MiB/s"),
        ] {
            assert_eq!(unit.show(unit.scale(highest)), top, "{highest}");
        }
    }

    #[test]
    fn a_line_has_gaps_and_ends_at_the_right_edge() {
        let values = [Some(0.0), Some(1.0), None, Some(0.5)];
        assert_eq!(path(&values, 10, 1.0, false), "M6 59.0h0L7 1.0M9 30.0h0");
        assert_eq!(path(&values, 10, 1.0, true), "M6 60L6 59.0L7 1.0L7 60zM9 60L9 30.0L9 60z");
        assert_eq!(path(&[], 10, 1.0, true), "");
    }
}
