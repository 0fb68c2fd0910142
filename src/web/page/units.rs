//! Numbers, durations and sizes, rounded for people.

use std::time::Duration;

pub(crate) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

pub(crate) fn bytes(bytes: u64) -> String {
    scaled(approximately(bytes))
}

/// Bytes a second.
pub(crate) fn bandwidth(each_second: f64) -> String {
    format!("{}/s", scaled(each_second))
}

/// How often a second.
pub(crate) fn rate(each_second: f64) -> String {
    format!("{}/s", significant(each_second))
}

pub(crate) fn millis(duration: Duration) -> String {
    format!("{} ms", significant(duration.as_secs_f64() * 1000.0))
}

/// Digits in groups of three.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 2);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            // A narrow space at which no line ends.
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

fn scaled(bytes: f64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut rest = bytes;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while rest >= 1000.0 && units.len() > 0 {
        rest /= 1024.0;
        unit = units.next();
    }
    format!("{} {}", significant(rest), unit.unwrap_or(&""))
}

/// Three digits that count.
pub(crate) fn significant(number: f64) -> String {
    let decimals = match number {
        _ if number >= 99.95 || number == number.trunc() => 0,
        _ if number >= 9.995 => 1,
        _ => 2,
    };
    format!("{number:.decimals$}")
}

/// A number of events or bytes, for arithmetic that need not be exact.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "53 bits are enough for what people read")]
pub(crate) fn approximately(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_three_digits() {
        for (given, shown) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "0.98 KiB"),
            (1024, "1 KiB"),
            (1536, "1.50 KiB"),
            (10_240, "10 KiB"),
            (123_456, "121 KiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(bytes(given), shown, "{given}");
        }
        for (given, shown) in [(0.0, "0/s"), (0.2, "0.20/s"), (12.34, "12.3/s"), (3000.4, "3000/s"), (99.96, "100/s")] {
            assert_eq!(rate(given), shown, "{given}");
        }
        assert_eq!(
            (count(7), count(9000), count(1_234_567)),
            ("7".into(), "9\u{202f}000".into(), "1\u{202f}234\u{202f}567".into())
        );
    }
}
