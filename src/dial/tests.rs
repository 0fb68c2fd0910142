//! Order, guard and memory of the dialler, over the loopback interface.

use std::net::Ipv4Addr;

use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

use super::*;
use crate::networks::Networks;

const DEADLINE: Duration = Duration::from_secs(10);

fn reach() -> Reach {
    let allowed = Networks::new(vec!["127.0.0.0/8".parse().unwrap()]);
    Reach::new(allowed, Networks::default(), vec![], vec![], "192.0.2.53:53".parse().unwrap())
}

fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 32, 7, last).into()
}

/// An upstream, and the port that all addresses of a test are dialled on.
async fn upstream(last: u8) -> (TcpListener, u16) {
    let listener = TcpListener::bind((ip(last), 0)).await.unwrap();
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

#[tokio::test]
async fn a_forbidden_address_is_never_dialled_and_named_when_it_is_the_last() {
    let (_upstream, port) = upstream(1).await;
    let metadata: IpAddr = Ipv4Addr::new(169, 254, 169, 254).into();
    let failing = Failing::default();
    let (_, address) = dial(&[metadata, ip(1)], port, &reach(), &failing, DEADLINE).await.unwrap();
    assert_eq!(address.ip(), ip(1));
    let error = dial(&[metadata], port, &reach(), &failing, DEADLINE).await.unwrap_err();
    assert_eq!(error, DialError::Refused(RefuseReason::DestinationForbidden, SocketAddr::new(metadata, port)));
    // It is not for having been refused by us that an address is tried last.
    assert!(failing.0.borrow().is_empty());
}

/// The verdict does not depend on the order in which DNS tells the addresses.
#[tokio::test]
async fn forbidden_addresses_take_no_turn_and_a_failure_outranks_them() {
    let (_upstream, port) = upstream(10).await;
    let forbidden = (0..u8::try_from(MAX_TRIES).unwrap()).map(|n| IpAddr::from([169, 254, 169, 200 + n]));
    let addresses: Vec<IpAddr> = forbidden.chain([ip(10)]).collect();
    let (_, address) = dial(&addresses, port, &reach(), &Failing::default(), DEADLINE).await.unwrap();
    assert_eq!(address.ip(), ip(10));
    for addresses in [[addresses[0], ip(11)], [ip(11), addresses[0]]] {
        let error = dial(&addresses, port, &reach(), &Failing::default(), DEADLINE).await.unwrap_err();
        assert_eq!(error, DialError::Failed(Failure::ConnectRefused, SocketAddr::new(ip(11), port)));
    }
}

#[tokio::test]
async fn no_address_is_a_name_unknown() {
    let error = dial(&[], 443, &reach(), &Failing::default(), DEADLINE).await.unwrap_err();
    assert_eq!((error, error.address()), (DialError::Nowhere, None));
    assert_eq!(error.outcome(), Outcome::Refused(RefuseReason::NameUnknown));
}

#[tokio::test]
async fn a_silent_address_has_a_head_start_and_no_more() {
    let (_upstream, port) = upstream(2).await;
    let _hole = black_hole(SocketAddr::new(ip(3), port));
    let failing = Failing::default();
    let start = Instant::now();
    let (_, address) = dial(&[ip(3), ip(2)], port, &reach(), &failing, DEADLINE).await.unwrap();
    assert_eq!(address.ip(), ip(2));
    assert!(start.elapsed() >= HEAD_START);
    // The deadline has not told yet whether the first is dead, but the next connection does not wait for it.
    assert!(start.elapsed() < DEADLINE);
    assert_eq!(failing.last(&[ip(3), ip(2)]), [ip(2), ip(3)]);
}

#[tokio::test]
async fn an_address_that_refuses_is_left_at_once_and_remembered() {
    let (_upstream, port) = upstream(4).await;
    let failing = Failing::default();
    let (_, address) = dial(&[ip(5), ip(4)], port, &reach(), &failing, DEADLINE).await.unwrap();
    assert_eq!(address.ip(), ip(4));
    assert_eq!(failing.last(&[ip(5), ip(4)]), [ip(4), ip(5)]);
    // Alone it is still tried, and forgiven when it works.
    let revived = TcpListener::bind((ip(5), port)).await.unwrap();
    dial(&[ip(5)], port, &reach(), &failing, DEADLINE).await.unwrap();
    drop(revived);
    assert_eq!(failing.last(&[ip(5), ip(4)]), [ip(5), ip(4)]);
}

#[tokio::test]
async fn the_deadline_is_one_for_all() {
    let (upstream, port) = upstream(6).await;
    drop(upstream);
    let _holes = [7, 8].map(|last| black_hole(SocketAddr::new(ip(last), port)));
    let deadline = Duration::from_millis(600);
    let start = Instant::now();
    let error = dial(&[ip(7), ip(8)], port, &reach(), &Failing::default(), deadline).await.unwrap_err();
    assert!(matches!(error, DialError::Failed(Failure::ConnectTimeout, _)), "{error:?}");
    assert!(start.elapsed() >= deadline && start.elapsed() < 2 * deadline);
}

#[tokio::test]
async fn only_so_many_addresses_are_tried() {
    let (_upstream, port) = upstream(9).await;
    let dead = (0..u8::try_from(MAX_TRIES).unwrap()).map(|n| ip(100 + n));
    let addresses: Vec<IpAddr> = dead.chain([ip(9)]).collect();
    let error = dial(&addresses, port, &reach(), &Failing::default(), DEADLINE).await.unwrap_err();
    assert!(matches!(error, DialError::Failed(Failure::ConnectRefused, _)), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_forgotten_after_a_while_and_order_is_kept() {
    let failing = Failing::default();
    failing.note(ip(1));
    failing.note(ip(3));
    let all = [1, 2, 3, 4].map(ip);
    assert_eq!(failing.last(&all), [2, 4, 1, 3].map(ip));
    tokio::time::advance(Failing::MEMORY).await;
    assert_eq!(failing.last(&all), all);
}

#[test]
fn the_memory_of_failures_is_bounded() {
    let failing = Failing::default();
    for n in 0..10_000 {
        failing.note(Ipv4Addr::from_bits(n).into());
        assert!(failing.0.borrow().len() <= Failing::MAX);
    }
}

#[test]
fn errors_of_connect_have_their_words() {
    let word = |code| judge(&io::Error::from_raw_os_error(code));
    assert_eq!(word(libc::ECONNREFUSED), Attempt::Failed(Failure::ConnectRefused));
    assert_eq!(word(libc::ETIMEDOUT), Attempt::Failed(Failure::ConnectTimeout));
    for unreachable in [libc::ENETUNREACH, libc::EHOSTUNREACH, libc::ENETDOWN] {
        assert_eq!(word(unreachable), Attempt::Failed(Failure::ConnectUnreachable));
    }
    assert_eq!(word(libc::EADDRNOTAVAIL), Attempt::Failed(Failure::NoLocalPort));
    for other in [libc::ECONNRESET, libc::EACCES, libc::EINVAL] {
        assert_eq!(word(other), Attempt::Failed(Failure::ConnectFailed));
    }
    // Ours, whatever the address: no word against it.
    for shortage in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
        assert_eq!(word(shortage), Attempt::Shortage);
    }
}
