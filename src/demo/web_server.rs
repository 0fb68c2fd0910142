//! What is behind latticegate in the demo: an HTTP server at one address, HTTPS on one port and HTTP on another, which
//! answers every request with what it saw of it.

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::{ProtocolVersion, ServerConfig, ServerConnection};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// RFC 5705 label; private labels begin with EXPERIMENTAL.
pub(super) const EXPORTER_LABEL: &[u8] = b"EXPERIMENTAL latticegate demo";
/// The line that carries the exporter's value begins with this.
pub(super) const EXPORTER_LINE: &str = "exporter";
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// A running server; it ends when dropped.
pub(super) struct WebServer {
    pub(super) tls: SocketAddr,
    pub(super) http: SocketAddr,
    connections: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

/// Writes the text of an answer and returns its status.
pub(super) type Answer = fn(&Asked<'_>, &mut Page) -> StatusCode;

impl WebServer {
    pub(super) async fn start(address: Ipv4Addr, tls: ServerConfig, answer: Answer) -> io::Result<Self> {
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let tls = TcpListener::bind((address, 0)).await?;
        let http = TcpListener::bind((address, 0)).await?;
        let (tls_address, http_address) = (tls.local_addr()?, http.local_addr()?);
        let connections = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(tls, Some(acceptor), answer, Arc::clone(&connections)));
        tasks.spawn(serve(http, None, answer, Arc::clone(&connections)));
        Ok(Self { tls: tls_address, http: http_address, connections, _tasks: tasks })
    }

    /// Connections accepted so far on both ports.
    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, answer: Answer, connections: Arc<AtomicU64>) {
    let mut tasks = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                connections.fetch_add(1, Ordering::Relaxed);
                let tls = tls.clone();
                tasks.spawn(async move { serve_connection(stream, from, tls, answer).await });
            }
            // Out of descriptors, most likely: wait until some are free instead of spinning.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        while tasks.try_join_next().is_some() {}
    }
}

/// One connection; clients that break off or do not speak HTTP are ignored.
async fn serve_connection(
    stream: TcpStream,
    from: SocketAddr,
    tls: Option<TlsAcceptor>,
    answer: Answer,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let served = if let Some(acceptor) = tls {
        let stream = acceptor.accept(stream).await?;
        let info = Arc::new(ConnectionInfo { from, tls: Some(Tls::of(stream.get_ref().1)) });
        let service = service_fn(move |request| respond(Arc::clone(&info), request, answer));
        http.serve_connection(TokioIo::new(stream), service).await
    } else {
        let info = Arc::new(ConnectionInfo { from, tls: None });
        let service = service_fn(move |request| respond(Arc::clone(&info), request, answer));
        http.serve_connection(TokioIo::new(stream), service).await
    };
    served.map_err(io::Error::other)
}

/// What is known about a connection.
pub(super) struct ConnectionInfo {
    pub(super) from: SocketAddr,
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

/// A request whose body has been read.
pub(super) struct Asked<'a> {
    pub(super) connection: &'a ConnectionInfo,
    pub(super) head: &'a Parts,
    body_bytes: usize,
}

impl Asked<'_> {
    /// A header field; empty where there is none.
    pub(super) fn field(&self, name: &str) -> &str {
        self.head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(super) fn host(&self) -> &str {
        self.field(HOST.as_str())
    }

    pub(super) fn path_and_query(&self) -> &str {
        self.head.uri.path_and_query().map_or("/", |path| path.as_str())
    }
}

/// The text of an answer: a verdict, and lines about what was seen.
#[derive(Default)]
pub(super) struct Page(String);

impl Page {
    pub(super) fn verdict(&mut self, text: &str) {
        self.0.extend([text, "\n"]);
    }

    pub(super) fn line(&mut self, name: &str, value: &str) {
        let _ = writeln!(self.0, "  {name:<10} {value}");
    }

    /// The request as it arrived; its target shows whether it came in origin form.
    pub(super) fn request(&mut self, asked: &Asked<'_>) {
        let Parts { method, uri, .. } = asked.head;
        self.line("request", &format!("{method} {uri}, {} bytes of body", asked.body_bytes));
        self.line("host", asked.host());
    }

    pub(super) fn tls(&mut self, connection: &ConnectionInfo) {
        match &connection.tls {
            Some(tls) => {
                let name = tls.server_name.as_deref().unwrap_or("-");
                self.line("tls", &format!("{}, ended here; server name {name}", tls.version));
                self.line(EXPORTER_LINE, tls.exporter.as_deref().unwrap_or("-"));
            }
            None => self.line("tls", "no"),
        }
    }
}

async fn respond(
    connection: Arc<ConnectionInfo>,
    request: Request<Incoming>,
    answer: Answer,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, mut body) = request.into_parts();
    let mut body_bytes = 0;
    while let Some(frame) = body.frame().await {
        body_bytes += frame?.data_ref().map_or(0, Bytes::len);
    }
    let mut page = Page::default();
    let status = answer(&Asked { connection: &connection, head: &head, body_bytes }, &mut page);
    let mut response = Response::new(Full::new(Bytes::from(page.0)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(response)
}
