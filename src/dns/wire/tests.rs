//! Against a server on loopback that does what each test says. Deadlines are far longer than anything takes, so that
//! an answer that comes differs from one that is waited for.

use std::cell::RefCell;
use std::net::IpAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::{JoinHandle, LocalSet, spawn_local};

use super::super::message::tests::{a, alias, labels, ns};
use super::*;

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(600);
const NAME: &str = "orders.example.com";

/// A question as the server has it.
#[derive(Debug, Clone)]
struct Asked {
    bytes: Vec<u8>,
    name: String,
    edns: bool,
}

impl Asked {
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

/// A server, and what it was asked over UDP.
struct FakeServer {
    address: SocketAddr,
    asked: Rc<RefCell<Vec<Asked>>>,
    over_tcp: Rc<Cell<usize>>,
    udp: JoinHandle<()>,
}

/// Answers each datagram with those that `udp` says, and each question over TCP with what `tcp` says: nothing is a
/// connection that is closed.
async fn serve(
    mut udp: impl FnMut(&Asked, usize) -> Vec<Vec<u8>> + 'static,
    mut tcp: impl FnMut(&Asked, usize) -> Option<Vec<u8>> + 'static,
) -> FakeServer {
    let (socket, listener) = one_port_for_both().await;
    let address = socket.local_addr().unwrap();
    let asked: Rc<RefCell<Vec<Asked>>> = Rc::default();
    let over_tcp: Rc<Cell<usize>> = Rc::default();
    let (seen, counted) = (Rc::clone(&asked), Rc::clone(&over_tcp));
    let udp = spawn_local(async move {
        let mut buffer = [0; 2048];
        loop {
            let Ok((len, from)) = socket.recv_from(&mut buffer).await else { continue };
            let question = Asked::read(&buffer[..len]);
            let before = seen.borrow().len();
            seen.borrow_mut().push(question.clone());
            for reply in udp(&question, before) {
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
            if let Some(reply) = tcp(&Asked::read(bytes), before) {
                stream.write_u16(u16::try_from(reply.len()).unwrap()).await.unwrap();
                stream.write_all(&reply).await.unwrap();
            }
        }
    });
    FakeServer { address, asked, over_tcp, udp }
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
        self.asked.borrow().iter().map(|asked| asked.edns).collect()
    }
}

fn test<F: Future<Output = ()>>(body: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async { timeout(Duration::from_secs(60), body).await.expect("in vain") });
}

async fn ask(wire: &Wire, name: &str) -> Result<Vec<IpAddr>, LookupError> {
    let name = Hostname::parse(name.as_bytes()).unwrap();
    wire.lookup(&name, Family::V4).await.map(|found| found.addresses)
}

fn ip(last: u8) -> IpAddr {
    IpAddr::from([169, 254, 171, last])
}

fn never(_: &Asked, _: usize) -> Option<Vec<u8>> {
    panic!("asked over TCP")
}

#[test]
fn a_server_that_knows_no_edns_is_asked_without_and_that_is_remembered() {
    // FORMERR, SERVFAIL and NOTIMP, with the question or without.
    for (code, bare) in [(1, false), (1, true), (2, false), (4, false), (4, true)] {
        test(async move {
            let udp = move |asked: &Asked, _| match (asked.edns, bare) {
                (false, _) => vec![asked.address(1)],
                (true, false) => vec![asked.reply(code, &[], &[])],
                (true, true) => vec![asked.bare(code)],
            };
            let server = serve(udp, never).await;
            let wire = Wire::new(server.address, LONG);
            assert_eq!(ask(&wire, NAME).await, Ok(vec![ip(1)]), "{code}");
            assert_eq!(ask(&wire, "other.example.com").await, Ok(vec![ip(1)]));
            assert_eq!(server.edns(), [true, false, false], "{code}");
        });
    }
}

/// The upper bits of BADVERS are in the OPT record (RFC 6891 §6.1.3).
#[test]
fn a_server_that_knows_another_version_of_edns_is_asked_without() {
    test(async {
        let udp = |asked: &Asked, _| {
            if !asked.edns {
                return vec![asked.address(1)];
            }
            let mut reply = asked.reply(0, &[], &[]);
            reply[11] = 1;
            reply.extend([0, 0, 41, 4, 0xd0, 1, 1, 0, 0, 0, 0]);
            vec![reply]
        };
        let server = serve(udp, never).await;
        assert_eq!(ask(&Wire::new(server.address, LONG), NAME).await, Ok(vec![ip(1)]));
        assert_eq!(server.edns(), [true, false]);
    });
}

/// FORMERR with the question's count and no question, BADVERS without one, an OPT record that cannot be read, two of them.
#[test]
fn an_answer_to_edns_that_makes_no_sense_is_asked_for_without() {
    const OPT: [u8; 11] = [0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0];
    for shape in 0..4 {
        test(async move {
            let udp = move |asked: &Asked, _| {
                if !asked.edns {
                    return vec![asked.address(1)];
                }
                let mut reply = if shape < 2 { asked.bare(u16::from(shape == 0)) } else { asked.address(2) };
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
            assert_eq!(ask(&Wire::new(server.address, LONG), NAME).await, Ok(vec![ip(1)]), "{shape}");
            assert_eq!(server.edns(), [true, false], "{shape}");
        });
    }
}

#[test]
fn a_server_that_drops_edns_is_found_out_within_the_deadline_and_remembered() {
    test(async {
        let server = serve(|asked, _| if asked.edns { vec![] } else { vec![asked.address(1)] }, never).await;
        // On a machine that stands still a third may be too short for the answer: what counts is who is asked how.
        let wire = Wire::new(server.address, Duration::from_secs(6));
        assert_eq!(ask(&wire, NAME).await, Ok(vec![ip(1)]));
        assert_eq!(server.edns(), [true, true, false]);
        assert_eq!(ask(&wire, "other.example.com").await, Ok(vec![ip(1)]));
        assert!(server.edns()[3..].iter().all(|edns| !edns));
    });
}

#[tokio::test(start_paused = true)]
async fn edns_is_tried_again_after_a_while_by_one_question() {
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
                let udp = move |asked: &Asked, _| match bare {
                    true => vec![asked.bare(code)],
                    false => vec![asked.reply(code, &[], &[])],
                };
                let server = serve(udp, never).await;
                assert_eq!(ask(&Wire::new(server.address, LONG), NAME).await, Err(LookupError::Failed));
                assert_eq!(server.edns().len(), packets, "{code}");
            });
        }
    }
}

#[test]
fn a_servfail_is_asked_once_more() {
    test(async {
        let udp = |asked: &Asked, before| match before {
            0 => vec![asked.reply(2, &[], &[])],
            _ => vec![asked.address(1)],
        };
        let server = serve(udp, never).await;
        assert_eq!(ask(&Wire::new(server.address, LONG), NAME).await, Ok(vec![ip(1)]));
    });
}

#[test]
fn an_error_and_then_silence_is_a_failure() {
    test(async {
        let udp = |asked: &Asked, before| if before == 0 { vec![asked.reply(2, &[], &[])] } else { vec![] };
        let server = serve(udp, never).await;
        assert_eq!(ask(&Wire::new(server.address, SHORT), NAME).await, Err(LookupError::Failed));
    });
}

#[test]
fn a_referral_is_a_failure() {
    test(async {
        let server = serve(|asked, _| vec![asked.reply(0, &[], &[ns()])], never).await;
        assert_eq!(ask(&Wire::new(server.address, LONG), NAME).await, Err(LookupError::Failed));
    });
}

#[test]
fn a_closed_port_is_a_failure_and_not_a_timeout() {
    test(async {
        let address = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert_eq!(ask(&Wire::new(address, LONG), NAME).await, Err(LookupError::Failed));
    });
}

/// It goes away between the question and its repetition.
#[test]
fn a_port_that_closes_is_a_failure() {
    test(async {
        let server = serve(|_, _| vec![], never).await;
        let wire = Wire::new(server.address, Duration::from_secs(6));
        let asked = Rc::clone(&server.asked);
        spawn_local(async move {
            while asked.borrow().is_empty() {
                tokio::task::yield_now().await;
            }
            server.udp.abort();
        });
        assert_eq!(ask(&wire, NAME).await, Err(LookupError::Failed));
    });
}

#[test]
fn silence_is_a_timeout_after_three_packets() {
    test(async {
        let server = serve(|_, _| vec![], never).await;
        let start = Instant::now();
        assert_eq!(ask(&Wire::new(server.address, SHORT), NAME).await, Err(LookupError::Timeout));
        assert!(start.elapsed() >= SHORT);
        assert_eq!(server.edns(), [true, true, false]);
    });
}

#[test]
fn forged_answers_do_not_hide_the_true_one() {
    test(async {
        let udp = move |asked: &Asked, _| {
            let forge = |byte: usize| {
                let mut forged = asked.address(66);
                forged[byte] ^= 1;
                forged
            };
            // Another id, another name, another type, a question instead of an answer, too short for any.
            let mut echo = asked.address(66);
            echo[2] &= 0x7f;
            let kind = asked.bytes.len() - 3;
            vec![forge(1), forge(13), forge(kind), echo, asked.bytes[..7].to_vec(), asked.address(1)]
        };
        let server = serve(udp, never).await;
        let wire = Wire::new(server.address, LONG);
        assert_eq!(ask(&wire, NAME).await, Ok(vec![ip(1)]));
        assert_eq!(server.edns(), [true]);
        // One line says so; the other four are counted for the next one.
        assert_eq!(wire.server.hickory.ignored.unreported(), 4);
    });
}

#[test]
fn garbage_with_our_id_is_a_failure() {
    test(async {
        let udp = |asked: &Asked, _| vec![[&asked.address(66)[..20], b"\xff garbage"].concat()];
        let server = serve(udp, never).await;
        assert_eq!(ask(&Wire::new(server.address, LONG), NAME).await, Err(LookupError::Failed));
    });
}

/// Longer than the 512 bytes that hickory has room for without EDNS.
#[test]
fn a_long_answer_to_a_question_without_edns_is_taken() {
    test(async {
        let udp = |asked: &Asked, _| {
            let answers: Vec<Vec<u8>> = (0..60).map(|n| a(&asked.name, n, 60)).collect();
            vec![if asked.edns { asked.reply(1, &[], &[]) } else { asked.reply(0, &answers, &[]) }]
        };
        let server = serve(udp, never).await;
        assert_eq!(ask(&Wire::new(server.address, LONG), NAME).await.map(|found| found.len()), Ok(60));
    });
}

#[test]
fn many_truncated_answers_at_once_are_had_from_a_server_that_closes_after_each() {
    for closes_first in [false, true] {
        test(async move {
            let udp = |asked: &Asked, _| vec![asked.reply(0x0200, &[], &[])];
            let mut seen = std::collections::HashSet::new();
            // Each name's first connection may be closed before the answer, as one that is shared would be.
            let tcp = move |asked: &Asked, _| {
                let is_first = seen.insert(asked.name.clone());
                (!(closes_first && is_first)).then(|| asked.address(1))
            };
            let server = serve(udp, tcp).await;
            let wire = Rc::new(Wire::new(server.address, LONG));
            let names: Vec<JoinHandle<_>> = (0..30)
                .map(|n| {
                    let wire = Rc::clone(&wire);
                    spawn_local(async move { ask(&wire, &format!("n{n}.example.com")).await })
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
        let udp = |asked: &Asked, _| vec![asked.reply(0x0200, &[], &[])];
        let server = serve(udp, |asked, before| (before == 2).then(|| asked.address(1))).await;
        assert_eq!(ask(&Wire::new(server.address, LONG), NAME).await, Ok(vec![ip(1)]));
        assert_eq!(server.over_tcp.get(), 3);
        let wire = Wire::new(serve(udp, |_, _| None).await.address, LONG);
        assert_eq!(ask(&wire, NAME).await, Err(LookupError::Failed));
    });
}

#[test]
fn a_question_that_is_given_up_leaves_no_connection() {
    test(async {
        let (socket, listener) = one_port_for_both().await;
        let wire = Wire::new(socket.local_addr().unwrap(), Duration::from_secs(3));
        let question = spawn_local(async move { ask(&wire, NAME).await });
        let mut buffer = [0; 2048];
        let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
        socket.send_to(&Asked::read(&buffer[..len]).reply(0x0200, &[], &[]), from).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_ne!(stream.read(&mut buffer).await.unwrap(), 0);
        assert_eq!(question.await.unwrap(), Err(LookupError::Timeout));
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 0);
    });
}

#[test]
fn what_is_no_answer_over_tcp_is_a_failure() {
    test(async {
        let udp = |asked: &Asked, _| vec![asked.reply(0x0200, &[], &[])];
        for n in 0..4 {
            let tcp = move |asked: &Asked, _| {
                let mut foreign = asked.address(66);
                foreign[1] ^= 1;
                let replies = [foreign, asked.reply(0x0200, &[], &[]), asked.bare(2), vec![]];
                Some(replies[n].clone())
            };
            let server = serve(udp, tcp).await;
            assert_eq!(ask(&Wire::new(server.address, LONG), NAME).await, Err(LookupError::Failed), "{n}");
        }
    });
}

#[test]
fn aliases_that_come_alone_are_followed_but_not_in_a_circle() {
    test(async {
        let udp = |asked: &Asked, _| match asked.name.as_str() {
            NAME => vec![asked.reply(0, &[alias(NAME, "one.example.net", 30)], &[])],
            "one.example.net" => vec![asked.reply(0, &[alias("one.example.net", "two.example.net", 9)], &[])],
            "two.example.net" => vec![asked.address(1)],
            "circle.example.com" => vec![asked.reply(0, &[alias(&asked.name, "back.example.com", 9)], &[])],
            _ => vec![asked.reply(0, &[alias(&asked.name, "circle.example.com", 9)], &[])],
        };
        let server = serve(udp, never).await;
        let wire = Wire::new(server.address, LONG);
        let found = wire.lookup(&Hostname::parse(NAME.as_bytes()).unwrap(), Family::V4).await.unwrap();
        assert_eq!((found.addresses, found.ttl), (vec![ip(1)], Duration::from_secs(9)));
        assert_eq!(ask(&wire, "circle.example.com").await, Err(LookupError::Failed));
        assert!(server.edns().len() <= 3 + Server::MAX_ALIASES + 1);
    });
}

#[test]
fn a_name_of_odd_labels_is_asked_for() {
    test(async {
        let server = serve(|asked, _| vec![asked.address(1)], never).await;
        let wire = Wire::new(server.address, LONG);
        for name in ["-foo.example.com", "foo-.example.com", "-", "_a._b", "xn--.example.com"] {
            assert_eq!(ask(&wire, name).await, Ok(vec![ip(1)]), "{name}");
            let last = server.asked.borrow().last().cloned().unwrap();
            assert_eq!(last.bytes[12..12 + labels(name).len()], labels(name));
        }
    });
}

#[test]
fn localhost_is_known_without_asking() {
    test(async {
        let wire = Wire::new("127.0.0.1:1".parse().unwrap(), LONG);
        for name in ["localhost", "orders.localhost"] {
            assert_eq!(ask(&wire, name).await, Ok(vec![Ipv4Addr::LOCALHOST.into()]));
            let found = wire.lookup(&Hostname::parse(name.as_bytes()).unwrap(), Family::V6).await.unwrap();
            assert_eq!(found.addresses, [IpAddr::from(Ipv6Addr::LOCALHOST)]);
        }
        assert_eq!(ask(&wire, "localhost.example.com").await, Err(LookupError::Failed));
    });
}
