//! One end of a TCP connection under the hand of a test: a client of the gate, or what an upstream accepted.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::PATIENCE;
use crate::wire::opening;

/// A connection whose every read and write has a deadline.
pub struct Peer {
    pub stream: TcpStream,
}

/// How the other side ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Fin,
    Reset,
}

impl Peer {
    /// Connects to this address.
    pub fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect_timeout(&address, PATIENCE).unwrap())
    }

    /// A client of 192.0.2.1 behind a load balancer, its hello for [`ORDERS`](crate::wire::ORDERS) sent to the gate at
    /// this address.
    pub fn client(gate: SocketAddr) -> Self {
        let mut client = Self::connect(gate);
        client.say(opening());
        client
    }

    /// Takes a connection over.
    pub fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    /// Its own address.
    pub fn address(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// Sends these bytes.
    pub fn say(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// Exactly so many bytes.
    pub fn hear(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Waits until so many bytes lie there to be read.
    pub fn has_unread(&self, n: usize) {
        let mut bytes = vec![0; n];
        let patience = Instant::now() + PATIENCE;
        while self.stream.peek(&mut bytes).unwrap() < n {
            assert!(Instant::now() < patience, "{n} bytes do not come");
            std::thread::yield_now();
        }
    }

    /// Everything until the other side ends.
    pub fn hear_all(&mut self) -> (Vec<u8>, End) {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => (bytes, End::Fin),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => (bytes, End::Reset),
            Err(error) => panic!("{error} after {} bytes", bytes.len()),
        }
    }

    /// Sends FIN; goes on reading.
    pub fn finish(&mut self) -> &mut Self {
        self.stream.shutdown(Shutdown::Write).unwrap();
        self
    }

    /// Ends with a reset.
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Nothing to read, and not ended, for a moment that is long beside a turn of the gate.
    pub fn hears_nothing(&mut self) {
        self.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let result = self.stream.read(&mut [0]);
        assert!(matches!(&result, Err(error) if error.kind() == ErrorKind::WouldBlock), "{result:?}");
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }
}
