//! Single values of a rule: its name, groups, endpoints, and when it ends.

use std::net::IpAddr;
use std::time::SystemTime;

use jiff::SignedDuration;
use jiff::civil::{DateTime, Time};
use jiff::fmt::temporal::Pieces;

use crate::client::EndpointId;
use crate::yaml::ValueError;

/// Longest name of a rule, in bytes: it is a label of metrics.
const MAX_NAME: usize = 64;

/// A group's name must not look like an address.
pub(super) fn group_name(name: &str) -> Result<(), ValueError> {
    let word = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if !word || name == "all" || name.parse::<IpAddr>().is_ok() {
        return Err(ValueError::new(
            "is not a group's name",
            "begin with a letter; use letters, digits, `-` and `_`; not `all`",
        ));
    }
    Ok(())
}

/// Parses the id of a VPC endpoint as operators write it: `vpce-…`.
pub fn endpoint(text: &str) -> Result<EndpointId, ValueError> {
    // `vpce-svc-…` is the id of an endpoint service; clients come through an endpoint.
    let id = text.strip_prefix("vpce-").filter(|rest| !rest.starts_with("svc-") && !rest.is_empty());
    id.and_then(|_| EndpointId::parse(text.as_bytes()))
        .ok_or_else(|| ValueError::new("is not a VPC endpoint's id", "write it like vpce-0123456789abcdef0"))
}

pub(super) fn rule_name(text: &str) -> Result<Box<str>, ValueError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b" -_./".contains(&b);
    if text.trim().is_empty() || text.len() > MAX_NAME || !text.bytes().all(allowed) {
        return Err(ValueError::new(
            "is not a rule's name",
            "use 1 to 64 letters, digits, spaces, `-`, `_`, `.` or `/`",
        ));
    }
    Ok(text.into())
}

/// A moment (RFC 3339), or a date, which includes its whole day in UTC. Both up to the end of the year 9999, which some
/// write for "never".
pub(super) fn end(text: &str) -> Result<SystemTime, ValueError> {
    let not_a_time = || ValueError::new("is not a time", "write a date like 2026-12-31, or 2026-12-31T18:00:00Z");
    let pieces = Pieces::parse(text).map_err(|_| not_a_time())?;
    let (time, offset) = match (pieces.time(), pieces.to_numeric_offset()) {
        (None, None) => (Time::midnight(), SignedDuration::from_hours(-24)),
        (Some(time), Some(offset)) => (time, SignedDuration::from_secs(offset.seconds().into())),
        (Some(_), None) => {
            return Err(ValueError::new("does not say for which time zone", format!("write {text}Z for UTC")));
        }
        (None, Some(_)) => return Err(not_a_time()),
    };
    // jiff's own timestamps end a day earlier.
    let since = pieces.date().to_datetime(time).duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0)) - offset;
    let (epoch, distance) = (SystemTime::UNIX_EPOCH, since.unsigned_abs());
    let moment = if since.is_negative() { epoch.checked_sub(distance) } else { epoch.checked_add(distance) };
    moment.ok_or_else(not_a_time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_moment_or_the_end_of_a_day() {
        let seconds = |text: &str| match end(text).unwrap().duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => i128::try_from(since.as_millis()).unwrap(),
            Err(error) => -i128::try_from(error.duration().as_millis()).unwrap(),
        };
        for (text, millis) in [
            ("1970-01-01", 86_400_000),
            ("1969-12-31", 0),
            ("1969-12-30", -86_400_000),
            ("2026-12-31", 1_798_761_600_000),
            ("2026-12-31T00:00:00Z", 1_798_675_200_000),
            ("2026-12-31t00:00:00.5z", 1_798_675_200_500),
            ("2026-12-31 01:00:00+01:00", 1_798_675_200_000),
            ("9999-12-31", 253_402_300_800_000),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000),
            ("9999-12-31T23:59:59-23:59", 253_402_387_139_000),
            ("0001-01-01", -62_135_510_400_000),
        ] {
            assert_eq!(seconds(text), millis, "{text}");
        }
        for (text, help) in [
            ("2026-02-30", "write a date"),
            ("never", "write a date"),
            ("12:00", "write a date"),
            ("10000-01-01", "write a date"),
            ("2026-12-31T18:00:00", "write 2026-12-31T18:00:00Z for UTC"),
        ] {
            assert!(end(text).unwrap_err().help.starts_with(help), "{text}");
        }
    }
}
