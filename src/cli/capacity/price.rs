//! What a fleet costs a month: list prices of US East (N. Virginia), each of which an argument replaces.
//!
//! Their sources, and which of them were seen on a page of AWS, are in the table of docs/deploy.md, which a test compares.

use latticegate_core::config::LogKeep;

use super::load::{Load, LogLines};
use super::size::Tasks;

pub(super) const HOURS: f64 = 730.0;
/// CloudWatch adds this to each line.
pub(super) const LOG_EVENT: f64 = 26.0;
/// Of the connections, those that are refused or fail: each has a line whatever `access_log.keep` says.
pub(super) const REFUSED: f64 = 0.01;
/// One NLCU for TCP: new connections a second, active connections, GB an hour. The greatest of the three is billed.
pub(super) const NLCU: (f64, f64, f64) = (800.0, 100_000.0, 1.0);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Price {
    ArmVcpuHour,
    ArmGbHour,
    X86VcpuHour,
    X86GbHour,
    NlbHour,
    NlcuHour,
    LogGb,
}

/// Each with its name on the command line.
pub(super) const PRICES: [(Price, &str, f64); 7] = [
    (Price::ArmVcpuHour, "arm-vcpu-hour", 0.03238),
    (Price::ArmGbHour, "arm-gb-hour", 0.00356),
    (Price::X86VcpuHour, "x86-vcpu-hour", 0.04048),
    (Price::X86GbHour, "x86-gb-hour", 0.004_445),
    (Price::NlbHour, "nlb-hour", 0.0225),
    (Price::NlcuHour, "nlcu-hour", 0.006),
    (Price::LogGb, "log-gb", 0.50),
];

#[derive(Debug, Clone, Default)]
pub(super) struct Prices {
    /// In place of list prices.
    pub(super) given: Vec<(Price, f64)>,
}

impl Prices {
    pub(super) fn of(&self, price: Price) -> f64 {
        let listed = PRICES.iter().map(|(one, _, usd)| (*one, *usd));
        let mut found = listed.chain(self.given.iter().copied()).filter(|(one, _)| *one == price);
        found.next_back().map_or(0.0, |(_, usd)| usd)
    }
}

/// Parses `NAME=USD`.
pub(super) fn named(text: &str) -> Result<(Price, f64), String> {
    let names = || PRICES.map(|(_, name, _)| name).join(", ");
    let (name, usd) =
        text.split_once('=').ok_or_else(|| format!("write NAME=USD, where NAME is one of {}", names()))?;
    let price = PRICES.iter().find(|(_, one, _)| *one == name).map(|(price, ..)| *price);
    let price = price.ok_or_else(|| format!("no price is called {name}; there are {}", names()))?;
    Ok((price, super::amount(usd)?))
}

/// USD a month, each in whole cents, so that the rows of a bill add up to its sum.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    pub(super) arm: f64,
    pub(super) x86: f64,
    pub(super) nlb: f64,
    pub(super) nlcu: f64,
    /// How many, and by what they are counted.
    pub(super) nlcus: f64,
    pub(super) nlcu_by: &'static str,
    pub(super) log: f64,
    pub(super) log_lines: f64,
}

impl Cost {
    pub(super) fn of(load: &Load, tasks: Tasks, log: &LogLines, prices: &Prices) -> Self {
        let price = |price| prices.of(price);
        let (new, active, gb) = NLCU;
        let by = [
            (load.new_per_second() / new, "new connections"),
            (load.open() / active, "open connections"),
            (load.bytes_per_second * 3600.0 / 1e9 / gb, "bytes"),
        ];
        let (nlcus, nlcu_by) = by.into_iter().fold((0.0, "bytes"), |most, one| if one.0 > most.0 { one } else { most });
        let log_lines = load.new_per_second()
            * match log.keep {
                LogKeep::All => 1.0,
                LogKeep::Failures => REFUSED,
                LogKeep::Sample(one_of) => REFUSED + (1.0 - REFUSED) / f64::from(one_of.get()),
            };
        Self {
            arm: Self::fargate_arm(tasks, prices),
            x86: Self::fargate_x86(tasks, prices),
            nlb: cents(HOURS * price(Price::NlbHour)),
            nlcu: cents(HOURS * nlcus * price(Price::NlcuHour)),
            nlcus,
            nlcu_by,
            log: cents(log_lines * HOURS * 3600.0 * (log.bytes + LOG_EVENT) / 1e9 * price(Price::LogGb)),
            log_lines,
        }
    }

    /// What the tasks cost.
    pub(super) fn fargate_arm(tasks: Tasks, prices: &Prices) -> f64 {
        fargate(tasks, prices.of(Price::ArmVcpuHour), prices.of(Price::ArmGbHour))
    }

    pub(super) fn fargate_x86(tasks: Tasks, prices: &Prices) -> f64 {
        fargate(tasks, prices.of(Price::X86VcpuHour), prices.of(Price::X86GbHour))
    }

    pub(super) fn total_arm(&self) -> f64 {
        cents(self.arm + self.nlb + self.nlcu + self.log)
    }
}

fn fargate(tasks: Tasks, vcpu: f64, gb: f64) -> f64 {
    cents(tasks.number() * HOURS * (tasks.size.vcpu() * vcpu + tasks.size.gb() * gb))
}

/// Half a cent is a cent, also where binary digits have made a little less of it.
fn cents(usd: f64) -> f64 {
    (usd * 100.0 + 1e-6).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_given_by_its_name() {
        let prices = Prices { given: vec![named("nlcu-hour=0.01").unwrap()] };
        assert_eq!((prices.of(Price::NlcuHour), prices.of(Price::NlbHour)), (0.01, 0.0225));
        assert!(named("nlcu=0.01").unwrap_err().contains("nlcu-hour"));
        assert!(named("nlcu-hour").unwrap_err().contains("NAME=USD"));
        assert!(named("nlcu-hour=-1").is_err());
    }
}
