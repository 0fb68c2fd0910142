//! A minimal client for the demo's requests, without curl: one GET over one connection.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::addresses::Addresses;
use super::calls::{Call, Scheme};
use super::web_server::{EXPORTER_LABEL, EXPORTER_LINE, hex};
use super::{names, sigv4};

const DEADLINE: Duration = Duration::from_secs(10);
/// More than any answer of the demo.
pub(super) const MAX_ANSWER: u64 = 64 * 1024;

/// What the client received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Observed {
    Http {
        status: u16,
        /// The field of that name.
        proxy_status: Option<String>,
        body: String,
        /// Where TLS was used: the service computed the same exporter value, so both hold one TLS session.
        end_to_end: Option<bool>,
    },
    Alert(AlertDescription),
    /// Closed without an answer, in good order: a reset is not.
    Closed,
    Unexpected(String),
}

/// Makes one call and waits for all of its answer.
pub(super) async fn make(call: &Call, addresses: &Addresses, tls: Arc<ClientConfig>) -> Observed {
    observe(exchange(call, addresses, tls)).await
}

/// What comes of an exchange, errors and a deadline included.
pub(super) async fn observe(exchange: impl Future<Output = io::Result<Observed>>) -> Observed {
    match tokio::time::timeout(DEADLINE, exchange).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => failed(&error),
        Err(_) => Observed::Unexpected(format!("no answer within {} s", DEADLINE.as_secs())),
    }
}

async fn exchange(call: &Call, addresses: &Addresses, tls: Arc<ClientConfig>) -> io::Result<Observed> {
    let entrance = call.entrance(addresses);
    let stream = TcpStream::connect(entrance).await?;
    // An address is not sent as server name: that is the call without SNI.
    let (server_name, host) = match call.name {
        Some(name) => (ServerName::try_from(name).map_err(io::Error::other)?, name.to_owned()),
        None => (ServerName::from(entrance.ip()), entrance.to_string()),
    };
    let request = request(&host, call.signed)?;
    match call.scheme {
        Scheme::Http => send(stream, &request).await,
        Scheme::Https => send_over_tls(stream, server_name, &request, tls).await,
    }
}

/// One request over a TLS session of its own.
pub(super) async fn send_over_tls(
    stream: TcpStream,
    server_name: ServerName<'static>,
    request: &str,
    tls: Arc<ClientConfig>,
) -> io::Result<Observed> {
    let stream = TlsConnector::from(tls).connect(server_name, stream).await?;
    let exporter = stream.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, None);
    let exporter = exporter.map_err(io::Error::other)?;
    let mut answer = send(stream, request).await?;
    if let Observed::Http { body, end_to_end, .. } = &mut answer {
        *end_to_end = Some(exporter_in(body) == Some(&hex(&exporter)));
    }
    Ok(answer)
}

fn request(host: &str, signed: bool) -> io::Result<String> {
    let mut request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    if signed {
        let fields = sigv4::fields("GET", host, "/", SystemTime::now(), names::SECRET_KEY)
            .ok_or_else(|| io::Error::other("the request cannot be signed"))?;
        for (name, value) in fields {
            request.extend([&name, ": ", &value, "\r\n"]);
        }
    }
    request.push_str("\r\n");
    Ok(request)
}

pub(super) async fn send(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> io::Result<Observed> {
    // A refusal may come, and the connection be gone, before all is sent; what matters is what can be read.
    let sent = async {
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await
    }
    .await;
    let mut bytes = Vec::new();
    let read = (&mut stream).take(MAX_ANSWER).read_to_end(&mut bytes).await;
    if bytes.is_empty() {
        sent.and(read.map(|_| ()))?;
        return Ok(Observed::Closed);
    }
    Ok(parse(&bytes))
}

pub(super) fn parse(bytes: &[u8]) -> Observed {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(len)) = head.parse(bytes) else {
        return Observed::Unexpected(format!("no HTTP: {}", String::from_utf8_lossy(bytes).escape_debug()));
    };
    let body = String::from_utf8_lossy(bytes.get(len..).unwrap_or_default()).into_owned();
    let proxy_status = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case("proxy-status"));
    let proxy_status = proxy_status.map(|field| String::from_utf8_lossy(field.value).into_owned());
    Observed::Http { status: head.code.unwrap_or_default(), proxy_status, body, end_to_end: None }
}

fn exporter_in(body: &str) -> Option<&str> {
    body.lines().find_map(|line| line.trim().strip_prefix(EXPORTER_LINE).map(str::trim))
}

/// What an error of TCP or TLS means to the client.
fn failed(error: &io::Error) -> Observed {
    match error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(alert)) => Observed::Alert(*alert),
        Some(other) => Observed::Unexpected(other.to_string()),
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof => Observed::Closed,
            _ => Observed::Unexpected(error.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::net::TcpListener;

    use super::super::addresses::PortPair;
    use super::super::authority::Authority;
    use super::super::calls::{CALLS, Expect};
    use super::super::lattice;
    use super::*;

    fn straight_to(tls: SocketAddr, http: SocketAddr) -> Addresses {
        let ports = PortPair { tls, http };
        Addresses { fronts: names::FRONTS.map(|(client, ..)| (client, ports)).to_vec(), gate: ports }
    }

    /// The calls that a service answers, made to the services themselves.
    #[tokio::test]
    async fn services_answer_as_expected_and_see_one_tls_session() {
        let authority = Authority::new().unwrap();
        let lattice = lattice::start(&authority).await.unwrap();
        let addresses = straight_to(lattice.tls, lattice.http);
        let tls = Arc::new(authority.client().unwrap());
        let mut served = 0;
        for call in &CALLS {
            let Expect::Served(expected) = call.expect else { continue };
            let answer = make(call, &addresses, Arc::clone(&tls)).await;
            let Observed::Http { status, body, end_to_end, .. } = &answer else { panic!("{}: {answer:?}", call.title) };
            assert_eq!(*status, expected, "{}: {body}", call.title);
            assert_eq!(*end_to_end, (call.scheme == Scheme::Https).then_some(true), "{}: {body}", call.title);
            assert!(body.contains(call.name.unwrap()), "{body}");
            assert_eq!(body.contains("good, covers host;"), call.signed, "{body}");
            served += 1;
        }
        assert_eq!(served, 6);
        assert_eq!(lattice.connections(), 6);
    }

    /// A proxy that ended TLS itself would hold two sessions, and the exporter values would differ.
    #[tokio::test]
    async fn terminated_tls_is_detected() {
        let authority = Authority::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(authority.server(&[names::ORDERS]).unwrap()));
        let middle = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(stream).await.unwrap();
            let mut request = [0; 16];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n  exporter   00ff\n").await.unwrap();
            stream.shutdown().await.unwrap();
        });
        let tls = Arc::new(authority.client().unwrap());
        let answer = make(&CALLS[0], &straight_to(address, address), tls).await;
        assert!(matches!(answer, Observed::Http { status: 200, end_to_end: Some(false), .. }), "{answer:?}");
        middle.await.unwrap();
    }

    #[tokio::test]
    async fn alert_and_close_are_distinguished() {
        let authority = Authority::new().unwrap();
        let tls = Arc::new(authority.client().unwrap());
        let no_sni = CALLS.iter().find(|call| call.name.is_none()).unwrap();
        for (reply, expected) in [
            (&[0x15, 3, 3, 0, 2, 2, 112][..], Observed::Alert(AlertDescription::UnrecognisedName)),
            (&[][..], Observed::Closed),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut hello = [0; 4096];
                let n = stream.read(&mut hello).await.unwrap();
                stream.write_all(reply).await.unwrap();
                hello[..n].to_vec()
            });
            let answer = make(no_sni, &straight_to(address, address), Arc::clone(&tls)).await;
            assert_eq!(answer, expected);
            let hello = server.await.unwrap();
            let mut acceptor = rustls::server::Acceptor::default();
            acceptor.read_tls(&mut hello.as_slice()).unwrap();
            let accepted = acceptor.accept().ok().flatten().expect("a whole ClientHello");
            assert_eq!(accepted.client_hello().server_name(), None);
        }
    }
}
