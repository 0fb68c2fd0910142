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
    /// For CONNECT and absolute-form requests.
    pub forward: SocketAddr,
    pub proxied: bool,
}

impl Target {
    /// Every peer's configuration listens here.
    pub fn peer() -> Self {
        let tls = SocketAddr::from((Ipv4Addr::LOCALHOST, 8443));
        Self {
            tls,
            http: (Ipv4Addr::LOCALHOST, 8080).into(),
            real_tls: tls,
            forward: (Ipv4Addr::LOCALHOST, 3128).into(),
            proxied: true,
        }
    }

    /// No peer at all: what the machine, the client and the upstream can do at best.
    pub fn direct() -> Self {
        Self {
            tls: (upstream::PLAIN, 443).into(),
            http: (upstream::PLAIN, 80).into(),
            real_tls: (upstream::TLS, 443).into(),
            forward: (upstream::PLAIN, 80).into(),
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

/// Asks for a tunnel to `name`, port 443, and waits until it is open.
pub async fn open_tunnel(target: &Target, header: &[u8], name: &str) -> Result<TcpStream> {
    let request = format!("CONNECT {name}:443 HTTP/1.1\r\nHost: {name}:443\r\nUser-Agent: curl/7.88.1\r\n\r\n");
    let mut stream = open(target.forward, &[header, request.as_bytes()].concat()).await?;
    let mut answer = Vec::new();
    while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
        receive(&stream, |bytes| answer.extend_from_slice(bytes)).await?.ok_or(ErrorKind::UnexpectedEof)?;
    }
    // Nothing can follow the head: the upstream waits for the hello.
    if is_status(&answer, 200) && answer.ends_with(b"\r\n\r\n") {
        return Ok(stream);
    }
    stream.shutdown().await?;
    drain(&stream).await?;
    Err(if is_status(&answer, 403) { ErrorKind::PermissionDenied.into() } else { Error::other("no tunnel") })
}

/// Whether an answer of HTTP/1 begins with this status.
pub fn is_status(answer: &[u8], status: u16) -> bool {
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    line.starts_with("HTTP/1.") && line.split(' ').nth(1) == Some(&*status.to_string())
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
