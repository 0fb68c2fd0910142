//! Whether a service answers a request.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::Instant;

use super::{Finding, within};
use latticegate_core::hostname::Hostname;

const CHECK: &str = "http";
/// From request to the head of the response.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends a request that changes nothing. Any status is an answer, also that a signature is missing.
pub(super) async fn examine(about: &str, name: &Hostname, stream: TcpStream, address: SocketAddr) -> Finding {
    let begin = Instant::now();
    let help = "does the service speak HTTP/1.1 on this port? curl --head through the proxy shows the rest";
    match within(PATIENCE, request(name, stream)).await {
        None => {
            let text = format!("{address} does not answer within {} s", PATIENCE.as_secs());
            Finding::fail(CHECK, about, text, "look at the service's targets and their health")
        }
        Some(Err(error)) => Finding::fail(CHECK, about, format!("{address} does not answer in HTTP: {error}"), help),
        Some(Ok(status)) if status.is_server_error() => {
            let text = format!("{address} answers {status}");
            Finding::warn(CHECK, about, text, "look at the service's targets and their health")
        }
        Some(Ok(status)) => {
            Finding::pass(CHECK, about, format!("{address} answers {status} in {:.1?}", begin.elapsed()))
        }
    }
}

async fn request(name: &Hostname, stream: TcpStream) -> Result<StatusCode, Box<dyn std::error::Error>> {
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    spawn_local(async move {
        // The request has the same error.
        let _ = connection.await;
    });
    let request = Request::head("/")
        .header(HOST, name.as_str())
        .header(USER_AGENT, "latticegate-doctor")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    Ok(sender.send_request(request).await?.status())
}
