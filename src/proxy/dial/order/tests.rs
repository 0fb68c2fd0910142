//! Order and memory of the addresses of a name.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::*;
use crate::runtime::sleep;
use crate::runtime::testing::{block_on, in_virtual_time};

fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 32, 7, last).into()
}

#[test]
fn failing_addresses_come_last_for_a_while() {
    in_virtual_time(async {
        let order = Order::seeded(1);
        order.note_failure(ip(1));
        order.note_failure(ip(3));
        let all = [1, 2, 3, 4].map(ip);
        for _ in 0..100 {
            let addresses = order.of(&all);
            assert!(addresses[2..].contains(&ip(1)) && addresses[2..].contains(&ip(3)), "{addresses:?}");
        }
        sleep(Order::MEMORY).await;
        assert!((0..100).any(|_| order.of(&all)[0] == ip(1)));
    });
}

/// The seed is fixed, so this says always the same; chi squared with 3 degrees of freedom is below 11.3 in 99 of 100.
#[test]
fn connections_spread_over_all_addresses() {
    block_on(async {
        let order = Order::seeded(7);
        for addresses in [[1, 2, 3, 4].map(ip), [1, 2, 3, 4].map(|n| IpAddr::V6((0xfd00 << 112 | n).into()))] {
            let mut first = HashMap::new();
            let mut second = HashMap::new();
            for _ in 0..4000 {
                let addresses = order.of(&addresses);
                *first.entry(addresses[0]).or_insert(0_i32) += 1;
                *second.entry(addresses[1]).or_insert(0_i32) += 1;
            }
            for counts in [first, second] {
                let chi_squared: f64 = counts.values().map(|n| f64::from((n - 1000).pow(2)) / 1000.0).sum();
                assert!(counts.len() == 4 && chi_squared < 11.3, "{counts:?}");
            }
        }
    });
}

/// Two names that are called in turn do not keep to one address each.
#[test]
fn names_called_in_turn_spread_as_well() {
    block_on(async {
        let order = Order::seeded(3);
        let firsts: Vec<IpAddr> = (0..64).map(|_| order.of(&[ip(1), ip(2)])[0]).collect();
        for parity in 0..2 {
            let of_one = firsts.iter().skip(parity).step_by(2);
            assert!((8..=24).contains(&of_one.filter(|first| **first == ip(1)).count()), "{firsts:?}");
        }
    });
}

#[test]
fn the_families_take_turns_and_ipv4_is_first() {
    block_on(async {
        let order = Order::seeded(1);
        let v6 = |n: u128| IpAddr::V6((0xfd00 << 112 | n).into());
        let all = [ip(1), ip(2), ip(3), v6(1), v6(2)];
        for _ in 0..100 {
            let addresses = order.of(&all);
            let families: Vec<bool> = addresses.iter().map(IpAddr::is_ipv4).collect();
            assert_eq!(families, [true, false, true, false, true], "{addresses:?}");
        }
        // Where IPv4 fails, IPv6 is first.
        (1..=3).for_each(|n| order.note_failure(ip(n)));
        assert_eq!(order.of(&all)[..2].iter().filter(|ip| ip.is_ipv6()).count(), 2);
    });
}

#[test]
fn the_memory_of_failures_is_bounded() {
    let order = Order::seeded(1);
    for n in 0..10_000 {
        order.note_failure(Ipv4Addr::from_bits(n).into());
        assert!(order.failed() <= Order::MAX);
    }
}
