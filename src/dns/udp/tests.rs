//! Against a socket that plays the server.

use tokio::net::UdpSocket;
use tokio::task::{LocalSet, yield_now};
use tokio::time::sleep;

use super::super::message::tests::{a, question};
use super::*;
use crate::dns::Family;

const NAME: &str = "orders.example.com";
const PAUSE: Duration = Duration::from_secs(60);

struct Server(UdpSocket);

/// A query as it was received, and the port that it came from.
struct Received {
    bytes: Vec<u8>,
    from: SocketAddr,
}

impl Server {
    async fn start() -> (Self, Udp) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let udp = Udp::new(socket.local_addr().unwrap());
        (Self(socket), udp)
    }

    async fn receive(&self) -> Received {
        let mut buffer = [0; 512];
        let (len, from) = self.0.recv_from(&mut buffer).await.unwrap();
        Received { bytes: buffer[..len].to_vec(), from }
    }

    /// A query that was sent, and how it arrived.
    async fn query(&self, udp: &Udp) -> (PendingQuery, Received) {
        (send(udp, Family::V4, 0), self.receive().await)
    }

    async fn port_of(&self, udp: &Udp, family: Family, repeated: usize) -> (u16, PendingQuery) {
        let query = send(udp, family, repeated);
        (self.receive().await.from.port(), query)
    }

    /// With another ID if `wrong` is not 0.
    async fn answer(&self, query: &Received, wrong: u8) {
        let mut reply = [&query.bytes, &a(NAME, 1, 60)[..]].concat();
        (reply[1], reply[2], reply[3], reply[7]) = (reply[1] ^ wrong, 0x81, 0x80, 1);
        self.0.send_to(&reply, query.from).await.unwrap();
    }
}

fn send(udp: &Udp, family: Family, repeated: usize) -> PendingQuery {
    let name = Hostname::parse(NAME.as_bytes()).unwrap();
    udp.send(&question(NAME, family), udp.choose(&name), repeated, false).unwrap()
}

fn is_answer(response: Result<Response, LookupError>) -> bool {
    matches!(response, Ok(Response::Addresses(_)))
}

async fn closed(socket: Weak<QuerySocket>) {
    while socket.upgrade().is_some() {
        yield_now().await;
    }
}

fn test<F: Future<Output = ()>>(body: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async { timeout(PAUSE, body).await.expect("in vain") });
}

#[test]
fn both_families_of_a_name_share_a_socket_and_a_repetition_goes_over_another() {
    test(async {
        let (server, udp) = Server::start().await;
        let (v4, _first) = server.port_of(&udp, Family::V4, 0).await;
        let (v6, _second) = server.port_of(&udp, Family::V6, 0).await;
        let (again, _third) = server.port_of(&udp, Family::V4, 1).await;
        let (once_more, _fourth) = server.port_of(&udp, Family::V4, 2).await;
        assert_eq!(v4, v6);
        assert!(v4 != again && again != once_more && once_more != v4);
    });
}

#[test]
fn names_are_spread_over_all_sockets() {
    let udp = Udp::new("127.0.0.1:53".parse().unwrap());
    let names = (0..1000).map(|n| Hostname::parse(format!("n{n}.example.com").as_bytes()).unwrap());
    let mut uses = [0; Udp::SOCKETS];
    names.for_each(|name| uses[udp.choose(&name).0 % Udp::SOCKETS] += 1);
    // 125 on average.
    assert!(uses.iter().all(|uses| (60..200).contains(uses)), "{uses:?}");
}

#[test]
fn a_socket_is_used_for_a_bounded_number_of_queries_with_an_id_each() {
    test(async {
        let (server, udp) = Server::start().await;
        let mut ids = std::collections::HashSet::new();
        let (mut first, mut last) = (None, None);
        for _ in 0..=Udp::MAX_QUERIES {
            let (query, received) = server.query(&udp).await;
            last = Some(received.from);
            first = first.or(last);
            if last == first {
                ids.insert(received.bytes[..2].to_vec());
            }
            server.answer(&received, 0).await;
            assert!(is_answer(query.await));
        }
        assert_eq!(ids.len(), Udp::MAX_QUERIES);
        assert_ne!(first, last);
    });
}

#[test]
fn a_message_that_belongs_to_no_query_ends_the_use_of_its_socket() {
    test(async {
        let (server, udp) = Server::start().await;
        let (query, received) = server.query(&udp).await;
        let socket = Rc::downgrade(&query.open.socket);
        server.answer(&received, 1).await;
        while !udp.ignored.any() {
            yield_now().await;
        }
        assert_ne!(server.port_of(&udp, Family::V4, 0).await.0, received.from.port());
        // Those that were sent before still have their responses.
        server.answer(&received, 0).await;
        assert!(is_answer(query.await));
        closed(socket).await;
    });
}

#[test]
fn a_late_or_repeated_response_is_no_forgery() {
    test(async {
        let (server, udp) = Server::start().await;
        let (given_up, late) = server.query(&udp).await;
        drop(given_up);
        server.answer(&late, 0).await;
        for _ in 0..2 {
            let (query, received) = server.query(&udp).await;
            assert_eq!(received.from, late.from);
            server.answer(&received, 0).await;
            server.answer(&received, 0).await;
            assert!(is_answer(query.await));
        }
        assert!(!udp.ignored.any());
    });
}

/// The clock moves on as soon as nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn a_socket_is_closed_after_a_while_though_not_before_its_last_response() {
    let local = LocalSet::new();
    let body = local.run_until(async {
        let (server, udp) = Server::start().await;
        let (query, received) = server.query(&udp).await;
        let socket = Rc::downgrade(&query.open.socket);
        sleep(Udp::MAX_AGE * 2).await;
        assert!(udp.sockets.0.borrow().iter().all(Option::is_none));
        server.answer(&received, 0).await;
        assert!(is_answer(query.await));
        closed(socket).await;
    });
    body.await;
}

#[test]
fn a_closed_port_fails_the_queries_that_wait_and_no_later_one() {
    test(async {
        let (server, udp) = Server::start().await;
        let address = udp.server;
        drop(server);
        // The ICMP error of the first one is reported to whoever uses the socket next: the second one.
        let (first, second) = (send(&udp, Family::V4, 0), send(&udp, Family::V6, 0));
        assert_eq!(first.await, Err(LookupError::Failed));
        assert_eq!(second.await, Err(LookupError::Failed));
        let server = Server(UdpSocket::bind(address).await.unwrap());
        let (query, received) = server.query(&udp).await;
        server.answer(&received, 0).await;
        assert!(is_answer(query.await));
    });
}

#[test]
fn nothing_is_left_of_a_client_that_is_dropped() {
    test(async {
        let (server, udp) = Server::start().await;
        let (query, received) = server.query(&udp).await;
        let socket = Rc::downgrade(&query.open.socket);
        server.answer(&received, 0).await;
        assert!(is_answer(query.await));
        drop(udp);
        closed(socket).await;
    });
}
