//! A resolver whose every answer is scripted. The packets are written by hand (RFC 1035), so that a fault in the
//! library that the gate reads them with cannot hide here.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

pub const A: u16 = 1;
pub const AAAA: u16 = 28;
const NS: u16 = 2;
const CNAME: u16 = 5;
const SOA: u16 = 6;

pub const FORMERR: u8 = 1;
pub const SERVFAIL: u8 = 2;
pub const NXDOMAIN: u8 = 3;
pub const REFUSED: u8 = 5;

/// What happens when a name is asked for.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Those of the asked type, each with this TTL; none is "no data".
    Addresses(Vec<IpAddr>, u32),
    /// A CNAME with its TTL, then the addresses with theirs.
    Alias(&'static str, u32, Vec<IpAddr>, u32),
    Code(u8),
    /// A header with this code, and no question in it.
    Bare(u8),
    /// This to a question with EDNS, that to one without.
    Edns(Box<Reply>, Box<Reply>),
    /// This to a question for A, that to one for AAAA.
    ByKind(Box<Reply>, Box<Reply>),
    /// NOERROR with NS records and nothing else.
    Referral,
    /// NOERROR with an SOA record and nothing else: no data, for so many seconds.
    NoData(u32),
    Silence,
    Late(Duration, Box<Reply>),
    /// Cut short over UDP; whole over TCP.
    Truncated(Box<Reply>),
    /// Not a DNS message, though it starts with the right id.
    Garbage,
    /// A well-formed answer to another question, with these addresses; then, if any, the true one.
    Spoofed(Vec<IpAddr>, Option<Box<Reply>>),
    /// One after the other; the last one for ever.
    InTurn(Vec<Reply>),
}

/// These addresses, for a minute.
pub fn addresses(list: &[IpAddr]) -> Reply {
    Reply::Addresses(list.to_vec(), 60)
}

/// The resolver; every name that no reply is set for does not exist.
pub struct Dns {
    pub address: SocketAddr,
    script: Arc<Mutex<Script>>,
}

struct Script {
    replies: HashMap<String, Reply>,
    otherwise: Reply,
    asked: HashMap<(String, u16), usize>,
    over_tcp: usize,
}

impl Dns {
    /// On a free port, the same for UDP and TCP.
    pub fn start(ip: IpAddr) -> Self {
        let (udp, tcp) = bind(ip);
        let script =
            Script { replies: HashMap::new(), otherwise: Reply::Code(NXDOMAIN), asked: HashMap::new(), over_tcp: 0 };
        let script = Arc::new(Mutex::new(script));
        let dns = Self { address: udp.local_addr().unwrap(), script: Arc::clone(&script) };
        let over_tcp = Arc::clone(&script);
        thread::spawn(move || serve_udp(&udp, &script));
        thread::spawn(move || serve_tcp(&tcp, &over_tcp));
        dns
    }

    /// From now on, for this name.
    pub fn set(&self, name: &str, reply: Reply) {
        self.script.lock().unwrap().replies.insert(name.to_owned(), reply);
    }

    /// For every name of which nothing else was said.
    pub fn set_otherwise(&self, reply: Reply) {
        self.script.lock().unwrap().otherwise = reply;
    }

    /// How many questions have come, retries included.
    pub fn asked(&self, name: &str, kind: u16) -> usize {
        self.script.lock().unwrap().asked.get(&(name.to_owned(), kind)).copied().unwrap_or(0)
    }

    /// How many of the questions came by TCP.
    pub fn asked_over_tcp(&self) -> usize {
        self.script.lock().unwrap().over_tcp
    }
}

/// UDP and TCP on one port.
fn bind(ip: IpAddr) -> (Arc<UdpSocket>, TcpListener) {
    loop {
        let udp = UdpSocket::bind((ip, 0)).unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            return (Arc::new(udp), tcp);
        }
    }
}

fn serve_udp(socket: &Arc<UdpSocket>, script: &Mutex<Script>) {
    let mut packet = [0; 4096];
    loop {
        // An ICMP error about an earlier answer is reported here; it concerns no question.
        let Ok((len, from)) = socket.recv_from(&mut packet) else { continue };
        let question = Question::read(&packet[..len]);
        let reply = script.lock().unwrap().choose(&question);
        let socket = Arc::clone(socket);
        answer(question, reply, false, move |packet| drop(socket.send_to(packet, from)));
    }
}

fn serve_tcp(listener: &TcpListener, script: &Mutex<Script>) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut len = [0; 2];
        if stream.read_exact(&mut len).is_err() {
            continue;
        }
        let mut packet = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut packet).unwrap();
        let question = Question::read(&packet);
        let reply = {
            let mut script = script.lock().unwrap();
            script.over_tcp += 1;
            script.choose(&question)
        };
        answer(question, reply, true, move |packet| {
            let len = u16::try_from(packet.len()).unwrap().to_be_bytes();
            drop(stream.write_all(&[&len, packet].concat()));
        });
    }
}

/// Sends what the reply says; whatever takes time does so on a thread of its own.
fn answer(question: Question, reply: Reply, tcp: bool, mut send: impl FnMut(&[u8]) + Send + 'static) {
    match reply {
        Reply::Silence => {}
        Reply::Late(delay, reply) => {
            thread::spawn(move || {
                thread::sleep(delay);
                answer(question, *reply, tcp, send);
            });
        }
        Reply::Truncated(_) if !tcp => send(&question.message(0x0200, &[])),
        Reply::Truncated(reply) => answer(question, *reply, tcp, send),
        Reply::Garbage => send(&[&question.id.to_be_bytes()[..], b"\xff garbage \0\0\x07"].concat()),
        Reply::Spoofed(list, truth) => {
            let other = Question { id: question.id ^ 0x5555, ..question.clone() };
            send(&other.message(0, &other.records(&list, 60)));
            if let Some(truth) = truth {
                answer(question, *truth, tcp, send);
            }
        }
        Reply::Code(code) => send(&question.message(u16::from(code), &[])),
        Reply::Bare(code) => send(&[question.id, 0x8180 | u16::from(code), 0, 0, 0, 0].map(u16::to_be_bytes).concat()),
        Reply::Edns(with, without) => answer(question.clone(), *if question.edns { with } else { without }, tcp, send),
        Reply::ByKind(v4, v6) => answer(question.clone(), *if question.kind == A { v4 } else { v6 }, tcp, send),
        Reply::Referral => {
            send(&question.with_authority(record(&name("example.com"), NS, 60, &name("ns.example.com"))))
        }
        Reply::NoData(ttl) => {
            let numbers = [1, 2, 3, 4, ttl].map(u32::to_be_bytes).concat();
            let soa = [name("ns.example.com"), name("admin.example.com"), numbers].concat();
            send(&question.with_authority(record(&name("example.com"), SOA, ttl, &soa)));
        }
        Reply::Addresses(list, ttl) => send(&question.message(0, &question.records(&list, ttl))),
        Reply::Alias(target, alias_ttl, list, ttl) => {
            let alias = record(&[0xc0, 12], CNAME, alias_ttl, &name(target));
            let mut records = question.records(&list, ttl);
            // The addresses belong to the alias' target.
            for record in &mut records {
                *record = [&name(target)[..], &record[2..]].concat();
            }
            records.insert(0, alias);
            send(&question.message(0, &records));
        }
        Reply::InTurn(_) => unreachable!("chosen from already"),
    }
}

impl Script {
    fn choose(&mut self, question: &Question) -> Reply {
        let asked = self.asked.entry((question.name.clone(), question.kind)).or_default();
        *asked += 1;
        match self.replies.get(&question.name).unwrap_or(&self.otherwise) {
            Reply::InTurn(replies) => replies[(*asked - 1).min(replies.len() - 1)].clone(),
            reply => reply.clone(),
        }
    }
}

#[derive(Clone)]
struct Question {
    id: u16,
    name: String,
    kind: u16,
    edns: bool,
    /// The question section as it came.
    section: Vec<u8>,
}

impl Question {
    fn read(packet: &[u8]) -> Self {
        let (mut at, mut labels) = (12, Vec::new());
        while packet[at] != 0 {
            let end = at + 1 + usize::from(packet[at]);
            labels.push(String::from_utf8(packet[at + 1..end].to_ascii_lowercase()).unwrap());
            at = end;
        }
        Self {
            id: u16::from_be_bytes([packet[0], packet[1]]),
            name: labels.join("."),
            kind: u16::from_be_bytes([packet[at + 1], packet[at + 2]]),
            edns: packet[11] > 0,
            section: packet[12..at + 5].to_vec(),
        }
    }

    /// `flags`: beside "response, recursion desired and available"; the code stands in the low bits.
    fn message(&self, flags: u16, records: &[Vec<u8>]) -> Vec<u8> {
        let count = u16::try_from(records.len()).unwrap();
        let header = [self.id, 0x8180 | flags, 1, count, 0, 0].map(u16::to_be_bytes).concat();
        [header, self.section.clone(), records.concat()].concat()
    }

    fn with_authority(&self, record: Vec<u8>) -> Vec<u8> {
        let header = [self.id, 0x8180, 1, 0, 1, 0].map(u16::to_be_bytes).concat();
        [header, self.section.clone(), record].concat()
    }

    fn records(&self, list: &[IpAddr], ttl: u32) -> Vec<Vec<u8>> {
        let of_kind = list.iter().filter_map(|ip| match (ip, self.kind) {
            (IpAddr::V4(ip), A) => Some(ip.octets().to_vec()),
            (IpAddr::V6(ip), AAAA) => Some(ip.octets().to_vec()),
            _ => None,
        });
        of_kind.map(|data| record(&[0xc0, 12], self.kind, ttl, &data)).collect()
    }
}

fn record(owner: &[u8], kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(data.len()).unwrap();
    [owner, &kind.to_be_bytes(), &[0, 1], &ttl.to_be_bytes(), &len.to_be_bytes(), data].concat()
}

fn name(text: &str) -> Vec<u8> {
    let label = |label: &str| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat();
    [text.split('.').flat_map(label).collect::<Vec<u8>>(), vec![0]].concat()
}
