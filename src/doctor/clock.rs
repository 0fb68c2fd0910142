//! The clock, compared with a time server by one packet of SNTP (RFC 5905 §14).

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::UdpSocket;

use super::{Finding, within};

const CHECK: &str = "clock";
const PATIENCE: Duration = Duration::from_secs(2);
/// AWS refuses signatures that are older or younger.
const WRONG: Duration = Duration::from_secs(300);
/// More than any machine is off that asks a time server at all.
const DRIFTING: Duration = Duration::from_secs(1);

/// The length of a packet without extensions.
const LEN: usize = 48;
/// From 1900, where NTP begins, to 1970.
const NTP_TO_UNIX: i128 = 2_208_988_800;

/// How far the clock is from the server's.
pub(super) async fn compare(server: SocketAddr) -> Finding {
    match within(PATIENCE, offset(server)).await {
        Some(Ok((offset, is_ahead))) => judge(server, offset, is_ahead),
        Some(Err(error)) => unknown(server, &error.to_string()),
        None => unknown(server, &format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

fn unknown(server: SocketAddr, why: &str) -> Finding {
    let help = "name a time server that can be reached from here: --time-server ADDRESS:123";
    Finding::warn(CHECK, "", format!("not compared with {server}: {why}"), help)
}

fn judge(server: SocketAddr, offset: Duration, is_ahead: bool) -> Finding {
    let direction = if is_ahead { "ahead of" } else { "behind" };
    let text = format!("{offset:.1?} {direction} {server}");
    if offset >= WRONG {
        let help = "set the clock of the host (chronyc makestep): AWS refuses signatures from it, and `until:` of rules and the \
                    dates of certificates are judged by it";
        return Finding::fail(CHECK, "", text, help);
    }
    if offset >= DRIFTING {
        return Finding::warn(CHECK, "", text, "does the host ask a time server? `chronyc tracking` shows it");
    }
    Finding::pass(CHECK, "", text)
}

/// How far this clock is from the server's, and whether it is ahead.
async fn offset(server: SocketAddr) -> io::Result<(Duration, bool)> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    // In place of the time: the server returns it, and nobody else can guess it.
    let cookie = RandomState::new().hash_one("SNTP").to_be_bytes();
    let sent = now();
    socket.send(&request(cookie)).await?;
    let mut packet = [0; LEN];
    loop {
        let len = socket.recv(&mut packet).await?;
        let received = now();
        if let Some((arrived, answered)) = packet.get(..len).and_then(|packet| response(packet, cookie)) {
            let behind = ((arrived - sent) + (answered - received)) / 2;
            let offset = Duration::from_nanos(u64::try_from(behind.unsigned_abs()).unwrap_or(u64::MAX));
            return Ok((offset, behind < 0));
        }
    }
}

fn request(cookie: [u8; 8]) -> [u8; LEN] {
    let mut packet = [0; LEN];
    // No leap second announced, version 4, from a client.
    let (first, transmitted) = (&[0b00_100_011], LEN - cookie.len());
    for (at, part) in [(0, &first[..]), (transmitted, &cookie[..])] {
        packet.iter_mut().skip(at).zip(part).for_each(|(to, from)| *to = *from);
    }
    packet
}

/// When the server received the request and when it answered, in nanoseconds from 1970. None: this is no answer to it.
fn response(packet: &[u8], cookie: [u8; 8]) -> Option<(i128, i128)> {
    let (first, stratum) = (packet.first()?, packet.get(1)?);
    let is_answer = first & 0b111 == 4 && *stratum != 0 && packet.get(24..32)? == cookie;
    let time = |at: usize| timestamp(*packet.get(at..)?.first_chunk()?);
    if is_answer { Some((time(32)?, time(40)?)) } else { None }
}

/// Seconds from 1900 and their 2^-32 parts; from 2036 on the seconds begin anew.
fn timestamp(bytes: [u8; 8]) -> Option<i128> {
    let number = u64::from_be_bytes(bytes);
    let (seconds, fraction) = (i128::from(number >> 32), i128::from(number & 0xffff_ffff));
    let era = if seconds < 1 << 31 { 1 << 32 } else { 0 };
    (number != 0).then(|| (seconds + era - NTP_TO_UNIX) * 1_000_000_000 + ((fraction * 1_000_000_000) >> 32))
}

/// In nanoseconds from 1970.
fn now() -> i128 {
    let nanos = |duration: Duration| i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX);
    SystemTime::now().duration_since(UNIX_EPOCH).map_or_else(|before| -nanos(before.duration()), nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Grade;
    use crate::sys::control_runtime::control_runtime;

    /// A server whose clock is so many seconds ahead of this one, or behind it.
    fn found(seconds: i128) -> Finding {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let mut packet = [0; LEN];
            let (_, from) = socket.recv_from(&mut packet).unwrap();
            assert_eq!(packet[0], 0x23);
            let cookie: [u8; 8] = packet[40..].try_into().unwrap();
            let now = u64::try_from(now() / 1_000_000_000 + NTP_TO_UNIX + seconds).unwrap() << 32;
            let answer = |cookie: [u8; 8]| {
                let head = [[0x24, 2], [0, 0]].concat();
                [head, vec![0; 20], cookie.to_vec(), now.to_be_bytes().to_vec(), now.to_be_bytes().to_vec()].concat()
            };
            // Forged, and not an answer at all, first.
            socket.send_to(&answer([0; 8]), from).unwrap();
            socket.send_to(b"x", from).unwrap();
            socket.send_to(&answer(cookie), from).unwrap();
        });
        let finding = control_runtime().unwrap().block_on(compare(address));
        server.join().unwrap();
        finding
    }

    #[test]
    fn a_clock_is_judged_by_its_distance() {
        assert_eq!(found(1).grade.max(Grade::Warn), Grade::Warn, "whole seconds, cut off");
        for (seconds, direction) in [(-3600, "ahead of"), (3600, "behind")] {
            let finding = found(seconds);
            assert!(finding.grade == Grade::Fail && finding.text.contains(direction), "{finding}");
        }
        assert_eq!(found(60).grade, Grade::Warn);
        let server = "127.0.0.1:123".parse().unwrap();
        assert_eq!(judge(server, Duration::from_millis(999), true).grade, Grade::Pass);
    }

    #[test]
    fn without_an_answer_nothing_is_claimed() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        drop(socket);
        let finding = control_runtime().unwrap().block_on(compare(address));
        assert!(finding.grade == Grade::Warn && finding.text.contains("not compared"), "{finding}");
    }

    #[test]
    fn time_goes_on_after_2036() {
        // 2036-02-07 06:28:16.
        assert_eq!(timestamp([0, 0, 0, 0, 0, 0, 0, 1]).unwrap() / 1_000_000_000, 2_085_978_496);
        assert_eq!(timestamp([0xff, 0xff, 0xff, 0xff, 0x80, 0, 0, 0]).unwrap(), 2_085_978_495_500_000_000);
        assert_eq!(timestamp([0; 8]), None, "not set");
    }
}
