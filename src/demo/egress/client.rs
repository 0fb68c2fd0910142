//! The client's side of the requests to the explicit proxy, without curl.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::calls::EgressCall;
use crate::demo::addresses::EgressAddresses;
use crate::demo::calls::Scheme;
use crate::demo::client::{MAX_ANSWER, Observed, observe, parse, send, send_over_tls};

/// Makes one call and waits for all of its answer.
pub(super) async fn make(call: &EgressCall, addresses: &EgressAddresses, tls: Arc<ClientConfig>) -> Observed {
    observe(exchange(call, addresses, tls)).await
}

async fn exchange(call: &EgressCall, addresses: &EgressAddresses, tls: Arc<ClientConfig>) -> io::Result<Observed> {
    let proxy = call.proxy(addresses).ok_or(io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect(proxy).await?;
    let (name, port) = (call.name, call.port(addresses));
    let rest = format!("HTTP/1.1\r\nHost: {name}:{port}\r\nConnection: close\r\n\r\n");
    match call.scheme {
        Scheme::Http => send(stream, &format!("GET http://{name}:{port}/ {rest}")).await,
        Scheme::Https => {
            if let Some(refusal) = connect(&mut stream, &format!("{}:{port}", call.requested_name())).await? {
                return Ok(refusal);
            }
            let server_name = ServerName::try_from(name).map_err(io::Error::other)?;
            send_over_tls(stream, server_name, &format!("GET / {rest}"), tls).await
        }
    }
}

/// Asks for a tunnel; returns the answer of a proxy that does not open it.
async fn connect(stream: &mut TcpStream, authority: &str) -> io::Result<Option<Observed>> {
    stream.write_all(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    // One by one: what follows the head of a 200 belongs to the tunnel.
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await?);
    }
    if matches!(parse(&answer), Observed::Http { status: 200, .. }) {
        return Ok(None);
    }
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    Ok(Some(parse(&answer)))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::net::TcpListener;

    use super::*;
    use crate::demo::authority::Authority;
    use crate::demo::calls::Expect;
    use crate::demo::egress::calls::EGRESS_CALLS;
    use crate::demo::internet;
    use crate::demo::names;

    fn at(proxy: SocketAddr, https_port: u16) -> EgressAddresses {
        let fronts = names::PROXY_FRONTS.map(|(client, _)| (client, proxy));
        EgressAddresses { fronts: fronts.to_vec(), https_port, http_port: 80 }
    }

    /// A proxy that opens every tunnel, to the site itself.
    #[tokio::test]
    async fn site_sees_one_tls_session_through_a_tunnel() {
        let authority = Authority::new().unwrap();
        let sites = internet::start(&authority).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (proxy, site) = (listener.local_addr().unwrap(), sites.tls);
        let tunnel = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let n = client.read(&mut head).await.unwrap();
            let mut upstream = TcpStream::connect(site).await.unwrap();
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
            String::from_utf8(head[..n].to_vec()).unwrap()
        });
        let call = EGRESS_CALLS.iter().find(|call| call.expect == Expect::Served(200)).unwrap();
        let observed = make(call, &at(proxy, 443), Arc::new(authority.client().unwrap())).await;
        let Observed::Http { status: 200, body, end_to_end: Some(true), .. } = &observed else {
            panic!("{observed:?}")
        };
        assert!(body.contains("hello from packages") && body.contains("via        -"), "{body}");
        let head = tunnel.await.unwrap();
        assert!(head.starts_with("CONNECT packages.example.org:443 HTTP/1.1\r\n"), "{head}");
    }

    #[tokio::test]
    async fn answer_of_a_proxy_that_refuses_a_tunnel_is_read_whole() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let _ = client.read(&mut [0; 4096]).await.unwrap();
            client.write_all(b"HTTP/1.1 403 No\r\nProxy-Status: it; error=e\r\n\r\nbecause").await.unwrap();
        });
        let tls = Arc::new(Authority::new().unwrap().client().unwrap());
        let observed = make(&EGRESS_CALLS[0], &at(proxy, 443), tls).await;
        server.await.unwrap();
        let expected = Observed::Http {
            status: 403,
            proxy_status: Some("it; error=e".to_owned()),
            body: "because".to_owned(),
            end_to_end: None,
        };
        assert_eq!(observed, expected);
    }
}
