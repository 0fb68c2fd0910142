//! The resolver of the benchmark's namespace, at 169.254.169.253:53. It answers every name that begins with `n` with the
//! upstream's address, every name that begins with `tls` with that of the TLS upstream, and all others with NXDOMAIN; and it
//! counts what it is asked.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, Result};
use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::upstream;

const ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::new(169, 254, 169, 253), 53);
/// What VPC Lattice names are assumed to carry.
const TTL: u32 = 60;

/// Starts the server's thread; the number that it returns counts the queries.
pub fn start() -> Result<Arc<AtomicU64>> {
    let socket = UdpSocket::bind(ADDRESS).context("binding the DNS server; run this through benches/run compare")?;
    let asked = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&asked);
    thread::Builder::new().name("dns".into()).spawn(move || {
        let mut buffer = [0; 4096];
        // An error here is an ICMP answer to an earlier reply: a peer that was stopped.
        loop {
            let Ok((length, peer)) = socket.recv_from(&mut buffer) else { continue };
            counter.fetch_add(1, Ordering::Relaxed);
            if let Some(reply) = answer(&buffer[..length]) {
                let _ = socket.send_to(&reply, peer);
            }
        }
    })?;
    Ok(asked)
}

fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).ok()?;
    let question = query.queries.first()?.clone();
    let mut reply = Message::new(query.metadata.id, MessageType::Response, query.metadata.op_code);
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    let asked = question.name().to_ascii();
    let address = match asked.as_bytes().first() {
        Some(b'n') => Some(upstream::PLAIN),
        Some(b't') => Some(upstream::TLS),
        _ => None,
    };
    match (address, question.query_type()) {
        (Some(address), RecordType::A) => {
            reply.add_answer(Record::from_rdata(question.name().clone(), TTL, RData::A(A(address))));
        }
        (Some(_), _) => {
            reply.add_authority(no_such_data());
        }
        (None, _) => {
            reply.metadata.response_code = ResponseCode::NXDomain;
            reply.add_authority(no_such_data());
        }
    }
    reply.add_query(question);
    reply.to_vec().ok()
}

/// The SOA record that lets a resolver keep a negative answer.
fn no_such_data() -> Record {
    let zone = Name::from_ascii("lattice.example.").unwrap_or_else(|_| Name::root());
    let soa = SOA::new(zone.clone(), zone.clone(), 1, 3600, 600, 86_400, TTL);
    Record::from_rdata(zone, TTL, RData::SOA(soa))
}
