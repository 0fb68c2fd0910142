//! The two small HTTP servers on the control thread, both on hyper: the health port and the admin port.

mod admin;
mod explain;
mod health;
mod page;
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
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

pub use self::admin::Admin;
pub use self::health::Health;

type Body = Full<Bytes>;

/// One of the two servers.
pub trait Site: 'static {
    fn answer(&self, request: &Parts) -> impl Future<Output = Response<Body>>;

    /// Whether a connection may begin with a PROXY v2 header: the NLB sends one to health ports too.
    const PROXY_HEADER: bool;
}

/// Connections served at a time; more wait in the kernel's queue.
const MAX_OPEN: usize = 64;
/// For a whole connection: a scrape or a check is over long before.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves until the process ends.
pub async fn serve(listener: TcpListener, site: impl Site) {
    let site = Rc::new(site);
    let open = Rc::new(Cell::new(0_usize));
    loop {
        if open.get() >= MAX_OPEN {
            sleep(Duration::from_millis(20)).await;
            continue;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                let (site, open) = (Rc::clone(&site), Rc::clone(&open));
                open.set(open.get().saturating_add(1));
                spawn_local(async move {
                    // Who asks too slowly is cut.
                    let _ = timeout(PATIENCE, converse(stream, site)).await;
                    open.set(open.get().saturating_sub(1));
                });
            }
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn converse<S: Site>(stream: TcpStream, site: Rc<S>) {
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
        async move { Ok::<_, Infallible>(site.answer(&head).await) }
    });
    // The peer's mistakes are its own; there is nothing to tell.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
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
