//! Stand-ins for what is behind a name: one that accepts, one that answers no SYN.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::PATIENCE;
use crate::peer::Peer;
use crate::wire::hello;

/// Accepts, and hands each connection to the test.
pub struct Upstream {
    pub address: SocketAddr,
    accepted: Mutex<Receiver<TcpStream>>,
}

impl Upstream {
    /// Listens there; port 0 is one that is free.
    pub fn start(ip: IpAddr, port: u16) -> Self {
        let listener = TcpListener::bind((ip, port)).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, accepted) = channel();
        thread::spawn(move || listener.incoming().try_for_each(|stream| sender.send(stream.unwrap())));
        Self { address, accepted: Mutex::new(accepted) }
    }

    /// The next connection.
    pub fn accept(&self) -> Peer {
        Peer::new(self.accepted.lock().unwrap().recv_timeout(PATIENCE).expect("a connection to the upstream"))
    }

    /// [`Peer::client`] of the gate at this address, and the connection here that it leads to, the hello already read.
    #[track_caller]
    pub fn pair(&self, gate: SocketAddr) -> (Peer, Peer) {
        let client = Peer::client(gate);
        let mut upstream = self.accept();
        assert_eq!(upstream.hear(hello().len()), hello());
        (client, upstream)
    }

    /// The next connection, if one comes in that time.
    pub fn accept_within(&self, patience: Duration) -> Option<Peer> {
        self.accepted.lock().unwrap().recv_timeout(patience).ok().map(Peer::new)
    }

    /// Closes what has come so far.
    pub fn close_all(&self) {
        while let Ok(stream) = self.accepted.lock().unwrap().try_recv() {
            drop(stream);
        }
    }

    /// No connection has come that was not asked for.
    pub fn assert_untouched(&self) {
        assert_eq!(self.accepted.lock().unwrap().try_recv().unwrap_err(), TryRecvError::Empty, "dialled");
    }
}

/// A listener whose queue is full: further SYNs are dropped, as by a black hole.
pub struct BlackHole {
    _listener: Socket,
    _queued: Vec<Socket>,
}

impl BlackHole {
    /// Listens there, with its queue full.
    pub fn start(address: SocketAddr) -> Self {
        let socket = || Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        let listener = socket();
        listener.bind(&address.into()).unwrap();
        listener.listen(0).unwrap();
        // A backlog of 0 holds one connection; the next one hangs in its handshake.
        let queued = [(); 3].map(|()| {
            let client = socket();
            client.set_nonblocking(true).unwrap();
            let _ = client.connect(&address.into());
            client
        });
        Self { _listener: listener, _queued: queued.into() }
    }
}
