//! `/healthz` and `/readyz`, with or without a PROXY v2 header in front: an NLB with PROXY v2 sends one to the
//! health port too, ECS and curl do not.

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, join};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Body, Site, not_found, text};
use crate::telemetry::status::Status;
use latticegate_core::protocol::Verdict;
use latticegate_core::protocol::proxy_header;

pub struct Health(pub Arc<Status>);

impl Site for Health {
    const PROXY_HEADER: bool = true;

    async fn answer(&self, _: &Parts, path: &str) -> Response<Body> {
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

/// Ready, with what is wrong all the same, or why not: lines.
pub(crate) fn readiness(status: &Status) -> Result<String, String> {
    status.ready().map_err(|unready| format!("not ready: {unready}\n"))?;
    let warnings = status.warnings().map(|warning| format!("warning: {warning}\n"));
    Ok(std::iter::once("ready\n".to_owned()).chain(warnings).collect())
}

/// The stream behind a PROXY v2 header, or the whole stream where there is none. None where the header is
/// broken or the peer says nothing for too long.
pub(super) async fn skip_proxy_header(mut stream: TcpStream) -> Option<impl AsyncRead + AsyncWrite + Unpin + 'static> {
    let read_ahead = async {
        let mut bytes = Vec::new();
        loop {
            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
            match proxy_header::parse(&bytes) {
                Verdict::Found { len, .. } => return Some(bytes.split_off(len)),
                Verdict::NeedMore if bytes.len() < proxy_header::MAX_HEADER => {}
                // No HTTP request begins like the signature, so the first wrong byte tells them apart.
                Verdict::Refuse(_) if !bytes.starts_with(b"\r\n\r\n\0") => return Some(bytes),
                Verdict::NeedMore | Verdict::Refuse(_) => return None,
            }
        }
    };
    let ahead = timeout(Duration::from_secs(5), read_ahead).await.ok()??;
    let (reader, writer) = stream.into_split();
    Some(join(Cursor::new(ahead).chain(reader), writer))
}
