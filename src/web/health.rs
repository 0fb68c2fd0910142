//! `/healthz` and `/readyz`, with or without a PROXY v2 header in front: an NLB with PROXY v2 sends one to the
//! health port too; ECS and curl do not.

use std::cell::RefCell;
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::http::request::Parts;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, join};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::response::{FullResponse, not_found, text};
use super::server::Service;
use crate::proxy::read_ahead::ReadAhead;
use crate::telemetry::status::Status;
use latticegate_core::outcome::RefuseReason;
use latticegate_core::protocol::Verdict;
use latticegate_core::protocol::proxy_header;

pub struct Health(pub Arc<Status>);

impl Service for Health {
    const PROXY_HEADER: bool = true;

    async fn answer(&self, _: &Parts, path: &str) -> FullResponse {
        match path {
            "/healthz" => text(StatusCode::OK, "alive\n"),
            "/readyz" => match readiness(&self.0) {
                Ok(ready) => text(StatusCode::OK, ready),
                Err(unready) => text(StatusCode::SERVICE_UNAVAILABLE, unready),
            },
            _ => not_found("/healthz /readyz"),
        }
    }
}

/// Ready, with warnings, or why not, in lines.
pub(super) fn readiness(status: &Status) -> Result<String, String> {
    status.ready().map_err(|unready| format!("not ready: {unready}\n"))?;
    let warnings = status.warnings().map(|warning| format!("warning: {warning}\n"));
    Ok(std::iter::once("ready\n".to_owned()).chain(warnings).collect())
}

/// For the header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// The stream after its PROXY v2 header, or the whole stream where there is none. None where the header is malformed
/// or does not arrive in time.
pub(super) async fn skip_proxy_header(mut stream: TcpStream) -> Option<impl AsyncRead + AsyncWrite + Unpin + 'static> {
    let mut ahead = ReadAhead::default();
    let scratch = RefCell::new(vec![0; 4096].into());
    let (bound, too_long) = (proxy_header::MAX_HEADER, RefuseReason::ProxyMalformed);
    let read = ahead.until(&mut stream, &scratch, bound, too_long, header_length, |_| Ok(()));
    let ((), len) = timeout(HEADER_TIMEOUT, read).await.ok()?.ok()?;
    ahead.consume(len);
    let (reader, writer) = stream.into_split();
    Some(join(Cursor::new(ahead.into_pending()).chain(reader), writer))
}

/// Zero where what comes is no header: no HTTP request begins like the signature.
fn header_length(bytes: &[u8]) -> Verdict<()> {
    match proxy_header::parse(bytes) {
        Verdict::Found { len, .. } => Verdict::Found { value: (), len },
        Verdict::Refuse(_) if !bytes.starts_with(b"\r\n\r\n\0") => Verdict::Found { value: (), len: 0 },
        Verdict::Refuse(reason) => Verdict::Refuse(reason),
        Verdict::NeedMore => Verdict::NeedMore,
    }
}
