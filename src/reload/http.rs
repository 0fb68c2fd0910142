//! A URL on loopback, such as the AppConfig agent's: asked with the ETag of what is in force, no redirects.

use std::fmt;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_LENGTH, ETAG, HOST, HeaderMap, IF_NONE_MATCH, TRANSFER_ENCODING};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::{Fetched, Looked, SourceError, Version};
use latticegate_core::config::LoopbackUrl;
use latticegate_core::yaml::MAX_BYTES;

/// For one answer, from connect to its last byte.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct HttpSource {
    url: LoopbackUrl,
}

impl HttpSource {
    pub fn new(url: LoopbackUrl) -> Self {
        Self { url }
    }

    pub(super) async fn fetch(&self, known: Option<&Version>) -> Result<Looked, SourceError> {
        let result = timeout(PATIENCE, self.get(known)).await;
        result
            .unwrap_or_else(|_| Err(format!("does not answer within {PATIENCE:?}")))
            .map_err(|why| SourceError::Unreachable(format!("{self}: {why}")))
    }

    async fn get(&self, known: Option<&Version>) -> Result<Looked, String> {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(self.connect().await?))
            .await
            .map_err(|error| error.to_string())?;
        spawn_local(async move {
            // Its error is the request's error too.
            let _ = connection.await;
        });
        let mut request = Request::get(&*self.url.path).header(HOST, self.url.address.to_string());
        if let Some(known) = known.filter(|known| !known.label.is_empty()) {
            request = request.header(IF_NONE_MATCH, &*known.label);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED => return Ok(Looked::AsInForce),
            status if status.is_redirection() => return Err(format!("answers {status}; redirects are not followed")),
            status => return Err(format!("answers {status}")),
        }
        if !is_bounded(response.headers()) {
            return Err("the answer does not tell its length, so that half of it would look like all of it".to_owned());
        }
        let label = response.headers().get(ETAG).and_then(|etag| etag.to_str().ok()).unwrap_or_default().into();
        let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
        let bytes = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => "the answer is larger than 4 MiB".to_owned(),
            None => format!("the answer cannot be read: {error}"),
        })?;
        let bytes = bytes.to_bytes();
        Ok(Looked::Fetched(Fetched { bytes: bytes.to_vec(), label }))
    }

    async fn connect(&self) -> Result<TcpStream, String> {
        let address = self.url.address;
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        match socket {
            Ok(socket) => socket.connect(address).await.map_err(|error| format!("cannot connect: {error}")),
            Err(error) => Err(format!("cannot connect: {error}")),
        }
    }
}

/// Otherwise the body ends where the connection does.
fn is_bounded(headers: &HeaderMap) -> bool {
    headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING)
}

impl fmt::Display for HttpSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.url.address, self.url.path)
    }
}
