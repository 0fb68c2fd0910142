//! Numbers and addresses as characters, appended to a buffer without a formatter.

use std::fmt::{Display, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub(super) fn decimal(out: &mut Vec<u8>, value: u64) {
    match u8::try_from(value) {
        // Most times are below 10 ms.
        Ok(value @ 0..10) => out.push(digit(value)),
        _ => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
    }
}

/// `1234` is `1.234`.
pub(super) fn thousandths(out: &mut Vec<u8>, value: u64) {
    match u16::try_from(value) {
        // Most times are below 10 ms: all at once.
        Ok(value @ 0..10_000) => {
            let digits = [value / 1000, value / 100 % 10, value / 10 % 10, value % 10];
            let [ones, rest @ ..] = digits.map(|value| digit(value.to_be_bytes()[1]));
            let [tenths, hundredths, thousandths] = rest;
            out.extend_from_slice(&[ones, b'.', tenths, hundredths, thousandths]);
        }
        _ => {
            decimal(out, value / 1000);
            out.push(b'.');
            three(out, value);
        }
    }
}

/// The last three digits.
pub(super) fn three(out: &mut Vec<u8>, value: u64) {
    let value = u16::try_from(value % 1000).unwrap_or(0);
    out.extend_from_slice(&[value / 100, value / 10 % 10, value % 10].map(|value| digit(value.to_be_bytes()[1])));
}

/// 16 digits, all at once: each in a byte of one number.
pub(super) fn hex(out: &mut Vec<u8>, value: u64) {
    const fn each(byte: u8) -> u128 {
        u128::from_ne_bytes([byte; 16])
    }
    /// Every other `bits` bits.
    const fn lower(bits: u32) -> u128 {
        u128::MAX / ((1 << bits) + 1)
    }
    const HALVES: [(u32, u128); 4] = [(32, lower(32)), (16, lower(16)), (8, lower(8)), (4, lower(4))];
    // The upper half of each piece moves up, until each digit has twice the room that it needs.
    let digits = HALVES.iter().fold(u128::from(value), |pieces, (bits, lower)| (pieces | pieces << bits) & lower);
    let is_letter = ((digits + each(6)) >> 4) & each(1);
    let text = digits + each(b'0') + is_letter * u128::from(b'a' - b'9' - 1);
    out.extend_from_slice(&text.to_be_bytes());
}

pub(super) fn ip(out: &mut Vec<u8>, value: IpAddr) {
    match value {
        IpAddr::V4(value) => dotted(out, value),
        IpAddr::V6(value) => display(out, value),
    }
}

/// With its port.
pub(super) fn address(out: &mut Vec<u8>, value: SocketAddr) {
    match value {
        SocketAddr::V4(value) => {
            dotted(out, *value.ip());
            out.push(b':');
            decimal(out, value.port().into());
        }
        SocketAddr::V6(value) => display(out, value),
    }
}

/// Anything else.
pub(super) fn display(out: &mut Vec<u8>, value: impl Display) {
    struct Appender<'a>(&'a mut Vec<u8>);
    impl Write for Appender<'_> {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
    // Writing to a Vec cannot fail.
    let _ = write!(Appender(out), "{value}");
}

/// Put together first and appended once: there are several in each line.
fn dotted(out: &mut Vec<u8>, address: Ipv4Addr) {
    let mut text = [0; 16];
    let mut len = 0;
    for octet in address.octets() {
        let Some((digits, size)) = OCTETS.get(usize::from(octet)) else { continue };
        if let Some(room) = text.get_mut(len..).and_then(<[u8]>::first_chunk_mut) {
            *room = *digits;
        }
        len += size;
    }
    out.extend_from_slice(text.get(..len.saturating_sub(1)).unwrap_or_default());
}

/// Each octet's digits with the dot behind them, and how many bytes these are.
const OCTETS: [([u8; 4], usize); 256] = {
    let mut octets = [([0; 4], 0); 256];
    let mut rest: &mut [([u8; 4], usize)] = &mut octets;
    let mut value = 0_u8;
    while let [next, others @ ..] = rest {
        let [hundreds, tens, ones] = [digit(value / 100), digit(value / 10 % 10), digit(value % 10)];
        *next = match value {
            0..10 => ([ones, b'.', 0, 0], 2),
            10..100 => ([tens, ones, b'.', 0], 3),
            100.. => ([hundreds, tens, ones, b'.'], 4),
        };
        rest = others;
        value = value.wrapping_add(1);
    }
    octets
};

/// Of a number below 10.
const fn digit(value: u8) -> u8 {
    b'0' + value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written<T>(write: fn(&mut Vec<u8>, T), value: T) -> String {
        let mut out = Vec::new();
        write(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn output_equals_the_standard_librarys(address in any::<SocketAddr>(), number in any::<u64>(), bits in 0..64) {
            // Short ones as often as long ones.
            let number = number >> bits;
            prop_assert_eq!(written(super::address, address), address.to_string());
            prop_assert_eq!(written(ip, address.ip()), address.ip().to_string());
            prop_assert_eq!(written(decimal, number), number.to_string());
            prop_assert_eq!(written(hex, number), format!("{number:016x}"));
            prop_assert_eq!(written(thousandths, number), format!("{}.{:03}", number / 1000, number % 1000));
        }
    }
}
