//! A URL on loopback, such as the AppConfig agent's: requested with the ETag of the list in force, without redirects.

use std::fmt;
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_LENGTH, ETAG, HOST, HeaderMap, IF_NONE_MATCH, LAST_MODIFIED, TRANSFER_ENCODING};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::fetched::{ListText, ListVersion, SourceError, TOO_LARGE, Update};
use latticegate_core::config::LoopbackUrl;
use latticegate_core::yaml::MAX_BYTES;

/// For one response, from connect to its last byte.
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct HttpSource {
    url: LoopbackUrl,
}

impl HttpSource {
    pub fn new(url: LoopbackUrl) -> Self {
        Self { url }
    }

    pub(super) async fn fetch(&self, known: Option<&ListVersion>) -> Result<Update<ListText>, SourceError> {
        let result = timeout(TIMEOUT, self.get(known)).await;
        result
            .unwrap_or_else(|_| Err(format!("does not answer within {TIMEOUT:?}")))
            .map_err(|why| SourceError::Unreachable(format!("{self}: {why}")))
    }

    async fn get(&self, known: Option<&ListVersion>) -> Result<Update<ListText>, String> {
        let stream = TcpStream::connect(self.url.address).await.map_err(|error| format!("cannot connect: {error}"))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        spawn_local(async move {
            // The request has the same error.
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
            StatusCode::NOT_MODIFIED => return Ok(Update::InForce),
            status if status.is_redirection() => return Err(format!("answers {status}; redirects are not followed")),
            status => return Err(format!("answers {status}")),
        }
        if !is_bounded(response.headers()) {
            return Err("the response does not state its length, so a truncated one would look complete".to_owned());
        }
        let label = response.headers().get(ETAG).and_then(|etag| etag.to_str().ok()).unwrap_or_default().into();
        let modified = response.headers().get(LAST_MODIFIED).and_then(|date| http_date(date.to_str().ok()?));
        let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
        let bytes = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => format!("the response {TOO_LARGE}"),
            None => format!("the response cannot be read: {error}"),
        })?;
        let bytes = bytes.to_bytes();
        Ok(Update::New(ListText { bytes: bytes.to_vec(), label, modified }))
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7).
fn http_date(text: &str) -> Option<SystemTime> {
    Some(jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?.into())
}

/// Otherwise the body ends with the connection.
fn is_bounded(headers: &HeaderMap) -> bool {
    headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING)
}

impl fmt::Display for HttpSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.url, f)
    }
}
