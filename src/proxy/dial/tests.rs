//! Order, guard and memory of the dialler, over the loopback interface.

use socket2::{Domain, Socket, Type};

use std::net::{Ipv4Addr, TcpListener};
use std::sync::LazyLock;

use super::*;
use crate::event_loop::testing::{block_on, in_virtual_time};
use crate::telemetry::metrics::Upstreams;
use latticegate_core::networks::{DestinationNetworks, Networks};
use latticegate_core::policy::DestinationGuard;

const DEADLINE: Duration = Duration::from_secs(10);

fn destinations() -> Destinations<'static> {
    static GUARD: LazyLock<DestinationGuard> =
        LazyLock::new(|| DestinationGuard::new(Networks::default(), vec![], vec![], "192.0.2.53:53".parse().unwrap()));
    static NETWORKS: LazyLock<DestinationNetworks> = LazyLock::new(|| {
        let allowed = Networks::new(vec!["127.0.0.0/8".parse().unwrap()]);
        DestinationNetworks { allowed, ..DestinationNetworks::default() }
    });
    GUARD.within(&NETWORKS)
}

fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 32, 7, last).into()
}

/// A memory in which these addresses are tried in this order, where nothing is known against them.
fn trying(order: &[IpAddr]) -> Failing {
    let seed = (0..).find(|seed| Failing::seeded(*seed).order(order) == order).unwrap();
    Failing::seeded(seed)
}

/// An upstream, and the port that all addresses of a test are dialled on.
fn upstream(last: u8) -> (TcpListener, u16) {
    let listener = TcpListener::bind((ip(last), 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A listener with a full queue, which answers no SYN.
fn black_hole(address: SocketAddr) -> Vec<Socket> {
    let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let listener = socket();
    listener.bind(&address.into()).unwrap();
    listener.listen(0).unwrap();
    let queued = (0..3).map(|_| {
        let client = socket();
        client.set_nonblocking(true).unwrap();
        let _ = client.connect(&address.into());
        client
    });
    queued.chain([listener]).collect()
}

#[test]
fn a_forbidden_address_is_never_dialled_and_named_when_it_is_the_last() {
    block_on(async {
        let (_upstream, port) = upstream(1);
        let metadata: IpAddr = Ipv4Addr::new(169, 254, 169, 254).into();
        let failing = Failing::default();
        let Reached { address, .. } = dial(&[metadata, ip(1)], port, destinations(), &failing, DEADLINE).await.unwrap();
        assert_eq!(address.ip(), ip(1));
        let error = dial(&[metadata], port, destinations(), &failing, DEADLINE).await.unwrap_err().error;
        assert_eq!(error, DialError::Refused(RefuseReason::DestinationForbidden, SocketAddr::new(metadata, port)));
        // It is not for having been refused by us that an address is tried last.
        assert!(failing.since.borrow().is_empty());
    });
}

/// The verdict does not depend on the order in which DNS tells the addresses.
#[test]
fn forbidden_addresses_take_no_turn_and_a_failure_outranks_them() {
    block_on(async {
        let (_upstream, port) = upstream(10);
        let forbidden = (0..u8::try_from(MAX_TRIES).unwrap()).map(|n| IpAddr::from([169, 254, 169, 200 + n]));
        let addresses: Vec<IpAddr> = forbidden.chain([ip(10)]).collect();
        let Reached { address, .. } =
            dial(&addresses, port, destinations(), &Failing::default(), DEADLINE).await.unwrap();
        assert_eq!(address.ip(), ip(10));
        for addresses in [[addresses[0], ip(11)], [ip(11), addresses[0]]] {
            let error = dial(&addresses, port, destinations(), &Failing::default(), DEADLINE).await.unwrap_err().error;
            assert_eq!(error, DialError::Failed(Failure::ConnectRefused, SocketAddr::new(ip(11), port)));
        }
    });
}

#[test]
fn no_address_is_a_name_unknown() {
    block_on(async {
        let error = dial(&[], 443, destinations(), &Failing::default(), DEADLINE).await.unwrap_err().error;
        assert_eq!((error, error.address()), (DialError::Nowhere, None));
        assert_eq!(error.outcome(), Outcome::Refused(RefuseReason::NameUnknown));
    });
}

#[test]
fn a_silent_address_has_a_head_start_and_no_more() {
    block_on(async {
        let (_upstream, port) = upstream(2);
        let _hole = black_hole(SocketAddr::new(ip(3), port));
        let failing = trying(&[ip(3), ip(2)]);
        let start = Instant::now();
        let Reached { address, .. } = dial(&[ip(3), ip(2)], port, destinations(), &failing, DEADLINE).await.unwrap();
        assert_eq!(address.ip(), ip(2));
        assert!(start.elapsed() >= HEAD_START);
        // The deadline has not told yet whether the first is dead, but the next connection does not wait for it.
        assert!(start.elapsed() < DEADLINE);
        assert_eq!(failing.order(&[ip(3), ip(2)]), [ip(2), ip(3)]);
    });
}

#[test]
fn an_address_that_refuses_is_left_at_once_and_remembered() {
    block_on(async {
        let (_upstream, port) = upstream(4);
        let failing = trying(&[ip(5), ip(4)]);
        let Reached { address, .. } = dial(&[ip(5), ip(4)], port, destinations(), &failing, DEADLINE).await.unwrap();
        assert_eq!(address.ip(), ip(4));
        assert_eq!(failing.order(&[ip(5), ip(4)]), [ip(4), ip(5)]);
        // Alone it is still tried, and forgiven when it works.
        let revived = TcpListener::bind((ip(5), port)).unwrap();
        dial(&[ip(5)], port, destinations(), &failing, DEADLINE).await.unwrap();
        drop(revived);
        assert!(failing.since.borrow().is_empty());
    });
}

/// What was dialled, by what became of it.
#[test]
fn what_becomes_of_each_address_is_counted() {
    block_on(async {
        let (_upstream, port) = upstream(30);
        let _hole = black_hole(SocketAddr::new(ip(31), port));
        let upstreams = Upstreams::default();
        let failing = |order: &[IpAddr]| Failing { counts: upstreams.of_worker(), ..trying(order) };
        for [first, second] in [[31, 30], [32, 30]] {
            let order = [ip(first), ip(second)];
            let reached = dial(&order, port, destinations(), &failing(&order), DEADLINE).await.unwrap();
            assert_eq!(reached.address.ip(), ip(30));
            assert!(
                reached.took.is_some_and(|took| took < HEAD_START),
                "its own connect, not the head start of another"
            );
        }
        dial(&[ip(32)], port, destinations(), &failing(&[ip(32)]), DEADLINE).await.unwrap_err();
        let failed = upstreams.read().into_iter().filter(|counts| !counts.failed.is_empty());
        let failed: Vec<_> = failed.map(|counts| (counts.address.unwrap().ip(), counts.failed)).collect();
        assert_eq!(
            failed,
            [(ip(31), vec![(Failure::ConnectTimeout, 1)]), (ip(32), vec![(Failure::ConnectRefused, 2)])]
        );
    });
}

fn note(failing: &Failing, ip: IpAddr) {
    failing.note(SocketAddr::new(ip, 443), Failure::ConnectRefused);
}

#[test]
fn the_deadline_is_one_for_all() {
    block_on(async {
        let (upstream, port) = upstream(6);
        drop(upstream);
        let _holes = [7, 8].map(|last| black_hole(SocketAddr::new(ip(last), port)));
        let deadline = Duration::from_millis(600);
        let start = Instant::now();
        let error = dial(&[ip(7), ip(8)], port, destinations(), &Failing::default(), deadline).await.unwrap_err().error;
        assert!(matches!(error, DialError::Failed(Failure::ConnectTimeout, _)), "{error:?}");
        assert!(start.elapsed() >= deadline && start.elapsed() < 2 * deadline);
    });
}

#[test]
fn only_so_many_addresses_are_tried() {
    block_on(async {
        let (_upstream, port) = upstream(9);
        let dead = (0..u8::try_from(MAX_TRIES).unwrap()).map(|n| ip(100 + n));
        let addresses: Vec<IpAddr> = dead.chain([ip(9)]).collect();
        let seed = (0..).find(|seed| Failing::seeded(*seed).order(&addresses).last() == Some(&ip(9))).unwrap();
        let unreached = dial(&addresses, port, destinations(), &Failing::seeded(seed), DEADLINE).await.unwrap_err();
        assert!(matches!(unreached.error, DialError::Failed(Failure::ConnectRefused, _)), "{unreached:?}");
        assert_eq!(unreached.tries.len(), MAX_TRIES);
    });
}

/// "Nobody answered" is reported only where it is true of all.
#[test]
fn of_several_failures_the_most_telling_is_reported() {
    block_on(async {
        let (upstream, port) = upstream(20);
        drop(upstream);
        let _hole = black_hole(SocketAddr::new(ip(21), port));
        let deadline = Duration::from_millis(600);
        for order in [[ip(20), ip(21)], [ip(21), ip(20)]] {
            let unreached = dial(&order, port, destinations(), &trying(&order), deadline).await.unwrap_err();
            let refused = (SocketAddr::new(ip(20), port), Failure::ConnectRefused);
            assert_eq!(unreached.error, DialError::Failed(refused.1, refused.0));
            // The other one is not forgotten.
            let silent = (SocketAddr::new(ip(21), port), Failure::ConnectTimeout);
            assert_eq!(unreached.tries, [refused, silent]);
        }
    });
}

#[test]
fn failing_addresses_come_last_for_a_while() {
    in_virtual_time(async {
        let failing = Failing::seeded(1);
        note(&failing, ip(1));
        note(&failing, ip(3));
        let all = [1, 2, 3, 4].map(ip);
        for _ in 0..100 {
            let order = failing.order(&all);
            assert!(order[2..].contains(&ip(1)) && order[2..].contains(&ip(3)), "{order:?}");
        }
        sleep(Failing::MEMORY).await;
        assert!((0..100).any(|_| failing.order(&all)[0] == ip(1)));
    });
}

/// The seed is fixed, so this says always the same; chi squared with 3 degrees of freedom is below 11.3 in 99 of 100.
#[test]
fn connections_spread_over_all_addresses() {
    block_on(async {
        let failing = Failing::seeded(7);
        for addresses in [[1, 2, 3, 4].map(ip), [1, 2, 3, 4].map(|n| IpAddr::V6((0xfd00 << 112 | n).into()))] {
            let mut first = HashMap::new();
            let mut second = HashMap::new();
            for _ in 0..4000 {
                let order = failing.order(&addresses);
                *first.entry(order[0]).or_insert(0_i32) += 1;
                *second.entry(order[1]).or_insert(0_i32) += 1;
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
        let failing = Failing::seeded(3);
        let firsts: Vec<IpAddr> = (0..64).map(|_| failing.order(&[ip(1), ip(2)])[0]).collect();
        for parity in 0..2 {
            let of_one = firsts.iter().skip(parity).step_by(2);
            assert!((8..=24).contains(&of_one.filter(|first| **first == ip(1)).count()), "{firsts:?}");
        }
    });
}

#[test]
fn the_families_take_turns_and_ipv4_is_first() {
    block_on(async {
        let failing = Failing::seeded(1);
        let v6 = |n: u128| IpAddr::V6((0xfd00 << 112 | n).into());
        let all = [ip(1), ip(2), ip(3), v6(1), v6(2)];
        for _ in 0..100 {
            let order = failing.order(&all);
            let families: Vec<bool> = order.iter().map(IpAddr::is_ipv4).collect();
            assert_eq!(families, [true, false, true, false, true], "{order:?}");
        }
        // Where IPv4 fails, IPv6 is first.
        (1..=3).for_each(|n| note(&failing, ip(n)));
        assert_eq!(failing.order(&all)[..2].iter().filter(|ip| ip.is_ipv6()).count(), 2);
    });
}

#[test]
fn the_memory_of_failures_is_bounded() {
    let failing = Failing::default();
    for n in 0..10_000 {
        note(&failing, Ipv4Addr::from_bits(n).into());
        assert!(failing.since.borrow().len() <= Failing::MAX);
    }
}

#[test]
fn errors_of_connect_have_their_words() {
    let address = SocketAddr::new(ip(1), 443);
    let word = |code| DialError::of(&io::Error::from_raw_os_error(code), address);
    assert_eq!(word(libc::ECONNREFUSED), DialError::Failed(Failure::ConnectRefused, address));
    assert_eq!(word(libc::ETIMEDOUT), DialError::Failed(Failure::ConnectTimeout, address));
    for unreachable in [libc::ENETUNREACH, libc::EHOSTUNREACH, libc::ENETDOWN] {
        assert_eq!(word(unreachable), DialError::Failed(Failure::ConnectUnreachable, address));
    }
    assert_eq!(word(libc::EADDRNOTAVAIL), DialError::Failed(Failure::NoLocalPort, address));
    for other in [libc::ECONNRESET, libc::EACCES, libc::EINVAL] {
        assert_eq!(word(other), DialError::Failed(Failure::ConnectFailed, address));
    }
    // Ours, whatever the address: no word against it.
    for shortage in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
        assert_eq!(word(shortage), DialError::Shortage(address));
    }
}
