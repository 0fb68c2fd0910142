//! One connection: TCP, the PROXY header if wanted, TLS if wanted, HTTP/1.1 requests one after the other.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::failure::{Failed, Failure};

/// How long the other side may take to close a connection that is not kept.
const CLOSING: Duration = Duration::from_secs(2);
/// Of the body of an answer with a bad status: enough for a sentence.
const EXCERPT: usize = 300;

/// How connections are made.
pub struct Connector {
    pub tls: Option<TlsConnector>,
    pub proxy_protocol: bool,
    /// Whether the other side closes, after each answer.
    pub closes: bool,
    pub bytes: Arc<ByteCounts>,
}

#[derive(Default)]
pub struct ByteCounts {
    pub sent: AtomicU64,
    pub received: AtomicU64,
}

impl Connector {
    /// `name`: the service's, for TLS.
    pub async fn open(&self, address: SocketAddr, name: Option<&ServerName<'static>>) -> Result<Connection, Failed> {
        let stream = self.connect(address).await.map_err(|error| Failed::io(&error))?;
        let stream = Counted { stream, bytes: Arc::clone(&self.bytes) };
        let closes = self.closes;
        match (&self.tls, name) {
            (Some(tls), Some(name)) => {
                let stream = tls.connect(name.clone(), stream).await.map_err(|error| Failed::io(&error))?;
                Connection::over(Closing { stream, closes }).await
            }
            _ => Connection::over(Closing { stream, closes }).await,
        }
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_nodelay(true)?;
        let mut stream = socket.connect(address).await?;
        if self.proxy_protocol {
            stream.write_all(&proxy_header(stream.local_addr()?, stream.peer_addr()?)?).await?;
        }
        Ok(stream)
    }
}

fn proxy_header(source: SocketAddr, destination: SocketAddr) -> io::Result<Vec<u8>> {
    use ppp::v2::{Builder, Command, Protocol, Version};
    Builder::with_addresses(Version::Two | Command::Proxy, Protocol::Stream, (source, destination)).build()
}

/// Requests can be sent on it, one after the other.
pub struct Connection {
    sender: Option<SendRequest<Empty<Bytes>>>,
    driver: JoinHandle<()>,
}

/// A complete answer.
pub struct Answer {
    pub status: u16,
    /// The beginning of the body if the status is a bad one.
    pub excerpt: String,
}

impl Connection {
    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + 'static) -> Result<Self, Failed> {
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| Failed::http(&error))?;
        // Its error is the request's as well, if there is one.
        let driver = tokio::task::spawn_local(async move { drop(connection.await) });
        Ok(Self { sender: Some(sender), driver })
    }

    /// Whether the other side has not closed it.
    pub async fn is_open(&mut self) -> bool {
        match &mut self.sender {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        }
    }

    pub async fn exchange(&mut self, request: Request<Empty<Bytes>>) -> Result<Answer, Failed> {
        let Some(sender) = &mut self.sender else {
            return Err(Failed::new(Failure::Other, "the connection is closed"));
        };
        let answer = sender.send_request(request).await.map_err(|error| Failed::http(&error).unanswered())?;
        let status = answer.status().as_u16();
        let (mut body, mut excerpt) = (answer.into_body(), Vec::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Failed::http(&error))?;
            let data = frame.data_ref().filter(|_| !(200..400).contains(&status));
            excerpt.extend(data.into_iter().flatten().take(EXCERPT.saturating_sub(excerpt.len())));
        }
        let excerpt = String::from_utf8_lossy(&excerpt).lines().next().unwrap_or_default().to_owned();
        Ok(Answer { status, excerpt })
    }

    /// Sends nothing more; returns when it is closed.
    pub async fn close(mut self) {
        self.sender = None;
        let _ = timeout(CLOSING, &mut self.driver).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Counts the bytes of a connection.
struct Counted {
    stream: TcpStream,
    bytes: Arc<ByteCounts>,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.bytes.received.fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.bytes.sent.fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Leaves it to the other side to close first, if it does so: the end that closes first cannot use its port again for a
/// minute, and a generator has only so many ports towards one address. Nothing is sent to it any more, not even TLS's own
/// farewell, which would be answered with a reset.
struct Closing<S> {
    stream: S,
    closes: bool,
}

impl<S: AsyncRead + Unpin> AsyncRead for Closing<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Closing<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closes {
            return Pin::new(&mut self.stream).poll_shutdown(cx);
        }
        loop {
            let mut rest = [0; 1024];
            let mut buf = ReadBuf::new(&mut rest);
            ready!(self.as_mut().poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
