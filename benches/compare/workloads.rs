//! The workloads: what one unit of work is, and how the units follow each other. A load runs until it is dropped.

mod egress;
pub mod growth;

use std::cell::Cell;
use std::io::{Error, ErrorKind, Result};
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use crate::arrivals::{Random, announce};
use crate::client::{Target, command, drain, open, open_tunnel, skip};
use crate::preface::{ALLOWED_CLIENT, Hello, REFUSED_CLIENT, Shape, known_name, unknown_name};
use crate::tally::Tally;
use crate::tls;
use crate::upstream::receive;

/// No unit takes this long unless something is broken.
pub const GIVE_UP: Duration = Duration::from_secs(10);
const PARALLEL: usize = 64;
const MESSAGE: usize = 1024;
/// What a TLS 1.3 server answers a hello with: certificate chain and all.
const SERVER_FLIGHT: usize = 3800;
const ECHO_CONNECTIONS: usize = 256;
const BULK_CONNECTIONS: usize = 4;
const NAMES: usize = 10_000;
/// Twice the default of `dns.cache_size`.
const TOO_MANY_NAMES: usize = 40_000;
const DRIBBLERS: usize = 1000;
pub const IDLE_CONNECTIONS: usize = 9000;
/// The incumbent's published test had 5 000 users and 3 000 requests/s on three tasks of two CPUs; this is one task's share.
const USERS: usize = 1667;
const USER_PAUSE: Duration = Duration::from_micros(1_667_000);

/// How long a cell lasts.
#[derive(Clone, Copy, PartialEq)]
pub enum Extent {
    Window,
    /// A window some times longer than the usual one, after a warm-up of this many seconds.
    Long(u32, u64),
    Units(u64),
    /// A window after so many units.
    After(u64),
}

/// What CPU time is divided by.
#[derive(Clone, Copy)]
pub struct Unit {
    pub name: &'static str,
    pub size: f64,
}

const CONNECTION: Unit = Unit { name: "µs/connection", size: 1.0 };
const TRIP: Unit = Unit { name: "µs/round trip", size: 1.0 };
const REQUEST: Unit = Unit { name: "µs/request", size: 1.0 };
const GIBIBYTE: Unit = Unit { name: "ms/GiB", size: 1_073_741_824.0 / 1000.0 };

pub struct Workload {
    pub name: &'static str,
    pub about: &'static str,
    pub unit: Unit,
    pub extent: Extent,
    kind: Kind,
    beside: Beside,
    way: Way,
}

/// Connections that are held while the units are done.
#[derive(Clone, Copy, PartialEq)]
enum Beside {
    Nothing,
    /// They have done one exchange and wait.
    Idle(usize),
    /// Their clients send a byte of the hello each second.
    Slow(usize),
}

/// How a connection gets to the upstream.
#[derive(Clone, Copy)]
enum Way {
    /// By the server name of its hello.
    Sni,
    /// Through a tunnel that it has asked for.
    Tunnel,
}

#[derive(Clone, Copy)]
enum Kind {
    Short {
        parallel: usize,
        hello: Shape,
    },
    /// At so many units a second.
    Paced(f64),
    Session,
    /// So many, in turn.
    Names(usize),
    /// So many, each once, then at random: in turn again, a short window would meet only names that are near each other.
    DrawnNames(usize),
    Http,
    HttpKept,
    RefusedByList,
    RefusedByName,
    Echo,
    Down,
    Up,
    Idle(usize),
    Users,
    Tls,
    Request,
    RequestKept,
    RequestDown,
    Denied,
}

pub use egress::all as egress;

/// Makes workloads that reach their upstream this way, with nothing beside them.
fn by(way: Way) -> impl Fn(&'static str, &'static str, Unit, Extent, Kind) -> Workload {
    move |name, about, unit, extent, kind| Workload { name, about, unit, extent, kind, beside: Beside::Nothing, way }
}

pub fn all() -> Vec<Workload> {
    use Extent::{Long, Units, Window};
    let workload = by(Way::Sni);
    let short = |parallel, hello| Kind::Short { parallel, hello };
    vec![
        workload(
            "conn",
            "short connections, 64 at a time: hello, 64 bytes back, closed by the upstream",
            CONNECTION,
            Window,
            short(PARALLEL, Shape::Classic),
        ),
        workload(
            "conn-pq",
            "the same with a post-quantum hello of 2 033 bytes",
            CONNECTION,
            Window,
            short(PARALLEL, Shape::PostQuantum),
        ),
        workload("calm", "the same, one at a time", CONNECTION, Window, short(1, Shape::Classic)),
        workload(
            "paced",
            "the same, 2 000 a second whatever happens (Poisson); latency from the planned start",
            CONNECTION,
            Window,
            Kind::Paced(2000.0),
        ),
        workload(
            "session",
            "hello, 3.8 KB back, 1 KB echoed, closed by the client; 64 at a time",
            CONNECTION,
            Window,
            Kind::Session,
        ),
        workload(
            "names",
            "conn, cold start, every name of 10 000 twice",
            CONNECTION,
            Units(2 * NAMES as u64),
            Kind::Names(NAMES),
        ),
        workload(
            "names-2x",
            "the same with 40 000 names: twice as many as latticegate's cache holds",
            CONNECTION,
            Units(2 * TOO_MANY_NAMES as u64),
            Kind::Names(TOO_MANY_NAMES),
        ),
        workload(
            "http",
            "port 80: one request on a connection, closed by the upstream; 64 at a time",
            REQUEST,
            Window,
            Kind::Http,
        ),
        workload("http-kept", "port 80: requests on 64 kept-alive connections", REQUEST, Window, Kind::HttpKept),
        Workload {
            beside: Beside::Slow(DRIBBLERS),
            ..workload(
                "slow",
                "conn beside 1 000 clients that send a byte of their hello each second",
                CONNECTION,
                Window,
                short(PARALLEL, Shape::Classic),
            )
        },
        workload(
            "refused-list",
            "a client that the access list refuses; 64 at a time",
            CONNECTION,
            Window,
            Kind::RefusedByList,
        ),
        workload(
            "refused-name",
            "a name that does not exist; 64 at a time, 100 names",
            CONNECTION,
            Window,
            Kind::RefusedByName,
        ),
        workload("echo", "1 KB there and back on 256 connections", TRIP, Window, Kind::Echo),
        workload("down", "bulk to the client, 4 connections", GIBIBYTE, Window, Kind::Down),
        workload("up", "bulk to the upstream, 4 connections", GIBIBYTE, Window, Kind::Up),
        workload(
            "tls",
            "real TLS 1.3 end to end: full handshake, 1 KB echoed; 16 at a time",
            CONNECTION,
            Window,
            Kind::Tls,
        ),
        workload(
            "users",
            "the incumbent's published test, one task's share: 1 667 users, a TLS-shaped connection each 1.7 s",
            REQUEST,
            Long(2, 2),
            Kind::Users,
        ),
        workload(
            "idle",
            "9 000 connections that have done one exchange and wait",
            CONNECTION,
            Units(IDLE_CONNECTIONS as u64),
            Kind::Idle(IDLE_CONNECTIONS),
        ),
    ]
}

/// What is measured under a CPU quota, unless other workloads are named: rates that half a CPU can carry.
pub fn under_quota() -> Vec<Workload> {
    let paced = |name, about, rate| {
        let extent = Extent::Long(1, 1);
        Workload {
            name,
            about,
            unit: CONNECTION,
            extent,
            kind: Kind::Paced(rate),
            beside: Beside::Nothing,
            way: Way::Sni,
        }
    };
    vec![
        paced("paced-300", "paced with 300 connections a second", 300.0),
        paced("paced-1000", "paced with 1 000 connections a second", 1000.0),
    ]
}

impl Workload {
    /// Whether there is anything to do without a proxy.
    pub fn is_about_refusal(&self) -> bool {
        matches!(self.kind, Kind::RefusedByList | Kind::RefusedByName | Kind::Denied)
    }

    /// Whether it consists of units one after the other, so that it can be so many of them and no more.
    pub fn is_in_turn(&self) -> bool {
        use Kind::*;
        let kind = matches!(
            self.kind,
            Short { .. }
                | Session
                | Names(_)
                | DrawnNames(_)
                | Http
                | RefusedByList
                | RefusedByName
                | Tls
                | Request
                | Denied
        );
        kind && self.beside == Beside::Nothing
    }

    /// How many connections are held beside the units.
    pub fn held(&self) -> usize {
        match self.beside {
            Beside::Nothing => 0,
            Beside::Idle(held) | Beside::Slow(held) => held,
        }
    }

    /// Opens these on the current `LocalSet`; each is a unit of the tally when it is there.
    pub fn hold(&self, target: Target, tally: Rc<Tally>) -> anyhow::Result<()> {
        let load = self.load(target, tally, u64::MAX)?;
        match self.beside {
            Beside::Nothing => {}
            Beside::Idle(held) => load.idle(held),
            Beside::Slow(held) => load.dribble(held),
        }
        Ok(())
    }

    /// Starts the load on the current `LocalSet`.
    pub fn start(&self, target: Target, tally: Rc<Tally>) -> anyhow::Result<()> {
        self.start_some(target, tally, u64::MAX)
    }

    /// The same with so many units, if they are in turn.
    pub fn start_some(&self, target: Target, tally: Rc<Tally>, units: u64) -> anyhow::Result<()> {
        let load = self.load(target, tally, units)?;
        match self.kind {
            Kind::Short { parallel, .. } => load.in_turn(parallel, async |load| load.short().await),
            Kind::Paced(rate) => load.paced(rate)?,
            Kind::Session => load.in_turn(PARALLEL, async |load| load.session().await),
            Kind::Names(names) => load.in_turn(PARALLEL, async move |load| load.named(names).await),
            Kind::DrawnNames(names) => load.in_turn(PARALLEL, async move |load| load.drawn(names).await),
            Kind::Http => load.in_turn(PARALLEL, async |load| load.http().await),
            Kind::HttpKept => load.http_kept(),
            Kind::RefusedByList => load.in_turn(PARALLEL, async |load| load.refused_by_list().await),
            Kind::RefusedByName => load.in_turn(PARALLEL, async |load| load.refused_by_name().await),
            Kind::Echo => load.echo(),
            Kind::Down => load.down(),
            Kind::Up => load.up(),
            Kind::Idle(connections) => load.idle(connections),
            Kind::Users => load.users(),
            Kind::Request => load.in_turn(PARALLEL, async |load| load.request().await),
            Kind::RequestKept => load.requests_kept(),
            Kind::RequestDown => load.downloads(),
            Kind::Denied => load.in_turn(PARALLEL, async |load| load.denied().await),
            Kind::Tls => {
                let connector = tls::connector().context("preparing TLS")?;
                load.in_turn(16, async move |load| load.real_tls(&connector).await);
            }
        }
        Ok(())
    }

    fn load(&self, target: Target, tally: Rc<Tally>, units: u64) -> anyhow::Result<Rc<Load>> {
        let hello = Hello::of(match self.kind {
            Kind::Short { hello, .. } => hello,
            _ => Shape::Classic,
        })?;
        let (next, left) = (Cell::new(0), Cell::new(units));
        Ok(Rc::new(Load { target, tally, hello, way: self.way, next, left, random: Random::new() }))
    }
}

struct Load {
    target: Target,
    tally: Rc<Tally>,
    hello: Hello,
    way: Way,
    next: Cell<usize>,
    /// Units that may still begin, where they are in turn.
    left: Cell<u64>,
    random: Random,
}

/// How units follow each other.
impl Load {
    /// `parallel` tasks, each one unit after the other.
    fn in_turn<U>(self: &Rc<Self>, parallel: usize, unit: U)
    where
        U: AsyncFn(&Self) -> Result<()> + 'static,
    {
        let unit = Rc::new(unit);
        for _ in 0..parallel {
            let (load, unit) = (Rc::clone(self), Rc::clone(&unit));
            spawn_local(async move {
                while let Some(left) = load.left.get().checked_sub(1) {
                    load.left.set(left);
                    load.timed(Instant::now(), unit(&load)).await;
                }
            });
        }
    }

    /// Units begin when they were planned to, whatever has become of those before them; one that begins late is late, not
    /// forgotten.
    fn paced(self: &Rc<Self>, rate: f64) -> Result<()> {
        let (planned, mut due) = mpsc::unbounded_channel();
        // A thread of its own: the timers of tokio are as coarse as a millisecond.
        thread::Builder::new().name("pacer".into()).spawn(move || announce(rate, &planned))?;
        let load = Rc::clone(self);
        spawn_local(async move {
            while let Some(planned) = due.recv().await {
                let one = Rc::clone(&load);
                spawn_local(async move { one.planned(planned).await });
            }
        });
        Ok(())
    }

    /// Users who come one after the other during the warm-up, then each a request and a pause.
    fn users(self: &Rc<Self>) {
        for user in 0..USERS {
            let load = Rc::clone(self);
            spawn_local(async move {
                sleep(USER_PAUSE.mul_f64(user as f64 / USERS as f64)).await;
                loop {
                    load.timed(Instant::now(), load.session()).await;
                    // Between half and one and a half of the mean.
                    sleep(USER_PAUSE.mul_f64(0.5 + load.random.uniform())).await;
                }
            });
        }
    }

    async fn timed(&self, began: Instant, unit: impl Future<Output = Result<()>>) {
        if let Ok(Ok(())) = timeout(GIVE_UP, unit).await {
            self.tally.done(began);
        } else {
            self.tally.failed();
            // A peer that refuses everything must not turn the client into a busy loop.
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn planned(&self, planned: Instant) {
        let is_asked_for = self.tally.begins(planned);
        let is_done = matches!(timeout(GIVE_UP, self.short()).await, Ok(Ok(())));
        match (is_asked_for, is_done) {
            (true, _) => self.tally.ended(planned, is_done),
            (false, true) => self.tally.add(1),
            (false, false) => {}
        }
    }
}

/// One unit of each kind.
impl Load {
    async fn short(&self) -> Result<()> {
        self.short_to(&known_name(0)).await
    }

    async fn named(&self, names: usize) -> Result<()> {
        let number = self.next.get() % names;
        self.short_to(&known_name(number)).await
    }

    async fn drawn(&self, names: usize) -> Result<()> {
        let next = self.next.get();
        let number = if next < names { next } else { (self.random.uniform() * names as f64) as usize };
        self.short_to(&known_name(number)).await
    }

    async fn short_to(&self, name: &str) -> Result<()> {
        let commands = [command(b'D', 64), command(b'C', 0)].concat();
        let stream = self.begin(name, &commands).await?;
        exactly(64, drain(&stream).await?)
    }

    async fn session(&self) -> Result<()> {
        let mut stream = self.begin(&known_name(0), &command(b'D', SERVER_FLIGHT as u64)).await?;
        skip(&stream, SERVER_FLIGHT).await?;
        stream.write_all(&echo_message()).await?;
        skip(&stream, MESSAGE).await
    }

    async fn http(&self) -> Result<()> {
        let mut first = self.target.header(self.port());
        first.extend_from_slice(request(true).as_bytes());
        let stream = open(self.target.http, &first).await?;
        let mut answer = Vec::new();
        while receive(&stream, |bytes| answer.extend_from_slice(bytes)).await?.is_some() {}
        if answer.starts_with(b"HTTP/1.1 200 ") { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
    }

    async fn refused_by_list(&self) -> Result<()> {
        let stream = open(self.target.tls, &self.opening(REFUSED_CLIENT, &known_name(0))).await?;
        refused(drain(&stream).await?)
    }

    async fn refused_by_name(&self) -> Result<()> {
        let name = unknown_name(self.next.get() % 100);
        let stream = open(self.target.tls, &self.opening(self.client(), &name)).await?;
        refused(drain(&stream).await?)
    }

    async fn real_tls(&self, connector: &tokio_rustls::TlsConnector) -> Result<()> {
        let stream = open(self.target.real_tls, &self.target.header(self.port())).await?;
        tls::exchange(connector, stream).await
    }

    /// A connection on which the hello and some commands were sent.
    async fn begin(&self, name: &str, commands: &[u8]) -> Result<TcpStream> {
        match self.way {
            Way::Sni => open(self.target.tls, &[&self.opening(self.client(), name), commands].concat()).await,
            Way::Tunnel => {
                let header = self.target.header_from(self.client(), self.port());
                let mut stream = open_tunnel(&self.target, &header, name).await?;
                stream.write_all(&[&self.hello.with_name(name), commands].concat()).await?;
                Ok(stream)
            }
        }
    }

    /// PROXY header and hello: one segment, as the load balancer sends them.
    fn opening(&self, client: Ipv4Addr, name: &str) -> Vec<u8> {
        let mut bytes = self.target.header_from(client, self.port());
        bytes.extend_from_slice(&self.hello.with_name(name));
        bytes
    }

    /// Another client each time: 65 536 of them, so that no limit by client is met, and tables by client have work.
    fn client(&self) -> Ipv4Addr {
        let [.., high, low] = self.next.get().to_be_bytes();
        let [a, b, ..] = ALLOWED_CLIENT.octets();
        Ipv4Addr::new(a, b, high, low)
    }

    fn port(&self) -> u16 {
        self.next.set(self.next.get() + 1);
        1024 + (self.next.get() % 60_000) as u16
    }
}

/// Loads over connections that stay.
impl Load {
    fn echo(self: &Rc<Self>) {
        self.keep(ECHO_CONNECTIONS, async |load| {
            let mut stream = load.begin(&known_name(0), &[]).await?;
            let message = echo_message();
            loop {
                let began = Instant::now();
                stream.write_all(&message).await?;
                skip(&stream, MESSAGE).await?;
                load.tally.done(began);
            }
        });
    }

    fn down(self: &Rc<Self>) {
        self.keep(BULK_CONNECTIONS, async |load| {
            let stream = load.begin(&known_name(0), &command(b'D', u64::MAX)).await?;
            loop {
                let read = receive(&stream, <[u8]>::len).await?.ok_or(ErrorKind::UnexpectedEof)?;
                load.tally.add(read);
            }
        });
    }

    fn up(self: &Rc<Self>) {
        self.keep(BULK_CONNECTIONS, async |load| {
            let mut stream = load.begin(&known_name(0), &command(b'U', u64::MAX)).await?;
            let zeroes = vec![0; 256 * 1024];
            loop {
                load.tally.add(stream.write(&zeroes).await?);
            }
        });
    }

    fn http_kept(self: &Rc<Self>) {
        self.keep(PARALLEL, async |load| {
            let stream = open(load.target.http, &load.target.header(load.port())).await?;
            load.requests(stream, request(false).as_bytes()).await
        });
    }

    /// So many connections that stay; one that ends has failed, and is opened again.
    fn keep<U>(self: &Rc<Self>, connections: usize, talk: U)
    where
        U: AsyncFn(&Self) -> Result<()> + 'static,
    {
        let talk = Rc::new(talk);
        for _ in 0..connections {
            let (load, talk) = (Rc::clone(self), Rc::clone(&talk));
            spawn_local(async move {
                loop {
                    let _ = talk(&load).await;
                    load.tally.failed();
                    sleep(Duration::from_millis(5)).await;
                }
            });
        }
    }

    /// Requests on one connection, one after the other.
    async fn requests(&self, mut stream: TcpStream, request: &[u8]) -> Result<()> {
        let mut answer = Vec::new();
        loop {
            let began = Instant::now();
            stream.write_all(request).await?;
            answer.clear();
            while !is_complete(&answer) {
                receive(&stream, |bytes| answer.extend_from_slice(bytes)).await?.ok_or(ErrorKind::UnexpectedEof)?;
            }
            self.tally.done(began);
        }
    }

    /// Opens all connections, does one exchange on each, and keeps them.
    fn idle(self: &Rc<Self>, connections: usize) {
        let opened = Rc::new(Cell::new(0));
        for _ in 0..PARALLEL {
            let (load, opened) = (Rc::clone(self), Rc::clone(&opened));
            spawn_local(async move {
                let mut kept = Vec::new();
                while opened.get() < connections {
                    opened.set(opened.get() + 1);
                    let began = Instant::now();
                    match timeout(GIVE_UP, load.settled()).await {
                        Ok(Ok(stream)) => {
                            kept.push(stream);
                            load.tally.done(began);
                        }
                        _ => {
                            load.tally.failed();
                            opened.set(opened.get() - 1);
                        }
                    }
                }
                std::future::pending::<()>().await;
            });
        }
    }

    async fn settled(&self) -> Result<TcpStream> {
        let stream = self.begin(&known_name(0), &echo_message()).await?;
        skip(&stream, MESSAGE).await?;
        Ok(stream)
    }

    /// Clients that send the header and the start of a hello, then a byte each second.
    fn dribble(self: &Rc<Self>, dribblers: usize) {
        for dribbler in 0..dribblers {
            let load = Rc::clone(self);
            spawn_local(async move {
                sleep(Duration::from_micros(dribbler as u64 * 300)).await;
                let mut first = true;
                loop {
                    let _ = load.dribble_once(first).await;
                    first = false;
                    sleep(Duration::from_millis(100)).await;
                }
            });
        }
    }

    async fn dribble_once(&self, first_time: bool) -> Result<()> {
        let opening = self.opening(self.client(), &known_name(0));
        let (first, rest) = opening.split_at(opening.len().min(self.target.header(0).len() + 100));
        let mut stream = open(self.target.tls, first).await?;
        if first_time {
            self.tally.add(1);
        }
        for byte in rest {
            sleep(Duration::from_secs(1)).await;
            stream.write_all(std::slice::from_ref(byte)).await?;
        }
        Ok(())
    }
}

fn echo_message() -> Vec<u8> {
    let mut message = command(b'E', MESSAGE as u64).to_vec();
    message.resize(message.len() + MESSAGE, b'x');
    message
}

fn request(last: bool) -> String {
    let connection = if last { "close" } else { "keep-alive" };
    let host = known_name(0);
    format!(
        "GET /orders/42?expand=lines HTTP/1.1\r\nHost: {host}\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\
         X-Amz-Date: 20261121T101500Z\r\nX-Amz-Content-Sha256: UNSIGNED-PAYLOAD\r\nConnection: {connection}\r\n\r\n"
    )
}

/// The upstream's answer has a body of 256 bytes; a peer that adds or drops headers does not change that.
fn is_complete(answer: &[u8]) -> bool {
    let body = answer.windows(4).position(|window| window == b"\r\n\r\n").map(|at| answer.len() - at - 4);
    body.is_some_and(|length| length >= 256)
}

fn exactly(expected: usize, got: usize) -> Result<()> {
    if got == expected { Ok(()) } else { Err(Error::other(format!("{got} bytes instead of {expected}"))) }
}

/// A refusal is an end without data, or with a TLS alert of seven bytes.
fn refused(got: usize) -> Result<()> {
    if got <= 7 { Ok(()) } else { Err(Error::other("a refused client was served")) }
}
