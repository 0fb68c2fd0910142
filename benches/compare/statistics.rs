//! The middle, the spread and the percentiles of what was measured.

use anyhow::{Result, ensure};

pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get((sorted.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// Half the distance from the smallest to the greatest, in percent of the median.
pub fn half_spread(values: &[f64]) -> f64 {
    let (smallest, greatest) = extremes(values);
    median(values).map_or(0.0, |middle| (greatest - smallest) / 2.0 / middle * 100.0)
}

/// The smallest and the greatest.
pub fn extremes(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), &value| (least.min(value), most.max(value)))
}

/// The least of the values that so many per mille of them do not exceed (nearest rank); 0 of none.
pub fn percentile(sorted: &[u32], per_mille: usize) -> u32 {
    let rank = (sorted.len() * per_mille).div_ceil(1000);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// Known answers, asked at every start: a benchmark has no tests of its own.
pub fn check() -> Result<()> {
    let hundred: Vec<u32> = (1..=100).collect();
    let known: [(&[u32], usize, u32); 9] = [
        (&[], 500, 0),
        (&[7], 0, 7),
        (&[7], 500, 7),
        (&[7], 1000, 7),
        (&[1, 2, 3, 4], 500, 2),
        (&hundred, 500, 50),
        (&hundred, 990, 99),
        (&hundred, 999, 100),
        (&hundred, 1000, 100),
    ];
    for (sorted, per_mille, answer) in known {
        let got = percentile(sorted, per_mille);
        ensure!(got == answer, "{per_mille} per mille of {} values are {got}, not {answer}", sorted.len());
    }
    ensure!(
        median(&[]).is_none() && median(&[3.0, 1.0, 2.0]) == Some(2.0) && median(&[4.0, 1.0]) == Some(2.5),
        "median"
    );
    ensure!(half_spread(&[9.0, 10.0, 12.0]) == 15.0 && extremes(&[2.0, 1.0, 3.0]) == (1.0, 3.0), "spread");
    Ok(())
}
