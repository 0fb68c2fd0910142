//! Against a server on loopback that each test scripts. Deadlines are far longer than any step takes, so that an
//! answer that arrives differs from a timeout.

use std::cell::RefCell;
use std::net::IpAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::timeout;

use super::super::message::tests::{a, alias, labels, ns};
use super::*;

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(600);
const NAME: &str = "orders.example.com";

/// A query as the server received it.
#[derive(Debug, Clone)]
struct ReceivedQuery {
    bytes: Vec<u8>,
    name: String,
    edns: bool,
}

impl ReceivedQuery {
    fn read(bytes: &[u8]) -> Self {
        let (mut at, mut parts) = (12, Vec::new());
        while bytes[at] != 0 {
            let end = at + 1 + usize::from(bytes[at]);
            parts.push(String::from_utf8(bytes[at + 1..end].to_vec()).unwrap());
            at = end;
        }
        Self { bytes: bytes[..at + 5].to_vec(), name: parts.join("."), edns: bytes[11] == 1 }
    }

    /// With these flags beside "response", these answers and authorities.
    fn reply(&self, flags: u16, answers: &[Vec<u8>], authorities: &[Vec<u8>]) -> Vec<u8> {
        let count = |list: &[Vec<u8>]| u16::try_from(list.len()).unwrap().to_be_bytes();
        let flags = (0x8180 | flags).to_be_bytes();
        let counts = [[0, 1], count(answers), count(authorities), [0, 0]].concat();
        [&self.bytes[..2], &flags, &counts, &self.bytes[12..], &answers.concat(), &authorities.concat()].concat()
    }

    fn address(&self, last: u8) -> Vec<u8> {
        self.reply(0, &[a(&self.name, last, 60)], &[])
    }

    /// A header and nothing else.
    fn bare(&self, flags: u16) -> Vec<u8> {
        [&self.bytes[..2], &(0x8180 | flags).to_be_bytes(), &[0; 8]].concat()
    }
}

/// A server, and the queries that it received over UDP.
struct FakeServer {
    address: SocketAddr,
    queries: Rc<RefCell<Vec<ReceivedQuery>>>,
    over_tcp: Rc<Cell<usize>>,
    udp: JoinHandle<()>,
}

/// Answers each datagram with those that `udp` says, and each query over TCP with what `tcp` says: nothing is a
/// connection that is closed.
async fn serve(
    mut udp: impl FnMut(&ReceivedQuery, usize) -> Vec<Vec<u8>> + 'static,
    mut tcp: impl FnMut(&ReceivedQuery, usize) -> Option<Vec<u8>> + 'static,
) -> FakeServer {
    let (socket, listener) = one_port_for_both().await;
    let address = socket.local_addr().unwrap();
    let queries: Rc<RefCell<Vec<ReceivedQuery>>> = Rc::default();
    let over_tcp: Rc<Cell<usize>> = Rc::default();
    let (received, counted) = (Rc::clone(&queries), Rc::clone(&over_tcp));
    let udp = spawn_local(async move {
        let mut buffer = [0; 2048];
        loop {
            let Ok((len, from)) = socket.recv_from(&mut buffer).await else { continue };
            let query = ReceivedQuery::read(&buffer[..len]);
            let before = received.borrow().len();
            received.borrow_mut().push(query.clone());
            for reply in udp(&query, before) {
                socket.send_to(&reply, from).await.unwrap();
            }
        }
    });
    spawn_local(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Like servers that read no further than the first piece (RFC 7766 §8).
            let mut buffer = [0; 2048];
            let read = stream.read(&mut buffer).await.unwrap();
            let bytes = &buffer[2..read];
            assert_eq!(buffer[..2], u16::try_from(bytes.len()).unwrap().to_be_bytes());
            let before = counted.replace(counted.get() + 1);
            if let Some(reply) = tcp(&ReceivedQuery::read(bytes), before) {
                stream.write_u16(u16::try_from(reply.len()).unwrap()).await.unwrap();
                stream.write_all(&reply).await.unwrap();
            }
        }
    });
    FakeServer { address, queries, over_tcp, udp }
}

async fn one_port_for_both() -> (UdpSocket, TcpListener) {
    loop {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(listener) = TcpListener::bind(socket.local_addr().unwrap()).await {
            return (socket, listener);
        }
    }
}

impl FakeServer {
    fn edns(&self) -> Vec<bool> {
        self.queries.borrow().iter().map(|query| query.edns).collect()
    }
}

fn test<F: Future<Output = ()>>(body: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async { timeout(Duration::from_secs(60), body).await.expect("in vain") });
}

async fn resolve(wire: &Wire, name: &str) -> Result<Vec<IpAddr>, LookupError> {
    let name = Hostname::parse(name.as_bytes()).unwrap();
    wire.lookup(&name, Family::V4).await.map(|found| found.addresses)
}

fn ip(last: u8) -> IpAddr {
    IpAddr::from([169, 254, 171, last])
}

fn never(_: &ReceivedQuery, _: usize) -> Option<Vec<u8>> {
    panic!("queried over TCP")
}

#[test]
fn a_server_without_edns_is_queried_without_it_from_then_on() {
    // FORMERR, SERVFAIL and NOTIMP, with the question or without.
    for (code, bare) in [(1, false), (1, true), (2, false), (4, false), (4, true)] {
        test(async move {
            let udp = move |query: &ReceivedQuery, _| match (query.edns, bare) {
                (false, _) => vec![query.address(1)],
                (true, false) => vec![query.reply(code, &[], &[])],
                (true, true) => vec![query.bare(code)],
            };
            let server = serve(udp, never).await;
            let wire = Wire::new(server.address, LONG);
            assert_eq!(resolve(&wire, NAME).await, Ok(vec![ip(1)]), "{code}");
            assert_eq!(resolve(&wire, "other.example.com").await, Ok(vec![ip(1)]));
            assert_eq!(server.edns(), [true, false, false], "{code}");
        });
    }
}

/// The upper bits of BADVERS are in the OPT record (RFC 6891 §6.1.3).
#[test]
fn a_server_with_another_edns_version_is_queried_without_edns() {
    test(async {
        let udp = |query: &ReceivedQuery, _| {
            if !query.edns {
                return vec![query.address(1)];
            }
            let mut reply = query.reply(0, &[], &[]);
            reply[11] = 1;
            reply.extend([0, 0, 41, 4, 0xd0, 1, 1, 0, 0, 0, 0]);
            vec![reply]
        };
        let server = serve(udp, never).await;
        assert_eq!(resolve(&Wire::new(server.address, LONG), NAME).await, Ok(vec![ip(1)]));
        assert_eq!(server.edns(), [true, false]);
    });
}

/// FORMERR with the question's count and no question, BADVERS without one, a malformed OPT record, two of them.
#[test]
fn a_malformed_response_to_edns_is_retried_without_it() {
    const OPT: [u8; 11] = [0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0];
    for shape in 0..4 {
        test(async move {
            let udp = move |query: &ReceivedQuery, _| {
                if !query.edns {
                    return vec![query.address(1)];
                }
                let mut reply = if shape < 2 { query.bare(u16::from(shape == 0)) } else { query.address(2) };
                match shape {
                    0 => reply[5] = 1,
                    1 => {
                        reply[11] = 1;
                        reply.extend([0, 0, 41, 4, 0xd0, 1, 1, 0, 0, 0, 0]);
                    }
                    2 => {
                        reply[11] = 1;
                        reply.extend([0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 9, 1]);
                    }
                    _ => {
                        reply[11] = 2;
                        reply.extend([OPT, OPT].concat());
                    }
                }
                vec![reply]
            };
            let server = serve(udp, never).await;
            assert_eq!(resolve(&Wire::new(server.address, LONG), NAME).await, Ok(vec![ip(1)]), "{shape}");
            assert_eq!(server.edns(), [true, false], "{shape}");
        });
    }
}

#[test]
fn a_server_that_drops_edns_is_detected_within_the_deadline() {
    test(async {
        let server = serve(|query, _| if query.edns { vec![] } else { vec![query.address(1)] }, never).await;
        // On a machine that stands still a third may be too short for the answer: what counts is whether the later
        // queries have EDNS.
        let wire = Wire::new(server.address, Duration::from_secs(6));
        assert_eq!(resolve(&wire, NAME).await, Ok(vec![ip(1)]));
        assert_eq!(server.edns(), [true, true, false]);
        assert_eq!(resolve(&wire, "other.example.com").await, Ok(vec![ip(1)]));
        assert!(server.edns()[3..].iter().all(|edns| !edns));
    });
}

#[tokio::test(start_paused = true)]
async fn edns_is_tried_again_after_a_while_by_one_query() {
    let server = Wire::new("192.0.2.1:53".parse().unwrap(), Duration::from_secs(2)).server;
    assert!(server.may_use_edns());
    server.forget_edns();
    assert!(!server.may_use_edns());
    tokio::time::advance(Server::PLAIN).await;
    assert_eq!([(); 3].map(|()| server.may_use_edns()), [true, false, false]);
    // The one was in vain, or not answered at all.
    tokio::time::advance(Duration::from_secs(4)).await;
    assert_eq!([(); 3].map(|()| server.may_use_edns()), [true, false, false]);
}

#[test]
fn an_error_is_a_failure_and_not_a_timeout() {
    for (code, packets) in [(1, 2), (2, 2), (4, 2), (5, 1), (9, 1), (15, 1)] {
        for bare in [false, true] {
            test(async move {
                let udp = move |query: &ReceivedQuery, _| match bare {
                    true => vec![query.bare(code)],
                    false => vec![query.reply(code, &[], &[])],
                };
                let server = serve(udp, never).await;
                assert_eq!(resolve(&Wire::new(server.address, LONG), NAME).await, Err(LookupError::Failed));
                assert_eq!(server.edns().len(), packets, "{code}");
            });
        }
    }
}

#[test]
fn a_servfail_is_retried_once() {
    test(async {
        let udp = |query: &ReceivedQuery, before| match before {
            0 => vec![query.reply(2, &[], &[])],
            _ => vec![query.address(1)],
        };
        let server = serve(udp, never).await;
        assert_eq!(resolve(&Wire::new(server.address, LONG), NAME).await, Ok(vec![ip(1)]));
    });
}

#[test]
fn an_error_followed_by_silence_is_a_failure() {
    test(async {
        let udp = |query: &ReceivedQuery, before| if before == 0 { vec![query.reply(2, &[], &[])] } else { vec![] };
        let server = serve(udp, never).await;
        assert_eq!(resolve(&Wire::new(server.address, SHORT), NAME).await, Err(LookupError::Failed));
    });
}

#[test]
fn a_referral_is_a_failure() {
    test(async {
        let server = serve(|query, _| vec![query.reply(0, &[], &[ns()])], never).await;
        assert_eq!(resolve(&Wire::new(server.address, LONG), NAME).await, Err(LookupError::Failed));
    });
}

#[test]
fn a_closed_port_is_a_failure_and_not_a_timeout() {
    test(async {
        let address = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert_eq!(resolve(&Wire::new(address, LONG), NAME).await, Err(LookupError::Failed));
    });
}

/// The server goes away between the query and its repetition.
#[test]
fn a_port_that_closes_is_a_failure() {
    test(async {
        let server = serve(|_, _| vec![], never).await;
        let wire = Wire::new(server.address, Duration::from_secs(6));
        let queries = Rc::clone(&server.queries);
        spawn_local(async move {
            while queries.borrow().is_empty() {
                tokio::task::yield_now().await;
            }
            server.udp.abort();
        });
        assert_eq!(resolve(&wire, NAME).await, Err(LookupError::Failed));
    });
}

#[test]
fn silence_is_a_timeout_after_three_packets() {
    test(async {
        let server = serve(|_, _| vec![], never).await;
        let start = Instant::now();
        assert_eq!(resolve(&Wire::new(server.address, SHORT), NAME).await, Err(LookupError::Timeout));
        assert!(start.elapsed() >= SHORT);
        assert_eq!(server.edns(), [true, true, false]);
    });
}

#[test]
fn forged_answers_do_not_hide_the_true_one() {
    test(async {
        let udp = move |query: &ReceivedQuery, _| {
            let forge = |byte: usize| {
                let mut forged = query.address(66);
                forged[byte] ^= 1;
                forged
            };
            // Another id, another name, another type, a query instead of a response, too short for any.
            let mut echo = query.address(66);
            echo[2] &= 0x7f;
            let kind = query.bytes.len() - 3;
            vec![forge(1), forge(13), forge(kind), echo, query.bytes[..7].to_vec(), query.address(1)]
        };
        let server = serve(udp, never).await;
        let wire = Wire::new(server.address, LONG);
        assert_eq!(resolve(&wire, NAME).await, Ok(vec![ip(1)]));
        assert_eq!(server.edns(), [true]);
        // One line says so; the other four are counted for the next one.
        assert_eq!(wire.server.udp.ignored.unreported(), 4);
    });
}

#[test]
fn garbage_with_our_id_is_a_failure() {
    test(async {
        let udp = |query: &ReceivedQuery, _| vec![[&query.address(66)[..20], b"\xff garbage"].concat()];
        let server = serve(udp, never).await;
        assert_eq!(resolve(&Wire::new(server.address, LONG), NAME).await, Err(LookupError::Failed));
    });
}

/// Longer than the 512 bytes that a client without EDNS is sent.
#[test]
fn a_long_response_without_edns_is_accepted() {
    test(async {
        let udp = |query: &ReceivedQuery, _| {
            let answers: Vec<Vec<u8>> = (0..60).map(|n| a(&query.name, n, 60)).collect();
            vec![if query.edns { query.reply(1, &[], &[]) } else { query.reply(0, &answers, &[]) }]
        };
        let server = serve(udp, never).await;
        assert_eq!(resolve(&Wire::new(server.address, LONG), NAME).await.map(|found| found.len()), Ok(60));
    });
}

#[test]
fn many_truncated_responses_at_once_from_a_server_that_closes_after_each() {
    for closes_first in [false, true] {
        test(async move {
            let udp = |query: &ReceivedQuery, _| vec![query.reply(0x0200, &[], &[])];
            let mut known = std::collections::HashSet::new();
            // Each name's first connection may be closed before the answer, as one that is shared would be.
            let tcp = move |query: &ReceivedQuery, _| {
                let is_first = known.insert(query.name.clone());
                (!(closes_first && is_first)).then(|| query.address(1))
            };
            let server = serve(udp, tcp).await;
            let wire = Rc::new(Wire::new(server.address, LONG));
            let names: Vec<JoinHandle<_>> = (0..30)
                .map(|n| {
                    let wire = Rc::clone(&wire);
                    spawn_local(async move { resolve(&wire, &format!("n{n}.example.com")).await })
                })
                .collect();
            for name in names {
                assert_eq!(name.await.unwrap(), Ok(vec![ip(1)]));
            }
            assert_eq!(server.over_tcp.get(), if closes_first { 60 } else { 30 });
        });
    }
}

#[test]
fn a_connection_closed_without_an_answer_is_replaced() {
    test(async {
        let udp = |query: &ReceivedQuery, _| vec![query.reply(0x0200, &[], &[])];
        let server = serve(udp, |query: &ReceivedQuery, before| (before == 2).then(|| query.address(1))).await;
        assert_eq!(resolve(&Wire::new(server.address, LONG), NAME).await, Ok(vec![ip(1)]));
        assert_eq!(server.over_tcp.get(), 3);
        let wire = Wire::new(serve(udp, |_, _| None).await.address, LONG);
        assert_eq!(resolve(&wire, NAME).await, Err(LookupError::Failed));
    });
}

#[test]
fn an_abandoned_query_leaves_no_connection() {
    test(async {
        let (socket, listener) = one_port_for_both().await;
        let wire = Wire::new(socket.local_addr().unwrap(), Duration::from_secs(3));
        let lookup = spawn_local(async move { resolve(&wire, NAME).await });
        let mut buffer = [0; 2048];
        let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
        socket.send_to(&ReceivedQuery::read(&buffer[..len]).reply(0x0200, &[], &[]), from).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_ne!(stream.read(&mut buffer).await.unwrap(), 0);
        assert_eq!(lookup.await.unwrap(), Err(LookupError::Timeout));
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 0);
    });
}

#[test]
fn an_invalid_response_over_tcp_is_a_failure() {
    test(async {
        let udp = |query: &ReceivedQuery, _| vec![query.reply(0x0200, &[], &[])];
        for n in 0..4 {
            let tcp = move |query: &ReceivedQuery, _| {
                let mut foreign = query.address(66);
                foreign[1] ^= 1;
                let replies = [foreign, query.reply(0x0200, &[], &[]), query.bare(2), vec![]];
                Some(replies[n].clone())
            };
            let server = serve(udp, tcp).await;
            assert_eq!(resolve(&Wire::new(server.address, LONG), NAME).await, Err(LookupError::Failed), "{n}");
        }
    });
}

#[test]
fn aliases_without_addresses_are_followed_but_not_in_a_loop() {
    test(async {
        let udp = |query: &ReceivedQuery, _| match query.name.as_str() {
            NAME => vec![query.reply(0, &[alias(NAME, "one.example.net", 30)], &[])],
            "one.example.net" => vec![query.reply(0, &[alias("one.example.net", "two.example.net", 9)], &[])],
            "two.example.net" => vec![query.address(1)],
            "circle.example.com" => vec![query.reply(0, &[alias(&query.name, "back.example.com", 9)], &[])],
            _ => vec![query.reply(0, &[alias(&query.name, "circle.example.com", 9)], &[])],
        };
        let server = serve(udp, never).await;
        let wire = Wire::new(server.address, LONG);
        let found = wire.lookup(&Hostname::parse(NAME.as_bytes()).unwrap(), Family::V4).await.unwrap();
        assert_eq!((found.addresses, found.ttl), (vec![ip(1)], Duration::from_secs(9)));
        assert_eq!(resolve(&wire, "circle.example.com").await, Err(LookupError::Failed));
        assert!(server.edns().len() <= 3 + Search::MAX_ALIASES + 1);
    });
}

#[test]
fn a_name_with_unusual_labels_is_queried() {
    test(async {
        let server = serve(|query, _| vec![query.address(1)], never).await;
        let wire = Wire::new(server.address, LONG);
        for name in ["-foo.example.com", "foo-.example.com", "-", "_a._b", "xn--.example.com"] {
            assert_eq!(resolve(&wire, name).await, Ok(vec![ip(1)]), "{name}");
            let last = server.queries.borrow().last().cloned().unwrap();
            assert_eq!(last.bytes[12..12 + labels(name).len()], labels(name));
        }
    });
}

#[test]
fn localhost_needs_no_query() {
    test(async {
        let wire = Wire::new("127.0.0.1:1".parse().unwrap(), LONG);
        for name in ["localhost", "orders.localhost"] {
            assert_eq!(resolve(&wire, name).await, Ok(vec![Ipv4Addr::LOCALHOST.into()]));
            let found = wire.lookup(&Hostname::parse(name.as_bytes()).unwrap(), Family::V6).await.unwrap();
            assert_eq!(found.addresses, [IpAddr::from(Ipv6Addr::LOCALHOST)]);
        }
        assert_eq!(resolve(&wire, "localhost.example.com").await, Err(LookupError::Failed));
    });
}
