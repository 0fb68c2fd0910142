//! Order, guard and memory of the dialler, over the loopback interface.

use socket2::{Domain, Socket, Type};

use std::net::{Ipv4Addr, TcpListener};
use std::sync::LazyLock;

use super::*;
use crate::runtime::testing::block_on;
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

/// One that tries these addresses in this order, while nothing is known against them.
fn trying(order: &[IpAddr]) -> Dialer {
    let seed = (0..).find(|seed| Order::seeded(*seed).of(order) == order).unwrap();
    Dialer::seeded(seed)
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
        let dialer = Dialer::seeded(1);
        let Reached { address, .. } = dialer.dial(&[metadata, ip(1)], port, destinations(), DEADLINE).await.unwrap();
        assert_eq!(address.ip(), ip(1));
        let error = dialer.dial(&[metadata], port, destinations(), DEADLINE).await.unwrap_err().error;
        assert_eq!(error, DialError::Refused(RefuseReason::DestinationForbidden, SocketAddr::new(metadata, port)));
        // It is not for having been refused by us that an address is tried last.
        assert!(dialer.order.failed() == 0);
    });
}

/// The verdict does not depend on the order in which DNS tells the addresses.
#[test]
fn forbidden_addresses_take_no_turn_and_a_failure_outranks_them() {
    block_on(async {
        let (_upstream, port) = upstream(10);
        let forbidden = (0..u8::try_from(MAX_TRIES).unwrap()).map(|n| IpAddr::from([169, 254, 169, 200 + n]));
        let addresses: Vec<IpAddr> = forbidden.chain([ip(10)]).collect();
        let Reached { address, .. } = Dialer::seeded(1).dial(&addresses, port, destinations(), DEADLINE).await.unwrap();
        assert_eq!(address.ip(), ip(10));
        for addresses in [[addresses[0], ip(11)], [ip(11), addresses[0]]] {
            let error = Dialer::seeded(1).dial(&addresses, port, destinations(), DEADLINE).await.unwrap_err().error;
            assert_eq!(error, DialError::Failed(Failure::ConnectRefused, SocketAddr::new(ip(11), port)));
        }
    });
}

#[test]
fn no_address_is_a_name_unknown() {
    block_on(async {
        let error = Dialer::seeded(1).dial(&[], 443, destinations(), DEADLINE).await.unwrap_err().error;
        assert_eq!((error, error.address()), (DialError::Nowhere, None));
        assert_eq!(error.outcome(), Outcome::Refused(RefuseReason::NameUnknown));
    });
}

#[test]
fn a_silent_address_has_a_head_start_and_no_more() {
    block_on(async {
        let (_upstream, port) = upstream(2);
        let _hole = black_hole(SocketAddr::new(ip(3), port));
        let dialer = trying(&[ip(3), ip(2)]);
        let start = Instant::now();
        let Reached { address, .. } = dialer.dial(&[ip(3), ip(2)], port, destinations(), DEADLINE).await.unwrap();
        assert_eq!(address.ip(), ip(2));
        assert!(start.elapsed() >= HEAD_START);
        // The deadline has not told yet whether the first is dead, but the next connection does not wait for it.
        assert!(start.elapsed() < DEADLINE);
        assert_eq!(dialer.order.of(&[ip(3), ip(2)]), [ip(2), ip(3)]);
    });
}

#[test]
fn an_address_that_refuses_is_left_at_once_and_remembered() {
    block_on(async {
        let (_upstream, port) = upstream(4);
        let dialer = trying(&[ip(5), ip(4)]);
        let Reached { address, .. } = dialer.dial(&[ip(5), ip(4)], port, destinations(), DEADLINE).await.unwrap();
        assert_eq!(address.ip(), ip(4));
        assert_eq!(dialer.order.of(&[ip(5), ip(4)]), [ip(4), ip(5)]);
        // Alone it is still tried, and forgiven when it works.
        let revived = TcpListener::bind((ip(5), port)).unwrap();
        dialer.dial(&[ip(5)], port, destinations(), DEADLINE).await.unwrap();
        drop(revived);
        assert!(dialer.order.failed() == 0);
    });
}

/// What was dialled, by what became of it.
#[test]
fn what_becomes_of_each_address_is_counted() {
    block_on(async {
        let (_upstream, port) = upstream(30);
        let _hole = black_hole(SocketAddr::new(ip(31), port));
        let upstreams = Upstreams::default();
        let dialer = |order: &[IpAddr]| Dialer { counts: upstreams.of_worker(), ..trying(order) };
        for [first, second] in [[31, 30], [32, 30]] {
            let order = [ip(first), ip(second)];
            let reached = dialer(&order).dial(&order, port, destinations(), DEADLINE).await.unwrap();
            assert_eq!(reached.address.ip(), ip(30));
            assert!(
                reached.took.is_some_and(|took| took < HEAD_START),
                "its own connect, not the head start of another"
            );
        }
        dialer(&[ip(32)]).dial(&[ip(32)], port, destinations(), DEADLINE).await.unwrap_err();
        let failed = upstreams.read().into_iter().filter(|counts| !counts.failed.is_empty());
        let failed: Vec<_> = failed.map(|counts| (counts.address.unwrap().ip(), counts.failed)).collect();
        assert_eq!(
            failed,
            [(ip(31), vec![(Failure::ConnectTimeout, 1)]), (ip(32), vec![(Failure::ConnectRefused, 2)])]
        );
    });
}

#[test]
fn the_deadline_is_one_for_all() {
    block_on(async {
        let (upstream, port) = upstream(6);
        drop(upstream);
        let _holes = [7, 8].map(|last| black_hole(SocketAddr::new(ip(last), port)));
        let deadline = Duration::from_millis(600);
        let start = Instant::now();
        let error = Dialer::seeded(1).dial(&[ip(7), ip(8)], port, destinations(), deadline).await.unwrap_err().error;
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
        let seed = (0..).find(|seed| Order::seeded(*seed).of(&addresses).last() == Some(&ip(9))).unwrap();
        let unreached = Dialer::seeded(seed).dial(&addresses, port, destinations(), DEADLINE).await.unwrap_err();
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
            let unreached = trying(&order).dial(&order, port, destinations(), deadline).await.unwrap_err();
            let refused = (SocketAddr::new(ip(20), port), Failure::ConnectRefused);
            assert_eq!(unreached.error, DialError::Failed(refused.1, refused.0));
            // The other one is not forgotten.
            let silent = (SocketAddr::new(ip(21), port), Failure::ConnectTimeout);
            assert_eq!(unreached.tries, [refused, silent]);
        }
    });
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
