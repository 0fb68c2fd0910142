//! The server behind both ports: few connections at a time, each for a bounded time.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, spawn_local, yield_now};
use tokio::time::{Instant, sleep, timeout};

use super::response::FullResponse;
use super::{linger, protocol, proxy_header};

/// What one of the two ports answers.
pub trait Service: 'static {
    /// To GET or HEAD; `path` is the request's in its normal form.
    fn answer(&self, request: &Parts, path: &str) -> impl Future<Output = FullResponse>;

    /// Adds the fields that every response of this port has.
    fn complete(_: &mut FullResponse) {}

    /// Whether a connection may begin with a PROXY v2 header: the NLB sends one to health ports too.
    const PROXY_HEADER: bool;
}

/// Connections served at a time; more wait in the kernel's queue.
const MAX_OPEN: usize = 64;
/// For a whole connection: a scrape or a check takes far less.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// For its first byte, which checks and scrapes send at once.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(2);
/// While other connections are waiting, this is enough for the first byte, and the next for the whole connection.
const FIRST_BYTE_TIMEOUT_WHEN_FULL: Duration = Duration::from_millis(100);
const CONNECTION_TIMEOUT_WHEN_FULL: Duration = Duration::from_secs(1);

/// Serves until the process ends.
pub async fn serve(listener: TcpListener, service: impl Service) {
    let service = Rc::new(service);
    let mut open: Vec<Connection> = Vec::new();
    loop {
        open.retain(|connection| !connection.task.is_finished());
        if open.len() >= MAX_OPEN {
            let place = |gives_way: fn(&Connection) -> bool| open.iter().position(gives_way);
            let place = place(Connection::is_answered)
                .or_else(|| place(Connection::is_silent))
                .or_else(|| place(Connection::is_slow));
            match place {
                Some(place) => open.remove(place).task.abort(),
                None => sleep(Duration::from_millis(20)).await,
            }
            continue;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                let (service, progress) = (Rc::clone(&service), Rc::new(Cell::new(Progress::Silent)));
                let (since, noted) = (Instant::now(), Rc::clone(&progress));
                let task = spawn_local(async move {
                    // A client that takes longer is cut off.
                    let _ = timeout(CONNECTION_TIMEOUT, serve_connection(stream, service, &noted)).await;
                });
                open.push(Connection { since, progress, task: task.abort_handle() });
            }
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// An open connection; they are kept in the order in which they were accepted.
struct Connection {
    since: Instant,
    progress: Rc<Cell<Progress>>,
    task: AbortHandle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Silent,
    /// A byte has come.
    Begun,
    /// All answers have been sent, and it waits for the client to close.
    Answered,
}

impl Connection {
    fn is_answered(&self) -> bool {
        self.progress.get() == Progress::Answered
    }

    fn is_silent(&self) -> bool {
        self.progress.get() == Progress::Silent && self.since.elapsed() >= FIRST_BYTE_TIMEOUT_WHEN_FULL
    }

    fn is_slow(&self) -> bool {
        self.since.elapsed() >= CONNECTION_TIMEOUT_WHEN_FULL
    }
}

async fn serve_connection<S: Service>(stream: TcpStream, service: Rc<S>, progress: &Cell<Progress>) {
    if !matches!(timeout(FIRST_BYTE_TIMEOUT, stream.readable()).await, Ok(Ok(()))) {
        return;
    }
    progress.set(Progress::Begun);
    let stream = match protocol::refuse_http2(stream).await {
        Ok(stream) => stream,
        Err(refused) => return close(refused, progress).await,
    };
    if !S::PROXY_HEADER {
        return serve_http(stream, service, progress).await;
    }
    if let Some(stream) = proxy_header::skip(stream).await {
        serve_http(stream, service, progress).await;
    }
}

async fn serve_http<S: Service>(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    service: Rc<S>,
    progress: &Cell<Progress>,
) {
    let respond = service_fn(move |request: Request<Incoming>| {
        let service = Rc::clone(&service);
        // Request bodies are ignored.
        let (head, _) = request.into_parts();
        async move {
            // A client that pipelines requests must not hold up the others, nor the control thread's other work.
            yield_now().await;
            let mut response = match protocol::path_of(&head) {
                Ok(path) => service.answer(&head, &path).await,
                Err(refusal) => *refusal,
            };
            S::complete(&mut response);
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // A client that has finished sending still gets its response.
        .half_close(true)
        .header_read_timeout(Duration::from_secs(5))
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), respond);
    // It sends all of the answer, and FIN. A client's errors are its own; they are not logged.
    let _ = (&mut connection).await;
    close(connection.into_parts().io.into_inner(), progress).await;
}

/// Once all answers have been sent.
async fn close(stream: impl AsyncRead + AsyncWrite + Unpin, progress: &Cell<Progress>) {
    progress.set(Progress::Answered);
    linger::close(stream).await;
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use hyper::StatusCode;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::sys::control_runtime::control_runtime;
    use crate::web::response::text;

    /// More than the kernel takes of it before the client reads.
    const SIZE: usize = 32 << 20;

    /// Answers with so many zeros.
    struct Zeros(usize);

    impl Service for Zeros {
        async fn answer(&self, _: &Parts, _: &str) -> FullResponse {
            text(StatusCode::OK, vec![b'\0'; self.0])
        }

        const PROXY_HEADER: bool = false;
    }

    async fn serving(size: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        spawn_local(serve(listener, Zeros(size)));
        address
    }

    #[test]
    fn clients_that_have_their_answer_and_stay_hold_up_no_other() {
        const CLIENTS: usize = 8 * MAX_OPEN;
        control_runtime().unwrap().block_on(async {
            let address = serving(1).await;
            for request in ["GET / HTTP/1.0\r\nHost: localhost\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
                let began = Instant::now();
                let mut clients = Vec::new();
                for _ in 0..CLIENTS {
                    let mut client = TcpStream::connect(address).await.unwrap();
                    client.write_all(request.as_bytes()).await.unwrap();
                    clients.push(client);
                }
                for client in &mut clients {
                    let mut answer = Vec::new();
                    client.read_to_end(&mut answer).await.unwrap();
                    assert!(answer.starts_with(b"HTTP/1."), "{}", answer.escape_ascii());
                }
                assert!(began.elapsed() < Duration::from_secs(4), "{request}: {:?}", began.elapsed());
            }
        });
    }

    #[test]
    fn an_answer_is_sent_whole_although_the_content_of_its_request_is_not_read() {
        control_runtime().unwrap().block_on(async {
            let address = serving(SIZE).await;
            for request in [
                "GET / HTTP/1.0\r\nHost: localhost\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n",
            ] {
                let mut client = TcpStream::connect(address).await.unwrap();
                client.write_all(request.as_bytes()).await.unwrap();
                let mut answer = Vec::new();
                client.read_to_end(&mut answer).await.unwrap();
                assert_eq!(answer.iter().filter(|byte| **byte == 0).count(), SIZE, "{request}");
            }
        });
    }
}
