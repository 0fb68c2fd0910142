//! Stand-in for the VPC's resolver, on UDP and TCP: the demo's private hosted zone and its internet, NXDOMAIN
//! for the rest.
//!
//! It answers as a recursive resolver does, the whole CNAME chain in one message, and counts the queries.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Header, HeaderCounts, Metadata, ResponseCode};
use hickory_server::proto::rr::rdata::{CNAME, SOA};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};

use super::names;

/// Lattice's own names have a TTL of about this.
const TTL: u32 = 60;
/// A name chain longer than this is a mistake in the table below.
const MAX_CHAIN: usize = 8;

/// A running resolver; it ends when dropped.
pub(super) struct DnsServer {
    pub(super) address: SocketAddr,
    queries: Arc<AtomicU64>,
    _server: Server<Zone>,
}

impl DnsServer {
    pub(super) async fn start() -> io::Result<Self> {
        let (udp, tcp) = bind_both().await?;
        let address = udp.local_addr()?;
        let queries = Arc::new(AtomicU64::new(0));
        let mut server = Server::new(Zone::new(Arc::clone(&queries))?);
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(5), 4);
        Ok(Self { address, queries, _server: server })
    }

    /// Queries so far; A and AAAA count separately.
    pub(super) fn queries(&self) -> u64 {
        self.queries.load(Ordering::Relaxed)
    }
}

/// UDP and TCP on one port number.
async fn bind_both() -> io::Result<(UdpSocket, TcpListener)> {
    let mut last = None;
    for _ in 0..16 {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

/// What the zone has for a name.
enum ZoneData {
    Alias(Name),
    Address(Ipv4Addr),
}

struct Zone {
    names: HashMap<Name, ZoneData>,
    /// Sent along with an empty answer: how long its emptiness may be remembered.
    soa: SOA,
    queries: Arc<AtomicU64>,
}

impl Zone {
    fn new(queries: Arc<AtomicU64>) -> io::Result<Self> {
        let mut names = HashMap::new();
        for service in [names::ORDERS, names::BILLING] {
            let label = service.split('.').next().unwrap_or(service);
            let lattice = format!("{label}-0a1b2c3d4e5f67890.7d67968.vpc-lattice-svcs.{}.on.aws", names::REGION);
            names.insert(name(service)?, ZoneData::Alias(name(&lattice)?));
            names.insert(name(&lattice)?, ZoneData::Address(names::LATTICE));
        }
        for site in [names::PACKAGES, names::BLOCKED] {
            names.insert(name(site)?, ZoneData::Address(names::SITES));
        }
        for pointing_inside in [names::METADATA, names::MIRROR] {
            names.insert(name(pointing_inside)?, ZoneData::Address(names::TASK_METADATA));
        }
        let soa = SOA::new(name("ns.example.com")?, name("hostmaster.example.com")?, 1, 7200, 900, 1_209_600, TTL);
        Ok(Self { names, soa, queries })
    }

    /// Of `example.com` or `example.org`.
    fn soa(&self, asked: &Name) -> Record {
        Record::from_rdata(asked.trim_to(2), TTL, RData::SOA(self.soa.clone()))
    }

    /// The records for a query; empty where the name exists but has none of this type, None where it does not exist.
    fn answer(&self, asked: &Name, kind: RecordType) -> Option<Vec<Record>> {
        let mut records = Vec::new();
        let mut owner = asked.clone();
        for _ in 0..MAX_CHAIN {
            match self.names.get(&owner)? {
                ZoneData::Alias(next) => {
                    records.push(Record::from_rdata(owner, TTL, RData::CNAME(CNAME(next.clone()))));
                    owner = next.clone();
                }
                ZoneData::Address(address) => {
                    if kind == RecordType::A {
                        records.push(Record::from_rdata(owner, TTL, RData::A((*address).into())));
                    }
                    break;
                }
            }
        }
        Some(records)
    }
}

/// A fully qualified name; the table's keys are compared without regard to case.
fn name(text: &str) -> io::Result<Name> {
    Name::from_ascii(format!("{text}.")).map_err(io::Error::other)
}

#[async_trait::async_trait]
impl RequestHandler for Zone {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut reply: R) -> ResponseInfo {
        self.queries.fetch_add(1, Ordering::Relaxed);
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.recursion_available = true;
        let (answers, authority) = match request.request_info() {
            Ok(info) => {
                let asked = Name::from(info.query.name());
                match self.answer(&asked, info.query.query_type()) {
                    Some(answers) if answers.iter().any(|record| record.record_type() == RecordType::A) => {
                        (answers, None)
                    }
                    Some(answers) => (answers, Some(self.soa(&asked))),
                    None => {
                        metadata.response_code = ResponseCode::NXDomain;
                        (Vec::new(), Some(self.soa(&asked)))
                    }
                }
            }
            Err(_) => {
                metadata.response_code = ResponseCode::FormErr;
                (Vec::new(), None)
            }
        };
        let failed = ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() });
        let response =
            MessageResponseBuilder::from_message_request(request).build(metadata, &answers, [], &authority, []);
        // That the client has gone is no failure of the server.
        reply.send_response(response).await.unwrap_or(failed)
    }
}

#[cfg(test)]
mod tests {
    use hickory_server::proto::op::{Message, MessageType, OpCode, Query};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn question(text: &str, kind: RecordType) -> Vec<u8> {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(name(text).unwrap(), kind));
        message.to_vec().unwrap()
    }

    async fn ask(dns: &DnsServer, text: &str, kind: RecordType) -> Message {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(&question(text, kind), dns.address).await.unwrap();
        let mut answer = [0; 512];
        let n = timeout(SECOND, socket.recv(&mut answer)).await.unwrap().unwrap();
        Message::from_vec(&answer[..n]).unwrap()
    }

    fn data(message: &Message) -> Vec<String> {
        message.answers.iter().map(|record| record.data.to_string()).collect()
    }

    #[tokio::test]
    async fn service_name_is_an_alias_of_a_lattice_name() {
        let dns = DnsServer::start().await.unwrap();
        for asked in [names::ORDERS, "ORDERS.example.COM", names::BILLING] {
            let answer = ask(&dns, asked, RecordType::A).await;
            assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
            let data = data(&answer);
            assert_eq!(data.len(), 2, "{asked}: {data:?}");
            assert!(data[0].ends_with(".vpc-lattice-svcs.us-west-2.on.aws."), "{data:?}");
            assert_eq!(data[1], "127.0.171.10");
        }
        assert_eq!(dns.queries(), 3);
    }

    #[tokio::test]
    async fn no_ipv6_is_an_empty_answer_and_no_name_is_nxdomain() {
        let dns = DnsServer::start().await.unwrap();
        let empty = ask(&dns, names::METADATA, RecordType::AAAA).await;
        assert_eq!((empty.metadata.response_code, empty.answers.len()), (ResponseCode::NoError, 0));
        assert_eq!(empty.authorities.len(), 1);
        assert_eq!(data(&ask(&dns, names::METADATA, RecordType::A).await), ["169.254.170.2"]);
        let unknown = ask(&dns, names::UNKNOWN, RecordType::A).await;
        assert_eq!(unknown.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(unknown.authorities.len(), 1);
        assert_eq!(unknown.authorities[0].name.to_string(), "example.com.");
    }

    #[tokio::test]
    async fn sites_on_the_internet_are_elsewhere_and_one_of_their_names_points_inside() {
        let dns = DnsServer::start().await.unwrap();
        for (asked, address) in
            [(names::PACKAGES, "127.0.172.20"), (names::BLOCKED, "127.0.172.20"), (names::MIRROR, "169.254.170.2")]
        {
            assert_eq!(data(&ask(&dns, asked, RecordType::A).await), [address], "{asked}");
        }
        let unknown = ask(&dns, "nobody.example.org", RecordType::A).await;
        assert_eq!(unknown.authorities[0].name.to_string(), "example.org.");
    }

    #[tokio::test]
    async fn answers_over_tcp_too() {
        let dns = DnsServer::start().await.unwrap();
        let mut stream = TcpStream::connect(dns.address).await.unwrap();
        let question = question(names::ORDERS, RecordType::A);
        stream.write_u16(u16::try_from(question.len()).unwrap()).await.unwrap();
        stream.write_all(&question).await.unwrap();
        let len = timeout(SECOND, stream.read_u16()).await.unwrap().unwrap();
        let mut answer = vec![0; usize::from(len)];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(data(&Message::from_vec(&answer).unwrap())[1], "127.0.171.10");
    }
}
