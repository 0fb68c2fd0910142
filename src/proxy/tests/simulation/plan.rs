//! What one client does, and whom it is to meet.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use support::wire::Hello;

use super::http::{self, Request};
use super::scenario::{Settings, between, length, payload};
use crate::dns::LookupError;
use crate::sys::random::Random;
use latticegate_core::config::Protocol;

/// No list that is drawn lets it through.
pub(super) const DENIED: &str = "denied.example.com";

#[derive(Debug)]
pub(super) struct Plan {
    /// In milliseconds after the beginning of the run.
    pub(super) begins: u64,
    /// The last octet of its address.
    pub(super) ip: u8,
    pub(super) protocol: Protocol,
    pub(super) kind: Kind,
    pub(super) client: Behaviour,
    /// All of its upstreams.
    pub(super) server: Behaviour,
    pub(super) destinations: Vec<Destination>,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// It never says what it asks for.
    Incomplete(Incomplete),
    Relay(Relay),
    Requests(Vec<Request>),
}

/// The beginning of a hello or a head, and no more.
#[derive(Debug)]
pub(super) struct Incomplete {
    pub(super) sends: usize,
    /// A byte each so many milliseconds.
    pub(super) trickle: Option<u64>,
    pub(super) leaves_after: Option<u64>,
}

/// TLS, or on a `forward` listener what is in a tunnel.
pub(super) struct Relay {
    /// The client sends what is for the tunnel without waiting for it.
    pub(super) eager: bool,
    pub(super) hello: TunnelHello,
    pub(super) sends: Vec<u8>,
    pub(super) answers: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TunnelHello {
    Allowed,
    Denied,
    /// It never comes.
    Missing,
}

/// How one side of a connection sends and reads.
#[derive(Debug, Clone)]
pub(super) struct Behaviour {
    /// In pieces of at most so many bytes, with pauses of at most so many milliseconds.
    pub(super) piece: usize,
    pub(super) pause: u64,
    /// It reads so many bytes at a time, with pauses too. 0: it never reads.
    pub(super) reads: usize,
    pub(super) read_pause: u64,
    /// It sends a byte of urgent data. One: only the last that comes is taken out of the stream.
    pub(super) urgent: Option<Urgent>,
    pub(super) ending: Ending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgent {
    /// In the middle of what it sends last.
    Within,
    BeforeFin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// FIN behind the last byte, then reading on.
    First,
    /// FIN once the other side's has come.
    Second,
    /// Closed after so many milliseconds, whatever there is to read.
    Abrupt(u64),
}

/// A name: what DNS says of it, and who is at its addresses.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) dns: Dns,
    pub(super) addresses: Vec<Reach>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Dns {
    Answers(u64),
    Fails(LookupError),
    /// With an address that may not be dialled.
    Forbidden,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Accepts(u64),
    Refuses(u64),
    Unreachable(u64),
    Silent,
}

/// Pieces that each side sends and reads at most, with a pause after each.
const PAUSES: usize = 100;

impl Plan {
    pub(super) fn draw(settings: &Settings, random: &mut Random) -> Self {
        let protocol = match random.below(3) {
            0 => Protocol::Tls,
            1 => Protocol::Http,
            _ => Protocol::Forward,
        };
        let (mut client, mut server) = (Behaviour::draw(settings, random), Behaviour::draw(settings, random));
        let (kind, destinations) = if random.below(6) == 0 {
            let incomplete = Incomplete::draw(settings, random);
            client.ending = incomplete.leaves_after.map_or(Ending::Second, Ending::Abrupt);
            (Kind::Incomplete(incomplete), 1)
        } else if protocol == Protocol::Http || (protocol == Protocol::Forward && random.below(3) > 0) {
            let destinations = if protocol == Protocol::Http { 1 } else { 1 + random.index(3) };
            let requests = http::draw(destinations, protocol, settings, random);
            let (to, from) = http::sizes(&requests);
            client.keep_up_with(to, from);
            server.keep_up_with(from, to);
            // It answers one request after another.
            server.ending = Ending::First;
            (Kind::Requests(requests), destinations)
        } else {
            let mut relay = Relay::draw(random);
            // One that hardly reads would wait too long.
            relay.eager |= client.reads < 50;
            client.keep_up_with(relay.sends.len(), relay.answers.len());
            // With the hello.
            server.keep_up_with(relay.answers.len(), relay.sends.len() + 300);
            (Kind::Relay(relay), 1)
        };
        // So that a hello or a head is not too slow.
        client.piece = client.piece.max(if client.pause == 0 { 1 } else { 40 });
        client.pause = client.pause.min(settings.handshake / 60);
        let destinations = (0..destinations).map(|_| Destination::draw(random)).collect();
        let ip = 1 + u8::try_from(random.below(3)).unwrap();
        Self { begins: random.below(2000), ip, protocol, kind, client, server, destinations }
    }
}

impl Incomplete {
    fn draw(settings: &Settings, random: &mut Random) -> Self {
        let leaves = random.below(3) == 0;
        Self {
            sends: if random.below(3) == 0 { 0 } else { 1 + random.index(60) },
            trickle: (random.below(2) == 0).then(|| between(random, 100, 2000)),
            leaves_after: leaves.then(|| random.below(settings.handshake - 200)),
        }
    }
}

impl Relay {
    fn draw(random: &mut Random) -> Self {
        let (sends, answers) = (length(random), length(random));
        let hello = match random.below(8) {
            0 => TunnelHello::Denied,
            1 => TunnelHello::Missing,
            _ => TunnelHello::Allowed,
        };
        let eager = random.below(2) == 0;
        Self { eager, hello, sends: payload(random, sends), answers: payload(random, answers) }
    }
}

impl Behaviour {
    pub(super) fn draw(settings: &Settings, random: &mut Random) -> Self {
        let size = |random: &mut Random| match random.below(4) {
            0 => 1,
            1 => 1 + random.index(50),
            2 => 1 + random.index(5000),
            _ => 100_000,
        };
        // A side that takes its pauses is not idle.
        let longest = (settings.idle / (2 * u64::try_from(PAUSES).unwrap())).min(400);
        let pause = |random: &mut Random| if random.below(2) == 0 { 0 } else { random.below(longest) };
        let ending = match random.below(5) {
            0 | 1 => Ending::First,
            2 | 3 => Ending::Second,
            _ => Ending::Abrupt(random.below(3000)),
        };
        let (piece, reads) = (size(random), if random.below(30) == 0 { 0 } else { size(random) });
        let urgent = match random.below(16) {
            0 => Some(Urgent::Within),
            1 => Some(Urgent::BeforeFin),
            _ => None,
        };
        Self { piece, pause: pause(random), reads, read_pause: pause(random), urgent, ending }
    }

    /// It sends and reads so much in less time than the idle limit, as it would look idle otherwise.
    pub(super) fn keep_up_with(&mut self, sends: usize, reads: usize) {
        self.piece = self.piece.max(sends / PAUSES);
        if self.reads > 0 {
            self.reads = self.reads.max(reads / PAUSES);
        }
    }

    pub(super) fn is_abrupt(&self) -> bool {
        matches!(self.ending, Ending::Abrupt(_))
    }

    /// It takes all that comes.
    pub(super) fn reads_on(&self) -> bool {
        self.reads > 0 && !self.is_abrupt()
    }
}

impl Destination {
    fn draw(random: &mut Random) -> Self {
        let dns = match random.below(16) {
            0 => Dns::Fails(LookupError::Timeout),
            1 => Dns::Fails(LookupError::Unknown),
            2 => Dns::Forbidden,
            _ => Dns::Answers(random.below(300)),
        };
        let addresses = if random.below(2) == 0 { 1 } else { 1 + random.index(4) };
        let reach = |random: &mut Random| match random.below(12) {
            0 => Reach::Refuses(random.below(50)),
            1 => Reach::Unreachable(random.below(400)),
            2 => Reach::Silent,
            _ => Reach::Accepts(random.below(200)),
        };
        Self { dns, addresses: (0..addresses).map(|_| reach(random)).collect() }
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { eager, hello, sends, answers } = self;
        let (sends, answers) = (sends.len(), answers.len());
        write!(f, "Relay {{ eager: {eager}, {hello:?}, sends {sends}, answers {answers} }}")
    }
}

/// Of a connection's destination.
pub(super) fn name(connection: usize, destination: usize) -> String {
    format!("h{destination}.c{connection}.example.com")
}

/// In its octets: whose connection, which destination, which of its addresses.
pub(super) fn address(connection: usize, destination: usize, index: usize) -> IpAddr {
    let octet = |n: usize| u8::try_from(n + 1).unwrap();
    Ipv4Addr::new(10, octet(connection), octet(destination), octet(index)).into()
}

/// The reverse of both; None: it is neither.
pub(super) fn parse_name(name: &str) -> Option<(usize, usize)> {
    let (destination, rest) = name.strip_prefix('h')?.split_once(".c")?;
    Some((rest.split('.').next()?.parse().ok()?, destination.parse().ok()?))
}

pub(super) fn parse_address(address: IpAddr) -> Option<(usize, usize, usize)> {
    let IpAddr::V4(address) = address else { return None };
    let [10, connection, destination, index] = address.octets() else { return None };
    let number = |octet: u8| usize::from(octet).checked_sub(1);
    Some((number(connection)?, number(destination)?, number(index)?))
}

pub(super) fn hello(name: &str) -> Vec<u8> {
    Hello::to(name.as_bytes()).record()
}
