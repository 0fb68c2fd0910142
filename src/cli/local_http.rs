//! One request to a port of a latticegate that runs on this machine.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// The whole response, head included, as far as it is no longer than `most`. `fields` are lines of the request's head.
pub(super) fn get(bound: SocketAddr, target: &str, fields: &str, patience: Duration, most: u64) -> io::Result<String> {
    let address = loopback(bound);
    // A listener on [::] falls back to IPv4 where there is no IPv6.
    let connected = connect(address, patience).or_else(|error| match bound.ip() {
        IpAddr::V6(ip) if ip.is_unspecified() => connect((Ipv4Addr::LOCALHOST, bound.port()).into(), patience),
        _ => Err(error),
    });
    let mut stream = connected?;
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {address}\r\n{fields}Connection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(most).read_to_string(&mut answer)?;
    Ok(answer)
}

fn connect(address: SocketAddr, patience: Duration) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.connect_timeout(&address.into(), patience)?;
    socket.set_read_timeout(Some(patience))?;
    socket.set_write_timeout(Some(patience))?;
    Ok(socket)
}

/// Where a listener on every address is reached from here.
pub(super) fn loopback(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}
