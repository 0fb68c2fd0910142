//! Which refusals have a line, and what number stands there.

use latticegate_core::outcome::{Failure, RefuseReason};

use super::*;

fn key(client: &str) -> FloodKey {
    let address = |text: &str| -> SocketAddr { text.parse().unwrap() };
    FloodKey {
        listener: address("[::]:8443"),
        is_request: false,
        outcome: Outcome::Refused(RefuseReason::ClientDenied),
        client: key_of(None, address(client)),
    }
}

/// As the log does it: the lines that are written at once, as 1.
fn refuse(floods: &Floods, key: FloodKey, now: Instant, line: &str) -> Option<u64> {
    match floods.admit(key, now) {
        Admission::First => return Some(1),
        Admission::Second => floods.hold(key, |out| out.extend_from_slice(line.as_bytes())),
        Admission::More => {}
    }
    None
}

fn ended(floods: &Floods, now: Instant) -> Vec<(String, u64)> {
    let mut lines = Vec::new();
    floods.end(now, |line, repeated| lines.push((String::from_utf8(line.to_vec()).unwrap(), repeated)));
    lines
}

#[test]
fn the_first_has_its_line_and_then_one_a_second_stands_for_all() {
    let (floods, start) = (Floods::default(), Instant::now());
    let at = |millis| start + Duration::from_millis(millis);
    assert_eq!(floods.next_end(), None);
    let own: Vec<_> = (0..10).filter_map(|n| refuse(&floods, key("192.0.2.1:1"), at(n), &n.to_string())).collect();
    assert_eq!(own, [1]);
    assert_eq!(floods.next_end(), Some(at(1000)));
    assert_eq!(ended(&floods, at(999)), []);
    assert_eq!(ended(&floods, at(1000)), [("1".to_owned(), 9)]);
    // It goes on: no other line before the next second is over.
    let own: Vec<_> = (0..5).filter_map(|n| refuse(&floods, key("192.0.2.1:1"), at(1500), &n.to_string())).collect();
    assert!(own.is_empty(), "{own:?}");
    assert_eq!(ended(&floods, at(2000)), [("0".to_owned(), 5)]);
    // After a second without one it is over, and nothing is left of it.
    assert_eq!(ended(&floods, at(3000)), []);
    assert_eq!(floods.next_end(), None);
    assert_eq!(refuse(&floods, key("192.0.2.1:1"), at(3001), ""), Some(1));
}

#[test]
fn equal_are_those_of_one_listener_reason_and_client() {
    let (floods, now) = (Floods::default(), Instant::now());
    assert_eq!(refuse(&floods, key("192.0.2.1:1"), now, ""), Some(1));
    assert_eq!(refuse(&floods, key("192.0.2.1:2"), now, ""), None, "another port");
    assert_eq!(refuse(&floods, key("[2001:db8::1]:1"), now, ""), Some(1));
    assert_eq!(refuse(&floods, key("[2001:db8::2]:1"), now, ""), None, "the same /64");
    for other in [
        key("192.0.2.2:1"),
        FloodKey { listener: "[::]:8080".parse().unwrap(), ..key("192.0.2.1:1") },
        FloodKey { outcome: Outcome::Refused(RefuseReason::ClientRate), ..key("192.0.2.1:1") },
        FloodKey { outcome: Outcome::Failed(Failure::ConnectRefused), ..key("192.0.2.1:1") },
        FloodKey { is_request: true, ..key("192.0.2.1:1") },
    ] {
        assert_eq!(refuse(&floods, other, now, ""), Some(1), "{other:?}");
    }
}

/// Whatever the number of clients: the lines are few, and their numbers make up the refusals.
#[test]
fn a_flood_of_many_clients_is_bounded() {
    let (floods, now) = (Floods::default(), Instant::now());
    let mut lines = 0;
    for n in 0..10_000_u32 {
        let client = format!("{}:1", std::net::Ipv4Addr::from_bits(0x0a00_0000 + n));
        lines += refuse(&floods, key(&client), now, "any").unwrap_or_default();
    }
    assert_eq!(lines, u64::try_from(Floods::CLIENTS).unwrap() + 1);
    let others = ended(&floods, now + Floods::WINDOW);
    assert_eq!(others, [("any".to_owned(), 10_000 - lines)]);
    assert_eq!(ended(&floods, now + 2 * Floods::WINDOW), []);
    assert!(floods.0.borrow().is_empty());
}

#[test]
fn at_the_end_nothing_is_held_back() {
    let (floods, now) = (Floods::default(), Instant::now());
    for client in ["192.0.2.1:1", "192.0.2.1:1", "192.0.2.2:1", "192.0.2.2:1", "192.0.2.3:1"] {
        refuse(&floods, key(client), now, client);
    }
    let mut lines = Vec::new();
    floods.end_all(|line, repeated| lines.push((line.to_vec(), repeated)));
    lines.sort();
    assert_eq!(lines, [(b"192.0.2.1:1".to_vec(), 1), (b"192.0.2.2:1".to_vec(), 1)]);
    assert_eq!(floods.next_end(), None);
}

#[test]
fn the_number_is_at_the_end_of_the_line() {
    for (format, line, repeated, written) in [
        (LogFormat::Json, "{\"a\":1}\n", 57, "{\"a\":1,\"repeated\":57}\n"),
        (LogFormat::Json, "{}\n", 2, "{\"repeated\":2}\n"),
        (LogFormat::Json, "{\"a\":1}\n", 1, "{\"a\":1}\n"),
        (LogFormat::Squid, "1 2 application/x;reason=y\n", 3, "1 2 application/x;reason=y;repeated=3\n"),
        (LogFormat::Squid, "1 2 application/x;reason=y\n", 1, "1 2 application/x;reason=y\n"),
    ] {
        let mut out = Vec::new();
        with_repeats(&mut out, format, line.as_bytes(), repeated);
        assert_eq!(String::from_utf8(out).unwrap(), written);
    }
}
