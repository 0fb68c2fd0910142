//! What stands in for the network: pairs of local sockets, whose near ends are the gate's.

use std::cell::{Cell, Ref, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with, socketpair,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::SockRef;

use crate::event_loop::simulation::{Connecting, Network as Hooks};
use crate::runtime::{Instant, Stream, sleep};
use crate::sys::random::Random;

pub(super) struct Network {
    pub(super) random: RefCell<Random>,
    began: Cell<Option<Instant>>,
    /// Tells the addresses of this run from those of others.
    run: String,
    /// By the far end, the near one.
    near: RefCell<HashMap<u64, u64>>,
    /// Near ends that the gate has closed, and how.
    closed: RefCell<HashMap<u64, Closed>>,
    pub(super) dialled: RefCell<Vec<SocketAddr>>,
    /// By the client's port, its near end, and when it was accepted.
    clients: RefCell<HashMap<u16, u64>>,
    accepted: RefCell<HashMap<u16, u64>>,
    dial: Dial,
    limit: Rlimit,
}

type Dial = Box<dyn Fn(SocketAddr) -> Connecting>;

#[derive(Debug, Clone, Copy)]
pub(super) struct Closed {
    pub(super) at: u64,
    /// Not by FIN.
    pub(super) reset: bool,
}

impl Network {
    pub(super) fn new(random: Random, dial: impl Fn(SocketAddr) -> Connecting + 'static) -> Self {
        thread_local! {
            static RUNS: Cell<u64> = const { Cell::new(0) };
        }
        RUNS.set(RUNS.get() + 1);
        Self {
            random: RefCell::new(random),
            began: Cell::new(None),
            run: format!("latticegate-simulation-{}-{}", std::process::id(), RUNS.get()),
            near: RefCell::default(),
            closed: RefCell::default(),
            dialled: RefCell::default(),
            clients: RefCell::default(),
            accepted: RefCell::default(),
            dial: Box::new(dial),
            limit: getrlimit(Resource::Nofile),
        }
    }

    pub(super) fn begin(&self) {
        self.began.set(Some(Instant::now()));
    }

    /// Milliseconds since the beginning.
    pub(super) fn now(&self) -> u64 {
        self.began.get().map_or(0, |began| u64::try_from(began.elapsed().as_millis()).unwrap())
    }

    pub(super) fn below(&self, most: u64) -> u64 {
        if most == 0 { 0 } else { self.random.borrow_mut().below(most) }
    }

    /// The table of open files has room for so many more; None: for as many as before.
    pub(super) fn limit_files(&self, left: Option<u64>) {
        let current = left.map(|left| {
            let next = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
            left + u64::try_from(std::os::fd::AsRawFd::as_raw_fd(&next)).unwrap()
        });
        let current = current.or(self.limit.current);
        setrlimit(Resource::Nofile, Rlimit { current, maximum: self.limit.maximum }).unwrap();
    }

    /// The peers have a table of their own.
    pub(super) fn with_files<T>(&self, open: impl FnOnce() -> T) -> T {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, self.limit).unwrap();
        let opened = open();
        setrlimit(Resource::Nofile, limit).unwrap();
        opened
    }

    /// A connection of the gate with an upstream: both ends.
    pub(super) fn pair(&self) -> (OwnedFd, Stream) {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let pair = || socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        let (near, far) = self.with_files(pair);
        self.resize(&near);
        self.resize(&far);
        self.near.borrow_mut().insert(inode(&far), inode(&near));
        (near, Stream::connected(far).unwrap())
    }

    fn resize(&self, socket: impl AsFd) {
        let size = 2048 << self.below(8);
        set_socket_send_buffer_size(&socket, size).unwrap();
        set_socket_recv_buffer_size(&socket, size).unwrap();
    }

    pub(super) fn listen(&self, listener: &str) -> std::net::TcpListener {
        let socket = self.socket();
        bind(&socket, &self.address(listener)).unwrap();
        listen(&socket, 64).unwrap();
        // Only its descriptor counts.
        std::net::TcpListener::from(socket)
    }

    /// None: nobody listens any more.
    pub(super) async fn connect(&self, listener: &str, peer: SocketAddr) -> Option<Stream> {
        let socket = self.with_files(|| self.socket());
        self.resize(&socket);
        bind(&socket, &self.address(&peer.to_string())).unwrap();
        loop {
            match connect(&socket, &self.address(listener)) {
                Ok(()) => return Some(Stream::connected(socket).unwrap()),
                Err(Errno::AGAIN) => sleep(Duration::from_millis(20)).await,
                Err(Errno::CONNREFUSED) => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn socket(&self) -> OwnedFd {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap()
    }

    fn address(&self, name: &str) -> SocketAddrUnix {
        SocketAddrUnix::new_abstract_name(format!("{}/{name}", self.run).as_bytes()).unwrap()
    }

    /// Whether the gate has closed its end. Of a client that was never accepted it has none.
    pub(super) fn is_closed(&self, far: &Stream) -> bool {
        let near = self.near.borrow().get(&inode(far)).copied();
        let near = near.or_else(|| self.near_of_client(far));
        near.is_some_and(|near| self.closed.borrow().contains_key(&near))
    }

    fn near_of_client(&self, far: &Stream) -> Option<u64> {
        let own = rustix::net::getsockname(far).ok()?;
        let own = SocketAddrUnix::try_from(own).ok()?;
        self.clients.borrow().get(&parse_peer(&own)?.port()).copied()
    }

    /// When each client was accepted, by its port.
    pub(super) fn accepted(&self) -> Ref<'_, HashMap<u16, u64>> {
        self.accepted.borrow()
    }

    /// How the connection of this client was closed.
    pub(super) fn closed_for_client(&self, port: u16) -> Option<Closed> {
        self.closed.borrow().get(self.clients.borrow().get(&port)?).copied()
    }
}

impl Hooks for Network {
    fn connect(&self, address: SocketAddr) -> Connecting {
        self.dialled.borrow_mut().push(address);
        (self.dial)(address)
    }

    fn accepted(&self, socket: BorrowedFd<'_>, peer: &SocketAddrUnix) -> Option<SocketAddr> {
        self.resize(socket);
        let peer = parse_peer(peer)?;
        self.clients.borrow_mut().insert(peer.port(), inode(socket));
        self.accepted.borrow_mut().insert(peer.port(), self.now());
        Some(peer)
    }

    fn closing(&self, socket: BorrowedFd<'_>) {
        let reset = SockRef::from(&socket).linger().unwrap() == Some(Duration::ZERO);
        self.closed.borrow_mut().insert(inode(socket), Closed { at: self.now(), reset });
    }
}

fn parse_peer(address: &SocketAddrUnix) -> Option<SocketAddr> {
    let name = String::from_utf8(address.abstract_name()?.to_vec()).ok()?;
    name.rsplit('/').next()?.parse().ok()
}

fn inode(socket: impl AsFd) -> u64 {
    fstat(socket).unwrap().st_ino
}

/// Where what has happened to a dial is an error of the kernel.
pub(super) fn failed(error: Errno) -> io::Result<OwnedFd> {
    Err(error.into())
}

pub(super) type Shared = Rc<Network>;
