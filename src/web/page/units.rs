//! Durations and sizes, rounded for people.

pub(super) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut rest = bytes;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while rest >= 10_240 {
        rest /= 1024;
        unit = units.next().or(unit);
    }
    format!("{rest} {}", unit.unwrap_or(&""))
}
