//! Stand-in for the Network Load Balancer: relays a front port to latticegate with a PROXY v2 header in front.
//!
//! The header carries what an NLB sends (CRC32C, the VPC endpoint id, NOOP padding) and leaves together with the
//! client's first bytes: before those, latticegate sees an open connection and nothing on it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ppp::v2::{Builder, Command, Protocol, Type, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// One front port.
#[derive(Debug, Clone)]
pub(super) struct Front {
    /// The client's address in the header; its port is the real one.
    pub(super) client: IpAddr,
    pub(super) endpoint: Option<&'static str>,
    /// The destination in the header: the load balancer's own address and port.
    pub(super) virtual_address: SocketAddr,
    /// The source of our connections to the target.
    pub(super) node: IpAddr,
    /// latticegate's listener.
    pub(super) target: SocketAddr,
}

/// Serves one front port until dropped; live connections end with it.
pub(super) async fn serve(listener: TcpListener, front: Front) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((client, from)) => {
                let front = front.clone();
                connections.spawn(async move { relay(client, from.port(), &front).await });
            }
            // Out of descriptors, most likely: wait until some are free instead of spinning.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn relay(mut client: TcpStream, client_port: u16, front: &Front) -> io::Result<()> {
    let socket = if front.target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(front.node, 0))?;
    let mut target = socket.connect(front.target).await?;
    client.set_nodelay(true)?;
    target.set_nodelay(true)?;

    let header = header(SocketAddr::new(front.client, client_port), front.virtual_address, front.endpoint)?;
    let relayed = {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_target, mut to_target) = target.split();
        let up = async {
            let mut first = header;
            if from_client.read_buf(&mut first).await? > 0 {
                // A target that no longer reads has sent its answer the other way: let that arrive.
                let _ = forward(&first, &mut from_client, &mut to_target).await;
            }
            let _ = to_target.shutdown().await;
            Ok(())
        };
        let down = async {
            tokio::io::copy(&mut from_target, &mut to_client).await?;
            to_client.shutdown().await
        };
        tokio::try_join!(up, down).map(|_| ())
    };
    if relayed.is_err() {
        // A reset on one side is a reset on the other.
        client.set_zero_linger()?;
        target.set_zero_linger()?;
    }
    relayed
}

async fn forward(
    first: &[u8],
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
) -> io::Result<u64> {
    to.write_all(first).await?;
    tokio::io::copy(from, to).await
}

/// Length field of an NLB's header, as captured: its addresses and TLVs, padded up to this.
const NLB_LENGTH: usize = 0x54;
/// AWS's own TLV; its first value byte says what follows.
const TLV_AWS: u8 = 0xea;
const TLV_AWS_VPC_ENDPOINT: u8 = 0x01;
/// Signature, version and command, family, length.
const FIXED: usize = 16;
/// Type and length of a TLV.
const TLV_HEAD: usize = 3;

/// The PROXY v2 header for one connection.
fn header(client: SocketAddr, destination: SocketAddr, endpoint: Option<&str>) -> io::Result<Vec<u8>> {
    let blank = compose(client, destination, endpoint, 0)?;
    // The checksum covers the header with the checksum's own bytes as zeros.
    compose(client, destination, endpoint, crc32c::crc32c(&blank))
}

fn compose(client: SocketAddr, destination: SocketAddr, endpoint: Option<&str>, checksum: u32) -> io::Result<Vec<u8>> {
    let mut builder = Builder::with_addresses(Version::Two | Command::Proxy, Protocol::Stream, (client, destination))
        .write_tlv(Type::CRC32C, checksum.to_be_bytes().as_slice())?;
    let addresses = if client.is_ipv4() { 12 } else { 36 };
    let mut used = addresses + TLV_HEAD + 4;
    if let Some(endpoint) = endpoint {
        let value: Vec<u8> = [TLV_AWS_VPC_ENDPOINT].into_iter().chain(endpoint.bytes()).collect();
        builder = builder.write_tlv(TLV_AWS, value.as_slice())?;
        used += TLV_HEAD + value.len();
    }
    if let Some(padding) = NLB_LENGTH.checked_sub(used + TLV_HEAD) {
        builder = builder.write_tlv(Type::NoOp, vec![0; padding].as_slice())?;
    }
    let header = builder.build()?;
    debug_assert!(header.len() > FIXED);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// The TLVs of a header whose address block takes `skip` bytes, walked by hand.
    fn tlvs(header: &[u8], skip: usize) -> Vec<(u8, Vec<u8>)> {
        let mut rest = &header[FIXED + skip..];
        let mut found = Vec::new();
        while !rest.is_empty() {
            let len = usize::from(u16::from_be_bytes([rest[1], rest[2]]));
            found.push((rest[0], rest[3..3 + len].to_vec()));
            rest = &rest[3 + len..];
        }
        found
    }

    #[test]
    fn header_is_what_an_nlb_sends() {
        let header = header(address("192.168.1.20:51234"), address("192.168.0.10:443"), None).unwrap();
        assert_eq!(header.len(), 100);
        assert_eq!(&header[..12], b"\r\n\r\n\0\r\nQUIT\n");
        assert_eq!(header[12..16], [0x21, 0x11, 0x00, 0x54]);
        assert_eq!(header[16..28], [192, 168, 1, 20, 192, 168, 0, 10, 0xc8, 0x22, 0x01, 0xbb]);
        let tlvs = tlvs(&header, 12);
        assert_eq!(tlvs.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [0x03, 0x04]);
        assert_eq!(tlvs[1].1, vec![0; 62]);
    }

    #[test]
    fn checksum_covers_the_whole_header() {
        let mut header = header(address("192.168.1.20:51234"), address("192.168.0.10:443"), Some("vpce-0a1b")).unwrap();
        let sent = u32::from_be_bytes(tlvs(&header, 12)[0].1.clone().try_into().unwrap());
        header[31..35].fill(0);
        assert_eq!(crc32c::crc32c(&header), sent);
    }

    #[test]
    fn endpoint_stands_between_checksum_and_padding() {
        for (client, destination, skip) in
            [("10.20.30.40:7", "192.168.0.10:443", 12), ("[2001:db8::9]:7", "[2001:db8::1]:443", 36)]
        {
            let header = header(address(client), address(destination), Some("vpce-0a1b2c3d4e5f67890")).unwrap();
            assert_eq!(header.len(), 100, "{client}");
            let tlvs = tlvs(&header, skip);
            assert_eq!(tlvs.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [0x03, 0xea, 0x04]);
            assert_eq!(tlvs[1].1, b"\x01vpce-0a1b2c3d4e5f67890");
        }
    }

    /// A front port with the test itself as target.
    async fn front() -> (SocketAddr, TcpListener, JoinSet<()>) {
        let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let front = Front {
            client: "192.168.1.20".parse().unwrap(),
            endpoint: None,
            virtual_address: self::address("192.168.0.10:443"),
            node: "127.0.0.5".parse().unwrap(),
            target: target.local_addr().unwrap(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, front));
        (address, target, tasks)
    }

    #[tokio::test]
    async fn header_comes_with_the_first_bytes_and_both_sides_close_by_halves() {
        let (front, target, _tasks) = front().await;
        let mut client = TcpStream::connect(front).await.unwrap();
        let (mut inner, peer) = target.accept().await.unwrap();
        assert_eq!(peer.ip(), "127.0.0.5".parse::<IpAddr>().unwrap());
        let mut byte = [0];
        let idle = timeout(Duration::from_millis(50), inner.peek(&mut byte)).await;
        assert!(idle.is_err(), "an idle client shows nothing");

        client.write_all(b"hello").await.unwrap();
        let mut first = vec![0; 512];
        let n = timeout(SECOND, inner.read(&mut first)).await.unwrap().unwrap();
        assert_eq!(n, 105, "header and payload in one segment");
        assert_eq!(&first[100..105], b"hello");
        assert_eq!(first[24..26], client.local_addr().unwrap().port().to_be_bytes());

        client.shutdown().await.unwrap();
        assert_eq!(timeout(SECOND, inner.read(&mut first)).await.unwrap().unwrap(), 0);
        inner.write_all(b"bye").await.unwrap();
        drop(inner);
        let mut answer = Vec::new();
        timeout(SECOND, client.read_to_end(&mut answer)).await.unwrap().unwrap();
        assert_eq!(answer, b"bye");
    }

    #[tokio::test]
    async fn an_answer_of_a_target_that_reads_no_more_arrives() {
        let (front, target, _tasks) = front().await;
        let mut client = TcpStream::connect(front).await.unwrap();
        client.write_all(b"first").await.unwrap();
        let (mut inner, _) = target.accept().await.unwrap();
        let mut first = [0; 105];
        inner.read_exact(&mut first).await.unwrap();
        inner.write_all(b"refused").await.unwrap();
        drop(inner);
        let mut answer = [0; 7];
        timeout(SECOND, client.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"refused");
    }

    #[tokio::test]
    async fn reset_of_the_target_resets_the_client() {
        let (front, target, _tasks) = front().await;
        let mut client = TcpStream::connect(front).await.unwrap();
        client.write_all(b"first").await.unwrap();
        let (inner, _) = target.accept().await.unwrap();
        inner.set_zero_linger().unwrap();
        drop(inner);
        let mut answer = Vec::new();
        let error = timeout(SECOND, client.read_to_end(&mut answer)).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_silent_client_is_an_empty_connection() {
        let (front, target, _tasks) = front().await;
        drop(TcpStream::connect(front).await.unwrap());
        let (mut inner, _) = target.accept().await.unwrap();
        let mut first = Vec::new();
        timeout(SECOND, inner.read_to_end(&mut first)).await.unwrap().unwrap();
        assert_eq!(first, b"");
    }
}
