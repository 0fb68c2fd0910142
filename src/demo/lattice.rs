//! Stand-in for VPC Lattice: two services behind one address, HTTPS and HTTP, one of them for signed requests only.
//!
//! An answer says what the service saw, which shows that latticegate changed nothing on the way.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::{ProtocolVersion, ServerConnection};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::authority::Authority;
use super::sigv4::{self, Signable};
use super::{Error, names};

/// RFC 5705 label; private labels begin with EXPERIMENTAL.
pub(super) const EXPORTER_LABEL: &[u8] = b"EXPERIMENTAL latticegate demo";
/// The line that carries the exporter's value begins with this.
pub(super) const EXPORTER_LINE: &str = "exporter";
const PART: &str = "the stand-in for VPC Lattice";
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Both services, running; they end when dropped.
pub(super) struct Lattice {
    pub(super) tls: SocketAddr,
    pub(super) http: SocketAddr,
    connections: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Lattice {
    pub(super) async fn start(authority: &Authority) -> Result<Self, Error> {
        let acceptor = TlsAcceptor::from(Arc::new(authority.server(&[names::ORDERS, names::BILLING])?));
        let tls = TcpListener::bind((names::LATTICE, 0)).await.map_err(Error::of(PART))?;
        let http = TcpListener::bind((names::LATTICE, 0)).await.map_err(Error::of(PART))?;
        let (tls_address, http_address) =
            (tls.local_addr().map_err(Error::of(PART))?, http.local_addr().map_err(Error::of(PART))?);
        let connections = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(tls, Some(acceptor), Arc::clone(&connections)));
        tasks.spawn(serve(http, None, Arc::clone(&connections)));
        Ok(Self { tls: tls_address, http: http_address, connections, _tasks: tasks })
    }

    /// Connections accepted so far on both ports.
    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, connections: Arc<AtomicU64>) {
    let mut tasks = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                connections.fetch_add(1, Ordering::Relaxed);
                let tls = tls.clone();
                tasks.spawn(async move { serve_connection(stream, from, tls).await });
            }
            // Out of descriptors, most likely: wait until some are free instead of spinning.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        while tasks.try_join_next().is_some() {}
    }
}

/// One connection; clients that break off or do not speak HTTP are ignored.
async fn serve_connection(stream: TcpStream, from: SocketAddr, tls: Option<TlsAcceptor>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let served = if let Some(acceptor) = tls {
        let stream = acceptor.accept(stream).await?;
        let info = Arc::new(ConnectionInfo { from, tls: Some(Tls::of(stream.get_ref().1)) });
        let service = service_fn(move |request| answer(Arc::clone(&info), request));
        http.serve_connection(TokioIo::new(stream), service).await
    } else {
        let info = Arc::new(ConnectionInfo { from, tls: None });
        let service = service_fn(move |request| answer(Arc::clone(&info), request));
        http.serve_connection(TokioIo::new(stream), service).await
    };
    served.map_err(io::Error::other)
}

/// What a service knows about a connection.
struct ConnectionInfo {
    from: SocketAddr,
    tls: Option<Tls>,
}

struct Tls {
    version: &'static str,
    server_name: Option<String>,
    exporter: Option<String>,
}

impl Tls {
    fn of(connection: &ServerConnection) -> Self {
        let version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS",
        };
        let exporter = connection.export_keying_material([0; 32], EXPORTER_LABEL, None).ok();
        Self {
            version,
            server_name: connection.server_name().map(ToOwned::to_owned),
            exporter: exporter.map(|value| hex(&value)),
        }
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

async fn answer(info: Arc<ConnectionInfo>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, mut body) = request.into_parts();
    let mut received = 0;
    while let Some(frame) = body.frame().await {
        received += frame?.data_ref().map_or(0, Bytes::len);
    }
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
    let path_and_query = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let signature = sigv4::verify(
        Signable { method: head.method.as_str(), path_and_query, headers: &head.headers },
        SystemTime::now(),
    );

    let (status, verdict) = match (host.as_str(), &signature) {
        (names::ORDERS, _) => (StatusCode::OK, "hello from orders, a service open to everyone"),
        (names::BILLING, Ok(_)) => (StatusCode::OK, "hello from billing, your signature is good"),
        (names::BILLING, Err(_)) => (StatusCode::FORBIDDEN, "billing takes signed requests only (the service says so)"),
        _ => (StatusCode::NOT_FOUND, "no service of this name (the service says so)"),
    };
    let mut text = format!("{verdict}\n");
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<10} {value}");
    };
    line("request", &format!("{} {path_and_query}, {received} bytes of body", head.method));
    line("host", &host);
    match &info.tls {
        Some(tls) => {
            let name = tls.server_name.as_deref().unwrap_or("-");
            line("tls", &format!("{}, ended here; server name {name}", tls.version));
            line(EXPORTER_LINE, tls.exporter.as_deref().unwrap_or("-"));
        }
        None => line("tls", "no"),
    }
    match signature {
        Ok(covered) => line("signature", &format!("good, covers {covered}")),
        Err(error) => line("signature", &error.to_string()),
    }
    line("came from", &format!("{} (latticegate, at layer 4)", info.from));

    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(response)
}
