//! The client's side of one connection: connect, send what comes first in one segment as the load balancer does, then
//! commands (`upstream.rs` has their list) and answers.

use std::io::{Error, ErrorKind, Result};
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::preface::{ALLOWED_CLIENT, proxy_header};
use crate::upstream::{self, receive};

/// Where a peer listens, and whether it expects a PROXY header.
#[derive(Clone, Copy)]
pub struct Target {
    pub tls: SocketAddr,
    pub http: SocketAddr,
    pub real_tls: SocketAddr,
    pub proxied: bool,
}

impl Target {
    /// Every peer's configuration listens here.
    pub fn peer() -> Self {
        let tls = SocketAddr::from((Ipv4Addr::LOCALHOST, 8443));
        Self { tls, http: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)), real_tls: tls, proxied: true }
    }

    /// No peer at all: what the machine, the client and the upstream can do at best.
    pub fn direct() -> Self {
        Self {
            tls: (upstream::PLAIN, 443).into(),
            http: (upstream::PLAIN, 80).into(),
            real_tls: (upstream::TLS, 443).into(),
            proxied: false,
        }
    }

    /// The PROXY header, if this target wants one.
    pub fn header(&self, port: u16) -> Vec<u8> {
        self.header_from(ALLOWED_CLIENT, port)
    }

    pub fn header_from(&self, client: Ipv4Addr, port: u16) -> Vec<u8> {
        if self.proxied { proxy_header(client, port, 443) } else { Vec::new() }
    }
}

pub fn command(letter: u8, number: u64) -> [u8; 9] {
    let mut bytes = [0; 9];
    bytes[0] = letter;
    bytes[1..].copy_from_slice(&number.to_be_bytes());
    bytes
}

pub async fn connect(address: SocketAddr) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_nodelay(true)?;
    socket.connect(address).await
}

/// Connects and sends the first bytes.
pub async fn open(address: SocketAddr, first: &[u8]) -> Result<TcpStream> {
    let mut stream = connect(address).await?;
    stream.write_all(first).await?;
    Ok(stream)
}

/// Reads exactly `length` bytes without looking at them.
pub async fn skip(stream: &TcpStream, length: usize) -> Result<()> {
    let mut left = length;
    while left > 0 {
        let read = receive(stream, <[u8]>::len).await?.ok_or(ErrorKind::UnexpectedEof)?;
        left = left.checked_sub(read).ok_or_else(|| Error::other("more bytes than were asked for"))?;
    }
    Ok(())
}

/// Reads to the end of the stream and returns how many bytes came. A reset counts as an end: refusals may end so.
pub async fn drain(stream: &TcpStream) -> Result<usize> {
    let mut total = 0;
    loop {
        match receive(stream, <[u8]>::len).await {
            Ok(Some(read)) => total += read,
            Ok(None) => return Ok(total),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(total),
            Err(error) => return Err(error),
        }
    }
}
