//! The two small HTTP servers on the control thread, both on hyper: the health port and the admin port.

mod admin;
mod explain;
mod health;
pub mod health_socket;
mod page;
mod protocol;
mod rule_metrics;
mod snapshot;

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, spawn_local, yield_now};
use tokio::time::{Instant, sleep, timeout};

pub use self::admin::Admin;
pub use self::health::Health;
pub(crate) use self::health::readiness;

type Body = Full<Bytes>;

/// One of the two servers.
pub trait Site: 'static {
    /// To GET or HEAD; `path` is the request's in its normal form.
    fn answer(&self, request: &Parts, path: &str) -> impl Future<Output = Response<Body>>;

    /// Adds the fields that every response of this server has.
    fn complete(_: &mut Response<Body>) {}

    /// Whether a connection may begin with a PROXY v2 header: the NLB sends one to health ports too.
    const PROXY_HEADER: bool;
}

/// Connections served at a time; more wait in the kernel's queue.
const MAX_OPEN: usize = 64;
/// For a whole connection: a scrape or a check is over long before.
const PATIENCE: Duration = Duration::from_secs(30);
/// For its first byte, which checks and scrapes send at once.
const SILENCE: Duration = Duration::from_secs(2);
/// Where others wait for a place, this is long enough for the first byte, and that for the whole.
const SILENCE_WHEN_FULL: Duration = Duration::from_millis(100);
const PATIENCE_WHEN_FULL: Duration = Duration::from_secs(1);

/// Serves until the process ends.
pub async fn serve(listener: TcpListener, site: impl Site) {
    let site = Rc::new(site);
    let mut guests: Vec<Guest> = Vec::new();
    loop {
        guests.retain(|guest| !guest.task.is_finished());
        if guests.len() >= MAX_OPEN {
            match guests.iter().position(Guest::is_silent).or_else(|| guests.iter().position(Guest::is_slow)) {
                Some(place) => guests.remove(place).task.abort(),
                None => sleep(Duration::from_millis(20)).await,
            }
            continue;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                let (site, spoke) = (Rc::clone(&site), Rc::new(Cell::new(false)));
                let (since, told) = (Instant::now(), Rc::clone(&spoke));
                let task = spawn_local(async move {
                    // Who asks too slowly is cut.
                    let _ = timeout(PATIENCE, converse(stream, site, told)).await;
                });
                guests.push(Guest { since, spoke, task: task.abort_handle() });
            }
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// One connection; they are kept in the order in which they came.
struct Guest {
    since: Instant,
    /// A byte has come.
    spoke: Rc<Cell<bool>>,
    task: AbortHandle,
}

impl Guest {
    fn is_silent(&self) -> bool {
        !self.spoke.get() && self.since.elapsed() >= SILENCE_WHEN_FULL
    }

    fn is_slow(&self) -> bool {
        self.since.elapsed() >= PATIENCE_WHEN_FULL
    }
}

async fn converse<S: Site>(stream: TcpStream, site: Rc<S>, spoke: Rc<Cell<bool>>) {
    if !matches!(timeout(SILENCE, stream.readable()).await, Ok(Ok(()))) {
        return;
    }
    spoke.set(true);
    let Some(stream) = protocol::refuse_http2(stream).await else { return };
    if !S::PROXY_HEADER {
        return http(stream, site).await;
    }
    if let Some(stream) = health::skip_proxy_header(stream).await {
        http(stream, site).await;
    }
}

async fn http<S: Site>(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, site: Rc<S>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let site = Rc::clone(&site);
        // No request here has a body that is of interest.
        let (head, _) = request.into_parts();
        async move {
            // One that pipelines has to let the others in, and the control thread's other work.
            yield_now().await;
            let mut response = match protocol::path_of(&head) {
                Ok(path) => site.answer(&head, &path).await,
                Err(refusal) => *refusal,
            };
            S::complete(&mut response);
            Ok::<_, Infallible>(response)
        }
    });
    // The peer's mistakes are its own; there is nothing to tell.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        // Whoever says at once that there is no more to come wants the answer all the same.
        .half_close(true)
        .header_read_timeout(Duration::from_secs(5))
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    respond(status, "text/plain; charset=utf-8", body)
}

fn not_found(known: &'static str) -> Response<Body> {
    text(StatusCode::NOT_FOUND, format!("no such page; there are: {known}\n"))
}
