//! A Network Load Balancer's health checks, byte for byte as captured.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use support::namespace::Namespace;

use crate::network::TASK;
use crate::process::DEADLINE;
use crate::proxy::get;

/// Opens one connection of each kind to `port` of the task, from the load balancer.
pub(crate) fn probe(balancer: &Namespace, port: u16) -> std::io::Result<()> {
    let address = SocketAddr::new(TASK.parse::<Ipv4Addr>().unwrap().into(), port);
    balancer.enter(|| {
        let connect = || {
            let stream = TcpStream::connect_timeout(&address, DEADLINE)?;
            stream.set_read_timeout(Some(DEADLINE))?;
            std::io::Result::Ok(stream)
        };
        // Connected and closed.
        drop(connect()?);
        // Connected, and half closed: the answer is the end of the stream and not a byte.
        let stream = connect()?;
        stream.shutdown(Shutdown::Write)?;
        silent(stream)?;
        // LOCAL, then closed.
        let mut stream = connect()?;
        stream.write_all(&local_header())?;
        drop(stream);
        // LOCAL in two pieces, then half closed.
        let (header, mut stream) = (local_header(), connect()?);
        stream.set_nodelay(true)?;
        stream.write_all(&header[..20])?;
        std::thread::sleep(Duration::from_millis(20));
        stream.write_all(&header[20..])?;
        stream.shutdown(Shutdown::Write)?;
        silent(stream)
    })
}

/// How many silent connections, and how many LOCAL ones, one call of [`probe`] makes.
pub(crate) const OF_EACH_KIND: u64 = 2;

/// What the health port answers the load balancer, with `header` in front of the request.
pub(crate) fn readiness(balancer: &Namespace, header: &[u8]) -> std::io::Result<String> {
    let address = SocketAddr::new(TASK.parse::<Ipv4Addr>().unwrap().into(), 9901);
    balancer.enter(|| {
        let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
        stream.write_all(header)?;
        Ok(get(stream, "/readyz"))
    })
}

fn silent(mut stream: TcpStream) -> std::io::Result<()> {
    let mut said = Vec::new();
    stream.read_to_end(&mut said)?;
    if said.is_empty() { Ok(()) } else { Err(std::io::Error::other(format!("a probe was told {said:02x?}"))) }
}

/// `20 11 00 54 | 03 00 04 <crc32c> | 04 00 4a 00...`: LOCAL, and no address block although the family says IPv4.
pub(crate) fn local_header() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x20\x11\x00\x54\x03\x00\x04\0\0\0\0\x04\x00\x4a".to_vec();
    header.resize(16 + 0x54, 0);
    // The checksum is computed with its own field zero.
    let crc = crc32c::crc32c(&header);
    header[19..23].copy_from_slice(&crc.to_be_bytes());
    header
}

#[test]
fn the_local_header_is_as_long_as_it_says() {
    let header = local_header();
    assert_eq!(header.len(), 100);
    assert_eq!(u16::from_be_bytes([header[14], header[15]]), 84);
    assert_eq!(header[23..26], [4, 0, 0x4a]);
    assert_ne!(header[19..23], [0; 4]);
}
